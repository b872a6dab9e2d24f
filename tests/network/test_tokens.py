"""Tokens and bins, against the definitions in words, cell by cell."""

import math

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellmemory.network.tokens import pad, quantile_bins, tokenize, views
from cellmemory.training.batches import subsample
from cellmemory.training.split import split_validation

MATRICES = hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 12)),
                      elements=st.sampled_from([0, 0, 0.5, 1, 1, 2.25, 3, 7]))  # fmt: skip


def expected_bins(row: np.ndarray, n_bins: int) -> list[int]:
    """ceil(n_bins x share of the cell's non-zero values <= this one), for each non-zero value."""
    values = row[row > 0]
    return [math.ceil(n_bins * int((values <= v).sum()) / len(values)) for v in values]


@settings(deadline=None)
@given(matrix=MATRICES, n_bins=st.integers(1, 60))
def test_quantile_bins_are_ranks_within_the_cell(matrix, n_bins):
    tokens = tokenize(sp.csr_matrix(matrix), np.ones(matrix.shape[1], bool), mode="fast", binning="quantile", n_bins=n_bins)
    for i, row in enumerate(matrix):
        here = slice(tokens.start[i], tokens.start[i + 1])
        assert tokens.gene[here].tolist() == np.flatnonzero(row).tolist()
        assert tokens.bin[here].tolist() == expected_bins(row, n_bins)


def test_quantile_bins_known_answer():
    """The example of the paper's binning: ties share the upper bin."""
    bins = quantile_bins(np.array([1, 1, 1, 1, 2, 5.0]), np.array([0, 6]), 50)
    assert bins.tolist() == [34, 34, 34, 34, 42, 50]


@settings(deadline=None)
@given(matrix=MATRICES)
def test_quantile_bins_ignore_monotone_transforms(matrix):
    measured = np.ones(matrix.shape[1], bool)
    logged = tokenize(sp.csr_matrix(np.log1p(matrix)), measured, mode="fast", binning="quantile", n_bins=50)
    raw = tokenize(sp.csr_matrix(matrix), measured, mode="fast", binning="quantile", n_bins=50)
    assert np.array_equal(raw.bin, logged.bin)


@settings(deadline=None)
@given(matrix=MATRICES, data=st.data())
def test_full_mode_has_every_measured_gene_and_no_other(matrix, data):
    measured = np.array(data.draw(st.lists(st.booleans(), min_size=matrix.shape[1], max_size=matrix.shape[1])))
    matrix = matrix * measured
    tokens = tokenize(sp.csr_matrix(matrix), measured, mode="full", binning="log", n_bins=5)
    for i, row in enumerate(matrix):
        here = slice(tokens.start[i], tokens.start[i + 1])
        assert tokens.gene[here].tolist() == np.flatnonzero(measured).tolist()
        wanted = np.where(row > 0, np.clip(np.ceil(row), 1, 5), 0)[measured]
        assert tokens.bin[here].tolist() == wanted.tolist()


@settings(deadline=None)
@given(matrix=MATRICES)
def test_padding_keeps_every_token_in_place(matrix):
    tokens = tokenize(sp.csr_matrix(matrix), np.ones(matrix.shape[1], bool), mode="fast", binning="quantile", n_bins=50)
    cells = np.random.default_rng(0).permutation(len(matrix))
    gene, bins, sqrt_share, valid = pad(tokens, cells)
    for row, cell in enumerate(cells):
        here = slice(tokens.start[cell], tokens.start[cell + 1])
        assert gene[row][valid[row]].tolist() == tokens.gene[here].tolist()
        assert bins[row][valid[row]].tolist() == tokens.bin[here].tolist()
        assert sqrt_share[row][valid[row]].tolist() == tokens.sqrt_share[here].tolist()


@settings(deadline=None)
@given(valid=hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 9))), n=st.integers(0, 10))
def test_subsampling_draws_valid_tokens_without_repeating_any(valid, n):
    gene = np.tile(np.arange(valid.shape[1]), (len(valid), 1))
    drawn, bins, kept = subsample(gene, gene + 1, valid, n, rng=np.random.default_rng(0))
    for row in range(len(valid)):
        genes = drawn[row][kept[row]]
        assert len(set(genes)) == len(genes)
        assert set(genes) <= set(np.flatnonzero(valid[row]))
        assert len(genes) == (min(n, valid[row].sum()) if n else valid[row].sum())
        assert (bins[row] == drawn[row] + 1).all()


@given(st.lists(st.sampled_from([0, 0, 0, 1, 1, 2]), min_size=4, max_size=60))
def test_every_label_trains_and_validates(labels):
    labels = np.array(labels)
    labels = labels[np.bincount(labels, minlength=3)[labels] >= 2]
    if not len(labels):
        return
    training, validation = split_validation(labels, None, 0.2, 0)
    assert sorted([*training, *validation]) == list(range(len(labels)))
    assert set(labels[training]) == set(labels[validation]) == set(labels)


def test_validation_takes_its_share_of_every_batch():
    labels, batch = np.zeros(100, int), np.repeat([0, 1], [80, 20])
    _, validation = split_validation(labels, batch, 0.2, 3)
    assert np.bincount(batch[validation]).tolist() == [16, 4]


@settings(deadline=None)
@given(counts=MATRICES, scale=st.sampled_from([1, 100, 1e4]))
def test_roots_are_of_shares_of_the_counts_whatever_the_scale(counts, scale):
    """Hellinger: the squares of a cell's roots sum to one, and those of two genes are as their counts."""
    total = np.maximum(counts.sum(1, keepdims=True), 1e-9)
    tokens = tokenize(
        sp.csr_matrix(np.log1p(scale * counts / total)),
        np.ones(counts.shape[1], bool),
        mode="fast",
        binning="quantile",
        n_bins=50,
    )
    for i, row in enumerate(counts):
        here = slice(tokens.start[i], tokens.start[i + 1])
        np.testing.assert_allclose((tokens.sqrt_share[here] / 10) ** 2, row[row > 0] / max(row.sum(), 1e-9), rtol=1e-4)


@settings(deadline=None)
@given(matrix=MATRICES, mode=st.sampled_from(["fast", "full"]))
def test_views_are_dense_and_the_same_in_both_modes(matrix, mode):
    tokens = tokenize(sp.csr_matrix(matrix), np.ones(matrix.shape[1], bool), mode=mode, binning="quantile", n_bins=50)
    seen = views(tokens, np.arange(len(matrix)), 50)
    assert (seen[:, :, :][np.repeat((matrix == 0)[:, None], 2, 1)] == 0).all()
    for row, (level, sqrt_share) in zip(matrix, seen, strict=True):
        np.testing.assert_allclose(level[row > 0] * 50, expected_bins(row, 50), rtol=1e-6)
        np.testing.assert_allclose((sqrt_share**2).sum(), 100 * (row > 0).any(), rtol=1e-4)
