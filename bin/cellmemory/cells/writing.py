"""Writes h5ad files chunk by chunk, in the plain encodings that old readers, R and cellxgene open."""

from collections.abc import Iterable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import write_elem

from cellmemory.cells.matrices import attribute
from cellmemory.io.guarded import GuardedFile
from cellmemory.io.signature import sign

CHUNK_VALUES = 1 << 16
#: Up to here a float holds every integer.
LARGEST_EXACT = 2**53
#: What is copied from file to file as it is: every reader knows it.
PLAIN_ENCODINGS = ("array", "string-array", "categorical")


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The table with column types that every h5ad reader knows: numbers, booleans, strings and string categories.

    Nullable and extension types become ordinary ones; a column of mixed objects becomes strings. Names stay.
    """
    table = table.copy()
    table.index = table.index.astype(str).astype(object)
    table.columns = table.columns.astype(str)
    # anndata refuses an index of a column's name, and a column of the name that it gives an index without one.
    if table.index.name in table.columns:
        table.index.name = None
    table = table.drop(columns="_index", errors="ignore")
    for name in table.columns:
        table[name] = plain_column(table[name])
    return table


def plain_column(column: pd.Series) -> pd.Series:
    """One column as `plain` makes it."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = column.cat.categories
        kept = categories if _are_numbers(categories.dtype) else categories.astype(str).astype(object)
        if not kept.is_unique:  # 1 and '1'
            return pd.Series(pd.Categorical(column.astype(object).map(str, na_action="ignore")), column.index)
        return column.cat.rename_categories(dict(zip(categories, kept, strict=True)))
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return column
    if pd.api.types.is_bool_dtype(column.dtype) and not column.hasnans:
        return column.astype(bool)
    if pd.api.types.is_integer_dtype(column.dtype):
        return _plain_integers(column)
    if _are_numbers(column.dtype):
        return column.astype(float)
    missing = column.isna()
    text = column.astype(object).where(~missing, "").astype(str).astype(object)
    # A missing string has no plain encoding of its own; a missing category has.
    return text if not missing.any() else pd.Series(pd.Categorical(text.mask(missing)), column.index)


def _are_numbers(dtype: object) -> bool:
    """Whether a type of pandas is one of numbers, which true and false are not."""
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def _plain_integers(column: pd.Series) -> pd.Series:
    """Nullable integers: as integers where none is missing, else as floats, or as categories where a float would round them."""
    known = column.dropna()
    whole = known.astype(known.dtype.numpy_dtype)
    if len(known) == len(column):
        return whole
    exact = not len(whole) or (int(whole.max()) <= LARGEST_EXACT and int(whole.min()) >= -LARGEST_EXACT)
    return column.astype(float) if exact else whole.astype("category").reindex(column.index)


class H5adWriter:
    """An h5ad under construction: matrices grow by chunks of cells, everything else is written at once.

    Use within `atomic.replacing`, so that a file that was not finished never bears its final name. Raises OSError where it
    cannot be written, on a full disk say.
    """

    def __init__(self, path: str | Path, n_genes: int):
        self._disk = GuardedFile(path)
        self._file = h5py.File(self._disk, "w")
        self._n_genes = n_genes
        self._file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            write_elem(self._file, name, {})

    def append(self, name: str, rows: sp.csr_matrix | np.ndarray) -> None:
        """Adds cells to a matrix: CSR rows to `X` or `layers/NAME`, rows of an array to `obsm/NAME`."""
        self._disk.check()
        if isinstance(rows, np.ndarray):
            append_array(self._file, name, rows)
            return
        group = self._file[name] if name in self._file else self._start(name, rows.data.dtype)
        values = group["data"].shape[0]
        _extend(group["data"], rows.data)
        _extend(group["indices"], rows.indices.astype(np.int32, copy=False))
        _extend(group["indptr"], rows.indptr[1:].astype(np.int64) + values)
        group.attrs["shape"] = (group["indptr"].shape[0] - 1, self._n_genes)

    def _start(self, name: str, dtype: np.dtype) -> h5py.Group:
        group = self._file.create_group(name)
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (0, self._n_genes)})
        for part, kind in (("data", dtype), ("indices", np.int32), ("indptr", np.int64)):
            group.create_dataset(part, shape=(0,), maxshape=(None,), chunks=(CHUNK_VALUES,), dtype=kind)
        _extend(group["indptr"], np.zeros(1, np.int64))
        return group

    def write(self, name: str, value: object) -> None:
        """Writes obs, var, or one element such as `obsm/spatial` or `uns/cellmemory`."""
        if isinstance(value, pd.DataFrame):
            value = plain(value)
        elif isinstance(value, pd.Series):
            column = plain_column(value)
            value = column.array if isinstance(column.dtype, pd.CategoricalDtype) else column.to_numpy()
        self._disk.check()
        write_elem(self._file, name, value)

    def copy(self, name: str, stored: h5py.Group | h5py.Dataset) -> None:
        """Copies an element of another file from disk to disk, whatever its size. It must be `is_plain`."""
        self._disk.check()
        stored.file.copy(stored, self._file, name)

    def group(self, name: str) -> h5py.Group:
        """A new group, for what grows in a way of its own."""
        return self._file.create_group(name)

    def stored(self, name: str) -> h5py.Dataset:
        """An array that was written before, such as `obsm/X_cellmemory`, to be read in parts."""
        self._disk.check()
        return self._file[name]

    def __enter__(self) -> "H5adWriter":
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        if failure is None:
            self._disk.check()
            for matrix in (self._file.get("X"), *self._file["layers"].values()):
                if isinstance(matrix, h5py.Group) and matrix["indptr"][-1] <= np.iinfo(np.int32).max:
                    _same_integers(matrix)
            sign(self._file)
        self._file.close()
        self._disk.close()
        if failure is None:
            self._disk.check()


def write_signed(cells: ad.AnnData, path: Path) -> None:
    """Writes cells that are in memory as a result of a step."""
    cells.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        sign(file)


def _same_integers(matrix: h5py.Group) -> None:
    """Makes `indptr` of the integers of `indices`, as scipy has them: with two kinds, scanpy fails at what it does in place.
    How many values there are is known at the end only."""
    indptr = matrix["indptr"][:].astype(np.int32)
    del matrix["indptr"]
    matrix.create_dataset("indptr", data=indptr)


class GrowingTable:
    """obs that grows by chunks of cells, in anndata's encoding of a DataFrame.

    Numbers are kept as they come, text as categories. known: categories of columns where they are known beforehand; those
    of other columns of text are found as they come, in that order.
    """

    def __init__(self, group: h5py.Group, index: str, known: dict[str, list[str]]):
        self._group, self._index = group, index
        self._columns: list[str] = []
        self._known = {name: {value: code for code, value in enumerate(values)} for name, values in known.items()}
        self._found: dict[str, dict[str, int]] = {}

    def append(self, names: np.ndarray, table: pd.DataFrame) -> None:
        """Adds cells: their names (n,) and the same columns in each call."""
        append_array(self._group, self._index, names)
        self._columns = list(table.columns)
        for name, column in table.items():
            if column.dtype.kind in "biuf":
                append_array(self._group, name, column.to_numpy())
            else:
                append_array(self._group, f"{name}/codes", self._codes(name, column))

    def _codes(self, name: str, column: pd.Series) -> np.ndarray:
        if name in self._known:
            codes, dtype = self._known[name], np.min_scalar_type(-max(1, len(self._known[name])))
            return np.array([codes[value] for value in column], dtype)
        codes = self._found.setdefault(name, {})
        return np.array([codes.setdefault(value, len(codes)) for value in column], np.int32)

    def finish(self, other_columns: Iterable[str] = ()) -> None:
        """Completes the encoding. other_columns: what was written into the group besides; they come first."""
        for name, codes in (self._known | self._found).items():
            write_elem(self._group[name], "categories", np.array(list(codes), object))
            self._group[name].attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
        order = np.array([*other_columns, *self._columns], object)
        self._group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": self._index})
        self._group.attrs.create("column-order", order, dtype=h5py.string_dtype())


def is_plain(stored: h5py.Group | h5py.Dataset | None) -> bool:
    """Whether an element on disk is in an encoding that every reader knows."""
    if stored is None or attribute(stored, "encoding-type") not in PLAIN_ENCODINGS:
        return False
    return isinstance(stored, h5py.Dataset) or isinstance(stored["categories"], h5py.Dataset)


def append_array(parent: h5py.Group, name: str, rows: np.ndarray) -> None:
    """Adds rows to a growing array (n, ...), which the first call makes. Objects are strings."""
    if name not in parent:
        text = rows.dtype == object
        chunk = max(1, CHUNK_VALUES // max(1, int(np.prod(rows.shape[1:]))))
        dataset = parent.create_dataset(
            name,
            shape=(0, *rows.shape[1:]),
            maxshape=(None, *rows.shape[1:]),
            chunks=(chunk, *rows.shape[1:]),
            dtype=h5py.string_dtype() if text else rows.dtype,
        )
        dataset.attrs.update({"encoding-type": "string-array" if text else "array", "encoding-version": "0.2.0"})
    _extend(parent[name], rows)


def _extend(dataset: h5py.Dataset, values: np.ndarray) -> None:
    old = dataset.shape[0]
    dataset.resize(old + len(values), 0)
    dataset[old:] = values
