"""mtx folders: a sparse matrix as text beside the lists of its genes and cells, as many tools write them.

Cell Ranger, STARsolo and GEO (with a prefix) have genes in rows; kb-python and alevin have cells in rows. Any file may be
compressed with gzip, whatever its name.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellmemory.cells.faults import ReadingError
from cellmemory.cells.matrices import SpooledRows
from cellmemory.cells.matrix_market import opened_matrix, read_matrix, read_shape
from cellmemory.io.text import decoded

NEEDED = "An mtx folder needs matrix.mtx, barcodes.tsv and features.tsv (or genes.tsv)"
GENES = re.compile(r"(^|.*[._-])(features|genes)\.(tsv|txt)(\.gz)?|.*_cols\.txt(\.gz)?", re.IGNORECASE)
CELLS = re.compile(r"(^|.*[._-])barcodes\.(tsv|txt)(\.gz)?|.*_rows\.txt(\.gz)?", re.IGNORECASE)
#: The symbols that kb-python lists beside the ids.
SYMBOLS = re.compile(r".*genes\.names\.txt(\.gz)?", re.IGNORECASE)
MATRIX = re.compile(r".*\.mtx(\.gz)?", re.IGNORECASE)
#: Matrices with cells in rows, by name: where there are as many genes as cells, nothing else decides.
CELLS_IN_ROWS = re.compile(r"(.*[._-])?(cells_x_genes|quants_mat)\b.*", re.IGNORECASE)
#: Names by which folders of other kinds are recognised, what these are, and what to do.
OTHER_FILES = (
    (r"quants_mat\.gz", "alevin's binary matrix (quants_mat.gz)", "Run alevin with --dumpMtx, or write the cells as .h5ad"),
    (r"(DGE|count_matrix)\.mtx(\.gz)?", "a matrix of Parse Biosciences", "Write the cells as .h5ad, with scanpy's read_mtx"),
    (r"\.zgroup|\.zattrs|zarr\.json", "a zarr store", "Read it with anndata, and write it as .h5ad"),
)
#: The first cell of a line that names the columns.
HEADER_NAME = re.compile(
    r"x|v1|((cell|gene|feature)[ _.-]?)?(barcodes?|cells?|genes?|features?|ids?|names?|symbols?)", re.IGNORECASE
)
#: Of these, names that may be a gene's or a cell's own.
DOUBTFUL_HEADERS = ("x", "v1", "id")


class MtxFolder:
    """An mtx folder, read once, as `reading.CellFile` asks for it. Raises ReadingError where it is not one or is damaged.

    Memory and temporary disk: those of SpooledRows.
    """

    columns: list[str] = []  # noqa: RUF012 - it never has any
    obsm: dict[str, Any] = {}  # noqa: RUF012
    uns: dict[str, Any] = {}  # noqa: RUF012
    index_name = ""

    def __init__(self, folder: Path):
        files = sorted(path.name for path in folder.iterdir() if path.is_file())
        # alevin keeps the matrix one folder below what it calls its output.
        if not any(map(MATRIX.fullmatch, files)) and (folder / "alevin").is_dir():
            folder = folder / "alevin"
            files = sorted(path.name for path in folder.iterdir() if path.is_file())
        matrix = _find_matrix(folder, files)
        genes, cells = _find_list(matrix, files, GENES, "genes"), _find_list(matrix, files, CELLS, "cells")
        gene_lines, cell_lines = _read_lines(folder / genes), _read_lines(folder / cells)
        n_rows, n_columns, n_values = read_shape(folder / matrix)
        shape = n_rows, n_columns
        turned, gene_lines, cell_lines = _fit(matrix, shape, (genes, gene_lines), (cells, cell_lines))
        symbols = next((_read_lines(folder / name) for name in files if SYMBOLS.fullmatch(name)), None)
        self._var = _make_var(genes, gene_lines, symbols)
        self._obs = pd.DataFrame(index=_names_of_cells(cells, cell_lines))
        self.n_cells = len(self._obs)
        self.matrices = {"X": read_matrix(folder / matrix, shape, n_values, turned=turned)}

    def names(self, start: int, stop: int) -> np.ndarray:
        return self._obs.index[start:stop].to_numpy(object)

    def obs(self) -> pd.DataFrame:
        return self._obs

    def var(self, _: str) -> pd.DataFrame:
        return self._var

    def open_matrix(self, name: str) -> SpooledRows:
        return self.matrices[name]

    def stored(self, _: str) -> None:
        return None

    def close(self) -> None:
        self.matrices["X"].close()


def _find_matrix(folder: Path, files: list[str]) -> str:
    """The name of the one matrix of a folder. Beside matrix.mtx others are left alone (STARsolo's UniqueAndMult-EM.mtx)."""
    for pattern, what, remedy in OTHER_FILES:
        if any(re.fullmatch(pattern, name, re.IGNORECASE) for name in files):
            raise ReadingError(f"this folder holds {what}, which cannot be read. {remedy}.")
    matrices = [name for name in files if MATRIX.fullmatch(name)]
    standard = [name for name in matrices if name in ("matrix.mtx", "matrix.mtx.gz")]
    if len(standard or matrices) == 1:
        return (standard or matrices)[0]
    if matrices:
        raise ReadingError(f"this folder holds {len(matrices)} matrices ({', '.join(matrices)}). Give a folder with one of them.")
    below = sorted({str(path.parent.relative_to(folder)) for path in folder.glob("*/*") if MATRIX.fullmatch(path.name)})
    if below:
        raise ReadingError(f"this folder holds no matrix, but folders of it do ({', '.join(below)}). Give one of these.")
    raise ReadingError(f"this folder holds no matrix (.mtx or .mtx.gz). {NEEDED}.")


def _find_list(matrix: str, files: list[str], pattern: re.Pattern[str], what: str) -> str:
    """The file that lists the genes or the cells: of several, the one whose name begins as that of the matrix does."""
    found = [name for name in files if pattern.fullmatch(name)]
    prefix = re.sub(r"(matrix)?\.mtx(\.gz)?$", "", matrix, flags=re.IGNORECASE)
    if len(found) > 1:
        rest = re.compile(re.escape(prefix) + r"[._-]?(features|genes|barcodes|rows|cols)\.(tsv|txt)(\.gz)?", re.IGNORECASE)
        found = [name for name in found if rest.fullmatch(name)] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise ReadingError(f"this folder holds {len(found)} lists of {what} for {matrix} ({', '.join(found)}). Keep one of them.")
    usual = "features.tsv (or genes.tsv)" if what == "genes" else "barcodes.tsv"
    raise ReadingError(f"this folder lists no {what} for {matrix}. Put the list next to the matrix, and call it {usual}.")


def _read_lines(path: Path) -> list[list[str]]:
    """The lines of a list, split at tabs, without quotes, a byte order mark, and empty lines at the end."""
    with opened_matrix(path) as file:
        try:
            lines = decoded(file).split("\n")
        except ValueError as error:
            raise ReadingError(f"{path.name} is {error}. Get it again, or save it as text in UTF-8.") from None
    while lines and not lines[-1].strip():
        lines.pop()
    return [[cell.strip().strip('"') for cell in line.split("\t")] for line in lines]


def _fit(
    matrix: str, shape: tuple[int, int], genes: tuple[str, list[list[str]]], cells: tuple[str, list[list[str]]]
) -> tuple[bool, list[list[str]], list[list[str]]]:
    """Whether cells are in rows, and both lists without their header lines, by the lengths of the lists."""
    ways = (True, False) if CELLS_IN_ROWS.fullmatch(matrix) else (False, True)
    for turned in ways:
        n_genes, n_cells = shape[::-1] if turned else shape
        of_genes, of_cells = _without_header(genes[1], n_genes), _without_header(cells[1], n_cells)
        if of_genes is not None and of_cells is not None:
            return turned, of_genes, of_cells
    raise ReadingError(
        f"{matrix} has {shape[0]:,} rows and {shape[1]:,} columns, but {genes[0]} lists {_named(genes[1]):,} genes and "
        f"{cells[0]} {_named(cells[1]):,} cells. Give the three files of one run."
    )


def _without_header(lines: list[list[str]], n: int) -> list[list[str]] | None:
    """The n lines of a list, without the one that names the columns; None where there are not as many."""
    if len(lines) == n + 1 and HEADER_NAME.fullmatch(lines[0][0]):
        return lines[1:]
    return lines if _named(lines) == n == len(lines) else None


def _named(lines: list[list[str]]) -> int:
    """How many genes or cells a list names: a gene may be called x, but one called gene_id is the name of the column."""
    first = lines[0][0] if lines else ""
    return len(lines) - bool(HEADER_NAME.fullmatch(first) and first.lower() not in DOUBTFUL_HEADERS)


def _make_var(name: str, lines: list[list[str]], symbols: list[list[str]] | None) -> pd.DataFrame:
    """Genes by their symbols, or by their only name where there is no other, with gene_ids and, if there are any,
    feature_types."""
    ids, names = _column(lines, 0), _column(lines, 1)
    if not names.any() and symbols is not None and len(symbols) == len(lines):
        names = _column(symbols, 0)
    if empty := int(np.sum((ids == "") & (names == ""))):
        raise ReadingError(f"{name} has lines without a gene ({empty:,}). Remove these lines, or get the file again.")
    var = pd.DataFrame({"gene_ids": ids}, index=np.where(names == "", ids, names))
    types = _column(lines, 2)
    if not types.any():
        return var
    if untyped := [line[0] for line in lines if len(line) < 3]:
        raise ReadingError(
            f"{name} says of some lines what they are (genes, antibodies), and {len(untyped):,} end before it (the first is "
            f"'{untyped[0]}'). Get the file again."
        )
    return var.assign(feature_types=types)


def _names_of_cells(name: str, lines: list[list[str]]) -> np.ndarray:
    """The first of each line, or the second where the first is the line's number, as R's write.table puts it. Raises ReadingError
    for lines without a name."""
    numbered = all(len(line) > 1 and line[0] == str(number) for number, line in enumerate(lines, 1))
    names = _column(lines, int(numbered and bool(lines)))
    if empty := int(np.sum(names == "")):
        raise ReadingError(f"{name} has lines without a cell ({empty:,}). Get the file again.")
    return names


def _column(lines: list[list[str]], number: int) -> np.ndarray:
    """The cells of a column; empty where a line ends before it."""
    return np.array([line[number] if len(line) > number else "" for line in lines], object)
