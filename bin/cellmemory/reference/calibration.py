"""What a model knows of its own doubt: the weights of its two parts, and label sets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy.special import log_softmax, softmax

from cellmemory.cells.labels import SEPARATOR

ECE_BINS = 15
#: What the ratio of the two weights is drawn to, and how strongly against the cross-entropy summed over held-out cells.
RATIO, RATIO_PENALTY = 2.0, 3.0
#: With fewer training cells the CLS token has learned less than the linear path, and the ratio grows by as much.
RATIO_CELLS = 250
#: What the linear path's weight is drawn to, and how strongly: where every held-out cell is right, cross-entropy by itself would
#: raise both without end, and with them the confidence on another study's cells, of which some are wrong.
SCALE, SCALE_PENALTY = 0.9, 3.0
LOG_WEIGHT = (-3.0, 3.0)
#: Scores of all held-out cells, evenly spaced from the lowest to the highest, that are added to those of each label.
POOLED_SCORES = 20


@dataclass(frozen=True)
class DoubtSettings:
    """novelty_alpha: below this novelty p-value a cell is unassigned. alpha: label sets miss the truth at most so often.
    min_confidence: a cell whose label has a lower probability is ambiguous; where labels have several levels, its answer is the
    deepest label that reaches it.
    novelty_shift: whether what a query's cells have in common is taken out of their novelty."""

    novelty_alpha: float = 0.05
    alpha: float = 0.05
    min_confidence: float = 0.7
    novelty_shift: bool = True


@dataclass(frozen=True)
class Calibration:
    """calibration.json: what a model knows of its own doubt, from held-out cells of its reference.

    temperature: logits are divided by it; 1 as trained, since the weights set their scale. ece: expected calibration error.
    commonest_share: the accuracy of always giving the commonest label. conformal_scores: rising; conformal_labels: the
    numbers of these cells' labels. novelty_parts: mean and standard deviation of each part of novelty; novelty_common, and
    novelty_null, rising: see novelty.Novelty. panel_accuracy: (share of the panel, accuracy), from the whole panel down.
    linear_weight, cls_weight: of the logits of the model's two parts.
    """

    validation_cells: int
    temperature: float
    ece: float
    validation_accuracy: float
    conformal_scores: list[float]
    conformal_labels: list[int]
    novelty_method: str
    novelty_parts: dict[str, tuple[float, float]]
    novelty_common: float
    novelty_null: list[float]
    commonest_share: float
    panel_accuracy: list[tuple[float, float]]
    linear_weight: float
    cls_weight: float

    @classmethod
    def from_json(cls, value: Mapping) -> "Calibration":
        """Of the object in calibration.json, which model_checks has held to kinds."""
        return cls(**{field.name: value[field.name] for field in fields(cls)})

    def to_json(self) -> dict:
        """As calibration.json has it."""
        return asdict(self)


def fit_weights(linear: np.ndarray, cls: np.ndarray, labels: np.ndarray, training_cells: int) -> tuple[float, float]:
    """Weights of the linear path's and the CLS token's logits (n, C) in their sum, by cross-entropy on held-out cells.

    Few cells say little about which part to trust: a penalty draws the ratio to RATIO then, or to more where there were few
    training cells as well, and another draws the linear path's weight to SCALE; both fade with more held-out cells.
    """
    from scipy.optimize import minimize

    rows, penalty, scale = np.arange(len(labels)), RATIO_PENALTY / len(labels), SCALE_PENALTY / len(labels)
    ratio = np.log(RATIO * max(1.0, RATIO_CELLS / training_cells))

    def loss(log_weights: np.ndarray) -> float:
        logits = np.exp(log_weights[0]) * linear + np.exp(log_weights[1]) * cls
        drawn = penalty * (log_weights[0] - log_weights[1] - ratio) ** 2 + scale * (log_weights[0] - np.log(SCALE)) ** 2
        return -log_softmax(logits, 1)[rows, labels].mean() + drawn

    found = minimize(loss, [0.0, -0.5], method="Nelder-Mead", bounds=[LOG_WEIGHT, LOG_WEIGHT])
    return float(np.exp(found.x[0])), float(np.exp(found.x[1]))


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = ECE_BINS) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by cells (Guo et al. 2017)."""
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = [np.sum(which == b) * abs(confidence[which == b].mean() - correct[which == b].mean()) for b in np.unique(which)]
    return float(np.sum(gaps) / len(confidence))


def conformal_scores(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 - the probability of the true label of each held-out cell, rising, and the labels in this order: the scores of
    split-conformal sets, label by label (Vovk 2012)."""
    scores = 1 - probabilities[np.arange(len(labels)), labels]
    order = np.argsort(scores, kind="stable")
    return scores[order], labels[order]


def conformal_thresholds(calibration: Calibration, n_labels: int, alpha: float) -> np.ndarray:
    """Of each label (n_labels,): with a probability of 1 - this or more it is in a cell's set, so that at least 1 - alpha of the
    label's own cells have it in theirs.

    The quantile of its held-out cells' scores and of some of all cells', which decide where a label has few.
    """
    scores, labels = np.array(calibration.conformal_scores), np.array(calibration.conformal_labels)
    pooled = np.quantile(scores, np.linspace(0, 1, POOLED_SCORES))
    return np.array([np.quantile(np.append(scores[labels == label], pooled), 1 - alpha) for label in range(n_labels)])


def calibrate(logits: np.ndarray, labels: np.ndarray) -> dict:
    """The fields of Calibration that are about confidence, from held-out cells: logits (n, C), weighted, and labels (n,)."""
    correct, probabilities = logits.argmax(1) == labels, softmax(logits, 1)
    scores, of_label = conformal_scores(probabilities, labels)
    return {
        "validation_cells": len(labels),
        "temperature": 1.0,
        "ece": expected_calibration_error(probabilities.max(1), correct),
        "validation_accuracy": float(correct.mean()),
        "commonest_share": float(np.bincount(labels).max() / len(labels)),
        "conformal_scores": np.round(scores, 6).tolist(),
        "conformal_labels": of_label.tolist(),
    }


def label_sets(probabilities: np.ndarray, labels: list[str], thresholds: np.ndarray, alpha: float) -> list[str]:
    """The label set of each cell as `A|B`, most probable label first; the best label is always in it.

    Labels whose probability is 1 - their threshold (C,) or more, and as many more as together have 1 - alpha: of another study's
    cells, which are no draw from where the held-out ones come from, the second keeps what the first loses.
    """
    order, ranked, likely = _ranked(probabilities, 1 - alpha)
    return _joined(order, likely | (ranked >= 1 - thresholds[order]), labels)


def likeliest(probabilities: np.ndarray, labels: list[str], share: float) -> list[str]:
    """The most probable labels of each cell that together have the probability `share`, as `A|B`, most probable first."""
    order, _, likely = _ranked(probabilities, share)
    return _joined(order, likely, labels)


def _ranked(probabilities: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each cell (n, C): labels from the most probable on, their probabilities, and which of them together have `share`; the
    first always."""
    order = np.argsort(-probabilities, 1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, 1)
    likely = np.cumsum(ranked, 1) - ranked < share
    likely[:, 0] = True
    return order, ranked, likely


def _joined(order: np.ndarray, kept: np.ndarray, labels: list[str]) -> list[str]:
    return [SEPARATOR.join(labels[c] for c in row[keep]) for row, keep in zip(order, kept, strict=True)]
