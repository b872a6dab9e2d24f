"""States of labels on made cells, and what clusters express beyond them."""

import numpy as np
import pytest
import scipy.sparse as sp

from cellmemory.clusters.excess import find_excess, kept_markers
from cellmemory.reference.states import ADDED_SPREAD, LabelStates, learn_states

GENES = 40


def cells(of: list[tuple[int, int, int]], seed: int = 0) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """(label, state, cells) of each group -> values, labels and groups. A state of a label raises eight genes of its own."""
    rng = np.random.default_rng(seed)
    labels, states = (np.repeat([row[i] for row in of], [row[2] for row in of]) for i in (0, 1))
    rates = np.full((len(labels), GENES), 0.4)
    for i, state in enumerate(states):
        rates[i, 8 * state : 8 * state + 8] = 5
    return sp.csr_matrix(np.log1p(rng.poisson(rates)).astype(np.float32)), labels, states


def test_a_varied_label_has_states_and_a_small_one_its_mean():
    values, labels, groups = cells([(0, 0, 60), (0, 1, 60), (1, 2, 8)])
    found = learn_states(values, labels, 3, 0)
    assert np.bincount(found.label, minlength=3).tolist() == [12, 1, 0]
    np.testing.assert_allclose(found.mean[found.label == 1][0], values[labels == 1].toarray().mean(0), rtol=1e-5)
    spread = np.sqrt(np.mean([values[labels == i].toarray().var(0) for i in (0, 1)], axis=0))
    np.testing.assert_allclose(found.spread, spread + ADDED_SPREAD, rtol=1e-4)
    nearest = found.nearest(values, labels, np.ones(GENES, bool))
    raised = found.mean[nearest][:, :8].mean(1) > found.mean[nearest][:, 8:16].mean(1)
    assert raised[groups == 0].all()
    assert not raised[groups == 1].any()


def test_a_cell_is_held_against_its_own_label_in_measured_genes():
    states = LabelStates(np.array([[1, 0, 9], [5, 0, 0], [0, 1, 0]], np.float32), np.array([0, 0, 1]), np.ones(3, np.float32))
    cell = sp.csr_matrix(np.array([[4.0, 0, 9]], np.float32))
    assert states.nearest(cell, np.array([0]), np.ones(3, bool)).tolist() == [0]
    assert states.nearest(cell, np.array([0]), np.array([True, True, False])).tolist() == [1]
    assert states.nearest(cell, np.array([1]), np.ones(3, bool)).tolist() == [2]


@pytest.fixture
def states() -> LabelStates:
    values, labels, _ = cells([(0, 0, 80), (1, 1, 80), (2, 2, 80)])
    return learn_states(values, labels, 3, 0)


def test_a_new_type_stands_out_by_its_own_genes(states):
    values, labels, groups = cells([(0, 0, 60), (1, 1, 60), (2, 2, 60), (2, 3, 30)], seed=1)
    found = find_excess(values, groups, labels, states=states, measured=np.ones(GENES, bool))
    assert found.score.argmax() == 3
    assert found.score[3] > 2.5 > np.sort(found.score)[-2]
    assert set(np.argsort(-found.genes[3])[:8]) == set(range(24, 32))


def test_a_state_keeps_the_markers_of_its_label_and_a_new_type_does_not(states):
    values, _, groups = cells([(0, 0, 60), (1, 1, 60), (2, 3, 30), (2, 2, 30)], seed=1)
    dense = values.toarray()
    dense[groups == 2, 32:] += 2  # label 2 with genes of its own besides
    given = {"states": states, "measured": np.ones(GENES, bool)}
    label_of = np.array([0, 1, 2, 2])
    kept = kept_markers(sp.csr_matrix(dense), groups, label_of, **given)
    assert kept.tolist() == [1, 1, 1, kept[3]]
    assert kept[3] < 0.3, "another type, which was called 2"
    alone = LabelStates(states.mean[states.label == 0], states.label[states.label == 0], states.spread)
    assert np.isnan(kept_markers(values, groups, np.zeros(4, int), states=alone, measured=given["measured"])).all()
    without = np.ones(GENES, bool)
    without[16:24] = False
    unknown = kept_markers(sp.csr_matrix(dense), groups, label_of, states=states, measured=without)
    assert unknown[:2].tolist() == [1, 1]


def test_what_all_clusters_have_in_common_is_no_excess(states):
    values, labels, groups = cells([(0, 0, 60), (1, 1, 60), (2, 2, 60), (2, 2, 60)], seed=1)
    groups[-60:] = 3
    moved = values.toarray()
    moved[:, 30:40] += 2
    found = find_excess(sp.csr_matrix(moved), groups, labels, states=states, measured=np.ones(GENES, bool))
    assert found.genes[:, 30:40].max() < (2 / states.spread[30:40]).min() / 3


@pytest.mark.parametrize("n_clusters", [4, 5, 12])
def test_excess_is_beyond_the_median_of_the_other_clusters(n_clusters):
    rng = np.random.default_rng(n_clusters)
    codes = rng.permutation(np.repeat(np.arange(n_clusters), 6))
    values = rng.integers(0, 4, (len(codes), GENES)).astype(np.float64)
    one = LabelStates(rng.random((1, GENES)), np.array([0]), rng.random(GENES) + 0.5)
    of_cluster = [values[codes == k] for k in range(n_clusters)]
    apart = np.array([(each.mean(0) - one.mean[0]) / one.spread for each in of_cluster])
    error = np.array([each.std(0) / np.sqrt(6) / one.spread for each in of_cluster])
    expected = apart - [np.median(np.delete(apart, k, axis=0), axis=0) for k in range(n_clusters)] - error
    labels = np.zeros(len(codes), int)
    found = find_excess(sp.csr_matrix(values), codes, labels, states=one, measured=np.ones(GENES, bool))
    np.testing.assert_allclose(found.genes, expected, atol=1e-12)


def test_absent_genes_have_none_and_few_clusters_no_score(states):
    values, labels, groups = cells([(0, 0, 40), (1, 1, 40), (2, 2, 40)])
    measured = np.arange(GENES) != 5
    found = find_excess(values, groups, labels, states=states, measured=measured)
    assert np.isnan(found.genes[:, 5]).all()
    assert not np.isnan(found.genes[:, measured]).any()
    assert np.isnan(found.score).all()
