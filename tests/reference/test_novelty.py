"""Novelty: its parts against plain transcriptions, cell by cell, and what it makes of unknown types and missing genes."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cellmemory.network.tokens import Tokens, label_means, tokenize
from cellmemory.reference.novelty import CommonShift, Novelty, calibrate_novelty, learn_profiles

GENES, LABELS = 60, 3


def cells(label: np.ndarray, seed: int) -> np.ndarray:
    """log1p counts (n, GENES): each label, and an unknown one beyond LABELS, has ten genes of its own."""
    rng = np.random.default_rng(seed)
    rate = np.full((len(label), GENES), 1.0)
    for row, one in zip(rate, label, strict=True):
        row[10 * one : 10 * one + 10] = 6.0
    return np.log1p(rng.poisson(rate)).astype(np.float32)


def tokens_of(values: np.ndarray, measured: np.ndarray | None = None) -> Tokens:
    measured = np.ones(GENES, bool) if measured is None else measured
    return tokenize(sp.csr_matrix(values * measured), measured, mode="fast", binning="quantile", n_bins=50)


def root(values: np.ndarray) -> np.ndarray:
    counts = np.expm1(values.astype(np.float64))
    return 10 * np.sqrt(counts / counts.sum(1, keepdims=True))


@pytest.fixture(scope="module")
def reference() -> tuple[np.ndarray, np.ndarray]:
    label = np.arange(300) % LABELS
    return cells(label, 0), label


@pytest.fixture(scope="module")
def profiles(reference):
    values, label = reference
    share = ((root(values) ** 2).mean(0) / 100).astype(np.float32)
    tokens = tokens_of(values)
    return learn_profiles(tokens, label, label_means(tokens, label, LABELS, 50)[1], share=share, seed=0)


def test_the_distance_is_mahalanobis_to_the_mean_of_the_label(reference, profiles):
    """Against numpy's singular vectors and a plain inverse of the covariance within labels."""
    values, label = reference
    known = root(values)
    axes = np.linalg.svd(known - known.mean(0), full_matrices=False)[2][:10]
    mean = np.stack([known[label == c].mean(0) for c in range(LABELS)])
    covariance = np.cov(((known - mean[label]) @ axes.T).T, bias=True)
    covariance += np.trace(covariance) / 10 * np.eye(10)
    query, asked = cells(np.arange(20) % 4, 1), np.arange(20) % LABELS
    expected = []
    for cell, one in zip(root(query), asked, strict=True):
        off = axes @ (cell - mean[one])
        expected.append(np.sqrt(off @ np.linalg.inv(covariance) @ off))
    # The axes of the largest variance are found by chance starts, the small ones roughly so.
    assert profiles.place(tokens_of(query), asked)[1] == pytest.approx(expected, rel=0.1)


def test_the_odds_are_those_of_one_label_against_all_others(reference, profiles):
    """Against a logistic regression of each label, by another solver, on the reference's own coordinates."""
    values, label = reference
    known = root(values) @ profiles.components
    query, asked = cells(np.arange(20) % 4, 1), np.arange(20) % LABELS
    spread = known.std(0)
    expected = np.empty(20)
    for one in range(LABELS):
        fitted = LogisticRegression(solver="newton-cg", tol=1e-8, max_iter=1000).fit(known / spread, label == one)
        rows = asked == one
        expected[rows] = fitted.decision_function(root(query[rows]) @ profiles.components / spread)
    odds = profiles.place(tokens_of(query), asked)[0]
    assert odds == pytest.approx(expected, abs=0.1)
    assert odds.std() > 1


def test_a_label_without_a_cell_here_is_unlikely_and_no_error():
    """Of several devices that train together, one may have no cell of a rare label."""
    label = np.arange(60) % 2
    tokens = tokens_of(cells(label, 0))
    share = np.full(GENES, 1 / GENES, np.float32)
    two = learn_profiles(tokens, label, label_means(tokens, label, LABELS, 50)[1], share=share, seed=0)
    odds, distance = two.place(tokens, np.full(60, 2))
    assert (odds < -3).all()
    assert np.isfinite(distance).all()


def test_an_unknown_type_is_far_and_known_cells_are_as_held_out_ones(profiles):
    held_out = np.arange(90) % LABELS
    logits = 4 * np.eye(LABELS)[held_out].astype(np.float32)  # as sure of unknown cells as of known ones
    calibration = calibrate_novelty(profiles, logits, tokens_of(cells(held_out, 2)))
    novelty = ready(profiles, calibration)
    query = np.arange(400) % 4
    score, p = novelty(4 * np.eye(LABELS)[query % LABELS].astype(np.float32), tokens_of(cells(query, 3)))
    assert roc_auc_score(query == 3, score) > 0.99
    assert (p[query == 3] < 0.05).mean() > 0.95
    assert (p[query < 3] < 0.05).mean() < 0.12


def test_little_evidence_alone_makes_a_cell_novel(profiles):
    label = np.zeros(20, int)
    logits = np.linspace(1, 5, 20)[:, None] * np.eye(LABELS)[label]
    calibration = calibrate_novelty(profiles, logits, tokens_of(np.repeat(cells(label[:1], 4), 20, 0)))
    novelty = Novelty(profiles, calibration["novelty_parts"], np.zeros(1), 0.0)
    score = novelty.score(logits, tokens_of(np.repeat(cells(label[:1], 5), 20, 0)))
    assert (np.diff(score) < 0).all()


def test_genes_that_were_not_measured_say_nothing(profiles):
    measured = np.arange(GENES) % 3 > 0
    values = cells(np.arange(12) % LABELS, 6)
    other = np.where(measured, values, 9.0).astype(np.float32)
    label = np.arange(12) % LABELS
    odds, distance = profiles.place(tokens_of(values, measured), label)
    others = profiles.place(tokens_of(other, measured), label)
    assert (odds, distance) == (pytest.approx(others[0], rel=1e-6), pytest.approx(others[1], rel=1e-6))
    # Without the genes a cell of its own label is not suddenly far away, as zeros would make it.
    assert distance.mean() < profiles.place(tokens_of(values * measured), label)[1].mean()
    assert (odds > 0).all()


def test_a_cell_is_as_strange_alone_as_among_others(profiles):
    values, label = cells(np.arange(7) % LABELS, 7), np.arange(7) % LABELS
    together = np.array(profiles.place(tokens_of(values), label))
    alone = [np.array(profiles.place(tokens_of(values[i : i + 1]), label[i : i + 1])) for i in range(7)]
    assert (together == np.concatenate(alone, 1)).all()


def ready(profiles, calibration: dict) -> Novelty:
    """Novelty as a trained model has it."""
    null, common = np.array(calibration["novelty_null"]), calibration["novelty_common"]
    return Novelty(profiles, calibration["novelty_parts"], null, common)


def moved(values: np.ndarray, seed: int = 9) -> np.ndarray:
    """The cells as another protocol shows them: every gene of all of them by a factor of its own."""
    factor = np.exp(1.2 * np.random.default_rng(seed).standard_normal(GENES))
    return np.log1p(np.expm1(values) * factor).astype(np.float32)


class TestShift:
    """What a query's cells have in common, and what is left of their novelty without it."""

    def test_a_query_like_the_reference_has_hardly_any(self, profiles):
        label = np.arange(300) % LABELS
        near = len(profiles.scale)
        shift = profiles.shift(tokens_of(cells(label, 11)), label)
        other = profiles.shift(tokens_of(moved(cells(label, 11))), label)
        assert np.linalg.norm(shift[:near] @ profiles.scale) < 0.5
        assert np.linalg.norm(other[:near] @ profiles.scale) > 1

    def test_it_is_the_median_over_labels_of_that_over_cells(self, profiles):
        label = np.repeat(np.arange(LABELS), [30, 20, 4])  # the last has too few cells to say anything
        tokens = tokens_of(moved(cells(label, 12)))
        places = np.sqrt(profiles.share.sum()) * (tokens.matrix(tokens.sqrt_share) @ profiles.components)
        off = [np.median(places[label == one] - (profiles.profile @ profiles.components)[one], 0) for one in (0, 1)]
        assert profiles.shift(tokens, label) == pytest.approx(np.median(off, 0) * 2 / 3, rel=1e-4)
        assert not profiles.shift(tokens.select(np.arange(50, 54)), label[50:]).any()

    def test_types_that_moved_are_known_and_new_ones_are_not(self, profiles):
        held_out = np.arange(90) % LABELS
        logits = 4 * np.eye(LABELS)[held_out].astype(np.float32)
        calibration = calibrate_novelty(profiles, logits, tokens_of(cells(held_out, 2)))
        novelty = ready(profiles, calibration)
        # A tenth is of an unknown type, which passes for the first label.
        query = np.where(np.arange(400) % 10 == 9, LABELS, np.arange(400) % LABELS)
        tokens, logits = tokens_of(moved(cells(query, 3))), 4 * np.eye(LABELS)[query % LABELS].astype(np.float32)
        known, p = query < LABELS, novelty(logits, tokens)[1]
        score, shifted = novelty(logits, tokens, novelty.shift(logits, tokens))
        assert (p[known] < 0.05).mean() > 0.5
        assert (shifted[known] < 0.05).mean() < 0.7 * (p[known] < 0.05).mean()
        assert (shifted[~known] < 0.05).mean() > 0.9
        assert roc_auc_score(~known, score) > 0.98

    @pytest.mark.parametrize(("weaker", "excused"), [(-1, 0), (0, 0), (1, 1), (1.5, 1.5), (2, 0.75), (2.5, 0), (4, 0)])
    def test_weaker_evidence_is_excused_up_to_what_batches_show(self, weaker, excused):
        assert CommonShift(np.zeros(2), weaker).excused == pytest.approx(excused)

    @pytest.mark.parametrize(("weaker", "known"), [(1, True), (6, False)])
    def test_a_query_of_which_all_labels_fit_less_is_known_unless_it_is_far_less(self, profiles, weaker, known):
        rng, held_out = np.random.default_rng(0), np.arange(300) % LABELS
        logits = (6 + rng.standard_normal(300))[:, None] * np.eye(LABELS)[held_out]
        calibration = calibrate_novelty(profiles, logits, tokens_of(cells(held_out, 2)))
        novelty = ready(profiles, calibration)
        label, tokens = np.arange(400) % LABELS, tokens_of(cells(np.arange(400) % LABELS, 3))
        # Of both parts of the evidence together: one of them falls by twice as much.
        fallen = (6 - 2 * weaker + rng.standard_normal(400))[:, None] * np.eye(LABELS)[label]
        shift = novelty.shift(fallen, tokens)
        assert shift.evidence == pytest.approx(weaker * LABELS / (LABELS + 1), rel=0.3)
        flagged = (novelty(fallen, tokens, shift)[1] < 0.05).mean()
        plain = (novelty(fallen, tokens)[1] < 0.05).mean()
        assert flagged < min(0.1, 0.7 * plain) if known else flagged == plain > 0.9
