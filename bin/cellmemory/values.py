"""What the numbers of a matrix are (counts, log-normalised, scaled), and which matrix of a file to read."""

import numpy as np

from cellmemory.errors import InputError
from cellmemory.reading import CellFile

SAMPLE_BLOCKS, SAMPLE_CELLS = 5, 200
#: log1p of a million: no log-normalised value of a sensible target sum lies above it.
LARGEST_LOG = 13.9
TARGET_SUM = 1e4


def value_scale(file: CellFile, matrix: str) -> str:
    """`counts`, `linear` (normalised, not logged), `log1p`, `scaled` (negative), `invalid` (NaN, inf) or `empty`.

    Judged from up to 1,000 cells spread over the file.
    """
    last = max(file.n_cells - SAMPLE_CELLS, 0)
    starts = np.unique(np.linspace(0, last, SAMPLE_BLOCKS).astype(int))
    values = np.concatenate([file.rows(matrix, s, min(s + SAMPLE_CELLS, file.n_cells)).data for s in starts])
    values = values[values != 0]
    if not len(values):
        return "empty"
    if not np.isfinite(values).all():
        return "invalid"
    if values.min() < 0:
        return "scaled"
    if np.array_equal(values, np.round(values)):
        return "counts"
    return "log1p" if values.max() <= LARGEST_LOG else "linear"


def find_values(file: CellFile, counts_layer: str | None) -> tuple[str, str]:
    """The matrix to read and its scale: the one asked for, else counts in X, layers['counts'] or raw, else log values.

    counts_layer: a layer's name, or `X` or `raw`. Raises InputError where nothing usable is found.
    """
    if counts_layer:
        return _asked_for(file, counts_layer)
    candidates = [name for name in ("X", "layers/counts", "raw") if name in file.matrices]
    scales = {name: value_scale(file, name) for name in candidates}
    for wanted in ("counts", "log1p", "linear"):
        for name in candidates:
            if scales[name] == wanted:
                return name, wanted
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
