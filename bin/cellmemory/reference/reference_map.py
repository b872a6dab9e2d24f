"""The map of a reference: UMAP of its kept cells' embeddings, made once in training.

Cells of queries are placed on it one by one: all queries share one picture, and no cell's place depends on the others of its
query.
"""

import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from traceback import walk_tb
from typing import TYPE_CHECKING

import numpy as np

from cellmemory.errors import InputError

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

#: Neighbours that UMAP connects each cell with.
NEIGHBOURS = 15
#: A cell is placed among this many of the reference's cells; those within the distance of the fifth have most of the weight.
PLACED_AMONG, NEAR = 15, 5
#: Keeps what is divided by a distance finite where cells coincide.
SMALLEST = 1e-6


@dataclass(frozen=True)
class ReferenceMap:
    """embedding: (r, d) of the reference's kept cells; coordinates: (r, 2), where they lie."""

    embedding: np.ndarray
    coordinates: np.ndarray

    def place(self, cells: np.ndarray) -> np.ndarray:
        """Coordinates (n, 2), float32, of cells by their embeddings (n, d): where most of their nearest reference cells lie.

        Each of these weighs exp(-(distance / distance of the fifth)^2), of distances between embeddings of length 1. The place is
        their mean around the one that is nearest to all others: the mean of all would lie between two islands, where no cell is.
        """
        distance, near = self._finder.kneighbors(_unit(cells))
        places = self.coordinates[near].astype(np.float64)
        weight = np.exp(-((distance / np.maximum(distance[:, [min(NEAR, near.shape[1]) - 1]], SMALLEST)) ** 2))
        apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=3)
        middle = np.einsum("nij,nj->ni", apart, weight).argmin(1)
        off = apart[np.arange(len(cells)), middle]
        weight *= np.exp(-((off / np.maximum(np.median(off, axis=1, keepdims=True), SMALLEST)) ** 2))
        return (np.einsum("nk,nkc->nc", weight, places) / weight.sum(1, keepdims=True)).astype(np.float32)

    @cached_property
    def _finder(self) -> "NearestNeighbors":
        return _neighbours(self.embedding, PLACED_AMONG)


def fit_map(embedding: np.ndarray, seed: int) -> np.ndarray:
    """UMAP coordinates (r, 2), float32, of embeddings (r, d) by cosine distance (McInnes et al. 2018).

    The same embeddings and seed give the same map. InputError where what numba has kept is damaged.
    """
    n = len(embedding)
    if n < 4:  # too few for UMAP: side by side
        return np.column_stack([np.arange(n), np.zeros(n)]).astype(np.float32)
    try:
        return _fit_umap(embedding, seed)
    except Exception as error:  # unpickling raises anything, where a machine that stopped left files without their ends, say
        if not _was_reading_cache(error):
            raise
        message = f"the cache of numba, {os.environ.get('NUMBA_CACHE_DIR')}, is damaged. Delete this folder, and run again."
        raise InputError(message) from error


def _was_reading_cache(error: Exception) -> bool:
    """Whether numba raised it on what it has kept on disk."""
    return any(frame.f_globals.get("__name__") == "numba.core.caching" for frame, _ in walk_tb(error.__traceback__))


def _fit_umap(embedding: np.ndarray, seed: int) -> np.ndarray:
    from umap import UMAP, layouts, umap_

    # Compiling them takes longer than all else, and twice as long for several threads, which are not used here.
    kernels = (umap_.smooth_knn_dist, umap_.compute_membership_strengths, layouts._nb_optimize_layout_euclidean_single_epoch)
    for kernel in kernels:
        kernel.targetoptions["parallel"] = False
        with suppress(RuntimeError):  # no place to keep them
            kernel.enable_caching()
    n = len(embedding)
    n_neighbors = min(NEIGHBOURS, n - 1)
    # UMAP's own search is approximate, and compiling it takes a minute in every process; it counts a cell as its own first.
    distance, near = _neighbours(embedding, n_neighbors).kneighbors(n_neighbors=n_neighbors - 1)
    near = np.column_stack([np.arange(n), near])
    distance = np.column_stack([np.zeros(n), distance**2 / 2]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reducer = UMAP(n_neighbors=n_neighbors, metric="cosine", random_state=seed, n_jobs=1,
                       init="spectral" if n > 10 else "random", precomputed_knn=(near, distance))  # fmt: skip
        return reducer.fit_transform(embedding).astype(np.float32)


def _neighbours(cells: np.ndarray, n: int) -> "NearestNeighbors":
    """Between rows of length 1 the order of Euclidean distances is that of cosine distances, and is found faster."""
    from sklearn.neighbors import NearestNeighbors  # a second, which steps that place no cell do without

    return NearestNeighbors(n_neighbors=min(n, len(cells)), algorithm="brute").fit(_unit(cells))


def _unit(rows: np.ndarray) -> np.ndarray:
    """The rows scaled to length 1 (rows of zeros stay)."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
