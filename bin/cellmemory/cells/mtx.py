"""mtx folders: a sparse matrix as text beside the lists of its genes and cells, as many tools write them.

Cell Ranger, STARsolo and GEO (with a prefix) have genes in rows; kb-python and alevin have cells in rows. Any file may be
compressed with gzip, whatever its name.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.cells.faults import ReadingError
from cellmemory.cells.matrices import MemoryRows
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
OTHERS = (
    (r"quants_mat\.gz", "alevin's binary matrix (quants_mat.gz)", "Run alevin with --dumpMtx, or write the cells as .h5ad"),
    (r"(DGE|count_matrix)\.mtx(\.gz)?", "a matrix of Parse Biosciences", "Write the cells as .h5ad, with scanpy's read_mtx"),
    (r"\.zgroup|\.zattrs|zarr\.json", "a zarr store", "Read it with anndata, and write it as .h5ad"),
)
#: Lines of a matrix that are parsed together.
CHUNK_LINES = 1 << 18
#: The first cell of a line that names the columns.
HEADER = re.compile(r"x|v1|((cell|gene|feature)[ _.-]?)?(barcodes?|cells?|genes?|features?|ids?|names?|symbols?)", re.IGNORECASE)


class MtxFolder:
    """An mtx folder, read whole, as `reading.CellFile` asks for it. Raises ReadingError where it is not one or is damaged.

    Memory, for a moment: about 40 bytes for each value that is not zero, and 8 after that.
    """

    columns: list[str] = []  # noqa: RUF012 - it never has any
    obsm: dict[str, Any] = {}  # noqa: RUF012
    uns: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, folder: Path):
        files = sorted(path.name for path in folder.iterdir() if path.is_file())
        # alevin keeps the matrix one folder below what it calls its output.
        if not any(map(MATRIX.fullmatch, files)) and (folder / "alevin").is_dir():
            folder = folder / "alevin"
            files = sorted(path.name for path in folder.iterdir() if path.is_file())
        matrix = _find_matrix(folder, files)
        genes, cells = _find_list(matrix, files, GENES, "genes"), _find_list(matrix, files, CELLS, "cells")
        gene_lines, cell_lines = _read_lines(folder / genes), _read_lines(folder / cells)
        n_rows, n_columns, n_values = _read_shape(folder / matrix)
        shape = n_rows, n_columns
        turned, gene_lines, cell_lines = _fit(matrix, shape, (genes, gene_lines), (cells, cell_lines))
        symbols = next((_read_lines(folder / name) for name in files if SYMBOLS.fullmatch(name)), None)
        self._var = _make_var(genes, gene_lines, symbols)
        self._obs = pd.DataFrame(index=_column(cell_lines, 0))
        self.n_cells = len(self._obs)
        self.matrices = {"X": MemoryRows(_read_matrix(folder / matrix, shape, n_values, turned=turned))}

    def names(self, start: int, stop: int) -> np.ndarray:
        return self._obs.index[start:stop].to_numpy(object)

    def obs(self) -> pd.DataFrame:
        return self._obs

    def var(self, _: str) -> pd.DataFrame:
        return self._var

    def open_matrix(self, name: str) -> MemoryRows:
        return self.matrices[name]

    def stored(self, _: str) -> None:
        return None

    def close(self) -> None:
        """There is nothing open."""


def _find_matrix(folder: Path, files: list[str]) -> str:
    """The name of the one matrix of a folder. Beside matrix.mtx others are left alone (STARsolo's UniqueAndMult-EM.mtx)."""
    for pattern, what, remedy in OTHERS:
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
    raise ReadingError(f"this folder lists no {what} for {matrix}. Put the list beside it, and call it {usual}.")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file that may be compressed with gzip."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _incomplete(path.name, error) from error


def _incomplete(name: str, found: object) -> ReadingError:
    return ReadingError(f"{name} is incomplete or damaged ({str(found).splitlines()[0].rstrip('. ')}). Get it again.")


def _read_lines(path: Path) -> list[list[str]]:
    """The lines of a list, split at tabs, without quotes, a byte order mark, and empty lines at the end."""
    with _opened(path) as file:
        try:
            lines = decoded(file).split("\n")
        except ValueError as error:
            raise ReadingError(f"{path.name} is {error}. Get it again, or save it as text in UTF-8.") from None
    while lines and not lines[-1].strip():
        lines.pop()
    return [[cell.strip().strip('"') for cell in line.split("\t")] for line in lines]


def _read_shape(path: Path) -> tuple[int, int, int]:
    """Rows, columns and values by the head of a matrix. Raises ReadingError for other kinds of matrices."""
    with _opened(path) as file:
        packed = isinstance(file, gzip.GzipFile)
        head, size = _read_head(file)
    if head[:2] != ["%%matrixmarket", "matrix"] or len(head) != 5:
        raise ReadingError(f"{path.name} is not a matrix (it does not begin with %%MatrixMarket). Get it again.")
    if head[2] != "coordinate" or head[3] not in ("integer", "unsigned-integer", "real", "double") or head[4] != "general":
        kind = " ".join(head[2:])
        raise ReadingError(f"{path.name} is of a kind that is not read ({kind}). Write it as coordinate real general.")
    if len(size) != 3 or not all(number.isdigit() for number in size):
        raise ReadingError(f"{path.name} does not say how many rows, columns and values it has. Get it again.")
    rows, columns, values = map(int, size)
    # A line has 6 bytes or more, and gzip makes one byte of 1,100 at most.
    if values > min(rows * columns, path.stat().st_size * (1100 if packed else 1) // 5):
        raise ReadingError(f"{path.name} cannot hold as many values as its head says ({values:,}). Get it again.")
    return rows, columns, values


def _read_head(file: BinaryIO) -> tuple[list[str], list[bytes]]:
    """The words of the first line, in lower case, and of the line of sizes; the values follow."""
    head = file.readline(1000).decode(errors="replace").lower().split()
    size = b"%"
    while size.startswith(b"%") or size.isspace():
        size = file.readline(10_000)
    return head, size.split()


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
        f"{matrix} has {shape[0]:,} rows and {shape[1]:,} columns, but {genes[0]} lists {len(genes[1]):,} genes and {cells[0]} "
        f"{len(cells[1]):,} cells. Give the three files of one run."
    )


def _without_header(lines: list[list[str]], n: int) -> list[list[str]] | None:
    """The n lines of a list, without the one that names the columns; None where there are not as many."""
    if len(lines) == n + 1 and HEADER.fullmatch(lines[0][0]):
        return lines[1:]
    return lines if len(lines) == n else None


def _make_var(name: str, lines: list[list[str]], symbols: list[list[str]] | None) -> pd.DataFrame:
    """Genes by their symbols, or by their only name, with gene_ids and, where every line has them, feature_types."""
    widths = {len(line) for line in lines}
    ids = _column(lines, 0)
    names = ids
    if widths and min(widths) > 1:
        names = _column(lines, 1)
    elif symbols is not None and len(symbols) == len(lines):
        names = _column(symbols, 0)
    if empty := int(np.sum((ids == "") & (names == ""))):
        raise ReadingError(f"{name} has lines without a gene ({empty:,}). Remove these lines, or get the file again.")
    var = pd.DataFrame({"gene_ids": ids}, index=np.where(names == "", ids, names))
    if widths and min(widths) > 2:
        var["feature_types"] = _column(lines, 2)
    return var


def _column(lines: list[list[str]], number: int) -> np.ndarray:
    return np.array([line[number] for line in lines], object)


def _read_matrix(path: Path, shape: tuple[int, int], n_values: int, *, turned: bool) -> sp.csr_matrix:
    """Cells x genes as float32; values that are listed twice are summed. turned: cells are in rows.

    Not by scipy's mmread, which crashes on some lines that are damaged.
    """
    rows, columns, data = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    with _opened(path) as file:
        _read_head(file)
        try:
            for lines in _chunks(file):
                _check_lines(lines, path.name, shape)
                rows.append(lines["row"].to_numpy(np.int32) - 1)
                columns.append(lines["column"].to_numpy(np.int32) - 1)
                data.append(lines["value"].to_numpy(np.float32))
        except (ValueError, OverflowError) as error:  # pandas' own are ValueErrors
            raise _incomplete(path.name, error) from error
    if (found := sum(map(len, data))) != n_values:
        raise _incomplete(path.name, f"its head says {n_values:,} values, but there are {found:,}")
    places = np.concatenate(rows), np.concatenate(columns)
    if turned:
        return sp.csr_matrix((np.concatenate(data), places), shape)
    return sp.csr_matrix((np.concatenate(data), places[::-1]), shape[::-1])


def _chunks(file: BinaryIO) -> Iterator[pd.DataFrame]:
    """The lines of a matrix, as `row`, `column`, `value`, and `rest` for what should not be there."""
    types = {"row": np.int64, "column": np.int64, "value": np.float64, "rest": np.float64}
    try:
        yield from pd.read_csv(
            file,
            sep=r"\s+",
            header=None,
            names=list(types),
            dtype=types,
            index_col=False,
            quoting=csv.QUOTE_NONE,
            encoding_errors="replace",
            chunksize=CHUNK_LINES,
        )
    except pd.errors.EmptyDataError:
        return


def _check_lines(lines: pd.DataFrame, name: str, shape: tuple[int, int]) -> None:
    """Raises ReadingError where a line is not a row and a column of the matrix and a number."""
    good = lines["rest"].isna() & lines["value"].notna()
    for place, n in zip(("row", "column"), shape, strict=True):
        good &= lines[place].between(1, n)
    if not good.all():
        first = lines[~good].iloc[0]
        text = " ".join(f"{value:g}" for value in first if not pd.isna(value))
        raise ReadingError(
            f"{name} is incomplete or damaged (the line '{text}' is not a row, a column and a value of {shape[0]:,} rows and "
            f"{shape[1]:,} columns). Get it again."
        )
