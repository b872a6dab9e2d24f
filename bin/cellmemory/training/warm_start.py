"""What a reference can teach before the first training step: where gene embeddings start, and how sure its labels are.

A Transformer trained from random weights on a few hundred cells spends them on learning which genes go together, and
then remembers every mislabelled cell. Two convex models of the same cells say both at once: a PCA and a regularised
linear classifier. What each brought is in docs/decisions.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import log_softmax

from cellmemory.network.linear_fit import Examples, Linear, fit_by_steps, fit_exactly, mean_of
from cellmemory.network.linear_path import CLIP
from cellmemory.network.tokens import SQRT_SHARE_SCALE, Tokens, views
from cellmemory.sampling import stratified

COMPONENTS = 50
#: Cells, at most, that the PCA, the scale of genes, their choice and that of the penalty are made on.
BASIS_CELLS = 5_000
#: Keeps genes that hardly vary from being blown up to the variance of the others.
SMALLEST_SPREAD = 0.02
#: Cells whose views are made dense at a time.
CHUNK = 1_024
FOLDS = 5
#: Genes that it looks at, at most, those that separate the labels best: each gene more is one more that another
#: donor, protocol or species may express otherwise. Of a reference of more than BASIS_CELLS held-out cells choose the number.
SELECTED_GENES = (500, 1_000, 2_000)
#: Fewer genes are preferred where the cross-entropy is at most by this share above the lowest.
INDIFFERENCE, LARGE_INDIFFERENCE = 0.05, 0.01
#: Cells that choose it, at most.
CHOOSING_CELLS = 20_000
#: Cells, at most, of which a classifier sees all views at once: with 2,000 genes 0.8 GB, and once more for a part of them. A
#: reference of more is large.
EXACT_CELLS = 50_000
#: The strengths of the penalty beside the mean over the cells of a large reference, of which left-out cells choose.
STRENGTHS = (1 / 500, 1 / 150, 1 / 50, 1 / 15)
#: How far labels are balanced there: a label weighs as its cells to the power of 1 less this.
BALANCE = 0.5
#: Inverse strengths of its L2 penalty, on views of unit variance, of which the folds choose.
PENALTIES = (0.01, 0.03, 0.1)
#: For more cells the inverse strength falls as their number rises: the penalty then weighs as much beside the mean over cells as
#: it did beside that over BASIS_CELLS. Left-out cells may choose one of these times as much.
OTHER_PENALTIES = (0.3, 3.0)
#: Its loadings start larger than those of the PCA: they are about the labels.
LINEAR_SCALE = 2.0


@dataclass(frozen=True)
class ViewScaler:
    """How the views of genes (see tokens.views, with n_bins) are brought to one scale: mean, spread (2, genes) of training
    cells."""

    mean: np.ndarray
    spread: np.ndarray
    n_bins: int

    def __call__(self, seen: np.ndarray, genes: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Views (n, 2, genes), of all genes or of some, centred, scaled and clipped, in place."""
        seen -= self.mean[:, genes]
        seen /= self.spread[:, genes]
        return np.clip(seen, -CLIP, CLIP, out=seen)

    def views(self, tokens: Tokens, cells: np.ndarray, genes: np.ndarray) -> np.ndarray:
        """The scaled views (n, 2, genes) of some genes of some cells."""
        scaled = np.empty((len(cells), 2, len(genes)), np.float32)
        for start in range(0, len(cells), CHUNK):
            stop = start + CHUNK
            scaled[start:stop] = self(views(tokens, cells[start:stop], self.n_bins)[:, :, genes], genes)
        return scaled


@dataclass(frozen=True)
class WarmStart:
    """loadings: (genes, k), where the gene embeddings start. scaler: of the genes' views. share: (genes,), mean share of a
    cell's counts.

    selected: the genes that a classifier looks at; penalty: the inverse strength of its penalty, None of a large reference.
    folds: classifiers on these genes, each of which left out a part of the cells; fold: (n,) one that never saw a cell.
    """

    loadings: np.ndarray
    scaler: ViewScaler
    share: np.ndarray
    selected: np.ndarray
    penalty: float | None
    folds: list[Linear]
    fold: np.ndarray

    def classifier(self, tokens: Tokens, labels: np.ndarray, cells: np.ndarray) -> Linear:
        """One classifier of all of `cells`, of a large reference the mean of those of the folds. Genes, their scale and the
        penalty are those of the folds. Genes that it does not look at have no weight."""
        if self.penalty is None:
            found = mean_of(self.folds)
        else:
            scaled = self.scaler.views(tokens, cells, self.selected)
            found = fit_exactly(scaled, labels[cells], int(labels.max()) + 1, self.penalty)
        weight = np.zeros((*self.scaler.mean.shape, found.weight.shape[-1]), np.float32)
        weight[:, self.selected] = found.weight
        return replace(found, weight=weight)

    def out_of_fold(self, tokens: Tokens, cells: np.ndarray) -> np.ndarray:
        """Logits (len(cells), C) of training cells, each by the classifier that never saw it."""
        logits = np.empty((len(cells), len(self.folds[0].bias)), np.float32)
        for start in range(0, len(cells), CHUNK):
            chunk = cells[start : start + CHUNK]
            seen = self.scaler.views(tokens, chunk, self.selected)
            logits[start : start + CHUNK] = _out_of_fold_logits(self.folds, self.fold[chunk], seen)
        return logits


def balance(n: int) -> float:
    """How far labels are balanced in a reference of n training cells: entirely, or of a large one half of the way, where labels
    of many cells would suffer from it (docs/decisions.md)."""
    return BALANCE if n > EXACT_CELLS else 1.0


def fit_warm_start(
    tokens: Tokens, labels: np.ndarray, cells: np.ndarray, *, batch: np.ndarray | None = None, n_bins: int, seed: int
) -> WarmStart:
    """Loadings of a PCA and of linear classifiers side by side, and the classifiers themselves.

    labels, batch (or None): (n,) codes of all cells of `tokens`; cells: those that are learned from. Memory: twice the genes for
    up to 5,000 of these cells, and twice the selected genes for all, up to 50,000, dense.
    """
    rng = np.random.default_rng(seed)
    basis = stratified(labels, cells, BASIS_CELLS, np.random.default_rng(seed))
    values = views(tokens, basis, n_bins)
    scaler = ViewScaler(values.mean(0), values.std(0) + np.float32(SMALLEST_SPREAD), n_bins)
    share = ((values[:, 1] / SQRT_SHARE_SCALE) ** 2).mean(0)
    part = rng.permutation(len(cells)) % FOLDS
    # Cells that no classifier saw are out of fold for all of them; they are shared out.
    fold = np.arange(len(tokens)) % FOLDS
    fold[cells] = part
    centred, n_labels = scaler(values), int(labels.max()) + 1
    ranking = rank_genes(centred, labels[basis], n_labels)
    candidates = [np.sort(ranking[:n]) for n in np.unique(np.minimum(SELECTED_GENES, len(ranking)))]
    penalty: float | None = None
    if len(cells) > EXACT_CELLS:
        large = _LargeReference(tokens, scaler, labels, cells, seed)
        left_out = part == 0 if batch is None else _left_out_batches(batch[cells], rng)
        selected, strength = large.choose(candidates, left_out)
        folds = large.fit(selected, part != np.arange(FOLDS)[:, None], np.full(FOLDS, strength))
    else:
        selected = candidates[0]
        penalty, folds = _choose_penalty(np.ascontiguousarray(centred[:, :, selected]), labels[basis], fold[basis], n_labels)
        if len(cells) > len(basis):
            choosing = stratified(labels, cells, CHOOSING_CELLS, np.random.default_rng(seed))
            left_out = fold[choosing] == 0 if batch is None else _left_out_batches(batch[choosing], rng)
            trial = _Trial(lambda genes: scaler.views(tokens, choosing, genes), labels[choosing], left_out)
            at_first = penalty * len(basis) / len(choosing)
            selected, loss = _choose_genes(candidates, trial, at_first)
            losses = {1.0: loss} | {factor: trial.loss(selected, factor * at_first) for factor in OTHER_PENALTIES}
            penalty *= min(losses, key=lambda factor: losses[factor]) * len(basis) / len(cells)
            seen = scaler.views(tokens, cells, selected)
            folds = _fold_classifiers(seen, labels[cells], fold[cells], n_labels, penalty=penalty)
    supervised = np.zeros((len(share), n_labels), np.float32)
    supervised[selected] = np.mean([f.weight[0] for f in folds], 0) / scaler.spread[0][selected, None]
    unsupervised = _unit_variance(_principal_loadings(centred[:, 0], seed))
    loadings = np.hstack([LINEAR_SCALE * _unit_variance(supervised), unsupervised])
    return WarmStart(loadings, scaler, share / max(share.sum(), 1e-12), selected, penalty, folds, fold)


def _left_out_batches(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which cells (n,) belong to a fifth of the batches, one at least; a fifth of the cells where there is one batch only."""
    present = rng.permutation(np.unique(batch))
    if len(present) == 1:
        return np.arange(len(batch)) % FOLDS == 0
    return np.isin(batch, present[: max(1, len(present) // FOLDS)])


@dataclass(frozen=True)
class _LargeReference:
    """The training cells of a large reference, and classifiers on all of them. labels: (n,) of all cells of `tokens`."""

    tokens: Tokens
    scaler: ViewScaler
    labels: np.ndarray
    cells: np.ndarray
    seed: int

    @property
    def weight(self) -> np.ndarray:
        """What each of the cells weighs in a loss, so that labels are balanced as far as they should be."""
        labels = self.labels[self.cells]
        return np.bincount(labels)[labels] ** -balance(len(labels))

    def views(self, cells: np.ndarray, genes: np.ndarray) -> np.ndarray:
        return self.scaler.views(self.tokens, cells, genes)

    def fit(self, genes: np.ndarray, learns: np.ndarray, strengths: np.ndarray) -> list[Linear]:
        """Classifiers on some genes, one for each row of `learns` (rows, cells) and its strength of penalty."""
        examples = Examples(self.cells, self.labels[self.cells], self.weight, int(self.labels.max()) + 1)
        return fit_by_steps(partial(self.views, genes=genes), examples, learns=learns, strengths=strengths, seed=self.seed)

    def choose(self, candidates: list[np.ndarray], left_out: np.ndarray) -> tuple[np.ndarray, float]:
        """Of sets of genes, from few to many, the first whose classifier is about as right about left-out cells as the best, and
        the best strength of penalty for it. left_out: (cells,) bool.

        By the cross-entropy, in which labels weigh as in the fit. A label that only left-out cells have cannot be learned, and is
        not counted; where no other is left, the first genes and the middle strength are taken.
        """
        labels, strengths = self.labels[self.cells], np.array(STRENGTHS)
        known = np.unique(labels[~left_out])
        asked = np.random.default_rng(self.seed).permutation(np.flatnonzero(left_out & np.isin(labels, known)))[:CHOOSING_CELLS]
        if not len(asked) or len(known) == 1:
            return candidates[0], float(np.median(strengths))
        learns = np.broadcast_to(~left_out, (len(strengths), len(left_out)))
        losses = np.array([self._losses(self.fit(genes, learns, strengths), genes, asked) for genes in candidates])
        chosen = _first_about_lowest(losses.min(1), LARGE_INDIFFERENCE)
        return candidates[chosen], float(strengths[losses[chosen].argmin()])

    def _losses(self, classifiers: list[Linear], genes: np.ndarray, asked: np.ndarray) -> list[float]:
        """The mean cross-entropy of each classifier on some of the cells, given by their numbers among these."""
        seen, truth = self.views(self.cells[asked], genes), self.labels[self.cells[asked]]
        losses, weight = [-log_softmax(one(seen), 1)[np.arange(len(truth)), truth] for one in classifiers], self.weight[asked]
        return [float(np.average(loss, weights=weight)) for loss in losses]


class _Trial:
    """How right classifiers are about left-out cells. views_of: gives the scaled views (n, 2, genes) of some genes of all cells;
    labels, left_out: (n,).

    A label that only left-out cells have cannot be learned, and is not counted.
    """

    def __init__(self, views_of: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, left_out: np.ndarray):
        self._views_of, self._labels, self._left_out = views_of, labels, left_out
        self._known = left_out & np.isin(labels, labels[~left_out])
        self._says_something = bool(self._known.any()) and len(np.unique(labels[~left_out])) > 1

    def loss(self, genes: np.ndarray, penalty: float) -> float:
        """The mean cross-entropy of the left-out cells; 0 where nothing can be said."""
        if not self._says_something:
            return 0.0
        cells, seen, known = self._views_of(genes), ~self._left_out, self._known
        classifier = fit_exactly(cells[seen], self._labels[seen], int(self._labels.max()) + 1, penalty)
        return float(-log_softmax(classifier(cells[known]), 1)[np.arange(known.sum()), self._labels[known]].mean())


def _choose_genes(candidates: list[np.ndarray], trial: _Trial, penalty: float) -> tuple[np.ndarray, float]:
    """Of sets of genes, from few to many, the first whose classifier is about as right about left-out cells as the best, and its
    loss."""
    losses = [trial.loss(genes, penalty) for genes in candidates]
    chosen = _first_about_lowest(np.array(losses), INDIFFERENCE)
    return candidates[chosen], losses[chosen]


def _first_about_lowest(losses: np.ndarray, indifference: float) -> int:
    """The first of the losses that is at most by this share above the lowest."""
    return int(np.argmax(losses <= (1 + indifference) * losses.min()))


def rank_genes(cells: np.ndarray, labels: np.ndarray, n_labels: int) -> np.ndarray:
    """The genes by how much their views (cells, 2, genes) differ between labels, most first.

    By the variance between labels over the one within, of the better of the two views (one-way ANOVA).
    """
    member = np.eye(n_labels, dtype=np.float32)[labels]
    size = np.maximum(member.sum(0), 1)[:, None]
    flat = cells.reshape(len(cells), -1)
    mean = member.T @ flat / size
    between = (size * (mean - flat.mean(0)) ** 2).sum(0)
    within = np.maximum((flat**2).sum(0) - len(flat) * flat.mean(0) ** 2 - between, 1e-6)
    best = (between / within).reshape(cells.shape[1:]).max(0)
    return np.argsort(-best, kind="stable")


def _choose_penalty(cells: np.ndarray, labels: np.ndarray, part: np.ndarray, n_labels: int) -> tuple[float, list[Linear]]:
    """The penalty under which classifiers of all parts but one are right about that one most often, by cross-entropy, and
    these classifiers. cells: (n, 2, genes); part: (n,) below FOLDS."""
    found = []
    for penalty in PENALTIES:
        folds = _fold_classifiers(cells, labels, part, n_labels, penalty=penalty)
        loss = -log_softmax(_out_of_fold_logits(folds, part, cells), 1)[np.arange(len(labels)), labels].mean()
        found.append((loss, penalty, folds))
    return min(found, key=lambda one: one[0])[1:]


def _fold_classifiers(cells: np.ndarray, labels: np.ndarray, part: np.ndarray, n_labels: int, *, penalty: float) -> list[Linear]:
    return [fit_exactly(cells[part != f], labels[part != f], n_labels, penalty) for f in range(FOLDS)]


def _out_of_fold_logits(folds: list[Linear], fold: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Logits (n, C) of cells (n, 2, genes), each by the classifier of its fold (n,), which never saw it."""
    logits = np.empty((len(cells), len(folds[0].bias)), np.float32)
    for number, classifier in enumerate(folds):
        rows = fold == number
        logits[rows] = classifier(cells[rows])
    return logits


def _principal_loadings(centred: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    k = min(COMPONENTS, min(centred.shape) - 1)
    found = PCA(k, svd_solver="randomized", random_state=seed).fit(centred)
    return found.components_.T * np.sqrt(found.explained_variance_)


def _unit_variance(loadings: np.ndarray) -> np.ndarray:
    return (loadings / max(loadings.std(), 1e-12)).astype(np.float32)
