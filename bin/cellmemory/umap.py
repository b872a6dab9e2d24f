"""The picture of reference and query together: UMAP of CLS embeddings, on a bounded number of cells."""

import warnings

import numpy as np

#: UMAP is fitted on at most so many cells of a query; the others are placed among their nearest fitted neighbours.
MAX_FITTED = 20_000
NEIGHBOURS = 15


def co_embed(query: np.ndarray, reference: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """UMAP coordinates, float32, of query (n, d) and reference (r, d) cells: (n, 2) and (r, 2).

    Fitted jointly on the reference and an even subsample of the query; the same input and seed give the same picture.
    """
    fitted = np.unique(np.linspace(0, len(query) - 1, min(len(query), MAX_FITTED)).astype(int))
    together = np.concatenate([reference, query[fitted]]).astype(np.float32)
    coordinates = _fit(together, seed)
    reference_map, fitted_map = coordinates[: len(reference)], coordinates[len(reference) :]
    query_map = np.empty((len(query), 2), np.float32)
    query_map[fitted] = fitted_map
    rest = np.setdiff1d(np.arange(len(query)), fitted)
    if len(rest):
        query_map[rest] = _place(query[rest], together, coordinates)
    return query_map, reference_map


def _fit(cells: np.ndarray, seed: int) -> np.ndarray:
    if len(cells) < 4:
        return np.zeros((len(cells), 2), np.float32)
    from umap import UMAP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reducer = UMAP(n_neighbors=min(NEIGHBOURS, len(cells) - 1), metric="cosine", random_state=seed, n_jobs=1,
                       init="spectral" if len(cells) > 10 else "random")  # fmt: skip
        return reducer.fit_transform(cells).astype(np.float32)


def _place(cells: np.ndarray, fitted: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """The mean position of each cell's nearest fitted neighbours."""
    from sklearn.neighbors import NearestNeighbors

    finder = NearestNeighbors(n_neighbors=min(5, len(fitted)), metric="cosine").fit(fitted)
    near = finder.kneighbors(cells, return_distance=False)
    return coordinates[near].mean(1)
