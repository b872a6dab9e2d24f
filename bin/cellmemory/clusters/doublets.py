"""Doublets: how much a cell resembles sums of two cells of its query (Wolock et al. 2019, 10.1016/j.cels.2018.11.005, Scrublet).

Letters: n cells that sums are made of, m cells that are scored, M genes.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from cellmemory.reference.states import vary

#: Sums a cell, and the share of a query's cells that are taken to be doublets, as in Scrublet or nearly so.
SUMS_PER_CELL, EXPECTED_SHARE = 2, 0.08
#: Principal components in which cells and sums are compared.
DOUBLET_COMPONENTS = 30
#: Fewer cells do not show what sums of two types look like.
FEWEST_CELLS = 50
#: Cells that sums are made of, at most.
MOST_CELLS = 5_000


@dataclass(frozen=True)
class DoubletFinder:
    """Knows where a query's cells and sums of two of them lie."""

    _components: PCA
    _finder: NearestNeighbors
    _n_cells: int  # the first of those that the finder knows; the others are sums

    def scores(self, values: sp.csr_matrix) -> np.ndarray:
        """(m,) of cells by their values (m, M), as those of `find_doublets`: how probable a doublet is, from 0 to 1.

        A cell that sums were made of is one of its own nearest, which makes it a little less of a doublet: alike for all cells of
        a query that is scored whole.
        """
        near = self._finder.kneighbors(self._components.transform(values.astype(np.float64)), return_distance=False)
        share = ((near >= self._n_cells).sum(1) + 1) / (near.shape[1] + 2)
        known, sums = 1 - EXPECTED_SHARE, EXPECTED_SHARE / SUMS_PER_CELL
        return share * sums / (known - share * (known - sums))


def find_doublets(values: sp.csr_matrix, totals: np.ndarray, batches: np.ndarray, seed: int) -> DoubletFinder | None:
    """Makes sums of pairs of cells of one batch, and places them among the cells.

    Parameters
    ----------
    values
        Log-normalised values (n, M).
    totals
        Counts of each cell (n,), by which it weighs in a sum; NaN where they are not known, and then all weigh the same.
    batches
        Code of each cell's batch (n,): two cells of two batches are never in one droplet.
    seed
        Of the pairs.

    Returns
    -------
    None for fewer than FEWEST_CELLS cells, and for cells that do not differ.
    """
    n, genes = values.shape
    if n < FEWEST_CELLS or not vary(values):
        return None
    sums = _sums(values, totals, *_pairs(batches, np.random.default_rng(seed)))
    components = PCA(min(DOUBLET_COMPONENTS, n - 1, genes - 1), svd_solver="arpack", random_state=seed)
    cells = components.fit_transform(values.astype(np.float64))
    near = round(0.5 * np.sqrt(n)) * (1 + SUMS_PER_CELL)
    finder = NearestNeighbors(n_neighbors=near, algorithm="brute").fit(np.vstack([cells, components.transform(sums)]))
    return DoubletFinder(components, finder, n)


def _sums(values: sp.csr_matrix, totals: np.ndarray, first: np.ndarray, second: np.ndarray) -> sp.csr_matrix:
    """Log-normalised values (s, M) of sums of two cells, by their numbers (s,)."""
    weight = totals if np.isfinite(totals).all() and (totals > 0).all() else np.ones(len(totals))
    share = weight[first] / (weight[first] + weight[second])
    linear = sp.csr_matrix((np.expm1(values.data.astype(np.float64)), values.indices, values.indptr), values.shape)
    sums = sp.csr_matrix(sp.diags(share) @ linear[first] + sp.diags(1 - share) @ linear[second])
    sums.data = np.log1p(sums.data)
    return sums


def _pairs(batches: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second cell of each sum: SUMS_PER_CELL of each cell with another of its batch, or itself, by chance."""
    first = np.tile(np.arange(len(batches)), SUMS_PER_CELL)
    second = np.empty(len(first), np.int64)
    for batch in np.unique(batches):
        own = np.flatnonzero(batches == batch)
        of_batch = batches[first] == batch
        second[of_batch] = own[rng.integers(0, len(own), int(of_batch.sum()))]
    return first, second
