"""What the numbers of cells are: counts, normalised, logarithms of these, scaled, or none of them."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

#: Share of whole numbers from which values are counts: a few may have been tampered with.
WHOLE = 0.999
#: Share of cells of another scale that is let pass.
OTHER_SCALE = 0.01
#: A cell with fewer values may be whole by chance; one with no larger share of whole values is of another scale than counts.
FEWEST_VALUES, BROKEN = 10, 0.5
#: Fewer values may be all one count.
MANY_VALUES = 1_000
#: The largest values of so many cells, one at least, decide nothing: they may be wild.
WILD_SHARE = 0.002
#: No count or normalised value lies above it.
LARGEST = 1e13
#: Scales of log(1 + value), and the base of each.
LOG_BASES = {"log1p": np.e, "log2": 2.0}
#: log(1 + a million): no such value of a sensible target sum lies above it.
LARGEST_LOG = {"log1p": 13.9, "log2": 20.0}
#: Normalised values are of one of these scales; the first is taken where nothing tells.
NORMALISED = (*LOG_BASES, "linear")
#: How near a whole number a ratio of counts is, how far from one it is on another scale, and how many times as far.
NEAR, FAR, TIMES_FARTHER = 0.01, 0.012, 3
#: For each cell that tells no scale, so many tell a wrong one by chance (0.1 where values were rounded to two digits).
BY_CHANCE = 0.2
#: Fewer cells than this tell a scale by chance, too.
FEWEST_TELLING = 3
#: Cells whose sums differ by so small a share were normalised to one sum; on another scale they differ so many times as much.
SAME_SUM, MORE_SPREAD = 1e-3, 10


def scale_of(cells: sp.csr_matrix) -> str:
    """`counts`, `log1p`, `log2` (of 1 + value), `linear` (normalised, not logged), `binary` (one value alone beside zero), or
    what cannot be used: `scaled` (negative), `invalid` (NaN, inf), `mixed` (counts beside others), `unlike` (normalised in
    several ways) or `empty`.

    cells: a sample (cells, genes), each cell with a stored value, none of them zero.
    """
    values = cells.data
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
    return _scale_of_normalised(cells)


def _is_mixed(cells: sp.csr_matrix) -> bool:
    """Whether cells of counts, whole and from 1 on, stand beside others whose values are not whole, as in data sets that were put
    together."""
    lengths = np.diff(cells.indptr)
    enough = lengths >= FEWEST_VALUES
    share = number_in_each(cells, cells.data == np.round(cells.data))[enough] / lengths[enough]
    counts = (share >= WHOLE) & (number_in_each(cells, cells.data == 1)[enough] > 0)
    return bool(enough.any()) and bool(min(counts.mean(), np.mean(share <= BROKEN)) > OTHER_SCALE)


def number_in_each(cells: sp.csr_matrix, chosen: np.ndarray) -> np.ndarray:
    """How many of each cell's stored values (nnz,) are chosen (n,)."""
    n = cells.shape[0]
    return np.bincount(np.repeat(np.arange(n), np.diff(cells.indptr)), chosen, minlength=n)


def _scale_of_normalised(cells: sp.csr_matrix) -> str:
    told = told_scales(cells)
    found = [scale for place, scale in enumerate(NORMALISED) if is_told(told, told == place)]
    if len(found) > 1:
        return "unlike"
    largest = _largest(cells)
    possible = [scale for scale in NORMALISED if largest <= LARGEST_LOG.get(scale, np.inf)]
    return next((scale for scale in found if scale in possible), None) or _told_by_sums(cells, possible) or possible[0]


def told_scales(cells: sp.csr_matrix) -> np.ndarray:
    """For each cell the place (n,) in NORMALISED of the scale on which its second smallest value is a whole multiple of its
    smallest, as two and three counts are of one; -1 where it tells none.

    It tells none where values are reads by a gene's length or corrected counts, or so small that no scale bends them. Counts
    tell none, either: they are whole multiples on two scales. cells: as `scale_of` takes them.
    """
    if not cells.shape[0]:
        return np.zeros(0, int)
    smallest, second = _two_smallest(cells)
    errors = np.full((len(NORMALISED), len(second)), 0.5)
    for place, scale in enumerate(NORMALISED):
        fit = second <= LARGEST_LOG.get(scale, LARGEST)  # infinite where there is none
        times = undo_log(second[fit], scale) / undo_log(smallest[fit], scale)
        errors[place, fit] = np.abs(times - np.round(times))
    best, next_best = np.sort(errors, axis=0)[:2]
    return np.where((best < NEAR) & (next_best > np.maximum(FAR, TIMES_FARTHER * best)), errors.argmin(axis=0), -1)


def _two_smallest(cells: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """The smallest value of each cell (n,), and the smallest that is clearly above it; infinite where there is none."""
    values, starts = cells.data.astype(np.float64), cells.indptr[:-1]
    smallest = np.minimum.reduceat(values, starts)
    above = np.where(values > 1.01 * np.repeat(smallest, np.diff(cells.indptr)), values, np.inf)
    return smallest, np.minimum.reduceat(above, starts)


def is_told(told: np.ndarray, chosen: np.ndarray) -> bool:
    """Whether so many cells are chosen (n,) among those that tell a scale that it is not by chance. told: of `told_scales`."""
    return bool(chosen.sum() >= FEWEST_TELLING) and bool(chosen.mean() > OTHER_SCALE + BY_CHANCE * np.mean(told < 0))


def _told_by_sums(cells: sp.csr_matrix, possible: Sequence[str]) -> str | None:
    """The scale on which cells have the same sum, if they do on one scale far more than on the others."""
    if cells.shape[0] < FEWEST_TELLING:
        return None
    spreads = []
    for scale in possible:
        sums = np.bincount(np.repeat(np.arange(cells.shape[0]), np.diff(cells.indptr)), undo_log(cells.data, scale))
        spreads.append(float(np.median(np.abs(sums / np.median(sums) - 1))))
    best, next_best = sorted([*spreads, np.inf])[:2]
    return possible[spreads.index(best)] if best < SAME_SUM and next_best > MORE_SPREAD * best else None


def _largest(cells: sp.csr_matrix) -> float:
    """The largest value of all cells but those few that may hold a wild one."""
    largest = np.sort(cells.max(axis=1).toarray().ravel())
    left_out = max(1, int(WILD_SHARE * len(largest))) if len(largest) > 1 else 0
    return float(largest[len(largest) - 1 - left_out])


def undo_log(values: np.ndarray | float, scale: str) -> np.ndarray | float:
    """The x of values log(1 + x), to the scale's base; values of other scales as they are."""
    return np.expm1(values * np.log(LOG_BASES[scale])) if scale in LOG_BASES else values
