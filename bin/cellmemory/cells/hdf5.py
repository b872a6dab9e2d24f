"""HDF5 files of cells: h5ad, and 10x .h5 of Cell Ranger 2 and later. Told apart by what they hold, whatever their names."""

from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from cellmemory.cells.faults import AGAIN, ReadingError
from cellmemory.cells.matrices import NUMBERS, SPARSE, Matrix, attribute, attribute_text, open_matrix, unwritten
from cellmemory.cells.probe import survive
from cellmemory.cells.tenx import TenX, several_genomes
from cellmemory.errors import Problems, first_ids

MAGIC = b"\x89HDF\r\n\x1a\n"
#: What a file of another kind begins with, and what it then is.
OTHER_FORMATS = (
    (b"\x1f\x8b", "it is compressed with gzip", "Decompress it with gunzip"),
    (b"PK\x03\x04", "it is a zip archive", "Unpack it"),
    (b"%%MatrixMarket", "it is one file of an mtx folder", "Give the folder"),
    (b"", "it is not HDF5", "Give an .h5ad, a 10x .h5 or a 10x mtx folder"),
)
#: HDF5 files of other kinds, by something that each holds.
KINDS = {
    "mod": "a MuData file (.h5mu)",
    "row_attrs": "a loom file",
    "assays": "a Seurat file (h5Seurat)",
    "barcode_idx": "Cell Ranger's molecule_info.h5",
}


def open_hdf5(path: Path) -> "H5ad | TenX":
    """The cells of an HDF5 file. Raises ReadingError, or whatever h5py raises, where it holds none that can be read."""
    _check_signature(path)
    survive(path)
    file = h5py.File(path, "r")
    try:
        return _open(file)
    except BaseException:
        file.close()
        raise


def _check_signature(path: Path) -> None:
    """HDF5 begins at 0, or at a power of two from 512 on."""
    with path.open("rb") as file:
        start, size = file.read(16), path.stat().st_size
        if not size:
            raise ReadingError("this file is empty (0 bytes). Get it again.")
        place = 0
        while place < size:
            file.seek(place)
            if file.read(8) == MAGIC:
                return
            place = 2 * place or 512
    found, remedy = next((found, remedy) for magic, found, remedy in OTHER_FORMATS if start.startswith(magic))
    raise ReadingError(f"this is not an h5ad file ({found}). {remedy}.")


def _open(file: h5py.File) -> "H5ad | TenX":
    if "obs" in file and "var" in file and "mod" not in file:
        return H5ad(file)
    matrix = file.get("matrix")
    if isinstance(matrix, h5py.Group) and "barcodes" in matrix:
        return TenX(file, matrix)
    genomes = [name for name in file if isinstance(file[name], h5py.Group) and "barcodes" in file[name]]
    if len(genomes) > 1:
        raise ReadingError(several_genomes(genomes))
    if genomes:
        return TenX(file, file[genomes[0]])
    kind = next((f"it is {KINDS[name]}" for name in KINDS if name in file), "it has no obs and var")
    remedy = "Write the cells with anndata first"
    if isinstance(file.get("mod"), h5py.Group):
        remedy = f"Write the modality with the RNA as .h5ad; there are: {', '.join(file['mod']) or '(none)'}"
    raise ReadingError(f"this HDF5 file is not an h5ad ({kind}). {remedy}.")


class H5ad:
    """An h5ad file, as `reading.CellFile` asks for it. Raises ReadingError where obs or var is damaged."""

    def __init__(self, file: h5py.File):
        self.file = file
        problems = Problems()
        lengths: dict[str, int] = {}
        for name in ("obs", "var", "raw/var"):
            if name != "raw/var" or file.get("raw/X") is not None:
                with problems.collect():
                    lengths[name] = _check_table(file, name)
        if problems:
            raise ReadingError(problems)
        self.n_cells = lengths["obs"]
        self.columns, self.index_name = _columns(file["obs"]), attribute_text(file["obs"].attrs["_index"])
        found = {"X": file.get("X"), "raw": file.get("raw/X")}
        found |= {f"layers/{name}": value for name, value in _members(file, "layers").items()}
        genes = {name: lengths["raw/var" if name == "raw" else "var"] for name in found if _is_there(found[name])}
        self.matrices = {name: (found[name], "raw/X" if name == "raw" else name, n) for name, n in genes.items()}
        self.obsm, self.uns = _members(file, "obsm"), file["uns"] if isinstance(file.get("uns"), h5py.Group) else {}

    @cached_property
    def _names(self) -> h5py.Dataset | None:
        """The cells' names on disk; None where only `obs` has them (strings in an encoding of parts, numbers)."""
        names = self.file["obs"][self.file["obs"].attrs["_index"]]
        return names if isinstance(names, h5py.Dataset) and h5py.check_string_dtype(names.dtype) else None

    def names(self, start: int, stop: int) -> np.ndarray | None:
        return None if self._names is None else self._names.asstr()[start:stop]

    def obs(self) -> pd.DataFrame:
        return _native(read_elem(self.file["obs"]))

    def var(self, matrix: str) -> pd.DataFrame:
        return _native(read_elem(self.file["raw/var" if matrix == "raw" else "var"]))

    def open_matrix(self, name: str) -> Matrix:
        stored, place, n_genes = self.matrices[name]
        return open_matrix(stored, place, self.n_cells, n_genes)

    def stored(self, name: str) -> h5py.Group | h5py.Dataset | None:
        return self.file.get(name)

    def embedding(self, key: str) -> np.ndarray:
        """obsm[key] as an array (n_cells, columns)."""
        stored = self.obsm[key]
        if isinstance(stored, h5py.Dataset):
            _check_embedding(stored, key, self.n_cells)
            if unwritten(stored):
                raise ReadingError(f"obsm/{key} was not written to its end. {AGAIN}")
        if attribute_text(attribute(stored, "encoding-type")) in SPARSE:
            n_columns = int(np.ravel(stored.attrs["shape"])[-1])
            return open_matrix(stored, f"obsm/{key}", self.n_cells, n_columns).rows(0, self.n_cells).toarray()
        array = np.asarray(read_elem(stored))
        _check_embedding(array, key, self.n_cells)
        return array

    def close(self) -> None:
        self.file.close()


def _native(table: pd.DataFrame) -> pd.DataFrame:
    """The table with numbers in the machine's own order of bytes: pandas computes with no other."""
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            values = column.cat.categories.to_numpy()
            if not values.dtype.isnative:
                table[name] = column.cat.rename_categories(values.astype(values.dtype.newbyteorder("=")))
        elif isinstance(column.dtype, np.dtype) and not column.dtype.isnative:
            table[name] = column.to_numpy().astype(column.dtype.newbyteorder("="))
    return table


def _check_embedding(array: h5py.Dataset | np.ndarray, key: str, n_cells: int) -> None:
    if array.shape is None or len(array.shape) != 2 or array.shape[0] != n_cells or array.dtype.kind not in NUMBERS:
        raise ReadingError(
            f"obsm/{key} is not a table of numbers with a row for each of the {n_cells:,} cells (its shape is {array.shape}, "
            f"its dtype {array.dtype}). Write it again as an array of numbers."
        )


def _members(file: h5py.File, name: str) -> dict[str, Any]:
    group = file.get(name)
    members = {key: group.get(key) for key in group} if isinstance(group, h5py.Group) else {}
    return {key: value for key, value in members.items() if value is not None}


def _is_there(stored: object) -> bool:
    """Whether a matrix is stored; anndata writes an array without a shape where there is none."""
    return stored is not None and not (isinstance(stored, h5py.Dataset) and stored.shape is None)


def _check_table(file: h5py.File, name: str) -> int:
    """The rows of obs or var. Raises ReadingError, a sentence for each column that is missing or of another length."""
    table = file.get(name)
    if isinstance(table, h5py.Dataset):
        raise ReadingError("this h5ad was written by anndata before 0.7. Read it and write it again with a current anndata.")
    if not isinstance(table, h5py.Group) or attribute_text(attribute(table, "encoding-type")) != "dataframe":
        raise ReadingError(f"{name} is missing or not a table, so this h5ad is damaged. {AGAIN}")
    index = attribute(table, "_index")
    if not isinstance(index, str | bytes) or attribute_text(index) not in table:
        raise ReadingError(f"{name} has no index ('_index'), so its rows have no names. {AGAIN}")
    if "column-order" not in table.attrs:
        raise ReadingError(f"{name} has no list of its columns ('column-order'). {AGAIN}")
    columns = _columns(table)
    "".join(columns).encode()  # HDF5 hands on what is not UTF-8; writing it would fail much later
    n = _length(table[index], f"{name}/{attribute_text(index)}")
    if n is None:
        raise ReadingError(f"{name}/{attribute_text(index)} is not a list of names, so this h5ad is damaged. {AGAIN}")
    names = {attribute_text(index), *columns}
    paths = sorted(name for name in names if _is_path(name) or name.partition("/")[0] in names - {name})
    if paths:
        raise ReadingError(f"{name} has names that lead elsewhere in the file ({first_ids(paths)}). Rename these columns.")
    twice = pd.Index(columns)[pd.Index(columns).duplicated()].unique()
    missing = [column for column in columns if column.strip("./") == "" or column not in table]
    odd = [column for column in columns if column not in missing and _is_odd(table[column])]
    problems = [f"{name}/{column} holds neither text nor numbers. Remove the column, or write it as text." for column in odd]
    problems += [f"{name} has two columns of the name '{column}'. Rename one of them." for column in twice]
    problems += [f"{name} lacks columns that it lists ({first_ids(missing)}). {AGAIN}"] if missing else []
    for column in dict.fromkeys(columns):
        if column not in missing and (found := _length(table[column], f"{name}/{column}")) not in (n, None):
            problems.append(f"{name}/{column} has {found:,} values, but {name} has {n:,} rows. {AGAIN}")
    if problems:
        raise ReadingError(problems)
    return n


def _is_path(name: str) -> bool:
    """Whether the name of a column is a way through the file, such as `/X` or `../var/gene`."""
    return "/" in name and bool({"", ".", ".."} & set(name.split("/")))


def _is_odd(stored: object) -> bool:
    """Whether a column holds records, complex numbers or references, which no table of results can."""
    return isinstance(stored, h5py.Dataset) and (stored.dtype.kind in "cV" or h5py.check_ref_dtype(stored.dtype) is not None)


def _columns(table: h5py.Group) -> list[str]:
    return [attribute_text(column) for column in np.ravel(table.attrs["column-order"])]


def _length(stored: object, name: str) -> int | None:
    """How many values a column of any encoding has; None where that is unknown. Raises ReadingError if they were not written."""
    if isinstance(stored, h5py.Group):
        part = next((stored[part] for part in ("codes", "values") if part in stored), None)
        return _length(part, name)
    if not isinstance(stored, h5py.Dataset) or stored.shape is None or not stored.shape:
        return None
    if len(stored.shape) == 1 and unwritten(stored):
        raise ReadingError(f"{name} was not written to its end. {AGAIN}")
    return stored.shape[0]
