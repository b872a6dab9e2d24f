"""The table of a query's clusters: what their cells were called, and which may be a type that the reference lacks."""

import json

import numpy as np
import pandas as pd

from cellmemory.cells.groups import group_codes
from cellmemory.cells.labels import PERHAPS_NEW
from cellmemory.columns import AMBIGUOUS, ASSIGNED, CONFIDENCE, LABEL, NEITHER, REASON, STATE, STATUS, TYPE, UNASSIGNED
from cellmemory.mapping.status import LOW_QUALITY, UNLIKE

#: A cluster may be a new type from this share and this number of cells that are unlike the reference: single cells are unlike it
#: by chance, as many of a cluster are not.
CANDIDATE_SHARE, CANDIDATE_CELLS = 0.25, 5
#: It may also be one from this excess of genes, and this number of cells: fewer have a large one by chance.
CANDIDATE_EXCESS, EXCESS_CELLS = 2.5, 10
#: With so many of its label's markers (see excess.kept_markers) it is a known type in a state that the reference lacks.
KEPT_MARKERS = 0.8


def cluster_table(
    obs: pd.DataFrame,
    codes: np.ndarray,
    names: list[str],
    *,
    excess: np.ndarray,
    kept: np.ndarray,
    batch_key: str,
    places: np.ndarray | None,
) -> pd.DataFrame:
    """A row a cluster, with its cells' most frequent label and shares of statuses and reasons.

    obs: of N mapped cells; codes: (N,) cluster of each, from 0; names: (K,). excess, kept: (K,) see `excess`, NaN where unknown.
    batch_key: the column of batches, or an empty text. places: (N, 2) on the reference's map, where there is one; a cluster's
    place is the median.
    """
    labels, known = group_codes(obs[LABEL])
    counts = pd.crosstab(codes, labels).reindex(columns=range(len(known)), fill_value=0).to_numpy()
    n_cells = counts.sum(1)
    status, reason = obs[STATUS].to_numpy(str), obs[REASON].to_numpy(str)
    unlike = (status == UNASSIGNED) & (reason == UNLIKE)
    n_unlike = np.bincount(codes, unlike, len(n_cells))
    beyond = (excess >= CANDIDATE_EXCESS) & (n_cells >= EXCESS_CELLS)
    strange = (n_unlike >= CANDIDATE_SHARE * n_cells) & (n_unlike >= CANDIDATE_CELLS)
    states = beyond & ~strange & (kept >= KEPT_MARKERS)
    of_cluster = pd.Series(codes).groupby(codes).indices
    middle = [np.full(2, np.nan) if places is None else np.median(places[rows], axis=0) for rows in of_cluster.values()]

    def share(of: np.ndarray) -> np.ndarray:
        return np.bincount(codes, of, len(n_cells)) / n_cells

    return pd.DataFrame(
        {
            "cluster": names,
            "n_cells": n_cells,
            "label": [known[best] for best in counts.argmax(1)],
            "label_share": counts.max(1) / n_cells,
            "confidence": share(obs[CONFIDENCE].to_numpy(float)),
            "assigned": share(status == ASSIGNED),
            "ambiguous": share(status == AMBIGUOUS),
            "unlike": n_unlike / n_cells,
            "low_quality": share((status == UNASSIGNED) & (reason == LOW_QUALITY)),
            "excess": excess,
            "kept_markers": kept,
            "candidate": np.select([states, beyond | strange], [STATE, TYPE], NEITHER),
            "batches": [_batches(obs[batch_key].iloc[rows]) if batch_key in obs else "" for rows in of_cluster.values()],
            "umap_1": [place[0] for place in middle],
            "umap_2": [place[1] for place in middle],
        }
    )


def labels_of_clusters(table: pd.DataFrame) -> list[str]:
    """What the cells of each cluster are, by vote: its most frequent label, or PERHAPS_NEW where it may be a new type."""
    return [PERHAPS_NEW if new else label for new, label in zip(table["candidate"] == TYPE, table["label"], strict=True)]


def _batches(column: pd.Series) -> str:
    """Cells by batch as a JSON object, the largest number first."""
    counts = column.astype(str).value_counts()
    return json.dumps({str(name): int(count) for name, count in counts.items() if count}, ensure_ascii=False)
