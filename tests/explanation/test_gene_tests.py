"""The permutation tests against all arrangements of a few cells, and what they say of noise and of signal."""

import warnings
from itertools import combinations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from cellmemory.explanation.gene_tests import (
    benjamini_hochberg,
    differently_attended,
    log2_changes,
    more_attended,
    wilcoxon,
)


@pytest.fixture
def few() -> tuple[np.ndarray, np.ndarray]:
    """Attention of seven cells on six genes, with ties and a gene without any, and which three are the group."""
    attention = np.random.default_rng(0).choice([0, 0.1, 0.25, 0.3], (7, 6))
    attention[:, 5] = 0
    return attention, np.array([0, 0, 0, 1, 1, 1, 1])


def arrangements(attention: np.ndarray) -> np.ndarray:
    """(35, genes) sums of every three of the seven cells."""
    return np.array([attention[list(three)].sum(0) for three in combinations(range(7), 3)])


def test_one_sided_p_values_are_those_of_all_arrangements(few):
    attention, codes = few
    found = more_attended(sp.csr_matrix(attention), codes, 2, permutations=6000, seed=0)
    exact = (arrangements(attention) >= attention[:3].sum(0) - 1e-9).mean(0)
    np.testing.assert_allclose(found[0, :5], exact[:5], atol=0.02)
    assert np.isnan(found[:, 5]).all()


def test_two_sided_p_values_are_those_of_all_arrangements(few):
    attention, codes = few
    found = differently_attended(sp.csr_matrix(attention), codes == 0, 6000, 0)
    middle = attention.sum(0) * 3 / 7
    exact = (np.abs(arrangements(attention) - middle) >= np.abs(attention[:3].sum(0) - middle) - 1e-9).mean(0)
    np.testing.assert_allclose(found[:5], exact[:5], atol=0.02)
    assert np.isnan(found[5])


def test_noise_is_noise_and_a_signal_is_found():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 3, 150)
    attention = rng.random((150, 400)) * (rng.random((150, 400)) < 0.4)
    attention[np.ix_(codes == 1, range(20))] += 0.4
    p = more_attended(sp.csr_matrix(attention), codes, 3, permutations=500, seed=0)
    assert 0.02 < (p[:, 20:] < 0.05).mean() < 0.08
    adjusted = benjamini_hochberg(p)
    assert (adjusted[1, :20] < 0.05).all()
    assert (adjusted[[0, 2]] < 0.05).sum() <= 2


def test_a_group_of_one_cell_and_groups_that_leave_no_others():
    attention = sp.csr_matrix(np.random.default_rng(2).random((5, 3)))
    p = more_attended(attention, np.array([0, 1, 1, 1, 1]), 3, permutations=200, seed=0)
    assert (p[0] >= 0.1).all()  # one of five cells: no p-value can be below a fifth, but for the draw of the shuffles
    assert np.isnan(p[2]).all()
    assert np.isnan(more_attended(attention, np.zeros(5, int), 1, permutations=50, seed=0)).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_adjustment_is_that_of_scipy_and_passes_over_what_was_not_tested(p_values, untested):
    rows = np.array([*p_values, *[np.nan] * untested])
    adjusted = benjamini_hochberg(np.stack([rows, rows[::-1]]))
    np.testing.assert_allclose(adjusted[0, : len(p_values)], false_discovery_control(p_values))
    np.testing.assert_allclose(adjusted[1], adjusted[0][::-1])
    assert np.isnan(adjusted).sum() == 2 * untested


def test_fold_changes_are_of_mean_counts_with_one_more():
    counts = np.array([[3.0, 0], [5, 0], [0, 0], [1, 1000]])
    found = log2_changes(sp.csr_matrix(np.log1p(counts)), np.array([0, 0, 1, 1]), 2)
    np.testing.assert_allclose(found[0], [np.log2(5 / 1.5), np.log2(1 / 501)])
    np.testing.assert_allclose(found[1], -found[0])


def test_a_gene_of_a_single_cell_does_not_change_a_billion_times():
    counts = np.zeros((40, 2))
    counts[:, 0], counts[0, 1] = 1, 1
    found = wilcoxon(sp.csr_matrix(np.log1p(counts)), np.repeat([0, 1], 20), 2)
    assert np.abs(found.change).max() < 0.1


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 60), st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_rank_sum_tests_are_those_of_scanpy(n, n_groups, highest, seed):
    rng = np.random.default_rng(seed)
    values = np.log1p(rng.integers(0, highest + 1, (n, 8)) * rng.integers(0, 2, (n, 8)))
    values[:, 0], values[:, 1] = 0, 1.5  # of no cell, and alike in all
    codes = rng.integers(0, n_groups, n)
    found = wilcoxon(sp.csr_matrix(values), codes, n_groups)
    size = np.bincount(codes, minlength=n_groups)
    tested = [g for g in range(n_groups) if 2 <= size[g] <= n - 2]
    assert np.isnan(found.score).all(1).tolist() == [g not in tested for g in range(n_groups)]
    if not tested:
        return
    cells = ad.AnnData(values.astype(np.float32), obs={"group": pd.Categorical(codes.astype(str))})
    cells.var_names = list(map(str, range(8)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(cells, "group", groups=list(map(str, tested)), method="wilcoxon", tie_correct=True)
    theirs = cells.uns["rank_genes_groups"]
    for g in tested:
        order = theirs["names"][str(g)].astype(int)
        np.testing.assert_allclose(found.score[g, order], theirs["scores"][str(g)], atol=1e-5)
        np.testing.assert_allclose(found.adjusted[g, order], theirs["pvals_adj"][str(g)], atol=1e-6)
