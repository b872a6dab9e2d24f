"""Novelty: how little speaks for a cell's label, and how far the cell lies from the reference's cells of that label.

Each misses much without the other: a cell of an unknown type may be far from its label and labelled with all confidence, or lie
near a label that hardly fits. Evidence for the label is measured in two ways. The network was taught that every cell has one of
the labels; a classifier of one label against all cells without it was not, and can reject each. docs/decisions.md says what led
to the mean of the three.

Another study's cells lie elsewhere as a whole, and less speaks for each of their labels. What the cells of all labels have in
common is therefore taken out: a type that moved with the others is known, and one that did not is not. Where all moved further
than batches do, it stays: the query is of another tissue then.
"""

from dataclasses import dataclass

import numpy as np

from cellmemory.network.threads import one_thread_of_scipy
from cellmemory.network.tokens import Tokens

#: Principal components that the labels' own classifiers see.
NOVELTY_COMPONENTS = 30
#: The first of them, that the distance is measured in: more of them show a query's protocol or state, not its types.
NEAR_COMPONENTS = 10
#: Added to each component's variance within labels, as a share of the mean variance: small ones must not decide.
SHRINKAGE = 1.0
#: A label with fewer cells says nothing of what a query's labels share.
FEWEST_SHIFTED = 5
#: By how much weaker evidence, in standard deviations over held-out cells, is taken out in full at most; what is taken out falls
#: from there to nothing. References' own batches lie up to 1.7 off, wrong tissues 2.5 and more (docs/decisions.md).
WEAKER, STRANGE = 1.5, 2.5
#: Evidence is compared for this share of each label's cells, which fit it best: others may be of an unknown type.
FITTING = 0.15
METHOD = (
    "mean of three z-scores over the held-out cells: minus the largest logit, minus the log odds of the label against all "
    f"others, and the Mahalanobis distance to its mean, these in {NOVELTY_COMPONENTS} and {NEAR_COMPONENTS} principal components "
    "of the roots of genes' shares"
)
NOVELTY_PARTS = ("logit", "odds", "distance")
EVIDENCE = ("logit", "odds")


@dataclass(frozen=True)
class CommonShift:
    """What the cells of a query have in common. place: (k,), by what they lie off their labels' means, along the components.
    evidence: by how much less speaks for their labels than for those of held-out cells, in standard deviations over these."""

    place: np.ndarray
    evidence: float

    @property
    def excused(self) -> float:
        """How much of the weaker evidence does not count as novelty."""
        return float(max(0.0, min(self.evidence, WEAKER * (STRANGE - self.evidence) / (STRANGE - WEAKER))))


@dataclass(frozen=True)
class Profiles:
    """Where the labels lie, and what separates each from all others.

    components: (genes, k). profile: (C, genes), the mean root of each label's cells. share: (genes,), mean share of a cell's
    counts. scale: (near, near), along the first components, to standard deviations within labels. weight, bias: (k, C) and
    (C,), of one classifier for each label.
    """

    components: np.ndarray
    profile: np.ndarray
    share: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def place(self, tokens: Tokens, label: np.ndarray, shift: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Of each cell and its label, a number of C: the log odds of this label against any other, and how far it is from the
        label's mean, in standard deviations within labels; (n,) each. shift: (k,), what cells are moved back by first.

        Only over the genes that were measured; their shares are taken as shares of what they make up in the reference.
        """
        cells, means = self._along_components(tokens)
        if shift is not None:
            cells = cells - shift
        odds = ((cells - means.mean(0)) * self.weight.T[label]).sum(1) + self.bias[label]
        distance = np.linalg.norm((cells - means[label])[:, : len(self.scale)] @ self.scale, axis=1)
        return odds.astype(np.float64), distance.astype(np.float64)

    def shift(self, tokens: Tokens, label: np.ndarray) -> np.ndarray:
        """By what the cells (n,) of each label, a number of C, lie off their label's mean, as far as labels have it in common:
        (k,), along the components.
        """
        cells, means = self._along_components(tokens)
        off, trust = _typical(cells - means[label], label, len(means))
        return (trust * off).astype(np.float32)

    def _along_components(self, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """Cells (n, k) and means of labels (C, k)."""
        measured = tokens.measured
        components = self.components * measured[:, None]
        cells = np.sqrt(self.share[measured].sum()) * (tokens.matrix(tokens.sqrt_share) @ components)
        return cells, self.profile @ components


@dataclass(frozen=True)
class Novelty:
    """The novelty of cells against that of held-out cells. parts: mean and standard deviation of each of NOVELTY_PARTS over
    these; null: their novelty, sorted; common: where the evidence of those that fit their labels best ends (see FITTING)."""

    profiles: Profiles
    parts: dict[str, tuple[float, float]]
    null: np.ndarray
    common: float

    def __call__(self, logits: np.ndarray, tokens: Tokens, shift: CommonShift | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Novelty and p-value of each cell (n,), given its logits (n, C): the share of held-out cells at least as novel.

        shift: what the query's cells have in common (see `shift`); None leaves them where they are.
        """
        novelty = self.score(logits, tokens, shift)
        more = len(self.null) - np.searchsorted(self.null, novelty, side="left")
        return novelty, (1 + more) / (1 + len(self.null))

    def score(self, logits: np.ndarray, tokens: Tokens, shift: CommonShift | None = None) -> np.ndarray:
        """The mean of the parts, each centred and scaled as over the held-out cells (n,); larger is stranger."""
        parts = self._scaled(logits, tokens, shift.place if shift else None)
        excused = len(EVIDENCE) / len(NOVELTY_PARTS) * shift.excused if shift else 0.0
        return np.mean(list(parts.values()), 0) - excused

    def shift(self, logits: np.ndarray, tokens: Tokens) -> CommonShift:
        """What these cells have in common, whatever their labels, given their logits (n, C)."""
        place = self.profiles.shift(tokens, logits.argmax(1))
        evidence, trust = self.evidence(logits, tokens, place)
        return CommonShift(place, trust * (evidence - self.common))

    def evidence(self, logits: np.ndarray, tokens: Tokens, place: np.ndarray) -> tuple[float, float]:
        """Where the evidence of the cells that fit their labels best ends, as labels have it in common, and how far this is to be
        trusted, 0 to 1 (see _typical). Larger is weaker. place: of a CommonShift."""
        parts = self._scaled(logits, tokens, place)
        found, trust = _typical(np.mean([parts[name] for name in EVIDENCE], 0), logits.argmax(1), logits.shape[1], FITTING)
        return float(found), trust

    def _scaled(self, logits: np.ndarray, tokens: Tokens, place: np.ndarray | None) -> dict[str, np.ndarray]:
        found = _parts(self.profiles, logits, tokens, place)
        return {name: (found[name] - mean) / spread for name, (mean, spread) in self.parts.items()}


def _typical(values: np.ndarray, label: np.ndarray, n_labels: int, quantile: float = 0.5) -> tuple[np.ndarray, float]:
    """What the values of cells (n, ...) have in common, whatever their labels (n,), numbers of n_labels; and how far it is to be
    trusted, less with few labels, since a single one may be unknown altogether.

    The median over labels of a quantile over their cells: an unknown type among a label's cells hardly moves it, nor does a
    label that is wrong as a whole.
    """
    enough = np.flatnonzero(np.bincount(label, minlength=n_labels) >= FEWEST_SHIFTED)
    if not len(enough):
        return np.zeros(values.shape[1:]), 0.0
    each = [np.quantile(values[label == one], quantile, axis=0) for one in enough]
    return np.median(each, axis=0), len(enough) / (len(enough) + 1)


def _parts(profiles: Profiles, logits: np.ndarray, tokens: Tokens, place: np.ndarray | None) -> dict[str, np.ndarray]:
    label = logits.argmax(1)
    odds, distance = profiles.place(tokens, label, place)
    return dict(zip(NOVELTY_PARTS, (-logits.max(1).astype(np.float64), -odds, distance), strict=True))


def learn_profiles(tokens: Tokens, labels: np.ndarray, profile: np.ndarray, *, share: np.ndarray, seed: int) -> Profiles:
    """Profiles of the cells of `tokens`, all with a label (n,), given the labels' means (C, genes). Memory: cells x genes,
    dense."""
    from sklearn.decomposition import PCA

    cells = tokens.matrix(tokens.sqrt_share).toarray()
    pca = PCA(min(NOVELTY_COMPONENTS, *cells.shape), svd_solver="randomized", random_state=seed)
    pca.fit(cells)
    components = pca.components_.T
    means = profile @ components
    cells = cells @ components
    within = (cells - means[labels])[:, :NEAR_COMPONENTS]
    covariance = within.T @ within / len(within)
    covariance += max(SHRINKAGE * np.trace(covariance) / len(covariance), 1e-6) * np.eye(len(covariance))
    # The norm of a difference times this is its Mahalanobis distance.
    scale = np.linalg.cholesky(np.linalg.inv(covariance))
    weight, bias = _one_against_all(cells - means.mean(0), labels, len(means))
    arrays = (components, profile, share, scale, weight, bias)
    return Profiles(*(array.astype(np.float32) for array in arrays))


def _one_against_all(cells: np.ndarray, labels: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (k, C) and biases (C,) of a logistic regression for each label, that separates its cells from all others."""
    from sklearn.linear_model import LogisticRegression

    spread = np.maximum(cells.std(0), 1e-6)
    weight, bias = np.zeros((cells.shape[1], n_labels)), np.full(n_labels, -np.log(1 + len(cells)))
    # Of several devices that train together, one may have no cell of a rare label.
    with one_thread_of_scipy():
        for label in np.unique(labels):
            fitted = LogisticRegression(max_iter=300).fit(cells / spread, labels == label)
            weight[:, label], bias[label] = fitted.coef_[0] / spread, fitted.intercept_[0]
    return weight, bias


def calibrate_novelty(profiles: Profiles, logits: np.ndarray, tokens: Tokens) -> dict:
    """The fields of Calibration that Novelty is made of, from held-out cells: logits (n, C) and tokens.

    They are a query as any other, of which what they have in common is taken out.
    """
    place = profiles.shift(tokens, logits.argmax(1))
    found = _parts(profiles, logits, tokens, place)
    parts = {name: (float(part.mean()), max(float(part.std()), 1e-6)) for name, part in found.items()}
    novelty = Novelty(profiles, parts, np.empty(0), 0.0)
    null = np.sort(novelty.score(logits, tokens, CommonShift(place, 0.0)))
    return {
        "novelty_method": METHOD,
        "novelty_parts": parts,
        "novelty_common": round(novelty.evidence(logits, tokens, place)[0], 6),
        "novelty_null": np.round(null, 6).tolist(),
    }
