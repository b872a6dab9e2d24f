"""Linear classifiers of the views of genes: fitted exactly on few cells, and by steps over all cells of a large reference."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from cellmemory.network.threads import one_thread_of_scipy

#: Cells of a step, and steps, at least: every cell is seen once or more.
STEP_CELLS, FEWEST_STEPS = 512, 1_400
LEARNING_RATE, MOMENTUM = 2e-3, (0.9, 0.99)


@dataclass(frozen=True)
class Linear:
    """A linear classifier on the centred and scaled views of genes: weight (2, genes, C), bias (C,)."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, cells: np.ndarray) -> np.ndarray:
        """Logits (n, C) of views (n, 2, genes)."""
        weight = self.weight.reshape(-1, len(self.bias))
        return cells.reshape(-1, len(weight)) @ weight + self.bias


def mean_of(classifiers: list[Linear]) -> Linear:
    """The classifier whose logits are the means of those of several."""
    return Linear(np.mean([one.weight for one in classifiers], 0), np.mean([one.bias for one in classifiers], 0))


def fit_exactly(cells: np.ndarray, labels: np.ndarray, n_labels: int, penalty: float) -> Linear:
    """A classifier of centred cells (n, 2, genes), in which every label counts alike; one that does not occur gets no weight.

    penalty: the inverse strength of its L2 penalty, beside the sum over cells.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weight, bias = np.zeros((cells.shape[1] * cells.shape[2], n_labels), np.float32), np.zeros(n_labels, np.float32)
    if len(np.unique(labels)) == 1:  # a fold of a tiny reference: nothing separates labels there
        return Linear(weight.reshape(*cells.shape[1:], n_labels), bias)
    with warnings.catch_warnings(), one_thread_of_scipy():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a rough solution is all that is needed
        model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=200, tol=1e-3)
        model.fit(cells.reshape(len(cells), -1), labels)
    columns = model.classes_ if len(model.classes_) > 2 else model.classes_[1:]  # of two labels only the second has weights
    weight[:, columns], bias[columns] = model.coef_.T, model.intercept_
    return Linear(weight.reshape(*cells.shape[1:], n_labels), bias)


@dataclass(frozen=True)
class Examples:
    """What classifiers learn from: (n,) numbers of cells, the code of each one's label, and its weight in the loss."""

    cells: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    n_labels: int


def fit_by_steps(
    views_of: Callable[[np.ndarray], np.ndarray],
    examples: Examples,
    *,
    learns: np.ndarray,
    strengths: np.ndarray,
    seed: int,
) -> list[Linear]:
    """Several classifiers side by side, by Adam on cells in random order.

    Memory does not grow with cells. Time hardly does: all cells are seen once, and few ones often.

    Parameters
    ----------
    views_of
        Gives the scaled views (n, 2, genes) of cells.
    learns
        (classifiers, n) bool: which of the examples each classifier learns from.
    strengths
        (classifiers,) of the L2 penalty of each, beside the mean over its examples.
    """
    cells, labels, n_labels, n, several = examples.cells, examples.labels, examples.n_labels, len(examples.cells), len(strengths)
    share = learns * examples.weight / (learns * examples.weight).mean(1, keepdims=True)
    n_features = views_of(cells[:1]).size
    weight, bias = torch.zeros(n_features, several * n_labels), torch.zeros(several * n_labels)
    penalty = torch.from_numpy(np.repeat(strengths, n_labels).astype(np.float32))
    optimiser = torch.optim.Adam([weight, bias], LEARNING_RATE, betas=MOMENTUM)
    steps, rng, order = max(FEWEST_STEPS, math.ceil(n / STEP_CELLS)), np.random.default_rng(seed), np.zeros(0, np.int64)
    for step in range(steps):
        if len(order) < min(STEP_CELLS, n):
            order = np.concatenate([order, rng.permutation(n)])
        rows, order = order[:STEP_CELLS], order[STEP_CELLS:]
        seen = torch.from_numpy(views_of(cells[rows]).reshape(len(rows), n_features))
        slope = torch.softmax((seen @ weight + bias).view(len(rows), several, n_labels), 2)
        slope[torch.arange(len(rows)), :, torch.from_numpy(labels[rows].astype(np.int64))] -= 1
        slope *= torch.from_numpy((share[:, rows].T / len(rows)).astype(np.float32))[:, :, None]
        slope = slope.view(len(rows), -1)
        weight.grad, bias.grad = seen.T @ slope + penalty * weight, slope.sum(0)
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.step()
    weights, biases = weight.view(2, -1, several, n_labels).numpy(), bias.view(several, n_labels).numpy()
    return [Linear(np.ascontiguousarray(weights[:, :, i]), biases[i]) for i in range(several)]
