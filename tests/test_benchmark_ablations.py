"""benchmarks/ablations.py: its views are the model's, and its selection finds the genes that differ."""

import numpy as np
import scipy.sparse as sp

import ablations
from cellmemory.network.tokens import tokenize, views


def test_views_are_those_of_the_model():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (30, 40)).astype(np.float32)
    total = counts.sum(1, keepdims=True)
    logged = sp.csr_matrix(np.log1p(1e4 * counts / total))
    tokens = tokenize(logged, np.ones(40, bool), mode="fast", binning="quantile", n_bins=ablations.BINS)
    of_model = views(tokens, np.arange(30), ablations.BINS)
    for place, name in enumerate((ablations.RANK, ablations.ROOT_SHARE)):
        np.testing.assert_allclose(ablations.VIEWS[name](counts, total), of_model[:, place], atol=2e-3)


def test_the_genes_that_differ_are_selected():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 20)
    cells = rng.normal(size=(40, 2, 10))
    cells[labels == "a", 0, 3] += 5
    cells[labels == "a", 1, 7] += 5
    assert ablations.best_genes(cells, labels, 2).tolist() == [3, 7]
    assert ablations.best_genes(cells, labels, None).tolist() == list(range(10))


def test_the_penalty_is_one_of_three():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 20)
    cells = rng.normal(size=(60, 2, 5)) + np.repeat(np.eye(3, 5), 20, 0)[:, None]
    assert ablations.penalty_by_folds(cells, labels) in ablations.PENALTIES
    label = ablations.classifier(cells, labels, 0.1).predict(cells.reshape(60, -1))
    assert (label == labels).mean() > 0.6
