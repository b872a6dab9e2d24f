"""Novelty: how little speaks for a cell's label, and how far the cell lies from the reference's cells of that label.

Either alone misses much: a cell of an unknown type may be far from its label and labelled with all confidence, or lie
near a label that hardly fits. docs/model.md has the comparison that led to the sum of both.
"""

from dataclasses import dataclass

import numpy as np

from cellmemory.tokens import Tokens

#: Principal components that the distance is measured in: more of them tell a query's protocol or state, not its types.
COMPONENTS = 10
#: Added to each component's variance within labels, as a share of the mean variance: small ones must not decide.
SHRINKAGE = 1.0
METHOD = (
    "mean of two z-scores over the held-out cells: minus the largest logit, and the Mahalanobis distance to the label's mean "
    f"in {COMPONENTS} principal components of the roots of genes' shares"
)


@dataclass(frozen=True)
class Profiles:
    """Where the labels lie. components: (genes, k), scaled so that distances along them are in standard deviations within
    labels. profile: (C, genes), the mean root of each label's cells. share: (genes,), mean share of a cell's counts."""

    components: np.ndarray
    profile: np.ndarray
    share: np.ndarray

    def distance(self, tokens: Tokens, label: np.ndarray) -> np.ndarray:
        """How far each cell is from the mean of its label, a number of C: (n,), in standard deviations within labels.

        Over the genes that were measured alone; their shares are taken as shares of what they make up in the reference.
        """
        measured = tokens.measured
        components = self.components * measured[:, None]
        cells = np.sqrt(self.share[measured].sum()) * (tokens.matrix(tokens.root) @ components)
        return np.linalg.norm(cells - (self.profile @ components)[label], axis=1).astype(np.float64)


@dataclass(frozen=True)
class Novelty:
    """The novelty of cells against that of held-out cells. evidence, distance: mean and standard deviation of the two parts
    over these; null: their novelty, sorted."""

    profiles: Profiles
    evidence: tuple[float, float]
    distance: tuple[float, float]
    null: np.ndarray

    def __call__(self, logits: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """Novelty and p-value of each cell (n,), given its logits (n, C): the share of held-out cells at least as novel."""
        novelty = self.score(logits, tokens)
        more = len(self.null) - np.searchsorted(self.null, novelty, side="left")
        return novelty, (1 + more) / (1 + len(self.null))

    def score(self, logits: np.ndarray, tokens: Tokens) -> np.ndarray:
        """The mean of the two parts, each centred and scaled as over the held-out cells (n,); larger is stranger."""
        parts = zip(_parts(self.profiles, logits, tokens), (self.evidence, self.distance), strict=True)
        return np.mean([(part - mean) / spread for part, (mean, spread) in parts], 0)


def _parts(profiles: Profiles, logits: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
    return -logits.max(1).astype(np.float64), profiles.distance(tokens, logits.argmax(1))


def learn_profiles(tokens: Tokens, labels: np.ndarray, profile: np.ndarray, share: np.ndarray, seed: int) -> Profiles:
    """Profiles of the cells of `tokens`, all with a label (n,), given the labels' means (C, genes). Memory: cells x genes,
    dense."""
    from sklearn.decomposition import PCA

    cells = tokens.matrix(tokens.root).toarray()
    pca = PCA(min(COMPONENTS, *cells.shape), svd_solver="randomized", random_state=seed)
    pca.fit(cells)
    within = (cells - profile[labels]) @ pca.components_.T
    covariance = within.T @ within / len(within)
    covariance += max(SHRINKAGE * np.trace(covariance) / len(covariance), 1e-6) * np.eye(len(covariance))
    # The norm of a difference times this is its Mahalanobis distance.
    scale = np.linalg.cholesky(np.linalg.inv(covariance))
    return Profiles((pca.components_.T @ scale).astype(np.float32), profile, share)


def calibrate_novelty(profiles: Profiles, logits: np.ndarray, tokens: Tokens) -> dict:
    """The part of `calibration.json` that Novelty is made of, from held-out cells: logits (n, C) and tokens."""
    evidence, distance = ((float(part.mean()), max(float(part.std()), 1e-6)) for part in _parts(profiles, logits, tokens))
    null = np.sort(Novelty(profiles, evidence, distance, np.empty(0)).score(logits, tokens))
    return {
        "novelty_method": METHOD,
        "novelty_evidence": evidence,
        "novelty_distance": distance,
        "novelty_null": np.round(null, 6).tolist(),
    }
