"""Permutation tests of what groups of cells attend to: the group labels of the cells are shuffled, nothing is assumed.

Letters: n cells, M genes, G groups. One shuffle tests all genes and all groups at once, for the sums of every group are
one sparse product. Attention is summed in whole units, so that equal sums are equal to the last bit and ties count.
"""

import numpy as np
import scipy.sparse as sp

from cellmemory.exact import UNITS


def more_attended(attention: sp.csr_matrix, codes: np.ndarray, n_groups: int, *, permutations: int, seed: int) -> np.ndarray:
    """(G, M) one-sided p-values: a group's cells attend to a gene no more than as many cells drawn from all.

    attention: (n, M); codes: (n,) group of each cell, none negative. The smallest p-value is 1 / (permutations + 1).
    NaN for a group without cells, for a group that all cells are in, and for a gene that no cell attends to.
    """
    units, found = _units(attention), _sums(_units(attention), codes, n_groups)
    hits = np.zeros(found.shape, np.int64)
    for shuffled in _shuffles(codes, permutations, seed):
        hits += _sums(units, shuffled, n_groups) >= found
    return _p_values(hits, permutations, np.bincount(codes, minlength=n_groups), found)


def differently_attended(attention: sp.csr_matrix, first: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """(M,) two-sided p-values: the cells of the first of two groups attend to a gene as the others do.

    first: (n,) bool. NaN where either group has no cells and for a gene that no cell attends to.
    """
    units, codes = _units(attention), np.where(first, 0, 1)
    sums = _sums(units, codes, 2)
    expected = sums.sum(0) * first.mean()
    # Half a unit: sums as far below the expectation as others are above it are ties, whatever the rounding.
    distance = np.abs(sums[0] - expected) - 0.5
    hits = np.zeros(len(expected), np.int64)
    for shuffled in _shuffles(codes, permutations, seed):
        chosen = np.flatnonzero(shuffled == 0)
        hits += np.abs(np.asarray(units[chosen].sum(0)).ravel() - expected) >= distance
    return _p_values(np.stack([hits, hits]), permutations, np.bincount(codes, minlength=2), sums)[0]


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p-values (..., M) over the last axis, each row a family of its own; NaN takes no part and stays."""
    adjusted = np.full(p_values.shape, np.nan)
    for row, target in zip(np.atleast_2d(p_values), np.atleast_2d(adjusted), strict=True):
        tested = np.flatnonzero(~np.isnan(row))
        order = tested[np.argsort(-row[tested], kind="stable")]  # largest first
        scaled = row[order] * len(order) / np.arange(len(order), 0, -1)
        target[order] = np.minimum(np.minimum.accumulate(scaled), 1)
    return adjusted


def _units(attention: sp.csr_matrix) -> sp.csr_matrix:
    units = sp.csr_matrix(attention, dtype=np.float64, copy=True)
    units.data = np.rint(units.data * UNITS)
    return units


def _sums(units: sp.csr_matrix, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """(G, M) sums over the cells of each group."""
    order, size = np.argsort(codes, kind="stable"), np.bincount(codes, minlength=n_groups)
    chooser = sp.csr_matrix((np.ones(len(codes)), order, np.r_[0, np.cumsum(size)]), (n_groups, len(codes)))
    return (chooser @ units).toarray()


def _shuffles(codes: np.ndarray, permutations: int, seed: int):
    rng = np.random.default_rng(seed)
    for _ in range(permutations):
        yield rng.permutation(codes)


def _p_values(hits: np.ndarray, permutations: int, size: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The arrangement that was found is one of those that chance could give: it counts as a hit."""
    p_values = (1 + hits) / (1 + permutations)
    p_values[(size == 0) | (size == size.sum())] = np.nan
    p_values[:, sums.sum(0) == 0] = np.nan
    return p_values
