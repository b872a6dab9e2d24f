"""Tables of results as tab-separated text: names stay text, empty numbers are NaN."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.columns import MAPPING, TEXT_COLUMNS
from cellmemory.errors import InputError
from cellmemory.io.checked import is_text, shown, tsv_rows
from cellmemory.io.spreadsheet import quoting, restored
from cellmemory.io.text import encoding_of, opened

#: Columns of results that hold a number in every row.
FILLED = ("rank", "n_cells")


def read_results(path: str | Path, needed: Iterable[str]) -> pd.DataFrame:
    """A tab-separated table of results: names stay text, whatever they look like (a gene may be called NA), and in other
    columns an empty field is NaN.

    Raises ValueError as `tsv_rows` does, and where a column of FILLED holds something else than numbers.
    """
    for _ in tsv_rows(path, needed):
        pass  # pandas would fill short rows, and take the first column of long ones for row names
    encoding = encoding_of(path)
    with opened(path) as file:  # of a path pandas would look at the suffix, and at `~` and `://`
        header = pd.read_csv(file, sep="\t", nrows=0, encoding=encoding).columns
        numbers = [name for name in header if name not in TEXT_COLUMNS]
        file.seek(0)
        table = pd.read_csv(
            file,
            sep="\t",
            encoding=encoding,
            dtype={name: str for name in header if name not in numbers},
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in numbers},
        )
    if table.empty:  # pandas knows no type of nothing
        table = table.astype(dict.fromkeys(numbers, float))
    for name in filter(table.columns.__contains__, FILLED):
        missing = pd.to_numeric(table[name], errors="coerce").isna()
        if missing.any():
            row = int(np.argmax(missing))
            raise ValueError(f"{name} is not a number in row {row + 1} ({shown(table[name].fillna('').iloc[row])})")
    return table


def read_cells(path: Path, columns: Iterable[str], shares: Iterable[str] = ()) -> pd.DataFrame:
    """Columns of a CSV table of cells, as categories, by the cells' names; and columns of numbers from 0 to 1, empty ones as NaN.

    Raises ValueError for a table without them, and for other numbers.
    """
    with opened(path) as file:  # of a path pandas would look at the suffix, and at `~` and `://`
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding=encoding_of(path))
    missing = [name for name in ("cell", *columns, *shares) if name not in table]
    if missing:
        raise ValueError(f"it has no column {', '.join(missing)}")
    found = {}
    for name in columns:
        values = table[name].map(restored)
        found[name] = pd.Categorical(values, sorted(values.unique(), key=lambda text: (len(text), text)))  # 2 before 10
    for name in shares:
        numbers = pd.to_numeric(table[name].where(table[name] != ""), errors="coerce")
        if (wrong := (table[name] != "") & ~numbers.between(0, 1)).any():
            raise ValueError(f"{name} is not a number from 0 to 1 ({shown(table[name][wrong].iloc[0])})")
        found[name] = numbers.to_numpy(float)
    return pd.DataFrame(found, index=pd.Index(table["cell"].map(restored)))


def read_table(path: str | Path, columns: Iterable[str], never: Iterable[str] = ()) -> pd.DataFrame:
    """A table of TAGs, as `read_results` reads it.

    Raises InputError for a file that lacks one of `columns`, or that is not a table of them. never: columns of other tables
    that have all of `columns` as well.
    """
    try:
        table = read_results(path, columns)
    except ValueError as error:  # pandas' parsing errors are of this kind
        raise InputError(f"{path} is not a table of TAGs ({error}). Give the output of extract_tags.py.") from None
    if found := [name for name in never if name in table]:
        raise InputError(f"{path} is another table of TAGs (it has the column {found[0]}). Give the files by their own options.")
    return table


def mapping_of(table: pd.DataFrame, path: str | Path) -> str:
    """Which mapped query a table was made of, by its column MAPPING; an empty text for one without rows. Raises InputError where
    they are of several."""
    found = sorted(set(table[MAPPING]))
    if len(found) > 1:
        raise InputError(
            f"{path} holds rows of {len(found)} mapped queries, or of one that was mapped {len(found)} times. Give a table as it "
            "was written."
        )
    return found[0] if found else ""


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Writes a table of results as tab-separated text, six significant digits, NaN as an empty field.

    `read_results` reads it back the same. Raises InputError for a text that no text file can hold: with a NUL, or with half
    a surrogate pair.
    """
    texts = [table[name].dropna() for name in table if not pd.api.types.is_numeric_dtype(table[name].dtype)]
    for column in texts:
        if lost := next((text for text in map(str, column.unique()) if not is_text(text)), None):
            raise InputError(f"{column.name} {lost!r} holds a character that a table cannot hold. Give it another name.")
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        # The first line stays without quotes: a result is known by it.
        table[:0].to_csv(file, sep="\t", index=False, lineterminator="\n")
        options = {"header": False, "index": False, "float_format": "%.6g", "lineterminator": "\n"}
        table.to_csv(file, sep="\t", quoting=quoting(texts), **options)
