"""Differences of proportions between conditions: the examples that propeller was published with, and limma's answers."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from cellmemory.report.proportions import compare_groups, log_odds, variance_prior

#: The donors of the examples of speckle, the package that propeller comes with: shares of three clusters, and cells.
SHARES = np.array([[5, 3, 2], [6, 3, 1], [3, 4, 3], [4, 3, 3], [8, 1, 1], [7.5, 2, 0.5]]) / 10
CELLS = np.array([1000, 1500, 900, 1200, 1000, 800])
COUNTS = np.round(SHARES * CELLS[:, None])
#: Values of six donors and labels, and what limma 3.54 says of them:
#: eBayes(contrasts.fit(lmFit(t(values), model.matrix(~0 + group)), c(-1, 1))).
VALUES = np.array([
    [0.0, 0.06, -0.11, -0.712, -0.682, -2.975], [0.003, 0.268, -0.197, -0.496, 0.735, 1.071],
    [0.005, -0.186, -0.012, 0.556, -2.016, -1.373], [0.005, -0.258, -0.237, 0.812, -1.901, 2.814],
    [0.108, -0.037, -0.507, 0.569, -0.073, 2.34], [0.023, -0.096, 0.109, 0.353, 1.591, -0.423],
])  # fmt: skip
LIMMA_T = [0.6618280466, -1.2136690407, -0.5852495519, 2.0752405317, 0.4471986494, 1.8777568585]
LIMMA_P = [0.53874466705, 0.28159763512, 0.58500072073, 0.09540160043, 0.67432851157, 0.12209960680]
LIMMA_PRIOR = [0.03095159437, 0.76348274621]


def test_two_groups_as_published():
    """speckle's example of propeller.ttest, to the four digits of its own test; its groups are in the other order."""
    found = compare_groups(log_odds(COUNTS[:4]), np.array([0, 0, 1, 1]))
    assert np.round(-found["statistic"], 4).tolist() == [2.6089, -0.6949, -2.9701]
    assert np.round(found["p_value"], 4).tolist() == [0.0402, 0.5131, 0.0250]
    assert np.round(found["adjusted_p_value"], 4).tolist() == [0.0603, 0.5131, 0.0603]


def test_two_groups_of_arc_sines_as_published():
    """speckle's example of propeller with the other transform that it offers: the linear model knows nothing of log odds."""
    found = compare_groups(np.arcsin(np.sqrt(SHARES[:4])), np.array([0, 0, 1, 1]))
    assert np.round(-found["statistic"], 4).tolist() == [3.0818, -0.7954, -2.8302]
    assert np.round(found["p_value"], 4).tolist() == [0.0216, 0.4567, 0.0299]


def test_three_groups_have_the_published_f():
    """Its p-values are smaller: limma takes the variance for known, which t-tests of the same labels do not."""
    found = compare_groups(log_odds(COUNTS), np.array([0, 0, 1, 1, 2, 2]))
    assert np.round(found["statistic"], 4).tolist() == [12.6032, 5.5049, 10.6678]
    assert (found["p_value"] > [3.3611e-06, 0.0041, 0.00005]).all()


def test_variances_that_differ_are_moderated_as_limma_does():
    found = compare_groups(VALUES, np.array([0, 0, 0, 1, 1, 1]))
    np.testing.assert_allclose(found["statistic"], LIMMA_T, rtol=1e-6)
    np.testing.assert_allclose(found["p_value"], LIMMA_P, rtol=1e-6)
    prior = variance_prior(np.array([VALUES[:3, i].var(ddof=1) + VALUES[3:, i].var(ddof=1) for i in range(6)]) / 2, 4)
    np.testing.assert_allclose(prior, LIMMA_PRIOR, rtol=1e-6)


def test_an_interval_holds_the_difference_in_nineteen_of_twenty_data_sets():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(500):
        values = rng.normal(0, 0.3, (8, 5))
        values[4:] += 0.7
        found = compare_groups(values, np.repeat([0, 1], 4))
        inside += ((found["low"] <= 0.7) & (found["high"] >= 0.7)).tolist()
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_p_values_are_uniform_where_conditions_do_not_differ():
    rng = np.random.default_rng(1)
    p = []
    for _ in range(500):
        shares = rng.dirichlet([20, 10, 5, 3], 6)
        counts = np.array([rng.multinomial(500, row) for row in shares])
        p += compare_groups(log_odds(counts), np.repeat([0, 1], 3))["p_value"].tolist()
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_a_single_label_keeps_its_own_variance():
    values = np.array([[0.0], [0.2], [1.0], [1.4]])
    found = compare_groups(values, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(found["p_value"], ttest_ind(values[2:, 0], values[:2, 0]).pvalue)
