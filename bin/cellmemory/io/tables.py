"""Tables of results as tab-separated text: names stay text, empty numbers are NaN."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cellmemory.errors import InputError
from cellmemory.io.checked import read_results


def read_table(path: str | Path, columns: Iterable[str], never: Iterable[str] = ()) -> pd.DataFrame:
    """Reads a TAG table as it was written: groups and genes are text (a gene may be called NA), empty numbers are NaN.

    Raises InputError for a file that lacks one of `columns`, or that is not a table of them. never: columns of the other tables,
    which have all of `columns`, too.
    """
    try:
        table = read_results(path, columns, ("group", "slot", "gene", "contrast", "direction", "differential"))
    except ValueError as error:  # pandas' errors of parsing are of this kind, too
        raise InputError(f"{path} is not a table of TAGs ({error}). Give the output of extract_tags.py.") from None
    if found := [name for name in never if name in table]:
        raise InputError(f"{path} is another table of TAGs (it has the column {found[0]}). Give the files by their own options.")
    return table


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Writes a table of results as tab-separated text, six significant digits, NaN as an empty field."""
    table.to_csv(path, sep="\t", index=False, float_format="%.6g", lineterminator="\n")
