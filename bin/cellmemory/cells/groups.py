"""Groups of cells by a column of obs, and the two sides of a contrast, which are two of its values."""

import numpy as np
import pandas as pd

from cellmemory.cells.labels import cleaned
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError, first_ids

#: A side of fewer cells is not contrasted: its mean is that of single cells, and has no spread to speak of.
MIN_CELLS = 3


def group_codes(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Group number of every cell (-1: no value) and the groups' names, in the order of the categories or sorted. A blank text
    counts as no value."""
    values = column.astype("category").cat
    names = [str(name) for name in values.categories]
    groups = [name for name in names if cleaned(name) is not None]
    place = {name: number for number, name in enumerate(groups)}
    return np.array([*(place.get(name, -1) for name in names), -1], np.int64)[values.codes], groups


def sides(file: CellFile, text: str) -> tuple[str, list[str], np.ndarray]:
    """The column and the two values of COLUMN:A:B, and (N,) side of each cell: 0 is A, 1 is B, -1 neither.

    Names may hold colons themselves. Raises InputError where there is no such column or no such value, and lists
    those that exist.
    """
    parts, found = text.split(":"), []
    for i in range(1, len(parts) - 1):
        key = ":".join(parts[:i])
        if key in file.columns:
            codes, levels = group_codes(file.obs[key])
            pairs = [(":".join(parts[i:j]), ":".join(parts[j:])) for j in range(i + 1, len(parts))]
            found += [(key, codes, levels, a, b) for a, b in pairs if a in levels and b in levels and a != b]
            if not found:
                raise InputError(
                    f"--contrast {text}: the obs column {key!r} of {file.path} has no two such values; "
                    f"it has {first_ids(levels, 20)}."
                )
    if not found:
        raise InputError(
            f"--contrast {text}: write COLUMN:A:B, a column of obs and two of its values; "
            f"the columns of {file.path} are {', '.join(file.columns) or '(none)'}."
        )
    key, codes, levels, a, b = found[0]
    side = np.full(len(codes), -1)
    side[codes == levels.index(a)], side[codes == levels.index(b)] = 0, 1
    return key, [a, b], side


def check(file: CellFile, text: str) -> None:
    """Raises InputError where a file that is yet to be mapped cannot answer COLUMN:A:B."""
    _, names, side = sides(file, text)
    few = [f"{n} of {name!r}" for name, n in zip(names, np.bincount(side[side >= 0], minlength=2), strict=True) if n < MIN_CELLS]
    if few:
        raise InputError(
            f"--contrast {text}: {file.path} has too few cells, {' and '.join(few)}; a side needs {MIN_CELLS} or more."
        )
