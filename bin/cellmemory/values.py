"""What the numbers of a matrix are (counts, log-normalised, scaled), and which matrix of a file to read."""

from collections import Counter

import numpy as np
import scipy.sparse as sp

from cellmemory.errors import InputError
from cellmemory.reading import CellFile

SAMPLE_BLOCKS, SAMPLE_CELLS = 5, 200
TARGET_SUM = 1e4
#: Scales of log(1 + value), and the base of each.
LOG_BASES = {"log1p": np.e, "log2": 2.0}
#: log(1 + a million): no such value of a sensible target sum lies above it.
LARGEST_LOG = {"log1p": 13.9, "log2": 20.0}


def value_scale(file: CellFile, matrix: str) -> str:
    """`counts`, `log1p`, `log2` (of 1 + value), `linear` (normalised, not logged), `scaled` (negative), `invalid` (NaN, inf)
    or `empty`.

    Judged from up to 1,000 cells spread over the file.
    """
    last = max(file.n_cells - SAMPLE_CELLS, 0)
    starts = np.unique(np.linspace(0, last, SAMPLE_BLOCKS).astype(int))
    cells = sp.vstack([file.rows(matrix, s, min(s + SAMPLE_CELLS, file.n_cells)) for s in starts], format="csr")
    values = cells.data[cells.data != 0]
    if not len(values):
        return "empty"
    if not np.isfinite(values).all():
        return "invalid"
    if values.min() < 0:
        return "scaled"
    if np.array_equal(values, np.round(values)):
        return "counts"
    possible = [*(scale for scale, largest in LARGEST_LOG.items() if values.max() <= largest), "linear"]
    return possible[0] if len(possible) == 1 else _told_by_counts(cells, possible) or possible[0]


def undo_log(values: np.ndarray | float, scale: str) -> np.ndarray | float:
    """The x of values log(1 + x), to the scale's base; values of other scales as they are."""
    return np.expm1(values * np.log(LOG_BASES[scale])) if scale in LOG_BASES else values


def _told_by_counts(cells: sp.csr_matrix, possible: list[str]) -> str | None:
    """The scale on which the values of a cell are whole multiples of its smallest, as those of one, two and three counts are;
    None where most cells do not tell: reads by a gene's length, corrected counts, values so small that no scale bends them.
    """
    votes: Counter[str] = Counter()
    for cell in range(cells.shape[0]):
        values = cells.data[cells.indptr[cell] : cells.indptr[cell + 1]].astype(np.float64)
        smallest = values.min(initial=np.inf, where=values > 0)
        second = values.min(initial=np.inf, where=values > 1.01 * smallest)
        if not np.isfinite(second):
            continue
        times = {scale: undo_log(second, scale) / undo_log(smallest, scale) for scale in possible}
        errors = sorted((abs(value - round(value)), scale) for scale, value in times.items())
        (error, best), (next_error, _) = errors[:2]
        votes[best] += error < 0.01 and next_error > max(0.012, 3 * error)
    scale, found = votes.most_common(1)[0] if votes else ("", 0)
    return scale if 2 * found > cells.shape[0] else None


def find_values(file: CellFile, counts_layer: str | None) -> tuple[str, str]:
    """The matrix to read and its scale: the one asked for, else counts in X, layers['counts'] or raw, else log values.

    counts_layer: a layer's name, or `X` or `raw`. Raises InputError where nothing usable is found.
    """
    if counts_layer:
        return _asked_for(file, counts_layer)
    candidates = [name for name in ("X", "layers/counts", "raw") if name in file.matrices]
    scales = {name: value_scale(file, name) for name in candidates}
    for wanted in (("counts",), tuple(LOG_BASES), ("linear",)):
        for name in candidates:
            if scales[name] in wanted:
                return name, scales[name]
    raise InputError(_refusal(file, scales))


def _asked_for(file: CellFile, counts_layer: str) -> tuple[str, str]:
    name = counts_layer if counts_layer in ("X", "raw") else f"layers/{counts_layer.removeprefix('layers/')}"
    if name not in file.matrices:
        layers = ", ".join(m.removeprefix("layers/") for m in file.matrices)
        raise InputError(f"{file.path}: there is no layer '{counts_layer}' (--counts_layer); there are: {layers or '(none)'}.")
    scale = value_scale(file, name)
    if scale in ("scaled", "invalid", "empty"):
        raise InputError(_refusal(file, {name: scale}))
    return name, scale


def _refusal(file: CellFile, scales: dict[str, str]) -> str:
    means = {
        "scaled": "holds negative values (scaled data)",
        "invalid": "holds NaN or infinite values",
        "empty": "holds no value but zero",
    }
    found = "; ".join(f"{name} {means[scale]}" for name, scale in scales.items()) or "there is no matrix at all"
    return (
        f"{file.path}: {found}. Give raw counts, or log-normalised values, in X, layers['counts'] or raw (or name one with "
        "--counts_layer)."
    )
