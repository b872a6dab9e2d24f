"""Marker genes of clusters: against all other cells, and of a candidate new type against the label that its cells got."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.cells.labels import OTHERS
from cellmemory.columns import ASSIGNED, CLUSTER_MARKER_COLUMNS, LABEL, NEITHER, STATUS
from cellmemory.explanation.gene_tests import is_differential, sums_of_groups, wilcoxon

#: Fewer cells of a label are not compared with.
LEAST_CELLS = 10
#: Genes that the table of clusters lists.
LISTED_MARKERS = 10


def marker_table(
    values: sp.csr_matrix, codes: np.ndarray, obs: pd.DataFrame, clusters: pd.DataFrame, *, genes: list[str], top: int
) -> pd.DataFrame:
    """CLUSTER_MARKER_COLUMNS of at most `top` genes (0: all) of each comparison, by falling score of the Wilcoxon test.

    values: (n, M) of the tested cells, codes: (n,) their clusters, obs: their columns. clusters: of `summary.cluster_table`. A
    marker is higher in the cluster, and differential as in gene_tests.
    """
    parts = [_compare(values, codes, clusters["cluster"].tolist(), against=OTHERS, genes=genes, top=top)]
    label, assigned = obs[LABEL].to_numpy(str), obs[STATUS].to_numpy(str) == ASSIGNED
    for row in clusters[clusters["candidate"] != NEITHER].itertuples():
        own, other = codes == row.Index, assigned & (label == row.label) & (codes != row.Index)
        if other.sum() >= LEAST_CELLS:
            rows = np.flatnonzero(own | other)
            sides = np.where(own[rows], 0, 1)
            parts.append(_compare(values[rows], sides, [row.cluster], against=row.label, genes=genes, top=top))
    return pd.concat(parts, ignore_index=True)[CLUSTER_MARKER_COLUMNS]


def named_markers(clusters: pd.DataFrame, markers: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The first markers of each cluster, joined by `;`: against all other cells, and against its label."""
    general = markers["against"] == OTHERS
    found = []
    for table in (markers[general], markers[~general]):
        by_cluster = table.groupby("cluster")["gene"].agg(lambda names: ";".join(names[:LISTED_MARKERS]))
        found.append([by_cluster.get(cluster, "") for cluster in clusters["cluster"]])
    return found[0], found[1]


def named_excess(excess: np.ndarray, genes: list[str]) -> str:
    """The first genes of the largest excess (M,) of a cluster, joined by `;`."""
    return ";".join(largest_excess(excess, genes, LISTED_MARKERS))


def largest_excess(excess: np.ndarray, genes: list[str], most: int) -> list[str]:
    """The genes of the largest excess (M,) of a cluster, those above 0, at most so many."""
    known = np.nan_to_num(excess, nan=-1)
    return [genes[i] for i in np.argsort(-known, kind="stable")[:most] if known[i] > 0]


def _compare(
    values: sp.csr_matrix, codes: np.ndarray, names: list[str], *, against: str, genes: list[str], top: int
) -> pd.DataFrame:
    """The markers of the first groups, as many as there are names, each against all other cells of `values`."""
    n_groups = codes.max() + 1
    tests = wilcoxon(values, codes, n_groups)
    size = np.bincount(codes, minlength=n_groups)
    expressing = sums_of_groups((values > 0).astype(np.float64), codes, n_groups)
    is_marker = (is_differential(tests.change, tests.adjusted) == "yes") & (tests.change > 0)
    blocks = []
    for g, name in enumerate(names):
        order = np.flatnonzero(is_marker[g])
        order = order[np.argsort(-tests.score[g, order], kind="stable")][: top or None]
        others = max(len(codes) - size[g], 1)
        block = {
            "cluster": name,
            "against": against,
            "rank": np.arange(1, len(order) + 1),
            "gene": [genes[i] for i in order],
            "expression_score": tests.score[g, order],
            "expression_log2_change": tests.change[g, order],
            "expression_adjusted_p_value": tests.adjusted[g, order],
            "fraction_expressing": expressing[g, order] / max(size[g], 1),
            "fraction_expressing_other": (expressing.sum(0)[order] - expressing[g, order]) / others,
            "n_cells": size[g],
            "n_cells_other": len(codes) - size[g],
        }
        blocks.append(pd.DataFrame(block))
    return pd.concat(blocks, ignore_index=True)
