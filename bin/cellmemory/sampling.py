"""Which cells are taken where all would be too many: small groups whole, large ones cut alike."""

from collections.abc import Sequence

import numpy as np


def fair_quotas(sizes: Sequence[int], budget: int) -> list[int]:
    """How many of each group are taken: small groups whole, the rest of the budget in equal parts."""
    quotas = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for done, i in enumerate(order):
        quotas[i] = min(sizes[i], (budget - sum(quotas)) // (len(sizes) - done))
    return quotas


def evenly_spaced(n: int, at_most: int) -> np.ndarray:
    """Sorted row numbers of at most `at_most` of n cells, evenly spaced from the first to the last."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).astype(int))


def rank_in_group(codes: np.ndarray) -> np.ndarray:
    """The number of each cell among those of its group before it (n,)."""
    order = np.argsort(codes, kind="stable")
    ordered, rank = codes[order], np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - np.searchsorted(ordered, ordered)
    return rank


def stratified(codes: np.ndarray, rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """At most n of the rows (sorted), as evenly over groups as their cells allow, sorted. codes: of all rows."""
    if len(rows) <= n:
        return rows
    rows = rng.permutation(rows)
    return np.sort(rows[np.argsort(rank_in_group(codes[rows]), kind="stable")[:n]])


def sample_cells(codes: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """Sorted row numbers of at most `budget` cells with a group (codes of -1 have none), in fair quotas, at random."""
    rows = [np.flatnonzero(codes == code) for code in np.unique(codes[codes >= 0])]
    rng = np.random.default_rng(seed)
    quotas = fair_quotas([len(own) for own in rows], budget)
    chosen = [own if len(own) == n else rng.choice(own, n, replace=False) for own, n in zip(rows, quotas, strict=True)]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def sample_each(codes: np.ndarray, per_group: int, seed: int) -> np.ndarray:
    """Sorted row numbers of at most `per_group` cells of each group (codes of -1 have none), at random."""
    rows = [sample_cells(np.where(codes == code, 0, -1), per_group, seed) for code in np.unique(codes[codes >= 0])]
    return np.sort(np.concatenate(rows)) if rows else np.zeros(0, np.int64)


def sample_cells_to_draw(codes: np.ndarray, quota: int, seed: int = 0) -> np.ndarray:
    """Sorted row numbers of `quota` cells drawn at random, so that rare groups (`codes`) are not lost."""
    if len(codes) <= quota:
        return np.arange(len(codes))
    order = np.random.default_rng(seed).permutation(len(codes))
    # Place of each cell within its group: the first cells of every group come before all others.
    place = rank_in_group(codes[order])
    floor = max(1, quota // (4 * max(1, len(np.unique(codes)))))
    return np.sort(order[np.argsort(place >= min(floor, 25), kind="stable")[:quota]])
