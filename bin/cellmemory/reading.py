"""Opens what users have: h5ad, 10x .h5 and 10x mtx folders, whose matrices are read in chunks of cells."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import read_elem, sparse_dataset

from cellmemory.errors import InputError

CHUNK_CELLS = 4096


class CellFile:
    """One file (or mtx folder) of cells: obs when it is asked for, matrices by chunks of cells, nothing changed.

    `matrices` names what holds expression: `X`, `raw` and `layers/NAME`. Raises InputError where the file is no such file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(f"{self.path}: there is no such file.")
        if self.path.is_dir() or self.path.suffix == ".h5":
            self._memory = _read_10x(self.path)
            self._file, self._var = None, self._memory.var
            self.matrices = {"X": self._memory.X}
            self.obsm, self.uns = {}, {}
        else:
            self._memory, self._file = None, _open_h5ad(self.path)
            self._var = read_elem(self._file["var"])
            self.obsm = {key: self._file["obsm"][key] for key in self._file.get("obsm", ())}
            self.matrices = _find_matrices(self._file)
            self.uns = self._file.get("uns", {})

    @cached_property
    def obs(self) -> pd.DataFrame:
        """All columns of all cells: what streams does without it, since it grows with the cells."""
        return self._memory.obs if self._file is None else read_elem(self._file["obs"])

    @property
    def columns(self) -> list[str]:
        """The columns of obs, without reading them."""
        return list(map(str, self.obs.columns if self._file is None else self._file["obs"].attrs["column-order"]))

    def stored(self, name: str) -> h5py.Group | h5py.Dataset | None:
        """What an h5ad holds under a name such as `obs/batch`, as it is on disk; None where it holds no such thing."""
        return None if self._file is None else self._file.get(name)

    @cached_property
    def _names(self) -> h5py.Dataset | None:
        """The cells' names on disk; None where only `obs` has them (10x, strings in an encoding of parts)."""
        names = None if self._file is None else self._file["obs"].get(self._file["obs"].attrs.get("_index", "_index"))
        return names if isinstance(names, h5py.Dataset) and h5py.check_string_dtype(names.dtype) else None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.obs) if self._names is None else self._names.shape[0]

    def names(self, start: int, stop: int) -> np.ndarray:
        """The names of cells start to stop, as strings in an object array."""
        if self._names is None:
            return self.obs.index[start:stop].astype(str).to_numpy(object)
        return self._names.asstr()[start:stop]

    def var(self, matrix: str = "X") -> pd.DataFrame:
        """The genes of a matrix: those of `raw` differ from the others'."""
        if matrix == "raw" and self._file is not None:
            return read_elem(self._file["raw/var"])
        return self._var

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
        block = self.matrices[matrix][start:stop]
        return sp.csr_matrix(block, dtype=np.float32)

    def chunks(self, matrix: str, size: int = CHUNK_CELLS) -> Iterator[tuple[int, sp.csr_matrix]]:
        """(first cell, CSR block) for all cells in order."""
        for start in range(0, self.n_cells, size):
            yield start, self.rows(matrix, start, min(start + size, self.n_cells))

    def picked(self, matrix: str, rows: np.ndarray) -> sp.csr_matrix:
        """The given rows (sorted) of a matrix, one chunk of rows in memory at a time."""
        parts = []
        for start, chunk in self.chunks(matrix):
            low, high = np.searchsorted(rows, [start, start + chunk.shape[0]])
            parts.append(chunk[rows[low:high] - start])
        return sp.vstack(parts, format="csr")

    def embedding(self, key: str) -> np.ndarray:
        """obsm[key] in full, e.g. spatial coordinates (n, 2)."""
        return np.asarray(read_elem(self.obsm[key]))

    def close(self) -> None:
        """Closes the file; matrices cannot be read any more."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> "CellFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_h5ad(path: Path) -> h5py.File:
    if not h5py.is_hdf5(path):
        raise InputError(f"{path}: this is no h5ad file (not HDF5); give an .h5ad, a 10x .h5 or a 10x mtx folder.")
    file = h5py.File(path, "r")
    if "obs" not in file or "var" not in file:
        file.close()
        raise InputError(f"{path}: this HDF5 file is no h5ad (it has no obs and var); write it with anndata first.")
    if isinstance(file["obs"], h5py.Dataset):
        file.close()
        raise InputError(f"{path}: this h5ad is of anndata before 0.7; read and write it once with a current anndata.")
    return file


def _read_10x(path: Path) -> ad.AnnData:
    import scanpy

    try:
        cells = scanpy.read_10x_h5(path, gex_only=False) if path.is_file() else scanpy.read_10x_mtx(path, gex_only=False)
    except Exception as error:  # scanpy and h5py raise anything from KeyError to OSError on a file of another kind
        kind = "10x .h5 file" if path.is_file() else "10x mtx folder (matrix.mtx, barcodes.tsv, features.tsv)"
        raise InputError(f"{path}: this cannot be read as a {kind}: {error}") from error
    cells.X = sp.csr_matrix(cells.X)
    return cells


def _find_matrices(file: h5py.File) -> dict:
    found = {"X": file.get("X"), "raw": file.get("raw/X")}
    found |= {f"layers/{name}": value for name, value in file.get("layers", {}).items()}
    return {name: _lazy(value) for name, value in found.items() if value is not None}


def _lazy(value: h5py.Dataset | h5py.Group):
    """An object whose row slices are read when asked for. CSC is read whole once: its rows cannot be sliced on disk."""
    if isinstance(value, h5py.Dataset):
        return value
    if value.attrs["encoding-type"].startswith("csc"):
        return _CscRows(value)
    return sparse_dataset(value)


class _CscRows:
    def __init__(self, group: h5py.Group):
        self._group, self._rows = group, None

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self._group.attrs["shape"])

    def __getitem__(self, rows: slice) -> sp.csr_matrix:
        if self._rows is None:
            self._rows = read_elem(self._group).tocsr()
        return self._rows[rows]
