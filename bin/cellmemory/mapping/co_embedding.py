"""Reference and query in one picture: UMAP of CLS embeddings, on a bounded number of cells."""

import warnings
from collections.abc import Iterator

import h5py
import numpy as np
from sklearn.neighbors import NearestNeighbors

from cellmemory.sampling import evenly_spaced

#: Cells of a query that UMAP is fitted on, at most; the others are placed among their nearest fitted neighbours.
MAX_FITTED = 10_000
NEIGHBOURS, PLACED_AMONG = 15, 5
#: Cells whose embeddings are in memory at once.
PLACED_CELLS = 8192


class CoEmbedding:
    """UMAP coordinates, float32, of reference (r, d) and query (n, d) cells.

    Fitted jointly on the reference and an even subsample of the query; the same input and seed give the same picture.
    The query may be an array on disk: no more than the fitted cells and a chunk of the others are read at a time.
    reference: coordinates (r, 2) of the reference's cells.
    """

    def __init__(self, query: np.ndarray | h5py.Dataset, reference: np.ndarray, seed: int):
        self._query = query
        self._rows = evenly_spaced(len(query), MAX_FITTED)
        cells = np.concatenate([reference, *(chunk[rows] for chunk, rows in self._chunks())])
        # Between rows of length 1 the order of Euclidean distances is that of cosine distances, and is found faster.
        self._finder = NearestNeighbors(n_neighbors=min(PLACED_AMONG, len(cells)), algorithm="brute").fit(unit(cells))
        self._coordinates = _fit(cells, self._finder, seed)
        self.reference = self._coordinates[: len(reference)]

    def query(self) -> Iterator[np.ndarray]:
        """Coordinates of all query cells in order, chunk by chunk."""
        fitted = len(self.reference)
        for cells, rows in self._chunks():
            coordinates = np.empty((len(cells), 2), np.float32)
            coordinates[rows] = self._coordinates[fitted : fitted + len(rows)]
            fitted += len(rows)
            others = np.setdiff1d(np.arange(len(cells)), rows)
            if len(others):
                near = self._finder.kneighbors(unit(cells[others]), return_distance=False)
                coordinates[others] = self._coordinates[near].mean(1)
            yield coordinates

    def _chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Embeddings of each chunk of cells, and which of them are fitted."""
        for start in range(0, len(self._query), PLACED_CELLS):
            low, high = np.searchsorted(self._rows, [start, start + PLACED_CELLS])
            yield self._query[start : start + PLACED_CELLS], self._rows[low:high] - start


def _fit(cells: np.ndarray, finder: NearestNeighbors, seed: int) -> np.ndarray:
    """finder: has the cells as rows of length 1."""
    if len(cells) < 4:
        return np.zeros((len(cells), 2), np.float32)
    from umap import UMAP, umap_

    # For several threads, which are not used here, compiling them takes twice as long as the rest, in every process.
    for kernel in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
        kernel.targetoptions["parallel"] = False
    n_neighbors = min(NEIGHBOURS, len(cells) - 1)
    # UMAP's own search is approximate, and compiling it takes a minute in every process; it counts a cell as its own first.
    distance, near = finder.kneighbors(n_neighbors=n_neighbors - 1)
    near = np.column_stack([np.arange(len(cells)), near])
    distance = np.column_stack([np.zeros(len(cells)), distance**2 / 2]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reducer = UMAP(n_neighbors=n_neighbors, metric="cosine", random_state=seed, n_jobs=1,
                       init="spectral" if len(cells) > 10 else "random", precomputed_knn=(near, distance))  # fmt: skip
        return reducer.fit_transform(cells).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows scaled to length 1 (rows of zeros stay)."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
