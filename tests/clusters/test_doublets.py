"""Doublets: sums of two types are found, and what keeps them from being looked for."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import roc_auc_score

from cellmemory.clusters.doublets import FEWEST_CELLS, _pairs, _sums, find_doublets

TYPES, OF_EACH, GENES = 4, 100, 80


def counts_of(types: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Counts (n, GENES) of cells that express twenty genes of their type more than others."""
    rates = np.where(np.arange(GENES) // (GENES // TYPES) == types[:, None], 8.0, 1.0)
    return rng.poisson(rates)


def logged(counts: np.ndarray) -> sp.csr_matrix:
    return sp.csr_matrix(np.log1p(1e4 * counts / counts.sum(1, keepdims=True)).astype(np.float32))


@pytest.fixture
def planted() -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """Values and totals of cells and, at the end, of sums of two of different types; and which these are."""
    rng = np.random.default_rng(0)
    types = np.repeat(np.arange(TYPES), OF_EACH)
    counts = counts_of(types, rng)
    pairs = np.array([rng.choice(len(types), 2, replace=False) for _ in range(60)])
    pairs = pairs[types[pairs[:, 0]] != types[pairs[:, 1]]]
    counts = np.vstack([counts, counts[pairs[:, 0]] + counts[pairs[:, 1]]])
    return logged(counts), counts.sum(1).astype(np.float64), np.arange(len(counts)) >= len(types)


def test_sums_of_two_types_are_found(planted: tuple[sp.csr_matrix, np.ndarray, np.ndarray]):
    values, totals, sums = planted
    finder = find_doublets(values, totals, np.zeros(len(totals), int), 0)
    scores = finder.scores(values)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc_score(sums, scores) > 0.95
    assert np.array_equal(find_doublets(values, totals, np.zeros(len(totals), int), 0).scores(values), scores)
    # Each cell by itself, as in chunks of any size.
    parts = [finder.scores(values[start : start + 50]) for start in range(0, len(totals), 50)]
    assert np.array_equal(np.concatenate(parts), scores)


def test_counts_need_not_be_known(planted: tuple[sp.csr_matrix, np.ndarray, np.ndarray]):
    values, totals, sums = planted
    for unknown in (np.full(len(totals), np.nan), np.where(sums, np.nan, totals)):
        scores = find_doublets(values, unknown, np.zeros(len(totals), int), 0).scores(values)
        assert roc_auc_score(sums, scores) > 0.95


def test_a_cell_weighs_as_its_counts():
    """The sum of two cells is that of their counts, whatever each was normalised by."""
    counts = counts_of(np.repeat([0, 1], 60), np.random.default_rng(1))
    counts[60:] *= 50
    first, second = np.array([0, 3, 70]), np.array([60, 4, 70])
    totals = counts.sum(1).astype(float)
    found = _sums(logged(counts), totals, first, second).toarray()
    np.testing.assert_allclose(found, logged(counts[first] + counts[second]).toarray(), rtol=1e-5)
    alike = np.expm1(_sums(logged(counts), totals * np.nan, first, second).toarray())
    each = np.expm1(logged(counts).toarray())
    np.testing.assert_allclose(alike, (each[first] + each[second]) / 2, rtol=1e-5)


def test_sums_are_of_one_batch():
    batches = np.repeat([0, 1, -1], [70, 20, 10])
    first, second = _pairs(batches, np.random.default_rng(0))
    assert np.array_equal(batches[first], batches[second])
    assert np.array_equal(np.bincount(first), np.full(100, 2))


def test_nothing_is_said_of_few_or_equal_cells():
    counts = counts_of(np.zeros(FEWEST_CELLS, int), np.random.default_rng(0))
    batches = np.zeros(FEWEST_CELLS, int)
    assert find_doublets(logged(counts), counts.sum(1), batches, 0) is not None
    assert find_doublets(logged(counts)[1:], counts.sum(1)[1:], batches[1:], 0) is None
    equal = np.repeat(counts[:1], FEWEST_CELLS, axis=0)
    assert find_doublets(logged(equal), equal.sum(1), batches, 0) is None
