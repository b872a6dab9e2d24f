"""Writes h5ad files chunk by chunk, in the plain encodings that old readers, R and cellxgene open."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import write_elem

CHUNK_VALUES = 1 << 16


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The table with column types that every h5ad reader knows: numbers, booleans, strings and string categories.

    Nullable and extension types become ordinary ones; a column of mixed objects becomes strings. Names stay.
    """
    table = table.copy()
    table.index = table.index.astype(str).astype(object)
    table.columns = table.columns.astype(str)
    for name in table.columns:
        table[name] = _plain_column(table[name])
    return table


def _plain_column(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = column.cat.categories
        kept = categories if pd.api.types.is_numeric_dtype(categories.dtype) else categories.astype(str).astype(object)
        return column.cat.rename_categories(dict(zip(categories, kept, strict=True)))
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return column
    if pd.api.types.is_bool_dtype(column.dtype) and not column.hasnans:
        return column.astype(bool)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype(float)
    missing = column.isna()
    text = column.astype(object).where(~missing, "").astype(str).astype(object)
    # A missing string has no plain encoding of its own; a missing category has.
    return text if not missing.any() else pd.Series(pd.Categorical(text.mask(missing)), column.index)


class H5adWriter:
    """An h5ad under construction: sparse matrices grow by chunks of cells, everything else is written at once.

    Use within `files.replacing`, so that a file that was not finished never bears its final name.
    """

    def __init__(self, path: str | Path, n_genes: int):
        self._file = h5py.File(path, "w")
        self._n_genes = n_genes
        self._file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            write_elem(self._file, name, {})

    def append(self, name: str, rows: sp.csr_matrix) -> None:
        """Adds cells to the CSR matrix `name` (`X` or `layers/NAME`)."""
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
        write_elem(self._file, name, plain(value) if isinstance(value, pd.DataFrame) else value)

    def read(self, name: str) -> np.ndarray:
        """An array that was written before, such as `obsm/X_cellmemory`."""
        return self._file[name][:]

    def __enter__(self) -> "H5adWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _extend(dataset: h5py.Dataset, values: np.ndarray) -> None:
    old = dataset.shape[0]
    dataset.resize(old + len(values), 0)
    dataset[old:] = values
