"""From a mapped query to its clusters: each cell's, a table of them, and their marker genes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.cells.groups import group_codes
from cellmemory.cells.named_columns import users_clusters
from cellmemory.clusters.doublets import MOST_CELLS, find_doublets
from cellmemory.clusters.excess import find_excess, kept_markers
from cellmemory.clusters.graph import Clusters, find_clusters
from cellmemory.clusters.known import known_sets, reference_library
from cellmemory.clusters.markers import marker_table, named_excess, named_markers
from cellmemory.clusters.summary import cluster_table, labels_of_clusters
from cellmemory.columns import (
    CANDIDATE,
    CLUSTER,
    CLUSTER_COLUMNS,
    CLUSTER_LABEL,
    DOUBLET_SCORE,
    LABEL,
    LIKELY_DOUBLET,
    MAPPING,
    NEITHER,
    UMAP,
)
from cellmemory.genes.gene_sets import read_libraries
from cellmemory.genes.quality import QUALITY
from cellmemory.log import say
from cellmemory.mapping.mapped import MappedFile
from cellmemory.reference.trained_model import TrainedModel
from cellmemory.sampling import sample_cells_to_draw

#: Cells that are clustered and tested, at most; each other cell joins the cluster of its nearest ones. Memory grows with these,
#: not with the query.
CLUSTERED_CELLS = 20_000


@dataclass(frozen=True)
class ClusterSettings:
    """resolution: a higher one gives more clusters; top: marker genes to list of each comparison (0: all).

    cluster_key: the column of obs with the user's clusters, where these are taken instead.
    """

    resolution: float = 1.0
    top: int = 20
    seed: int = 0
    cluster_key: str | None = None


@dataclass(frozen=True)
class Clustered:
    """cells: CELL_CLUSTER_COLUMNS by the cells' names, in the file's order.

    clusters, markers: CLUSTER_COLUMNS and CLUSTER_MARKER_COLUMNS. All three also have MAPPING.
    """

    cells: pd.DataFrame
    clusters: pd.DataFrame
    markers: pd.DataFrame


def cluster_query(mapped: Path, trained: TrainedModel, settings: ClusterSettings, gene_sets: Sequence[Path] = ()) -> Clustered:
    """Clusters the cells of a mapped query by expression, or takes the user's clusters. trained: the model that mapped it.

    gene_sets: GMT files in which the genes of clusters that may be new are looked up, beside the markers of the reference's
    labels. Raises InputError for a file that was not mapped, or by another model, and for GMT files as
    `read_libraries`.
    """
    with MappedFile(mapped) as file:
        file.check_model(trained, adapted=True)
        measured = file.var()["measured"].to_numpy(bool)
        background = {gene for gene, there in zip(file.genes, measured, strict=True) if there}
        libraries = [reference_library(trained, measured), *read_libraries(gene_sets, trained.panel, background)]
        labels = pd.Index(trained.labels).get_indexer(file.obs[LABEL].astype(str))
        rows, values, codes, names = _clusters(file, labels, settings)
        tested = codes[rows]
        places = file.embedding(UMAP) if UMAP in file.obsm else None
        excess = find_excess(values, tested, labels[rows], states=trained.states, measured=measured)
        kept = kept_markers(values, tested, _most_frequent(labels, codes), states=trained.states, measured=measured)
        batch_key = file.run.batch_key
        table = cluster_table(file.obs, codes, names, excess=excess.score, kept=kept, batch_key=batch_key, places=places)
        markers = marker_table(values, tested, file.obs.iloc[rows], table, genes=file.genes, top=settings.top)
        table["markers"], table["markers_against_label"] = named_markers(table, markers)
        table["excess_genes"] = [named_excess(genes, file.genes) for genes in excess.genes]
        doublets = _doublet_scores(file, settings.seed)
        table["doublets"] = _share_of_clusters(doublets >= LIKELY_DOUBLET, codes) if np.isfinite(doublets).all() else np.nan
        candidates = (table["candidate"] != NEITHER).to_numpy()
        known = known_sets(excess.genes, candidates, file.genes, libraries=libraries, background=background)
        table = table.join(known)
        cells = pd.DataFrame(
            {
                CLUSTER: pd.Categorical.from_codes(codes, table["cluster"].tolist()),
                CLUSTER_LABEL: pd.Series(labels_of_clusters(table)).take(codes).astype("category").to_numpy(),
                CANDIDATE: table["candidate"].take(codes).astype("category").to_numpy(),
                DOUBLET_SCORE: doublets,
                MAPPING: pd.Categorical.from_codes(np.zeros(file.n_cells, np.int8), [file.mapping]),
            },
            index=pd.Index(file.names(0, file.n_cells), name="cell"),
        )
        of_query = {MAPPING: file.mapping}
    return Clustered(cells, table[CLUSTER_COLUMNS].assign(**of_query), markers.assign(**of_query))


def _clusters(
    file: MappedFile, labels: np.ndarray, settings: ClusterSettings
) -> tuple[np.ndarray, sp.csr_matrix, np.ndarray, list[str]]:
    """The cells whose genes are tested, (n,) by number, and their values (n, M); (N,) the cluster of each cell, and the names."""
    if settings.cluster_key is not None:
        codes, names = users_clusters(file, settings.cluster_key)
        rows = sample_cells_to_draw(codes, CLUSTERED_CELLS, settings.seed)
        say(f"Taking the {len(names)} clusters in '{settings.cluster_key}' of {file.path}.")
        return rows, file.picked("X", rows), codes, names
    rows = sample_cells_to_draw(labels, CLUSTERED_CELLS, settings.seed)
    values = file.picked("X", rows)
    part = "" if len(rows) == file.n_cells else f", {len(rows):,} of them first"
    say(f"Clustering {file.n_cells:,} cells of {file.path}{part}.")
    found = find_clusters(values, settings.resolution, settings.seed)
    codes = _of_all_cells(file, rows, found)
    return rows, values, codes, [str(code + 1) for code in range(codes.max() + 1)]


def _doublet_scores(file: MappedFile, seed: int) -> np.ndarray:
    """(N,) how much each cell resembles a doublet (see doublets); NaN for all where that cannot be told."""
    key = file.run.batch_key
    batches = group_codes(file.obs[key])[0] if key in file.columns else np.zeros(file.n_cells, np.int64)
    totals = file.embedding(QUALITY)[:, 0] if QUALITY in file.obsm else np.full(file.n_cells, np.nan)
    rows = sample_cells_to_draw(np.zeros(file.n_cells, np.int64), MOST_CELLS, seed)
    finder = find_doublets(file.picked("X", rows), totals[rows], batches[rows], seed)
    if finder is None:
        return np.full(file.n_cells, np.nan)
    return np.concatenate([finder.scores(chunk) for _, chunk in file.chunks("X")])


def _share_of_clusters(of: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(K,) the share of each cluster's cells that `of` (N,) is true for; codes: (N,)."""
    return np.bincount(codes, of) / np.bincount(codes)


def _most_frequent(labels: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(K,) the label that most cells of each cluster got; labels, codes: (N,)."""
    counts = np.zeros((codes.max() + 1, labels.max() + 1), int)
    np.add.at(counts, (codes, labels), 1)
    return counts.argmax(1)


def _of_all_cells(file: MappedFile, rows: np.ndarray, found: Clusters) -> np.ndarray:
    """(N,) the cluster of each cell; rows: those that were clustered."""
    codes = np.full(file.n_cells, -1)
    codes[rows] = found.codes
    if len(rows) < len(codes):
        for start, chunk in file.chunks("X"):
            others = np.flatnonzero(codes[start : start + chunk.shape[0]] < 0)
            codes[start + others] = found.nearest(chunk[others]) if len(others) else 0
    return codes
