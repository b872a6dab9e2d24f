"""What the numbers of a matrix are (counts, log-normalised, scaled), and which matrix of a file to read."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError

SAMPLE_BLOCKS, SAMPLE_CELLS = 5, 200
#: A sample with fewer cells that hold any value says little: most barcodes of a raw matrix are empty.
FEWEST_CELLS = 100
TARGET_SUM = 1e4
#: Share of whole numbers from which values are counts: a few may have been tampered with.
WHOLE = 0.999
#: Share of cells of another scale among counts that are let pass.
OTHER_SCALE = 0.01
#: A cell with fewer values may be whole by chance; one with no larger share of whole values is of another scale than counts.
FEWEST_VALUES, BROKEN = 10, 0.5
#: Fewer values may be all one count.
MANY_VALUES = 1_000
#: The largest values of so many cells, one at least, decide nothing: they may be wild.
WILD_SHARE = 0.002
#: No count or normalised value lies above it, and none before its logarithm above the other.
LARGEST, LARGEST_BEFORE_LOG = 1e13, 1e8
#: Scales of log(1 + value), and the base of each.
LOG_BASES = {"log1p": np.e, "log2": 2.0}
#: log(1 + a million): no such value of a sensible target sum lies above it.
LARGEST_LOG = {"log1p": 13.9, "log2": 20.0}


def value_scale(file: CellFile, matrix: str) -> str:
    """`counts`, `log1p`, `log2` (of 1 + value), `linear` (normalised, not logged), `binary` (one value alone beside zero), or
    what cannot be used: `scaled` (negative), `invalid` (NaN, inf), `mixed` (counts beside others) or `empty`.

    Judged from up to 1,000 cells with values, spread over the file. What lies outside of them is held against the scale when
    it is read: see `checked`.
    """
    cells = _sampled(file, matrix)
    values = cells.data[cells.data != 0]
    if not len(values):
        return "empty"
    if not np.isfinite(values).all():
        return "invalid"
    if values.min() < 0:
        return "scaled"
    if len(values) >= MANY_VALUES and values.min() == values.max():
        return "binary"
    if _is_mixed(cells):
        return "mixed"
    if np.mean(values == np.round(values)) >= WHOLE:
        return "counts"
    largest = _largest(cells)
    possible = [*(scale for scale, limit in LARGEST_LOG.items() if largest <= limit), "linear"]
    return possible[0] if len(possible) == 1 else _told_by_counts(cells, possible) or possible[0]


def _is_mixed(cells: sp.csr_matrix) -> bool:
    """Whether cells of counts, whole and from 1 on, stand beside others whose values are not whole, as in data sets that were put
    together."""
    lengths = np.diff(cells.indptr)
    enough = lengths >= FEWEST_VALUES
    share = _number_in_each(cells, cells.data == np.round(cells.data))[enough] / lengths[enough]
    counts = (share >= WHOLE) & (_number_in_each(cells, cells.data == 1)[enough] > 0)
    return bool(enough.any()) and bool(min(counts.mean(), np.mean(share <= BROKEN)) > OTHER_SCALE)


def _number_in_each(cells: sp.csr_matrix, chosen: np.ndarray) -> np.ndarray:
    """How many of each cell's stored values (nnz,) are chosen (n,)."""
    n = cells.shape[0]
    return np.bincount(np.repeat(np.arange(n), np.diff(cells.indptr)), chosen, minlength=n)


def _sampled(file: CellFile, matrix: str) -> sp.csr_matrix:
    """Cells with values, in blocks spread over the file; where these hold few, the first ones of the whole file."""
    last = max(file.n_cells - SAMPLE_CELLS, 0)
    starts = np.unique(np.linspace(0, last, SAMPLE_BLOCKS).astype(int))
    blocks = [_with_values(file.rows(matrix, s, min(s + SAMPLE_CELLS, file.n_cells))) for s in starts]
    if sum(block.shape[0] for block in blocks) < min(FEWEST_CELLS, file.n_cells):
        blocks = []
        for _, rows in file.chunks(matrix):
            blocks.append(_with_values(rows))
            if sum(block.shape[0] for block in blocks) >= SAMPLE_BLOCKS * SAMPLE_CELLS:
                break
    return sp.vstack(blocks, format="csr")


def _with_values(rows: sp.csr_matrix) -> sp.csr_matrix:
    """The rows that hold a value other than zero."""
    rows.eliminate_zeros()
    return rows[np.diff(rows.indptr) > 0]


def _largest(cells: sp.csr_matrix) -> float:
    """The largest value of all cells but those few that may hold a wild one."""
    largest = np.sort(cells.max(axis=1).toarray().ravel())
    left_out = max(1, int(WILD_SHARE * len(largest))) if len(largest) > 1 else 0
    return float(largest[len(largest) - 1 - left_out])


def checked(
    rows: sp.csr_matrix, file: CellFile, matrix: str, numbers: Sequence[int] | np.ndarray, *, scale: str
) -> sp.csr_matrix:
    """The rows as they are, which are the cells `numbers` (n,) of a matrix whose values have that scale.

    Raises InputError, with the first cell and gene, for values that are NaN, infinite, negative, or far too large, and for cells
    whose values are counts among logarithms, or none among counts.
    """
    wrong = ~((rows.data >= 0) & (rows.data <= _limit(scale)))  # NaN is neither
    if not wrong.any():
        return _one_scale(rows, file, matrix, numbers, scale=scale)
    place = int(np.argmax(wrong))
    row = int(numbers[int(np.searchsorted(rows.indptr, place, side="right")) - 1])
    gene = file.var(matrix).index[rows.indices[place]]
    (name,) = file.names(row, row + 1)
    raise InputError(
        f"{file.path}: {matrix} holds {rows.data[place]:g} in cell '{name}' (row {row + 1:,}), gene '{gene}'; "
        f"{np.count_nonzero(wrong):,} values of {rows.shape[0]:,} cells there are NaN, infinite, negative, or too large for "
        f"{_SCALE_NAMES[scale]}. Mend or remove them, or name another matrix with --counts_layer."
    )


def _one_scale(
    rows: sp.csr_matrix, file: CellFile, matrix: str, numbers: Sequence[int] | np.ndarray, *, scale: str
) -> sp.csr_matrix:
    """The rows as they are; raises InputError where more than a few cells hold values of another scale: other values among
    counts, or counts among logarithms."""
    lengths = np.diff(rows.indptr)
    fractions = _number_in_each(rows, rows.data != np.round(rows.data))
    if scale == "counts":
        broken, words = fractions > (1 - BROKEN) * lengths, ("counts", "values that are not whole")
    elif scale in LOG_BASES:  # of logarithms hardly one is whole
        broken = (lengths >= FEWEST_VALUES) & (fractions <= (1 - WHOLE) * lengths)
        words = (_SCALE_NAMES[scale], "whole numbers alone, as counts are")
    else:
        return rows
    if np.count_nonzero(broken) <= OTHER_SCALE * len(lengths):
        return rows
    row = int(numbers[int(np.argmax(broken))])
    (name,) = file.names(row, row + 1)
    raise InputError(
        f"{file.path}: {matrix} holds {words[0]}, but {np.count_nonzero(broken):,} of {len(lengths):,} cells from '{name}' (row "
        f"{row + 1:,}) on hold {words[1]}. Give a matrix of one scale, or another by --counts_layer."
    )


def _limit(scale: str) -> float:
    return float(np.log1p(LARGEST_BEFORE_LOG) / np.log(LOG_BASES[scale])) if scale in LOG_BASES else LARGEST


_SCALE_NAMES = {
    "counts": "counts",
    "linear": "normalised values",
    "binary": "binarised values",
    "log1p": "log-normalised values",
    "log2": "log-normalised values",
}


def undo_log(values: np.ndarray | float, scale: str) -> np.ndarray | float:
    """The x of values log(1 + x), to the scale's base; values of other scales as they are."""
    return np.expm1(values * np.log(LOG_BASES[scale])) if scale in LOG_BASES else values


def _told_by_counts(cells: sp.csr_matrix, possible: list[str]) -> str | None:
    """The scale on which the values of a cell are whole multiples of its smallest, as those of one, two and three counts are;
    None where most cells leave it open: reads by a gene's length, corrected counts, values so small that no scale bends them.
    """
    votes: Counter[str] = Counter()
    for cell in range(cells.shape[0]):
        values = cells.data[cells.indptr[cell] : cells.indptr[cell + 1]].astype(np.float64)
        smallest = values.min(initial=np.inf, where=values > 0)
        second = values.min(initial=np.inf, where=values > 1.01 * smallest)
        if second > LARGEST_LOG["log2"]:  # none, or a wild one
            continue
        times = {scale: float(undo_log(second, scale) / undo_log(smallest, scale)) for scale in possible}
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
    for wanted in (("counts",), tuple(LOG_BASES), ("linear",), ("binary",)):
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
    if scale in _UNUSABLE:
        raise InputError(_refusal(file, {name: scale}))
    return name, scale


_UNUSABLE = {
    "scaled": "holds negative values (scaled data)",
    "invalid": "holds NaN or infinite values",
    "mixed": "holds counts in some cells and other values in others (data sets of two scales in one file)",
    "empty": "holds no value but zero",
}


def _refusal(file: CellFile, scales: dict[str, str]) -> str:
    found = "; ".join(f"{name} {_UNUSABLE[scale]}" for name, scale in scales.items()) or "there is no X, layers['counts'] or raw"
    others = [name.removeprefix("layers/") for name in file.matrices if name not in scales]
    if others:
        found += f"; there are the layers {', '.join(others)}"
    return (
        f"{file.path}: {found}. Give raw counts, or log-normalised values, in X, layers['counts'] or raw (or name one with "
        "--counts_layer)."
    )
