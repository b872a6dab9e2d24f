"""Novelty: how little speaks for a cell's label, how far the cell lies from the reference's cells of that label, and how far
its embedding from any of theirs.

Each alone misses much: a cell of an unknown type may be far from its label and labelled with all confidence, or lie
near a label that hardly fits. docs/model.md has the comparison that led to the sum of them.
"""

from dataclasses import dataclass

import numpy as np

from cellmemory.tokens import Tokens

#: Principal components that the distance is measured in: more of them tell a query's protocol or state, not its types.
COMPONENTS = 10
#: Nearest reference cells, by the embedding, whose mean distance counts; cells whose neighbours are looked for at once.
NEIGHBOURS, BLOCK = 10, 1024
#: Of evidence, distance and neighbours. The more the embedding says, the more cells of another species are strange.
WEIGHTS = np.array([3, 3, 1]) / 7
#: Added to each component's variance within labels, as a share of the mean variance: small ones must not decide.
SHRINKAGE = 1.0
METHOD = (
    "weighted mean of three z-scores over the held-out cells: minus the largest logit (3/7), the Mahalanobis distance to the "
    f"label's mean in {COMPONENTS} principal components of the roots of genes' shares (3/7), and the logarithm of the cosine "
    f"distance to the {NEIGHBOURS} nearest reference cells by their embeddings (1/7)"
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
class Measure:
    """What novelty is measured with: where the labels lie, and the embeddings (r, d) of reference cells."""

    profiles: Profiles
    embedding: np.ndarray

    def parts(self, logits: np.ndarray, embedding: np.ndarray, tokens: Tokens) -> np.ndarray:
        """Evidence, distance and neighbours (3, n) of cells with logits (n, C) and embeddings (n, d)."""
        neighbours = neighbour_distance(embedding, self.embedding)
        return np.stack([-logits.max(1).astype(np.float64), self.profiles.distance(tokens, logits.argmax(1)), neighbours])


@dataclass(frozen=True)
class Novelty:
    """The novelty of cells against that of held-out cells. scale: (3, 2), mean and standard deviation of each part over
    these; null: their novelty, sorted."""

    measure: Measure
    scale: np.ndarray
    null: np.ndarray

    def __call__(self, logits: np.ndarray, embedding: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """Novelty and p-value of each cell (n,), given its logits (n, C) and embedding (n, d): the share of held-out cells at
        least as novel."""
        novelty = _score(self.measure.parts(logits, embedding, tokens), self.scale)
        more = len(self.null) - np.searchsorted(self.null, novelty, side="left")
        return novelty, (1 + more) / (1 + len(self.null))


def _score(parts: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The weighted mean of the parts (3, n), each centred and scaled as over the held-out cells: (n,); larger is stranger."""
    return WEIGHTS @ ((parts - scale[:, :1]) / scale[:, 1:])


def neighbour_distance(embedding: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The logarithm of the mean distance of each embedding (n, d) to the nearest of the reference (r, d), all of length 1."""
    import torch

    known, distance = _unit(reference), np.empty(len(embedding))
    for start in range(0, len(embedding), BLOCK):
        cells = _unit(embedding[start : start + BLOCK])
        near = torch.topk(torch.from_numpy(cells) @ torch.from_numpy(known).T, min(NEIGHBOURS, len(known)), sorted=False)
        off = cells[:, None] - known[near.indices.numpy()]
        distance[start : start + BLOCK] = np.linalg.norm(off.astype(np.float64), axis=2).mean(1)
    return np.log(np.maximum(distance, 1e-6))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


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


def calibrate_novelty(measure: Measure, logits: np.ndarray, embedding: np.ndarray, tokens: Tokens) -> dict:
    """The part of `calibration.json` that Novelty is made of, from held-out cells: logits (n, C), embeddings (n, d), tokens."""
    parts = measure.parts(logits, embedding, tokens)
    scale = np.stack([parts.mean(1), np.maximum(parts.std(1), 1e-6)], 1)
    null = np.sort(_score(parts, scale))
    return {"novelty_method": METHOD, "novelty_scale": scale.tolist(), "novelty_null": np.round(null, 6).tolist()}
