"""The query's own clusters: which labels their cells got, which may be new types, and their marker genes."""

from collections.abc import Sequence

import pandas as pd

from cellmemory.columns import STATE, TYPE
from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Notes, Section, bounded, category_axis
from cellmemory.report.data import Sample, counted_labels
from cellmemory.report.wording import count, listed

_COLUMNS = [
    ("Sample", "text"),
    ("Cluster", "text"),
    ("Cells", "count"),
    ("Of its sample", "share"),
    ("Perhaps new", "text"),
    ("Markers kept", "share"),
    ("Most frequent label", "label"),
    ("Marker genes", "text"),
    ("Beyond the reference's label", "text"),
    ("Known as", "text"),
    ("Excess", "number"),
    ("Cells with the label", "share"),
    ("Assigned", "share"),
    ("Unlike the reference", "share"),
    ("May be doublets", "share"),
    ("Mean confidence", "number"),
]
_SHOWN = [
    "cluster",
    "n_cells",
    "share",
    "candidate",
    "kept_markers",
    "label",
    "markers",
    "excess_genes",
    "known_as",
    "excess",
    "label_share",
    "assigned",
]
_SHOWN += ["unlike", "doublets", "confidence"]
_MARKER_COLUMNS = [
    ("Sample", "text"),
    ("Cluster", "text"),
    ("Against", "text"),
    ("Rank", "count"),
    ("Gene", "text"),
    ("Log2 fold change", "number"),
    ("Adjusted p", "p"),
    ("Expressing", "share"),
    ("Others expressing", "share"),
]
_MARKERS_SHOWN = ["cluster", "against", "rank", "gene", "expression_log2_change", "expression_adjusted_p_value"]
_MARKERS_SHOWN += ["fraction_expressing", "fraction_expressing_other"]
_CAPTION = (
    "Marker genes are higher than in all other cells of the query. Genes beyond the reference's label are higher than in the "
    "reference's cells of the same labels; excess says by how much, as a multiple of the middle cluster of the query. Known as: "
    "the gene set (--gmt), or label of the reference, that has more of these genes than chance would give. Markers "
    "kept: the share of the label's marker genes that the cluster expresses at half of their height or more."
)
#: Marker genes that a sentence names.
SHOWN_MARKERS = 5
#: Of a cluster that may be new, this share of cells that may be doublets is said.
MANY_DOUBLETS = 0.3


def section(samples: Sequence[Sample]) -> Section:
    """Clusters and candidate new types."""
    lead = (
        "Cells of the query that are alike, whatever label each of them got. A cluster of which a quarter is unlike the "
        "reference, or that expresses genes far beyond the reference's cells of its labels, may be a type that the reference "
        "lacks; or, if it has the markers of its label, a state, and then its cells keep their label."
    )
    known = [sample for sample in samples if "clusters" in sample.tables]
    if not known:
        absent = "The queries were not clustered (--clusters false), so no new types were looked for."
        return Section("clusters", "Clusters and new types", lead, absent=absent)
    found = [sentence for sample in known for sentence in candidates(sample)]
    if found:
        notes = Notes(found, "Perhaps types or states that the reference lacks", warning=True)
    else:
        notes = Notes(["No cluster looks like a type, or a state, that the reference lacks."])
    tables = [_with_share(sample) for sample in known]
    table = pd.concat(tables, ignore_index=True)
    for column in ("markers", "excess_genes"):
        table[column] = [_first(genes) for genes in table[column]]
    rows = table[["sample", *_SHOWN]].values.tolist()
    blocks: list = [notes, *_labels(known), bounded("cluster_table", "Clusters", _COLUMNS, rows, caption=_CAPTION)]
    markers = [
        [sample.name, *row]
        for sample in known
        if "cluster_markers" in sample.tables
        for row in sample.tables["cluster_markers"][_MARKERS_SHOWN].values.tolist()
    ]
    if markers:
        caption = (
            "Genes that are higher in the cluster (Wilcoxon's test). A cluster that may be new is also compared with its label."
        )
        blocks.append(bounded("cluster_markers", "Marker genes of clusters", _MARKER_COLUMNS, markers, caption=caption))
    return Section("clusters", "Clusters and new types", lead, blocks)


def _with_share(sample: Sample) -> pd.DataFrame:
    """A sample's table of clusters, with the sample and the share of its cells."""
    table = sample.tables["clusters"]
    return table.assign(sample=sample.name, share=table["n_cells"] / len(sample.cells))


def candidates(sample: Sample) -> list[str]:
    """A sentence for each cluster of a sample that may be a type that the reference lacks, and one for all that may be in a state
    that it lacks."""
    table = sample.tables["clusters"]
    types, states = (table[table["candidate"] == kind] for kind in (TYPE, STATE))
    return [_new_type(sample, row) for _, row in types.iterrows()] + ([_new_states(sample, states)] if len(states) else [])


def _new_type(sample: Sample, row: pd.Series) -> str:
    genes, unlike = _first(row["excess_genes"]), f"{row['unlike']:.0%}"
    beyond = f", but they express {genes} beyond the reference's cells of their labels" if genes else ""
    known = f" {_first(row['known_genes'])} are genes of {row['known_as']}." if row["known_as"] else ""
    doubt = f" {unlike} are unlike the reference." if unlike != "0%" else ""
    if row["doublets"] >= MANY_DOUBLETS:
        doubt += f" {row['doublets']:.0%} may be doublets: look first whether its genes are those of two types."
    return (
        f"{sample.name}, cluster {row['cluster']} ({count(int(row['n_cells']), 'cell')}) may be a type that the reference lacks. "
        f"Most were called {row['label']}{beyond}.{known}{doubt}"
    )


def _new_states(sample: Sample, states: pd.DataFrame) -> str:
    one = len(states) == 1
    clusters = f"cluster{'' if one else 's'} {listed(states['cluster'].tolist())}"
    labels = listed(list(dict.fromkeys(states["label"])))
    genes = list(
        dict.fromkeys(
            gene for each in zip(*(genes.split(";") for genes in states["excess_genes"]), strict=False) for gene in each
        )
    )
    return (
        f"{sample.name}, {clusters} ({count(int(states['n_cells'].sum()), 'cell')}) may be in a state that the reference lacks. "
        f"Most were called {labels} and have the markers of {'this label' if one else 'their labels'}, but they express "
        f"{', '.join(genes[:SHOWN_MARKERS])} beyond the reference's cells."
    )


def _first(genes: str) -> str:
    """The first marker genes in words."""
    return ", ".join(genes.split(";")[:SHOWN_MARKERS])


def _labels(samples: Sequence[Sample]) -> list[Figure]:
    """Which labels the cells of each cluster got."""
    variants, selectors = drawing.for_each_sample(samples, _heatmap)
    caption = (
        "Each column is a cluster, the largest first, and adds up to all its cells. Cells that are ambiguous or unassigned count "
        "under no label."
    )
    return [Figure("cluster_labels", "Labels of the clusters", caption, variants, selectors)] if variants else []


def _heatmap(sample: Sample) -> dict | None:
    if "cell_clusters" not in sample.tables:
        return None
    names = sample.tables["clusters"]["cluster"].tolist()
    labels = counted_labels(sample.cells.drop(columns="candidate", errors="ignore"))
    counts = pd.crosstab(labels, sample.tables["cell_clusters"]["cluster"].to_numpy()).reindex(columns=names, fill_value=0)
    order = [label for label in labels.cat.categories if label in counts.index]
    counts = counts.loc[order]
    words = "{row}<br>cluster {column}<br>{share} of the cluster"
    shares = counts.to_numpy() / counts.sum().to_numpy()
    data = [drawing.heatmap(shares, order, names, words=words, scale="expression", title="share") | {"zmax": 1}]
    layout = {"xaxis": category_axis(names, title={"text": "cluster"}), "yaxis": category_axis(order, down=True)}
    return drawing.figure(data, layout, 230 + 26 * max(4, len(order)), 240 + 26 * len(names))
