"""What a reference can teach before the first training step: where gene embeddings start, and how sure its labels are.

A Transformer trained from random weights on a few hundred cells spends them on learning which genes go together, and
then remembers every mislabelled cell. Two convex models of the same cells say both at once: a PCA and a regularised
linear classifier. What each brought is in docs/model.md.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from cellmemory.linear import CLIP, ROOT_SCALE
from cellmemory.tokens import Tokens, views

COMPONENTS = 50
#: Keeps genes that hardly vary from being blown up to the variance of the others.
SMALLEST_SPREAD = 0.02
#: The linear classifier sees at most so many cells; beyond that it has nothing more to say.
MAX_CELLS = 5_000
#: Cells whose views are made dense at a time.
CHUNK = 1_024
FOLDS = 5
#: Inverse strength of its L2 penalty, on views of unit variance.
PENALTY = 0.01
#: Its loadings start larger than those of the PCA: they are about the labels.
LINEAR_SCALE = 2.0


@dataclass(frozen=True)
class Linear:
    """A linear classifier on the centred and scaled views of the genes: weight (2, genes, C), bias (C,)."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Start:
    """loadings: (genes, k), where the gene embeddings start. mean, spread: (2, genes), of the genes' views. share: (genes,),
    mean share of a cell's counts.

    folds: classifiers, each of which left out a part of the training cells; fold: (n,) the one that never saw a cell, -1
    for a cell that is not trained on.
    """

    loadings: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    share: np.ndarray
    folds: list[Linear]
    fold: np.ndarray

    def classifier(self, tokens: Tokens, labels: np.ndarray, cells: np.ndarray, n_bins: int, seed: int) -> Linear:
        """One classifier of all of `cells`, at most 5,000 of them; its genes are scaled as those of the folds."""
        seen = _stratified(labels, cells, MAX_CELLS, np.random.default_rng(seed))
        return _classifier(self.scale(views(tokens, seen, n_bins)), labels[seen], int(labels.max()) + 1)

    def scale(self, seen: np.ndarray) -> np.ndarray:
        """Views (n, 2, genes) centred, scaled and clipped, in place."""
        seen -= self.mean
        seen /= self.spread
        return np.clip(seen, -CLIP, CLIP, out=seen)

    def out_of_fold(self, tokens: Tokens, cells: np.ndarray, n_bins: int) -> np.ndarray:
        """Logits (len(cells), C) of training cells, each by the classifier that never saw it."""
        logits = np.empty((len(cells), len(self.folds[0].bias)), np.float32)
        for start in range(0, len(cells), CHUNK):
            chunk = cells[start : start + CHUNK]
            seen = self.scale(views(tokens, chunk, n_bins)).reshape(len(chunk), -1)
            for number, fold in enumerate(self.folds):
                rows = self.fold[chunk] == number
                logits[start : start + CHUNK][rows] = seen[rows] @ fold.weight.reshape(-1, len(fold.bias)) + fold.bias
        return logits


def learn_start(tokens: Tokens, labels: np.ndarray, training: np.ndarray, n_bins: int, seed: int) -> Start:
    """Loadings of a PCA and of linear classifiers side by side, and the classifiers themselves.

    labels: (n,) codes of all cells of `tokens`. Only training cells are learned from. Memory: at most 5,000 cells x
    twice the genes, dense.
    """
    rng = np.random.default_rng(seed)
    seen = _stratified(labels, training, MAX_CELLS, rng)
    values = views(tokens, seen, n_bins)
    mean, spread = values.mean(0), values.std(0) + np.float32(SMALLEST_SPREAD)
    share = ((values[:, 1] / ROOT_SCALE) ** 2).mean(0)
    part = rng.permutation(len(seen)) % FOLDS
    # Cells that no classifier saw are out of fold for all of them; they are shared out.
    fold = np.full(len(tokens), -1)
    fold[training] = np.arange(len(training)) % FOLDS
    fold[seen] = part
    start = Start(np.empty((0, 0)), mean, spread, share / max(share.sum(), 1e-12), [], fold)
    centred, n_labels = start.scale(values), int(labels.max()) + 1
    folds = [_classifier(centred[part != f], labels[seen[part != f]], n_labels) for f in range(FOLDS)]
    supervised = LINEAR_SCALE * _unit_variance(np.mean([f.weight[0] for f in folds], 0) / spread[0][:, None])
    unsupervised = _unit_variance(_principal_loadings(centred[:, 0], seed))
    return replace(start, folds=folds, loadings=np.hstack([supervised, unsupervised]))


def _stratified(labels: np.ndarray, rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """At most n of the rows, as evenly over labels as their cells allow, sorted."""
    if len(rows) <= n:
        return rows
    rows = rng.permutation(rows)
    order = np.argsort(labels[rows], kind="stable")
    ordered = labels[rows][order]
    turn = np.empty(len(rows), np.int64)
    turn[order] = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
    return np.sort(rows[np.argsort(turn, kind="stable")[:n]])


def _classifier(cells: np.ndarray, labels: np.ndarray, n_labels: int) -> Linear:
    """A linear classifier of centred cells (n, 2, genes); a label that does not occur gets no weight."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a rough solution is all that is needed
        model = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=200, tol=1e-3)
        model.fit(cells.reshape(len(cells), -1), labels)
    weight, bias = np.zeros((cells.shape[1] * cells.shape[2], n_labels), np.float32), np.zeros(n_labels, np.float32)
    columns = model.classes_ if len(model.classes_) > 2 else model.classes_[1:]  # of two labels only the second has weights
    weight[:, columns], bias[columns] = model.coef_.T, model.intercept_
    return Linear(weight.reshape(*cells.shape[1:], n_labels), bias)


def _principal_loadings(centred: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    k = min(COMPONENTS, min(centred.shape) - 1)
    found = PCA(k, svd_solver="randomized", random_state=seed).fit(centred)
    return found.components_.T * np.sqrt(found.explained_variance_)


def _unit_variance(loadings: np.ndarray) -> np.ndarray:
    return (loadings / max(loadings.std(), 1e-12)).astype(np.float32)
