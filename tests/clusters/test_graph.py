"""Clusters of made cells: those that were planted are found, and whatever cells there are, each is in one."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from cellmemory.clusters.graph import find_clusters


def planted(sizes: tuple[int, ...], seed: int = 0) -> tuple[sp.csr_matrix, np.ndarray]:
    """Cells of as many types as there are sizes, each with ten genes of its own, as log1p values; and their types."""
    rng = np.random.default_rng(seed)
    types = np.repeat(np.arange(len(sizes)), sizes)
    rates = np.full((len(sizes), 10 * len(sizes)), 0.3)
    for i in range(len(sizes)):
        rates[i, 10 * i : 10 * i + 10] = 4
    order = rng.permutation(len(types))
    return sp.csr_matrix(np.log1p(rng.poisson(rates[types[order]])).astype(np.float32)), types[order]


def test_planted_types_are_found_and_numbered_by_size():
    values, types = planted((30, 90, 60))
    found = find_clusters(values, 0.5, 0).codes
    assert adjusted_rand_score(types, found) == 1
    assert np.bincount(found).tolist() == [90, 60, 30]


def test_the_same_seed_gives_the_same_clusters():
    values = sp.random(300, 40, density=0.3, format="csr", random_state=0, dtype=np.float32)
    first, again = (find_clusters(values, 2.0, 7).codes for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.max() > find_clusters(values, 0.2, 7).codes.max()


def test_other_cells_join_the_cluster_of_their_type():
    values, types = planted((80, 80, 80))
    first = np.arange(240) < 120
    found = find_clusters(values[first], 0.5, 0)
    of_type = [found.codes[types[first] == i][0] for i in range(3)]
    assert found.nearest(values[~first]).tolist() == [of_type[i] for i in types[~first]]


@pytest.mark.parametrize("values", [np.zeros((0, 5)), np.zeros((1, 5)), np.zeros((30, 5)), np.ones((30, 5)), np.eye(30, 1)])
def test_cells_that_do_not_differ_are_one_cluster(values):
    found = find_clusters(sp.csr_matrix(values, dtype=np.float32), 1.0, 0)
    assert found.codes.tolist() == [0] * len(values)
    assert found.nearest(sp.csr_matrix(values, dtype=np.float32)).tolist() == [0] * len(values)


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(2, 12), st.floats(0.05, 1), st.floats(0.01, 20), st.integers(0, 2**32 - 1))
def test_every_cell_is_in_a_cluster_and_no_cluster_is_empty(n, genes, density, resolution, seed):
    values = sp.random(n, genes, density=density, format="csr", random_state=seed % 1000, dtype=np.float32)
    sizes = np.bincount(find_clusters(values, resolution, seed).codes)
    assert sizes.sum() == n
    assert (sizes > 0).all()
    assert (np.diff(sizes) <= 0).all()


def test_many_equal_cells_beside_others_are_one_cluster_and_take_no_memory():
    """Each would be a neighbour of all others: 4,000 cells without counts made eight million pairs."""
    rng = np.random.default_rng(0)
    ordinary = np.log1p(rng.poisson(np.repeat([[3.0] * 10 + [0.3] * 10, [0.3] * 10 + [3.0] * 10], 60, axis=0)))
    values = sp.vstack([sp.csr_matrix(ordinary.astype(np.float32)), sp.csr_matrix((4_000, 20), dtype=np.float32)], format="csr")
    tracemalloc.start()
    found = find_clusters(values, 1.0, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(found.codes[120:])) == 1
    assert not set(found.codes[:60]) & set(found.codes[60:120])
    assert peak < 20e6
    assert (found.nearest(values[:5]) == found.codes[:5]).all()
