"""Opens what users have: h5ad, 10x .h5 and mtx folders, whose matrices are read in chunks of cells."""

import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.cells.faults import ReadingError, check_table, check_texts, reading
from cellmemory.cells.hdf5 import H5ad, open_hdf5
from cellmemory.cells.matrices import Matrix
from cellmemory.cells.mtx import MtxFolder
from cellmemory.cells.tenx import TenX
from cellmemory.errors import InputError

CHUNK_CELLS = 4096
#: Columns of var that say what kind a feature is.
TYPE_COLUMNS = ("feature_types", "feature_type")


class CellFile:
    """One file (or mtx folder) of cells: obs when it is asked for, matrices by chunks of cells, nothing changed.

    `matrices` names what holds expression: `X`, `raw` and `layers/NAME`. Raises InputError where the file is not such a
    file, and whenever something in it turns out to be damaged: all of it is read through `faults.reading`.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._opened: dict[str, Matrix] = {}
        with reading(self.path):
            self._source = _open(self.path)
        try:
            with reading(self.path, "var"):
                self._var = check_table(self._source.var("X"), "var")
            if not len(self._var):
                raise InputError(f"{self.path}: this file has no genes (var is empty). Write it again with its genes.")
        except BaseException:
            self.close()
            raise
        self.matrices, self.obsm, self.uns = self._source.matrices, self._source.obsm, self._source.uns

    @cached_property
    def obs(self) -> pd.DataFrame:
        """All columns of all cells: what streams does without it, since it grows with the cells."""
        with reading(self.path, "obs"):
            return check_table(self._source.obs(), "obs")

    @property
    def columns(self) -> list[str]:
        """The columns of obs, without reading them."""
        return self._source.columns

    @property
    def index_name(self) -> str:
        """The name under which an h5ad keeps the cells' names; empty for other files."""
        return self._source.index_name

    def stored(self, name: str) -> Any:
        """What an h5ad holds under a name such as `obs/batch`, a group or dataset of h5py; None where it holds no such thing."""
        with reading(self.path, name):
            return self._source.stored(name)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self._source.n_cells

    def names(self, start: int, stop: int) -> np.ndarray:
        """The names of cells start to stop, as strings in an object array."""
        with reading(self.path, "the list of cells"):
            names = self._source.names(start, stop)
            check_texts(() if names is None else names, "the list of cells")
        return self.obs.index[start:stop].astype(str).to_numpy(object) if names is None else names

    def var(self, matrix: str = "X") -> pd.DataFrame:
        """The genes of a matrix: those of `raw` differ from the others'."""
        if matrix != "raw":
            return self._var
        with reading(self.path, "raw/var"):
            return _with_types(check_table(self._source.var(matrix), "raw/var"), self._var)

    def column(self, key: str, role: str, option: str) -> pd.Series:
        """obs[key], or an InputError that names the columns that exist. role and option are for the message."""
        if key not in self.obs:
            raise InputError(
                f"{self.path}: the {role} column '{key}' (--{option}) is not in obs; its columns are: "
                f"{', '.join(map(str, self.obs.columns)) or '(none)'}."
            )
        return self.obs[key]

    def rows(self, matrix: str, start: int, stop: int) -> sp.csr_matrix:
        """Cells start to stop of a matrix as float32 CSR (cells x genes of that matrix)."""
        with reading(self.path, matrix):
            if matrix not in self._opened:
                self._opened[matrix] = self._source.open_matrix(matrix)
            return self._opened[matrix].rows(start, stop)

    def chunks(self, matrix: str, size: int = CHUNK_CELLS) -> Iterator[tuple[int, sp.csr_matrix]]:
        """(first cell, CSR block) for all cells in order."""
        for start in range(0, self.n_cells, size):
            yield start, self.rows(matrix, start, min(start + size, self.n_cells))

    def picked_chunks(self, matrix: str, rows: np.ndarray) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
        """The given rows (sorted) chunk by chunk: which of `rows` a chunk holds, by number, and their CSR block."""
        for start, chunk in self.chunks(matrix):
            low, high = np.searchsorted(rows, [start, start + chunk.shape[0]])
            yield np.arange(low, high), chunk if high - low == chunk.shape[0] else chunk[rows[low:high] - start]

    def picked(self, matrix: str, rows: np.ndarray) -> sp.csr_matrix:
        """The given rows (sorted) of a matrix, one chunk of rows in memory at a time."""
        return sp.vstack([chunk for _, chunk in self.picked_chunks(matrix, rows)], format="csr")

    def embedding(self, key: str) -> np.ndarray:
        """obsm[key] in full, e.g. spatial coordinates (n, 2)."""
        with reading(self.path, f"obsm/{key}"):
            if not isinstance(self._source, H5ad):
                raise ReadingError(f"this file has no obsm/{key}; only an .h5ad has coordinates.")
            return self._source.embedding(key)

    def close(self) -> None:
        """Closes the file; matrices cannot be read any more."""
        for matrix in self._opened.values():
            matrix.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path) -> H5ad | TenX | MtxFolder:
    """The cells at a path. Nothing but files and folders is opened: a pipe would be waited for without end."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ReadingError("there is no such file.") from None
    if stat.S_ISDIR(mode):
        return MtxFolder(path)
    if not stat.S_ISREG(mode):
        raise ReadingError("this is not a file but a pipe, socket or device. Write its contents to a file, and give that.")
    return open_hdf5(path)


def type_column(var: pd.DataFrame) -> str | None:
    """The column of var that says what kind each feature is, if there is one."""
    return next((name for name in TYPE_COLUMNS if name in var), None)


def _with_types(var: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """var with what another table of the same file says of the types of its features, where it does not say so itself: `raw`
    often holds only names. A feature that the other lacks counts as gene expression."""
    column = type_column(other)
    if column is None or type_column(var) is not None:
        return var
    known = other[column].astype(object)[~other.index.duplicated()]
    return var.assign(**{column: known.reindex(var.index).to_numpy()})
