"""The states of each label: means of groups of alike reference cells, which cells of a query with that label are held against.

Letters: n cells, M panel genes, C labels, S states of all labels.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

#: A label has one state for this many of the kept cells, and at most so many: a label that is varied needs several.
CELLS_PER_STATE, MOST_STATES = 10, 12
#: Principal components of a label's cells in which they are grouped.
STATE_COMPONENTS = 20
#: Added to each gene's spread, in units of the natural logarithm: a gene that hardly varies must not count for ever more.
ADDED_SPREAD = 0.1


@dataclass(frozen=True)
class LabelStates:
    """mean: (S, M) of log-normalised values; label: (S,) code of each state's label; spread: (M,) standard deviation of each gene
    within a label."""

    mean: np.ndarray
    label: np.ndarray
    spread: np.ndarray

    def nearest(self, values: sp.csr_matrix, labels: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """(n,) the state of each cell's own label that it is nearest to, in the measured genes.

        values: (n, M) as mean; labels: (n,) codes; measured: (M,) bool.
        """
        mean = np.where(measured, self.mean, 0).astype(np.float64)
        distance = (mean**2).sum(1) - 2 * (values @ mean.T)
        return np.where(self.label == labels[:, None], distance, np.inf).argmin(1)


def learn_states(values: sp.csr_matrix, codes: np.ndarray, n_labels: int, seed: int) -> LabelStates:
    """The states of labels by k-means. values: (n, M) log-normalised, of the reference's kept cells; codes: (n,) their labels."""
    means, labels, variances = [], [], []
    for label in range(n_labels):
        own = values[codes == label]
        if not own.shape[0]:
            continue
        groups = _groups(own, seed)
        means += [np.asarray(own[groups == group].mean(0)).ravel() for group in np.unique(groups)]
        labels += [label] * len(np.unique(groups))
        mean = np.asarray(own.mean(0, dtype=np.float64)).ravel()
        variances.append(np.maximum(np.asarray(own.multiply(own).mean(0, dtype=np.float64)).ravel() - mean**2, 0))
    spread = np.sqrt(np.mean(variances, axis=0)) + ADDED_SPREAD
    return LabelStates(np.array(means, np.float32), np.array(labels, np.int64), spread.astype(np.float32))


def vary(cells: sp.csr_matrix) -> bool:
    """Whether any two of the cells (n, M) differ."""
    return bool((cells.max(axis=0) != cells.min(axis=0)).nnz)


def _groups(cells: sp.csr_matrix, seed: int) -> np.ndarray:
    """(n,) the group of each cell of one label."""
    n, genes = cells.shape
    n_states, size = min(MOST_STATES, n // CELLS_PER_STATE), min(STATE_COMPONENTS, n - 1, genes - 1)
    if n_states < 2 or size < 1 or not vary(cells):
        return np.zeros(n, np.int64)
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    places = PCA(size, svd_solver="arpack", random_state=seed).fit_transform(cells.astype(np.float64))
    return KMeans(n_states, n_init=3, random_state=seed).fit_predict(places)
