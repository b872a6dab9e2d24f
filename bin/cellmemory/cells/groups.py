"""Groups of cells by a column of obs, and the two sides of a contrast, which are two of its values."""

import numpy as np
import pandas as pd

from cellmemory.cells.labels import written_values
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError, first_ids
from cellmemory.io.text import cleaned

#: A side of fewer cells is not contrasted: its mean is that of single cells, and has no spread to speak of.
MIN_CELLS = 3


def group_codes(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Group number of every cell (-1: no value) and the groups' names, in the order of the categories or sorted.

    Names are texts by the rule of labels (see labels.clean_labels): those that are the same by it are one group, and a blank one
    counts as no value.
    """
    values = column.astype("category").cat
    names = [cleaned(name) for name in written_values(values.categories)]
    groups = list(dict.fromkeys(name for name in names if name is not None))
    place = {name: number for number, name in enumerate(groups)}
    return np.array([*(-1 if name is None else place[name] for name in names), -1], np.int64)[values.codes], groups


def sides(file: CellFile, text: str) -> tuple[str, list[str], np.ndarray]:
    """The column and the two values of COLUMN:A:B, and (N,) side of each cell: 0 is A, 1 is B, -1 neither.

    Names may hold colons themselves; values are those of `group_codes`. Raises InputError where there is no such column or no
    such value, and lists those that exist, or where the text can be read in several ways.
    """
    parts, levels = text.split(":"), {}
    for i in range(1, len(parts) - 1):
        if (key := ":".join(parts[:i])) in file.columns:
            levels[key] = group_codes(file.obs[key])[1]
    found = [
        (key, a, b)
        for key, names in levels.items()
        for a, b in _pairs(parts[key.count(":") + 1 :])
        if a in names and b in names and a != b
    ]
    if not found:
        raise InputError(_no_such_contrast(file, text, levels))
    if len(found) > 1:
        readings = "; ".join(f"{a!r} and {b!r} of {key!r}" for key, a, b in found)
        raise InputError(
            f"--contrast {text}: with the names of {file.path} this can be read in {len(found)} ways ({readings}). Rename some "
            "without colons."
        )
    key, a, b = found[0]
    codes, names = group_codes(file.obs[key])
    side = np.full(len(codes), -1)
    side[codes == names.index(a)], side[codes == names.index(b)] = 0, 1
    return key, [a, b], side


def _pairs(parts: list[str]) -> list[tuple[str | None, str | None]]:
    """The ways to read A:B, which was split at its colons, as two names."""
    return [(cleaned(":".join(parts[:j])), cleaned(":".join(parts[j:]))) for j in range(1, len(parts))]


def _no_such_contrast(file: CellFile, text: str, levels: dict[str, list[str]]) -> str:
    """What to say where no two groups of a column are meant. levels: the groups of the columns that could be."""
    if levels:
        key, names = next(iter(levels.items()))
        return f"--contrast {text}: the obs column {key!r} of {file.path} has no two such values; it has {first_ids(names, 20)}."
    return (
        f"--contrast {text}: write COLUMN:A:B, a column of obs and two of its values; "
        f"the columns of {file.path} are {', '.join(file.columns) or '(none)'}."
    )


def check(file: CellFile, text: str) -> None:
    """Raises InputError where a file that is yet to be mapped cannot answer COLUMN:A:B."""
    _, names, side = sides(file, text)
    few = [f"{n} of {name!r}" for name, n in zip(names, np.bincount(side[side >= 0], minlength=2), strict=True) if n < MIN_CELLS]
    if few:
        raise InputError(
            f"--contrast {text}: {file.path} has too few cells, {' and '.join(few)}; a side needs {MIN_CELLS} or more."
        )
