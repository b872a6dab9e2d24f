"""The `labels.csv` of one query on each reference, read side by side, a chunk of cells at a time."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.columns import ASSIGNED, CONFIDENCE, LABEL, STATUS, STATUSES
from cellmemory.errors import InputError, first_ids
from cellmemory.io.checked import as_numbers
from cellmemory.io.spreadsheet import restored, restored_column
from cellmemory.io.text import encoding_of, opened
from cellmemory.log import warn

TABLE_ROWS = 100_000
_REMEDY = "Give the labels.csv that map_query.py wrote."
_READ = [LABEL, CONFIDENCE, STATUS]
_COLUMNS = ["cell", *_READ]


def side_by_side(tables: Mapping[str, Path]) -> Iterator[dict[str, pd.DataFrame]]:
    """The tables' next cells, chunk by chunk: for each reference label, confidence and status, by the cells' names.

    Raises InputError where they are not the same names in the same order. Names may repeat: only the order then says which cell
    is which, and a warning says so.
    """
    first, names = next(iter(tables)), []
    for chunks in zip_longest(*(_chunks(path) for path in tables.values())):
        named = dict(zip(tables, chunks, strict=True))
        for name, chunk in named.items():
            if chunk is None or named[first] is None or not chunk.index.equals(named[first].index):
                raise InputError(
                    f"{tables[first]} and {tables[name]} are not of the same cells in the same order: a consensus needs one "
                    "query, mapped onto each reference."
                )
        names.append(pd.util.hash_array(named[first].index.to_numpy(object)))
        yield named
    repeated = int(pd.Series(np.concatenate(names)).duplicated(keep=False).sum()) if names else 0
    if repeated:
        warn(f"{tables[first]}: {repeated:,} cells share their name with another cell; votes go by the order of the cells.")


def _chunks(path: Path) -> Iterator[pd.DataFrame]:
    try:
        options = {"keep_default_na": False, "encoding": encoding_of(path)}
        with opened(path) as file:
            found = pd.Index(pd.read_csv(file, nrows=1, header=None, dtype=str, **options).iloc[0])
        twice = found[found.duplicated()].intersection(pd.Index(_COLUMNS))
        if len(twice):
            raise InputError(f"{path} has the column {', '.join(twice)} twice. {_REMEDY}")
        missing = [column for column in _COLUMNS if column not in found]
        if missing:
            raise InputError(f"{path} has no column {', '.join(missing)}; its columns are {first_ids(found)}. {_REMEDY}")
        types = dict.fromkeys(_COLUMNS, "category") | dict.fromkeys(("cell", CONFIDENCE), str)
        with opened(path) as file:
            for chunk in pd.read_csv(file, usecols=_COLUMNS, dtype=types, chunksize=TABLE_ROWS, **options):
                confidence = as_numbers(chunk[CONFIDENCE])
                _check_votes(path, chunk, confidence)
                chunk["cell"], label = chunk["cell"].map(restored), restored_column(chunk[LABEL])
                yield chunk.assign(**{LABEL: label, CONFIDENCE: confidence}).set_index("cell")[_READ]
    except ValueError as error:  # pandas' errors of parsing are of this kind, too
        raise InputError(f"{path} cannot be read as a table of labels ({error}). {_REMEDY}") from error


def _check_votes(path: Path, chunk: pd.DataFrame, confidence: np.ndarray | None) -> None:
    """Raises InputError, with the first cell that is at fault, for a status or a confidence that mapping does not write."""
    given = chunk[CONFIDENCE]
    if confidence is None:
        confidence = np.array([np.nan if (number := as_numbers([text])) is None else number[0] for text in given])
    known = ((confidence >= 0) & (confidence <= 1)) | ((given == "") & (chunk[STATUS] != ASSIGNED))
    unnamed = (chunk[LABEL] == "") & (chunk[STATUS] == ASSIGNED)
    wrong = {
        LABEL: (unnamed, "a label, but the cell is assigned"),
        STATUS: (~chunk[STATUS].isin(STATUSES), f"one of {', '.join(STATUSES)}"),
        CONFIDENCE: (~known, "a number from 0 to 1"),
    }
    problems = []
    for name, (rows, words) in wrong.items():
        if rows.any():
            cell, value = chunk.loc[rows, ["cell", name]].iloc[0]
            problems.append(f"{path}: {name} of the cell {cell!r} is {value!r}, not {words}. {_REMEDY}")
    if problems:
        raise InputError(problems)
