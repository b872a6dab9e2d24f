"""What a reference can teach before the first training step: where gene embeddings start, and how sure its labels are.

A Transformer trained from random weights on a few hundred cells spends them on learning which genes go together, and
then remembers every mislabelled cell. Two convex models of the same cells say both at once: a PCA and a regularised
linear classifier. What each brought is in docs/model.md.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cellmemory.tokens import Tokens

COMPONENTS = 50
#: Keeps genes that hardly vary from being blown up to the variance of the others.
SMALLEST_SPREAD = 0.02
#: The linear classifier sees at most so many cells; beyond that it has nothing more to say.
MAX_CELLS = 5_000
FOLDS = 5
#: Inverse strength of its L2 penalty, on genes of unit variance.
PENALTY = 0.01
#: Its loadings start larger than those of the PCA: they are about the labels.
LINEAR_SCALE = 2.0


@dataclass(frozen=True)
class Start:
    """loadings: (genes, k), where the gene embeddings start. opinion: (n, C), out-of-fold label probabilities of each cell.

    weight (genes, C), bias (C,), mean and spread (genes,): the linear classifier on centred and scaled levels.
    """

    loadings: np.ndarray
    opinion: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def learn_start(tokens: Tokens, labels: np.ndarray, training: np.ndarray, n_genes: int, n_bins: int, seed: int) -> Start:
    """Loadings of a PCA and of a linear classifier side by side, and the classifier's opinion of the training cells.

    labels: (n,) codes of all cells of `tokens`. Only training cells are learned from; opinions of other cells are zero.
    Memory: at most 5,000 cells x genes, dense.
    """
    rng = np.random.default_rng(seed)
    values = sp.csr_matrix((tokens.bin / np.float32(n_bins), tokens.gene, tokens.start), shape=(len(tokens), n_genes))
    seen = _stratified(labels, training, MAX_CELLS, rng)
    mean, spread = _moments(values[seen])
    n_labels = int(labels.max()) + 1
    folds = rng.permutation(len(seen)) % FOLDS
    opinion = np.zeros((len(tokens), n_labels), np.float32)
    models = [_classifier(_scale(values[seen[folds != f]], mean, spread), labels[seen[folds != f]]) for f in range(FOLDS)]
    unseen = np.setdiff1d(training, seen)
    for f, model in enumerate(models):
        # Cells that no fold learned from are out of fold for every model; the folds share them out.
        for rows in (seen[folds == f], unseen[f::FOLDS]):
            for part in np.array_split(rows, max(1, len(rows) // MAX_CELLS)):
                if len(part):
                    probabilities = model.predict_proba(_scale(values[part], mean, spread))
                    opinion[np.ix_(part, model.classes_)] = probabilities
    weight, bias = _average(models, n_genes, n_labels)
    components = _principal_loadings(values[seen], mean, spread, seed)
    loadings = np.hstack([LINEAR_SCALE * _unit_variance(weight / spread[:, None]), _unit_variance(components)])
    return Start(loadings, opinion, weight, bias, mean.astype(np.float32), spread.astype(np.float32))


def _average(models: list, n_genes: int, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the folds' classifiers as weights (genes, C) and biases (C,)."""
    weight, bias = np.zeros((n_genes, n_labels), np.float32), np.zeros(n_labels, np.float32)
    for model in models:
        columns = model.classes_ if len(model.classes_) > 2 else model.classes_[1:]
        weight[:, columns] += model.coef_.T / len(models)
        bias[columns] += model.intercept_ / len(models)
    return weight, bias


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


def _moments(values: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    mean = np.asarray(values.mean(0)).ravel()
    variance = np.asarray(values.multiply(values).mean(0)).ravel() - mean**2
    return mean, np.sqrt(np.maximum(variance, 0)) + SMALLEST_SPREAD


def _scale(values: sp.csr_matrix, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return ((values.toarray() - mean) / spread).astype(np.float32)


def _classifier(cells: np.ndarray, labels: np.ndarray):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a rough solution is all that is needed
        return LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=200, tol=1e-3).fit(cells, labels)


def _principal_loadings(values: sp.csr_matrix, mean: np.ndarray, spread: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    k = min(COMPONENTS, min(values.shape) - 1)
    found = PCA(k, svd_solver="randomized", random_state=seed).fit(_scale(values, mean, spread))
    return found.components_.T * np.sqrt(found.explained_variance_)


def _unit_variance(loadings: np.ndarray) -> np.ndarray:
    return (loadings / max(loadings.std(), 1e-12)).astype(np.float32)
