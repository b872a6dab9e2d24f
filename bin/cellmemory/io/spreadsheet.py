"""CSV files, which people open by a double click: no name in them is read as a formula, and none breaks a line.

A spreadsheet computes a text that begins with `=`, `+`, `-` or `@`, whoever chose it as a cell's name or a label. Such a
text, unless it is a plain number, gets an apostrophe in front; reading takes it away again. So does a text that is one of
these behind apostrophes of its own, or else it would not come back as it was.
"""

import csv
import re
from collections.abc import Callable, Iterable
from typing import TextIO

import pandas as pd

#: Also behind white space, and in the wide forms of the signs: some spreadsheets skip the one and know the other.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def _is_formula(text: str) -> bool:
    behind = text.lstrip("'")
    return bool(_FORMULA.match(behind)) and not _NUMBER.fullmatch(behind)


def harmless(text: str) -> str:
    """A text as it is written to a CSV file."""
    return f"'{text}" if _is_formula(text) else text


def restored(text: str) -> str:
    """The text that `harmless` was given."""
    return text[1:] if text.startswith("'") and _is_formula(text[1:]) else text


def write_csv(table: pd.DataFrame, file: TextIO, *, header: bool) -> None:
    """Writes rows, with names in the index, as comma-separated text, numbers with six significant digits."""
    columns = {harmless(str(name)): _each(column, harmless) for name, column in table.items()}
    index = table.index.map(lambda name: harmless(str(name))).rename(table.index.name)
    safe = pd.DataFrame({name: column.to_numpy(copy=False) for name, column in columns.items()}, index=index)
    texts = [column for column in (index, *columns.values()) if column.dtype == object]
    safe.to_csv(file, float_format="%.6g", header=header, lineterminator="\n", quoting=quoting(texts))


def quoting(texts: Iterable[pd.Index | pd.Series]) -> int:
    """How Python's csv has to quote these columns: it does so for a carriage return in a text only from version 3.13 on."""
    returns = any("\r" in str(text) for column in texts for text in column.dropna().unique())
    return csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL


def _each(column: pd.Series, change: Callable[[str], str]) -> pd.Series:
    """The column with each text changed; the texts of categories once."""
    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind not in "biuf":
        return column.astype("category").map(change, na_action="ignore").astype(object)
    return column


def restored_column(column: pd.Series) -> pd.Series:
    """A column of text that was read from such a file, as categories."""
    return column.astype("category").map(restored, na_action="ignore").astype("category")
