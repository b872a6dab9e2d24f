"""Clusters of cells by expression, as Seurat and scanpy make them: components, shared neighbours, the Leiden algorithm.

Letters: n cells that are clustered, m other cells, M genes, K clusters.
"""

import hashlib
import random
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from cellmemory.reference.states import vary

#: As scanpy and Seurat do by default, or nearly so.
EXPRESSION_COMPONENTS, GRAPH_NEIGHBOURS = 30, 15
#: Two cells are connected where they share more than this part of their neighbours (Jaccard index), as in Seurat.
LEAST_SHARED = 1 / 15
#: Rounds of the Leiden algorithm: later ones change little.
LEIDEN_ROUNDS = 5


@dataclass(frozen=True)
class Clusters:
    """Clusters of n cells. codes: (n,) from 0, the largest cluster first."""

    codes: np.ndarray
    _distinct: np.ndarray  # the cells that `_finder` knows
    _components: PCA | None
    _finder: NearestNeighbors | None

    def nearest(self, values: sp.csr_matrix) -> np.ndarray:
        """(m,) the cluster of most of each other cell's nearest clustered cells. values: (m, M), as those were."""
        if self._components is None or self._finder is None:
            return np.zeros(values.shape[0], np.int64)
        near = self._finder.kneighbors(self._components.transform(values), return_distance=False)
        near = self.codes[self._distinct[near]]
        votes = np.zeros((len(near), self.codes.max() + 1), np.int64)
        np.add.at(votes, (np.arange(len(near))[:, None], near), 1)
        return votes.argmax(1)


def find_clusters(values: sp.csr_matrix, resolution: float, seed: int) -> Clusters:
    """Clusters of cells by their log-normalised values (n, M), by the Leiden algorithm on modularity (Traag et al. 2019).

    A higher resolution gives more clusters. Cells that do not differ, such as those without counts, count as one and share a
    cluster: each would be a neighbour of all. The same values and seed give the same clusters.
    """
    distinct, of_cell = _distinct(values)
    values = values[distinct]
    n, genes = values.shape
    size = min(EXPRESSION_COMPONENTS, n - 1, genes - 1)
    if size < 1 or not vary(values):
        return Clusters(np.zeros(len(of_cell), np.int64), distinct, None, None)
    components = PCA(size, svd_solver="arpack", random_state=seed)
    places = components.fit_transform(values.astype(np.float64))
    finder = NearestNeighbors(n_neighbors=min(GRAPH_NEIGHBOURS, n), algorithm="brute").fit(places)
    codes = _leiden(_shared_neighbours(finder.kneighbors_graph(places)), resolution, seed)[of_cell]
    # Numbered by size, equal ones by their first cell.
    names, first, counts = np.unique(codes, return_index=True, return_counts=True)
    place = np.empty(len(names), np.int64)
    place[np.lexsort((first, -counts))] = np.arange(len(names))
    return Clusters(place[np.searchsorted(names, codes)], distinct, components, finder)


def _distinct(values: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """The first of the cells of each profile, by number, in their order, and (n,) the profile of each cell."""
    rows = pairwise(values.indptr)
    profiles = (
        hashlib.blake2b(values.indices[a:b].tobytes() + values.data[a:b].tobytes(), digest_size=16).digest() for a, b in rows
    )
    found: dict[bytes, int] = {}
    of_cell = np.array([found.setdefault(profile, len(found)) for profile in profiles], np.int64)
    return np.unique(of_cell, return_index=True)[1], of_cell


def _shared_neighbours(near: sp.csr_matrix) -> sp.coo_matrix:
    """Each pair of cells once, with the Jaccard index of their neighbours; near: (n, n), 1 for its nearest and itself."""
    shared = sp.triu(near @ near.T, k=1, format="coo")
    each = np.asarray(near.sum(1)).ravel()
    shared.data /= each[shared.row] + each[shared.col] - shared.data
    kept = shared.data > LEAST_SHARED
    return sp.coo_matrix((shared.data[kept], (shared.row[kept], shared.col[kept])), shape=near.shape)


def _leiden(graph: sp.coo_matrix, resolution: float, seed: int) -> np.ndarray:
    """(n,) the community of each cell."""
    import igraph

    igraph.set_random_number_generator(random.Random(seed))
    edges = igraph.Graph(n=graph.shape[0], edges=np.column_stack([graph.row, graph.col]))
    found = edges.community_leiden("modularity", weights=graph.data.tolist(), resolution=resolution, n_iterations=LEIDEN_ROUNDS)
    return np.array(found.membership)
