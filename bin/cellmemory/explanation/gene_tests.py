"""Tests of each gene in groups of cells: attention by permutation, and expression next to it by Wilcoxon's rank-sum test.

For attention the group labels of the cells are shuffled, nothing is assumed. One shuffle tests all genes and all groups at
once, for the sums of every group are one sparse product. Attention is summed in whole units, so that equal sums are equal
to the last bit and ties count.

Letters: n cells, M genes, G groups.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from scipy.stats import norm, rankdata

from cellmemory.exact import UNITS

#: A gene is called differential from this adjusted p-value down and from this log2 fold change (either way) up, as in Seurat.
MAX_ADJUSTED_P, MIN_LOG2_CHANGE = 0.05, 0.25
#: Counts per 10,000 that each mean gets before fold changes, as in Seurat: without them a gene of one cell changes 30-fold.
PSEUDOCOUNT = 1.0


@dataclass(frozen=True)
class GeneTests:
    """What was tested of each group and gene, (G, M) each: attention by permutation, expression by Wilcoxon's test."""

    p_value: np.ndarray
    adjusted: np.ndarray
    change: np.ndarray
    expression_adjusted: np.ndarray

    @classmethod
    def none(cls, n_groups: int, n_genes: int) -> "GeneTests":
        """Of nothing: all NaN."""
        return cls(*np.full((4, n_groups, n_genes), np.nan))


def more_attended(attention: sp.csr_matrix, codes: np.ndarray, n_groups: int, *, permutations: int, seed: int) -> np.ndarray:
    """(G, M) one-sided p-values: a group's cells attend to a gene no more than as many cells drawn from all.

    attention: (n, M); codes: (n,) group of each cell, none negative. The smallest p-value is 1 / (permutations + 1).
    NaN for a group without cells, for a group that all cells are in, and for a gene that no cell attends to.
    """
    units, found = _units(attention), sums_of_groups(_units(attention), codes, n_groups)
    hits = np.zeros(found.shape, np.int64)
    for shuffled in _shuffles(codes, permutations, seed):
        hits += sums_of_groups(units, shuffled, n_groups) >= found
    return _p_values(hits, permutations, np.bincount(codes, minlength=n_groups), found)


def differently_attended(attention: sp.csr_matrix, first: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """(M,) two-sided p-values: the cells of the first of two groups attend to a gene as the others do.

    first: (n,) bool. NaN where either group has no cells and for a gene that no cell attends to.
    """
    units, codes = _units(attention), np.where(first, 0, 1)
    sums = sums_of_groups(units, codes, 2)
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


def sums_of_groups(values: sp.csr_matrix, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """(G, M) sums of values (n, M) over the cells of each group; codes: (n,) group of each cell, none negative."""
    order, size = np.argsort(codes, kind="stable"), np.bincount(codes, minlength=n_groups)
    chooser = sp.csr_matrix((np.ones(len(codes)), order, np.r_[0, np.cumsum(size)]), (n_groups, len(codes)))
    return (chooser @ values).toarray()


def _shuffles(codes: np.ndarray, permutations: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for _ in range(permutations):
        yield rng.permutation(codes)


def _p_values(hits: np.ndarray, permutations: int, size: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The arrangement that was found is one of those that chance could give: it counts as a hit."""
    p_values = (1 + hits) / (1 + permutations)
    p_values[(size == 0) | (size == size.sum())] = np.nan
    p_values[:, sums.sum(0) == 0] = np.nan
    return p_values


@dataclass(frozen=True)
class ExpressionTests:
    """Expression in each group against others, (G, M) each: Wilcoxon's z, log2 fold change, adjusted p-value."""

    score: np.ndarray
    change: np.ndarray
    adjusted: np.ndarray


def wilcoxon(values: sp.csr_matrix, codes: np.ndarray, n_groups: int) -> ExpressionTests:
    """Tests of every group against all other cells, as scanpy makes them with `tie_correct`, but each gene is ranked once.

    values: (n, M) natural log of 1 + counts per 10,000; codes: (n,) group of each cell. The p-values are two-sided, by the normal
    approximation, adjusted by Benjamini-Hochberg over the genes. NaN for a group with fewer than two cells, inside or outside
    of it.
    """
    n, size = len(codes), np.bincount(codes, minlength=n_groups)[:, None]
    ranks = _ranks_above_zero(values)
    mean, square = (np.asarray(each.mean(0)).ravel() for each in (ranks, ranks.multiply(ranks)))
    # The variance of ranks with ties is the one that tie correction leaves.
    variance = size * (n - size) / max(n - 1, 1) * (square - mean**2)
    distance = sums_of_groups(ranks, codes, n_groups) - size * mean
    score = np.divide(distance, np.sqrt(variance), out=np.zeros_like(distance), where=variance > 0)
    score[(np.minimum(size, n - size) < 2).ravel()] = np.nan
    adjusted = benjamini_hochberg(2 * norm.sf(np.abs(score)))
    return ExpressionTests(score, np.where(np.isnan(adjusted), np.nan, log2_changes(values, codes, n_groups)), adjusted)


def _ranks_above_zero(values: sp.csr_matrix) -> sp.csr_matrix:
    """(n, M) by how much the rank of each value among its gene's exceeds the rank of a zero; ties share their mean rank."""
    ranks = sp.csc_matrix(values, dtype=np.float64, copy=True)
    ranks.eliminate_zeros()
    for start, end in pairwise(ranks.indptr):
        zeros = values.shape[0] - (end - start)
        ranks.data[start:end] = rankdata(ranks.data[start:end]) + (zeros - 1) / 2
    return ranks.tocsr()


def log2_changes(values: sp.csr_matrix, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """(G, M) log2 of the ratio of mean counts per 10,000, a group's over all other cells', each with PSEUDOCOUNT more."""
    counts = sp.csr_matrix((np.expm1(values.data.astype(np.float64)), values.indices, values.indptr), values.shape)
    sums, size = sums_of_groups(counts, codes, n_groups), np.bincount(codes, minlength=n_groups)[:, None]
    means = sums / np.maximum(size, 1), (sums.sum(0) - sums) / np.maximum(len(codes) - size, 1)
    inside, outside = (np.log2(np.maximum(mean, 0) + PSEUDOCOUNT) for mean in means)
    return inside - outside


def is_differential(change: np.ndarray, adjusted: np.ndarray) -> np.ndarray:
    """`yes`, `no`, or empty where it was not tested."""
    yes = (adjusted <= MAX_ADJUSTED_P) & (np.abs(change) >= MIN_LOG2_CHANGE)
    return np.where(np.isnan(adjusted), "", np.where(yes, "yes", "no"))
