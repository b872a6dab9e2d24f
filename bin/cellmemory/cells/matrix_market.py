"""A sparse matrix as text in the format of Matrix Market, which may be compressed with gzip."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pandas as pd

from cellmemory.cells.faults import ReadingError
from cellmemory.cells.matrices import Entries, SpooledRows
from cellmemory.log import warn

#: Bytes of a matrix that are parsed together.
CHUNK_BYTES = 1 << 22


@contextmanager
def opened_matrix(path: Path) -> Iterator[BinaryIO]:
    """A file that may be compressed with gzip."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise incomplete(path.name, error) from error


def incomplete(name: str, found: object) -> ReadingError:
    return ReadingError(f"{name} is incomplete or damaged ({str(found).splitlines()[0].rstrip('. ')}). Get it again.")


def read_shape(path: Path) -> tuple[int, int, int]:
    """Rows, columns and values by the head of a matrix. Raises ReadingError for other kinds of matrices."""
    with opened_matrix(path) as file:
        packed = isinstance(file, gzip.GzipFile)
        head, size = _read_head(file)
    if head[:2] != ["%%matrixmarket", "matrix"] or len(head) != 5:
        raise ReadingError(f"{path.name} is not a matrix (it does not begin with %%MatrixMarket). Get it again.")
    if head[2] != "coordinate" or head[3] not in ("integer", "unsigned-integer", "real", "double") or head[4] != "general":
        kind = " ".join(head[2:])
        raise ReadingError(f"{path.name} has a kind that is not read ({kind}). Write it as coordinate real general.")
    if len(size) != 3 or not all(number.isdigit() for number in size):
        raise ReadingError(f"{path.name} does not say how many rows, columns and values it has. Get it again.")
    rows, columns, values = map(int, size)
    # A line has 6 bytes or more, and gzip makes one byte of 1,100 at most.
    if values > min(rows * columns, path.stat().st_size * (1100 if packed else 1) // 5):
        raise ReadingError(f"{path.name} cannot hold as many values as its head says ({values:,}). Get it again.")
    return rows, columns, values


def _read_head(file: BinaryIO) -> tuple[list[str], list[bytes]]:
    """The words of the first line, in lower case, and of the line of sizes; the values follow."""
    head = file.readline(1000).decode("utf-8-sig", errors="replace").lower().split()
    size = b"%"
    while size.startswith(b"%") or size.isspace():
        size = file.readline(10_000)
    return head, size.split()


def read_matrix(path: Path, shape: tuple[int, int], n_values: int, *, turned: bool) -> SpooledRows:
    """Cells x genes as float32; values that are listed twice are summed. turned: cells are in rows.

    Not by scipy's mmread, which crashes on some lines that are damaged. Raises ReadingError with the first such line.
    """
    entries = _entries(path, shape, n_values, turned=turned)
    matrix = SpooledRows(entries, n_values, path.name, shape=shape if turned else shape[::-1])
    if twice := n_values - matrix.count():
        warn(f"{path}: {twice:,} values are of a cell and a gene that have one already; they are summed.")
    return matrix


def _entries(path: Path, shape: tuple[int, int], n_values: int, *, turned: bool) -> Iterator[Entries]:
    found = 0
    with opened_matrix(path) as file:
        _read_head(file)
        for block in _blocks(file):
            values = _parse(block, shape)
            if values is None:
                raise incomplete(path.name, _first_bad(block, shape))
            found += len(values)
            row, column = (values[name].to_numpy() - 1 for name in ("row", "column"))
            yield *((row, column) if turned else (column, row)), values["value"].to_numpy(np.float32)
    if found != n_values:
        raise incomplete(path.name, f"its head says {n_values:,} values, but there are {found:,}")


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, many at a time."""
    while block := file.read(CHUNK_BYTES):
        yield block + file.readline()


def _parse(block: bytes, shape: tuple[int, int]) -> pd.DataFrame | None:
    """`row`, `column` and `value` of each line; None where a line is not a row and a column of the matrix and a number."""
    types = {"row": np.int64, "column": np.int64, "value": np.float64, "rest": np.float64}
    if b"\0" in block:  # pandas reads on behind it as if nothing were wrong
        return None
    try:
        lines = pd.read_csv(
            io.BytesIO(block),
            sep=r"\s+",
            header=None,
            names=list(types),
            dtype=types,
            index_col=False,
            quoting=csv.QUOTE_NONE,
            encoding_errors="replace",
        )
    except pd.errors.EmptyDataError:
        return pd.DataFrame(columns=list(types))
    except (ValueError, OverflowError):  # pandas' own are ValueErrors
        return None
    good = lines["rest"].isna() & lines["value"].notna()
    for place, n in zip(("row", "column"), shape, strict=True):
        good &= lines[place].between(1, n)
    return lines if good.all() else None


def _first_bad(block: bytes, shape: tuple[int, int]) -> str:
    """What is wrong with the first line that is not three numbers of the matrix, found by halves: a block has many lines."""
    lines = block.splitlines(keepends=True)
    good, bad = 0, len(lines)  # this many lines can be parsed, and this many cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        if _parse(b"".join(lines[:middle]), shape) is None:
            bad = middle
        else:
            good = middle
    text = lines[good][:80].decode(errors="replace").rstrip("\r\n")
    return f"the line {text!r} is not a row, a column and a value of {shape[0]:,} rows and {shape[1]:,} columns"
