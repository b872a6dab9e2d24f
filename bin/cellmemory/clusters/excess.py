"""Genes that a cluster expresses beyond the reference: beside the reference's cells of the same labels, gene by gene.

What all clusters have in common is another batch; what one has by itself may be another type.
Letters: n cells, M panel genes, K clusters.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from cellmemory.explanation.gene_tests import sums_of_groups
from cellmemory.reference.states import LabelStates

#: The excess of a cluster is that of its third gene: one or two genes may be a batch's.
DECISIVE_GENE = 3
#: Fewer clusters have no median that a single one could stand out from.
LEAST_CLUSTERS = 4
#: Marker genes of a label, at most and at least, and how high each is, in standard deviations within a label.
MARKER_GENES, LEAST_MARKERS, MARKER_HEIGHT = 20, 3, 0.5


@dataclass(frozen=True)
class Excess:
    """genes: (K, M) excess of each gene, in standard deviations within a label, less one standard error; NaN where it was not
    measured. score: (K,) that of the third gene, as a multiple of the median cluster's; NaN where there are too few clusters."""

    genes: np.ndarray
    score: np.ndarray


def find_excess(
    values: sp.csr_matrix, codes: np.ndarray, labels: np.ndarray, *, states: LabelStates, measured: np.ndarray
) -> Excess:
    """What each cluster's cells express beyond the nearest states of their labels, less the median of the other clusters.

    values: (n, M) log-normalised; codes: (n,) clusters from 0; labels: (n,) codes of the labels; measured: (M,) bool.
    """
    n_clusters = codes.max() + 1
    size = np.bincount(codes, minlength=n_clusters)[:, None]
    cells = np.zeros((n_clusters, len(states.mean)))  # of each state
    np.add.at(cells, (codes, states.nearest(values, labels, measured)), 1)
    mean = sums_of_groups(values, codes, n_clusters) / size
    variance = np.maximum(sums_of_groups(values.multiply(values), codes, n_clusters) / size - mean**2, 0)
    apart = (mean - cells @ states.mean / size) / states.spread
    if n_clusters >= LEAST_CLUSTERS:
        apart = apart - _medians_of_others(apart)
    found = np.where(measured, apart - np.sqrt(variance / size) / states.spread, np.nan)
    return Excess(found, _scores(found))


def kept_markers(
    values: sp.csr_matrix, codes: np.ndarray, label_of: np.ndarray, *, states: LabelStates, measured: np.ndarray
) -> np.ndarray:
    """(K,) the share of its label's marker genes that each cluster expresses at half of their height or more; NaN where the label
    has too few.

    A cell of a known type in a state of its own keeps these, a cell of another type does not. Height is what the label is above
    the mean of the others. label_of: (K,) code of each cluster's label; otherwise as `find_excess`.
    """
    kept = np.full(codes.max() + 1, np.nan)
    markers = markers_of_labels(states, measured)
    if not markers:
        return kept
    sizes = np.bincount(codes, minlength=len(kept))[:, None]
    of_clusters = sums_of_groups(values, codes, len(kept)) / sizes
    for cluster, label in enumerate(label_of):
        own = markers.get(int(label))
        if own is not None and len(own.genes) >= LEAST_MARKERS:
            kept[cluster] = ((of_clusters[cluster] - own.others)[own.genes] >= own.height[own.genes] / 2).mean()
    return kept


class Markers(NamedTuple):
    """The marker genes of a label by number, the highest first; (M,) means of the other labels, and its own less these."""

    genes: np.ndarray
    others: np.ndarray
    height: np.ndarray


def markers_of_labels(states: LabelStates, measured: np.ndarray) -> dict[int, Markers]:
    """The markers of each label by its code, at most MARKER_GENES of the measured (M,) ones; nothing for a lone label.

    They are the genes by which the label is furthest above the mean of the others, in standard deviations within a label.
    """
    present = np.unique(states.label)
    means = np.array([states.mean[states.label == label].mean(0) for label in present])
    if len(present) < 2:
        return {}
    found = {}
    for place, label in enumerate(present):
        others = np.delete(means, place, axis=0).mean(0)
        height = means[place] - others
        apart = np.where(measured, height, 0) / states.spread
        genes = np.argsort(-apart, kind="stable")[:MARKER_GENES]
        found[int(label)] = Markers(genes[apart[genes] >= MARKER_HEIGHT], others, height)
    return found


def _medians_of_others(values: np.ndarray) -> np.ndarray:
    """(K, M) the median of each column without the row's own value; values: (K, M)."""
    place, ordered, others = values.argsort(0).argsort(0), np.sort(values, axis=0), len(values) - 1
    # From its own place on, the value that stands next moves up by one.
    middle = [np.where(place <= i, ordered[i + 1], ordered[i]) for i in ((others - 1) // 2, others // 2)]
    return (middle[0] + middle[1]) / 2


def _scores(genes: np.ndarray) -> np.ndarray:
    """(K,) scores of the excess (K, M) of genes."""
    if len(genes) < LEAST_CLUSTERS or (~np.isnan(genes[0])).sum() < DECISIVE_GENE:
        return np.full(len(genes), np.nan)
    third = np.sort(np.nan_to_num(genes, nan=-np.inf), axis=1)[:, -DECISIVE_GENE]
    usual = np.median(third)
    return third / usual if usual > 0 else np.full(len(genes), np.nan)
