"""What is wrong with a file that cannot be read: the true cause and what to do, whatever a library raised."""

import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.errors import InputError, UserError

AGAIN = "Get the file again, or write it again with a current anndata."
#: What HDF5 says where it fails, and what that means for a user.
CAUSES = (
    (
        r"already open for write|unable to lock file.*errno = (11|13|35)\b|Resource temporarily unavailable",
        "another program has this file open for writing. Close it there; if no program has it open, its file system lacks "
        "locks: set HDF5_USE_FILE_LOCKING=FALSE.",
    ),
    (
        r"unable to (un)?lock file",
        "this file cannot be locked, since its file system lacks locks. Set HDF5_USE_FILE_LOCKING=FALSE in the environment.",
    ),
    (
        r"truncated file|addr overflow",
        "this file is incomplete (a broken download or copy). Get it again.",
    ),
    (
        r"filter .*(not|un)\W?(available|registered)|required filter|can't open directory|plugin",
        "this file is compressed in a way that is not installed here. Write it again with compression='gzip'.",
    ),
)


class ReadingError(UserError):
    """One or more problems of a file, each a sentence without the file's name: `reading` adds it."""


def check_texts(values: Iterable, what: str) -> None:
    """Raises ReadingError where a text holds a NUL: a damaged file has them, and neither a table nor an h5ad can keep one."""
    if any(isinstance(value, str) and "\0" in value for value in values):
        raise ReadingError(f"{what} holds text with a NUL character in it, so this file is damaged. {AGAIN}")


def check_table(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """obs or var as it is, but for numbers of half precision, which pandas cannot group by. Raises ReadingError as `check_texts`
    does, for its names and its columns of text."""
    check_texts(table.index, f"the list of names in {what}")
    for name, column in table.items():
        values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
        if not pd.api.types.is_numeric_dtype(values.dtype):
            check_texts(values, f"the column '{name}' of {what}")
    half = [name for name, dtype in table.dtypes.items() if dtype == np.float16]
    return table.astype(dict.fromkeys(half, np.float32)) if half else table


@contextmanager
def reading(path: Path, what: str = "this file") -> Iterator[None]:
    """Makes whatever goes wrong in the block an InputError about the file. what: what is read there, such as `obs`.

    MemoryError passes: a file is not to blame for it.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except ReadingError as fault:
        raise InputError([f"{path}: {problem}" for problem in fault.problems]) from fault
    except Exception as error:  # h5py, anndata and pandas raise anything, from KeyError to AssertionError
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise MemoryError(str(error)) from error
        raise InputError(f"{path}: {explained(error, what)}") from error


def explained(error: Exception, what: str) -> str:
    """The sentence, without the file's name, for what a library raised while it read `what`."""
    if isinstance(error, PermissionError):
        return "this file cannot be read (permission denied). Change its permissions, or copy it to a place of your own."
    if isinstance(error, UnicodeError):
        return f"{what} holds text that is not UTF-8. Write the file again with its text in UTF-8."
    for pattern, sentence in CAUSES:
        if isinstance(error, OSError) and re.search(pattern, str(error), re.IGNORECASE | re.DOTALL):
            return sentence
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    said = (text.splitlines() or [type(error).__name__])[0].rstrip(". ")
    return f"{what} cannot be read ({said}). {AGAIN}"
