"""Matrices on disk, read by rows: CSR, CSC and dense. Each is verified before compiled code sees it."""

import math
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, TypeAlias

import h5py
import numpy as np
import scipy.sparse as sp

from cellmemory.cells.faults import AGAIN, ReadingError
from cellmemory.errors import NO_ROOM, InputError

NUMBERS = "biuf"
#: Encodings of sparse matrices in an h5ad.
SPARSE = ("csr_matrix", "csc_matrix")
#: Names of dtype kinds that are not numbers, in words.
NOT_NUMBERS = {"c": "complex numbers", "V": "records", "M": "dates", "m": "durations"}
#: Values that are put in order in memory at a time, about, and files that they lie in until then, at most.
BLOCK_VALUES, MOST_BLOCKS = 8_000_000, 100
#: Values that a place may have, on average: they are summed, and a small file can repeat one for ever.
MOST_REPEATS = 4
#: A value of a sparse matrix and its place.
ENTRY = np.dtype([("row", np.int32), ("column", np.int32), ("value", np.float32)])
#: Rows, columns and values (n,) each.
Entries: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


def open_matrix(stored: object, name: str, n_cells: int, n_genes: int) -> "Matrix":
    """The matrix of that name in an h5ad (cells x genes). Raises ReadingError where it is not one, or of another shape."""
    if isinstance(stored, h5py.Dataset):
        return DenseRows(stored, name, n_cells, n_genes)
    encoding = attribute_text(attribute(stored, "encoding-type", "")) if isinstance(stored, h5py.Group) else ""
    if not isinstance(stored, h5py.Group) or encoding not in SPARSE:
        found = f"'{encoding}'" if encoding else "none"
        raise ReadingError(f"{name} has an encoding that is not of a matrix ({found}). {AGAIN}")
    _check_shape(name, attribute(stored, "shape"), n_cells, n_genes)
    kind = CsrRows if encoding == "csr_matrix" else csc_rows
    return kind(stored, name, n_cells, n_genes)


def unwritten(stored: h5py.Dataset) -> bool:
    """Whether parts of an array were never written: it may claim any length then, and cost no disk."""
    if not stored.size:
        return False
    if stored.chunks is None:
        return stored.id.get_storage_size() == 0
    chunks = (-(-length // chunk) for length, chunk in zip(stored.shape, stored.chunks, strict=True))
    return stored.id.get_num_chunks() < math.prod(chunks)


class Matrix:
    """A matrix of n_cells x n_genes whose rows are read when asked for. name: for messages."""

    def __init__(self, stored: h5py.Group | h5py.Dataset, name: str, n_cells: int, n_genes: int):
        self._stored, self._name, self.shape = stored, name, (n_cells, n_genes)

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        """Rows start to stop as float32 CSR. Raises ReadingError where they are damaged."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what is open beside the file itself."""


class DenseRows(Matrix):
    """A matrix that is stored with its zeros."""

    def __init__(self, stored: h5py.Dataset, name: str, n_cells: int, n_genes: int):
        super().__init__(stored, name, n_cells, n_genes)
        _check_shape(name, stored.shape, n_cells, n_genes)
        _check_numbers(name, stored.dtype, NUMBERS)

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        block = self._stored[start:stop]
        rows = sp.csr_matrix(block if block.dtype == np.float64 else _as_float32(block))
        rows.data = _as_float32(rows.data)
        return rows


class CsrRows(Matrix):
    """A sparse matrix stored by cells: `indptr` (cells + 1) is kept in memory, the rest is read by rows. Values of one place are
    summed."""

    @cached_property
    def _indptr(self) -> np.ndarray:
        return _read_indptr(self._stored, self._name, *self.shape)

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        first, last = self._indptr[start], self._indptr[stop]
        data, indices = _read_values(self._stored, self._name, first, last, n=self.shape[1])
        rows = sp.csr_matrix((data, indices, self._indptr[start : stop + 1] - first), (stop - start, self.shape[1]))
        rows.sum_duplicates()
        return rows


class SpooledRows(Matrix):
    """A sparse matrix whose values come in any order. They lie in temporary files, each of a block of rows; one block is in
    memory at a time.

    Values of one place are summed. Temporary disk: 12 bytes a value; memory: about 40 bytes for each of BLOCK_VALUES values.
    Raises InputError where the disk has no room.
    """

    def __init__(self, entries: Iterable[Entries], n_values: int, name: str, *, shape: tuple[int, int]):
        self._name, self.shape = name, shape
        n_cells = shape[0]
        n_blocks = min(MOST_BLOCKS, max(1, -(-n_values // BLOCK_VALUES)))
        self._block_rows = max(1, -(-n_cells // n_blocks))
        self._number, self._block = -1, sp.csr_matrix(self.shape)
        try:
            self._files = [tempfile.TemporaryFile() for _ in range(0, max(1, n_cells), self._block_rows)]  # noqa: SIM115 - see close
            for rows, columns, values in entries:
                self._write(rows, columns, values)
            for file in self._files:
                file.flush()
        except OSError as error:
            if error.errno not in NO_ROOM and "temporary directory" not in str(error):  # there is none to write to
                raise
            raise InputError(
                f"{tempfile.tempdir or 'The folder of temporary files'} has no room for the values of {name}, which have to be "
                f"put in order ({n_values * ENTRY.itemsize / 1e9:.1f} GB). Set TMPDIR to a folder with more room."
            ) from None

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        size = self._block_rows
        numbers = range(start // size, max(start, stop - 1) // size + 1)
        parts = [self._read(i)[max(0, start - i * size) : stop - i * size] for i in numbers]
        return sp.vstack(parts, format="csr") if len(parts) > 1 else parts[0]

    def count(self) -> int:
        """Values, those of one place as one."""
        return sum(self._read(number).nnz for number in range(len(self._files)))

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _write(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        block = (rows // self._block_rows).astype(np.uint8)
        order = np.argsort(block, kind="stable")
        found = np.empty(len(rows), ENTRY)
        found["row"], found["column"], found["value"] = rows[order], columns[order], values[order]
        ends = np.searchsorted(block[order], np.arange(len(self._files)), side="right")
        for file, part in zip(self._files, np.split(found, ends[:-1]), strict=True):
            file.write(part.tobytes())

    def _read(self, number: int) -> sp.csr_matrix:
        """The rows of a block, kept until another is asked for."""
        if number != self._number:
            file, first = self._files[number], number * self._block_rows
            file.seek(0)
            found = np.fromfile(file, ENTRY)
            shape = min(self._block_rows, self.shape[0] - first), self.shape[1]
            self._block = sp.csr_matrix((found["value"], (found["row"] - first, found["column"])), shape)
            self._number = number
        return self._block


def csc_rows(stored: h5py.Group, name: str, n_cells: int, n_genes: int) -> SpooledRows:
    """A sparse matrix that is stored by genes: its rows cannot be cut out on disk, so its values are put in order once."""
    indptr = _read_indptr(stored, name, n_genes, n_cells)

    def entries() -> Iterator[Entries]:
        first = 0
        while first < n_genes:
            last = max(first + 1, int(np.searchsorted(indptr, indptr[first] + BLOCK_VALUES, side="right")) - 1)
            values, cells = _read_values(stored, name, indptr[first], indptr[last], n=n_cells)
            yield cells, np.repeat(np.arange(first, last), np.diff(indptr[first : last + 1])), values
            first = last

    return SpooledRows(entries(), int(indptr[-1]), name, shape=(n_cells, n_genes))


def _read_indptr(group: h5py.Group, name: str, n: int, n_others: int) -> np.ndarray:
    """Where each row (column, of CSC) begins and ends among the values, (n + 1) int64, verified against what is there.

    n_others: columns (rows).
    """
    parts = {part: _array(group, part, name) for part in ("indptr", "indices", "data")}
    stored = parts["indptr"]
    _check_numbers(f"{name}/indptr", stored.dtype, "iu")
    if stored.shape[0] != n + 1:
        raise ReadingError(f"{name}/indptr has {stored.shape[0]:,} numbers, but {n + 1:,} are needed. {AGAIN}")
    indptr = stored[:]
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        raise ReadingError(f"{name}/indptr does not rise from 0, so {name} is damaged. {AGAIN}")
    for part in ("indices", "data"):
        if (found := parts[part].shape[0]) != indptr[-1]:
            raise ReadingError(f"{name}/{part} has {found:,} values, but {name}/indptr counts {int(indptr[-1]):,}. {AGAIN}")
    if indptr[-1] > MOST_REPEATS * n * n_others:
        raise ReadingError(f"{name} has {int(indptr[-1]):,} values, far more than places ({n:,} x {n_others:,}). {AGAIN}")
    _check_numbers(f"{name}/indices", parts["indices"].dtype, "iu")
    _check_numbers(f"{name}/data", parts["data"].dtype, NUMBERS)
    return indptr.astype(np.int64)


def _read_values(group: h5py.Group, name: str, first: int, last: int, *, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Values first to last as float32, and their indices, all of them below n."""
    indices = group["indices"][first:last]
    if len(indices) and (indices.min() < 0 or indices.max() >= n):
        wrong = int(indices.min()) if indices.min() < 0 else int(indices.max())
        raise ReadingError(
            f"{name}/indices has a value that is not from 0 to {n - 1:,} ({wrong:,}), so {name} is damaged. {AGAIN}"
        )
    data = group["data"][first:last]
    return _as_float32(data), indices.astype(np.int32 if n <= np.iinfo(np.int32).max else np.int64, copy=False)


def _as_float32(values: np.ndarray) -> np.ndarray:
    """The values as float32; one beyond its range becomes infinite, and is refused as such."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def _array(group: h5py.Group, part: str, name: str) -> h5py.Dataset:
    stored = group.get(part)
    if not isinstance(stored, h5py.Dataset) or stored.shape is None or len(stored.shape) != 1:
        raise ReadingError(f"{name}/{part} is missing or not a list, so {name} is damaged. {AGAIN}")
    if unwritten(stored):
        raise ReadingError(f"{name}/{part} was not written to its end, so {name} is damaged. {AGAIN}")
    return stored


def _check_shape(name: str, found: Any, n_cells: int, n_genes: int) -> None:
    shape = np.ravel(() if found is None or isinstance(found, h5py.Empty) else found).tolist()
    if shape != [n_cells, n_genes]:
        text = ", ".join(map(str, shape))
        raise ReadingError(f"{name} has the shape ({text}), but {n_cells:,} cells and {n_genes:,} genes are listed. {AGAIN}")


def _check_numbers(name: str, dtype: np.dtype, kinds: str) -> None:
    if dtype.kind not in kinds:
        found = NOT_NUMBERS.get(dtype.kind, "numbers with a fraction" if dtype.kind == "f" else "text")
        whole = "" if "f" in kinds else "whole "
        raise ReadingError(f"{name} holds {found} (dtype {dtype}). Write the file again with {whole}numbers there.")


def attribute(stored: h5py.Group | h5py.Dataset, name: str, otherwise: object = None) -> Any:
    """An attribute of an element of HDF5, or `otherwise`.

    It is looked for before it is asked for: of one that is missing h5py raises, and now and then fails to decode HDF5's words.
    """
    return stored.attrs[name] if name in stored.attrs else otherwise  # noqa: SIM401 - `get` asks


def attribute_text(value: object) -> str:
    """An attribute of HDF5 as a string."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
