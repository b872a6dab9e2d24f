"""What the numbers of cells are: counts, normalised, logarithms of these, scaled, or none of them."""

from typing import NamedTuple

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
#: The share of cells whose largest values may be wild, and are ignored; in fewer cells none is.
WILD_SHARE, FEWEST_FOR_WILD = 0.002, 100
#: No count or normalised value lies above it.
LARGEST = 1e13
#: Scales of log(1 + value), and the base of each.
LOG_BASES = {"log1p": np.e, "log2": 2.0}
#: log(1 + a million): no such value of a sensible target sum lies above it.
LARGEST_LOG = {"log1p": 13.9, "log2": 20.0}
#: Normalised values are of one of these scales; the first is assumed where nothing shows which.
NORMALISED = (*LOG_BASES, "linear")
#: How near a whole number a ratio of counts is, how far from one it is on another scale, and how many times as far.
NEAR_WHOLE, FAR_FROM_WHOLE, TIMES_FARTHER = 0.01, 0.012, 3
#: For each cell that shows no scale, this share of a cell shows a wrong one by chance (0.1 where values have two digits).
BY_CHANCE = 0.2
#: Fewer cells than this show a scale by chance.
FEWEST_SHOWING = 5
#: Cells whose sums differ by at most this share, on one scale only, were normalised to that sum; fewer are alike by chance.
SAME_SUM, FEWEST_ALIKE = 1e-4, 5
#: Ratios of rounded values show a scale only where the smallest value is this many times the step of rounding.
ROUNDING_STEPS = 50
#: Where the logarithm was taken, hardly a cell has more than this many times the usual sum.
LARGEST_CELL = 30


class Scale(NamedTuple):
    """What the numbers of a matrix are, and whether that is only the likeliest of several readings."""

    name: str
    guessed: bool = False


def scale_of(cells: sp.csr_matrix) -> Scale:
    """`counts`, `log1p`, `log2` (of 1 + value), `linear` (normalised, not logged), `binary` (one value other than zero), or
    what cannot be used: `scaled` (negative), `invalid` (NaN, inf), `mixed` (counts beside logarithms), `unlike` (normalised in
    several ways) or `empty`.

    cells: a sample (cells, genes), each cell with a stored value, none of them zero.
    """
    values = cells.data
    if not len(values):
        return Scale("empty")
    if not np.isfinite(values).all():
        return Scale("invalid")
    if values.min() < 0:
        return Scale("scaled")
    if len(values) >= MANY_VALUES and values.min() == values.max():
        return Scale("binary")
    counts, others = _counts_and_others(cells)
    if min(counts.mean(), others.mean()) > OTHER_SCALE:
        # Beside counts, values that were only divided are no other scale: both are normalised in one way.
        return Scale("linear") if _scale_of_normalised(cells[others]) == Scale("linear") else Scale("mixed")
    return Scale("counts") if np.mean(values == np.round(values)) >= WHOLE else _scale_of_normalised(cells)


def _counts_and_others(cells: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Which cells (n,) hold counts, whole and from 1 on, and which hold hardly a whole value; both is asked of cells with enough
    values."""
    lengths = np.diff(cells.indptr)
    share = number_in_each(cells, cells.data == np.round(cells.data)) / lengths
    counts = (share >= WHOLE) & (number_in_each(cells, cells.data == 1) > 0)
    return counts & (lengths >= FEWEST_VALUES), (share <= BROKEN) & (lengths >= FEWEST_VALUES)


def number_in_each(cells: sp.csr_matrix, chosen: np.ndarray) -> np.ndarray:
    """How many of each cell's stored values (nnz,) are chosen (n,)."""
    n = cells.shape[0]
    return np.bincount(np.repeat(np.arange(n), np.diff(cells.indptr)), chosen, minlength=n)


def _scale_of_normalised(cells: sp.csr_matrix) -> Scale:
    shown = shown_scales(cells)
    found = [scale for place, scale in enumerate(NORMALISED) if is_shown(shown, shown == place)]
    largest = _largest(cells)
    possible = [scale for scale in NORMALISED if largest <= LARGEST_LOG.get(scale, np.inf)]
    if len(found) > 1 or (found and found[0] not in possible):
        return Scale("unlike")
    if found:
        return Scale(found[0])
    likely = next(scale for scale in possible if scale == "linear" or not _has_giants(cells, scale))
    return Scale(likely, guessed=len(possible) > 1)


def shown_scales(cells: sp.csr_matrix) -> np.ndarray:
    """For each cell the place (n,) in NORMALISED of the scale that its values show, -1 where they show none.

    They show one by their sum, if all genes are there, else by the ratio of the two smallest. Counts show none: they are whole
    multiples on two scales. cells: as `scale_of` takes them.
    """
    if not cells.shape[0]:
        return np.zeros(0, int)
    step = _rounded_to(cells.data)
    by_ratio = _shown_by_ratio(cells, step)
    if step:  # sums of rounded values are alike by chance
        return by_ratio
    by_sum = _shown_by_sums(cells)
    return np.where(by_sum < 0, by_ratio, by_sum)


def _shown_by_ratio(cells: sp.csr_matrix, step: float) -> np.ndarray:
    """The scale on which a cell's second smallest value is a whole multiple of its smallest, as two and three counts are of one.

    There is none where values are reads by a gene's length or corrected counts, so small that no scale bends them, or rounded to
    few digits. step: what the values were rounded to.
    """
    smallest, second = _two_smallest(cells)
    second[smallest < ROUNDING_STEPS * step] = np.inf
    errors = np.full((len(NORMALISED), len(second)), 0.5)
    for place, scale in enumerate(NORMALISED):
        fit = second <= LARGEST_LOG.get(scale, LARGEST)  # infinite where there is none
        times = undo_log(second[fit], scale) / undo_log(smallest[fit], scale)
        errors[place, fit] = np.abs(times - np.round(times))
    best, next_best = np.sort(errors, axis=0)[:2]
    return np.where(
        (best < NEAR_WHOLE) & (next_best > np.maximum(FAR_FROM_WHOLE, TIMES_FARTHER * best)), errors.argmin(axis=0), -1
    )


def _two_smallest(cells: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """The smallest value of each cell (n,), and the smallest that is clearly above it; infinite where there is none."""
    values, starts = cells.data.astype(np.float64), cells.indptr[:-1]
    smallest = np.minimum.reduceat(values, starts)
    above = np.where(values > 1.01 * np.repeat(smallest, np.diff(cells.indptr)), values, np.inf)
    return smallest, np.minimum.reduceat(above, starts)


def is_shown(shown: np.ndarray, chosen: np.ndarray) -> bool:
    """Whether more cells are chosen (n,) than show that scale by chance. shown: of `shown_scales`."""
    return bool(chosen.sum() >= FEWEST_SHOWING) and bool(chosen.mean() > OTHER_SCALE + BY_CHANCE * np.mean(shown < 0))


def _rounded_to(values: np.ndarray) -> float:
    """The step of values that were rounded to one, two or three digits; 0 of others."""
    steps = (10.0**-digits for digits in (1, 2, 3))
    return next((step for step in steps if np.abs(values / step - np.round(values / step)).max() < 1e-2), 0.0)


def _shown_by_sums(cells: sp.csr_matrix) -> np.ndarray:
    """For each cell the place (n,) in NORMALISED of the scale on which it has a sum that many cells have, as those have that were
    normalised to it; -1 where there is none, or several."""
    alike = np.stack([_of_one_sum(_sums(cells, scale)) for scale in NORMALISED])
    return np.where(alike.sum(axis=0) == 1, alike.argmax(axis=0), -1)


def _sums(cells: sp.csr_matrix, scale: str) -> np.ndarray:
    """The sum (n,) of each cell's values before the logarithm; infinite for a cell with a value that no logarithm is."""
    limit = LARGEST_LOG.get(scale, LARGEST)
    values = np.asarray(undo_log(np.minimum(cells.data.astype(np.float64), limit), scale))
    return number_in_each(cells, np.where(cells.data <= limit, values, np.inf))


def _of_one_sum(sums: np.ndarray) -> np.ndarray:
    """Which cells (n,) have a sum that differs from those of many others by SAME_SUM at most."""
    order = np.argsort(sums)
    ordered = sums[order]
    last = np.searchsorted(ordered, ordered * (1 + SAME_SUM), side="right")
    number = np.where(np.isfinite(ordered), last - np.arange(len(sums)), 0)
    found = np.zeros(len(sums), bool)
    if number.max() >= max(FEWEST_ALIKE, OTHER_SCALE * len(sums)):
        first = int(number.argmax())
        found[order[first : last[first]]] = True
    return found


def _has_giants(cells: sp.csr_matrix, scale: str) -> bool:
    """Whether some cells would be many times as large as the usual one if their values were logarithms: counts that are not
    whole are read so, if none is large."""
    sums = _sums(cells, scale)
    return bool(np.quantile(sums[np.isfinite(sums)], 0.99) > LARGEST_CELL * np.median(sums))


def _largest(cells: sp.csr_matrix) -> float:
    """The largest value of all cells but those few that may hold a wild one."""
    largest = np.sort(cells.max(axis=1).toarray().ravel())
    left_out = max(1, int(WILD_SHARE * len(largest))) if len(largest) >= FEWEST_FOR_WILD else 0
    return float(largest[len(largest) - 1 - left_out])


def undo_log(values: np.ndarray | float, scale: str) -> np.ndarray | float:
    """The x of values log(1 + x), to the scale's base; values of other scales as they are."""
    return np.expm1(values * np.log(LOG_BASES[scale])) if scale in LOG_BASES else values
