"""Type-associated genes: what the model read, what decided, and how conditions differ in it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.columns import ASSIGNED
from cellmemory.report import drawing
from cellmemory.report.blocks import MAX_ROWS, Figure, Section, Selector, Table, bounded, category_axis
from cellmemory.report.data import Sample
from cellmemory.report.sections.faithfulness import faithfulness_blocks

MAX_TAGS, MAX_HEAT_GENES = 50, 120
_TAG_COLUMNS = (
    ("group", "Label", "label"),
    ("rank", "Rank", "count"),
    ("gene", "Gene", "text"),
    ("score", "Attention", "share"),
    ("specificity", "Specificity", "number"),
    ("effect", "Effect", "number"),
    ("adjusted_p_value", "Adjusted p", "p"),
    ("contribution", "Contribution", "number"),
    ("cls_contribution", "of CLS", "number"),
    ("linear_contribution", "of linear path", "number"),
    ("mean_expression", "Mean expression", "number"),
    ("fraction_expressing", "Expressing", "share"),
    ("expression_log2_change", "Expression change", "number"),
    ("differential", "Differential", "text"),
)
_TAG_CAPTION = (
    "Attention: the mean share of the label's cells' attention that the gene takes. Specificity: log2 of that share over "
    "the mean of all other cells; 1 is twice as much. Effect: the same difference in standard deviations. Adjusted p: of a "
    "permutation test. Contribution: what the gene adds to the label's logit, in all, by the network's summary (CLS) and "
    "by the linear path. Expressing: the share of the label's cells in which the gene was found. Expression change: log2 against "
    "all other cells. Differential: whether a test of expression finds the gene as well (Wilcoxon)."
)


def section(samples: Sequence[Sample]) -> Section:
    """Type-associated genes."""
    lead = (
        "Type-associated genes (TAGs) are the genes that a cell's summary attends to, averaged over the assigned cells of a "
        "label. Attention says what the model read to decide, not how much a gene is expressed nor what causes "
        "what: a marker that every cell has is expressed but does not distinguish types."
    )
    tables = [(s, s.tables["tags"]) for s in samples if "tags" in s.tables]
    if not tables:
        return Section(
            "tags",
            "Genes",
            lead,
            absent="No TAG table was given (mapping may have run with --no_attention), so there are no genes.",
        )
    shown = [
        column for column in _TAG_COLUMNS if all(column[0] in table and table[column[0]].notna().any() for _, table in tables)
    ]
    keys = [key for key, _, _ in shown]
    most = min(MAX_TAGS, max(1, MAX_ROWS // max(1, sum(table["group"].nunique() for _, table in tables))))
    rows = [[s.name, *row] for s, table in tables for row in table.loc[table["rank"] <= most, keys].itertuples(index=False)]
    note = f"The first {most} genes of every label; the TAG tables of the pipeline hold more."
    columns = [("Sample", "text"), *((title, kind) for _, title, kind in shown)]
    table = Table("tag_table", "Genes by label", columns, rows, _TAG_CAPTION, note)
    blocks = [tag_heatmap(samples)] if any(s.attention is not None for s in samples) else []
    return Section(
        "tags", "Genes", lead, [*_deciding(tables), *_contrasts(samples), *blocks, table, *faithfulness_blocks(samples)]
    )


def _deciding(tables: list[tuple[Sample, pd.DataFrame]]) -> list[Table]:
    """The first genes of each label by contribution and by attention, side by side."""
    kinds = {"contribution_rank": "By contribution", "rank": "By attention"}
    rows = []
    for sample, table in tables:
        if not all(kind in table and table[kind].notna().any() for kind in kinds):
            continue
        for group, part in table.groupby("group", sort=False):
            rows.append([sample.name, group, *(", ".join(part.sort_values(kind)["gene"].head(6)) for kind in kinds)])
    if not rows:
        return []
    caption = (
        "Contributions are what a label hangs on; attention is what the model read. Where the lists differ, the attended genes "
        "are striking in these cells, but others make the label."
    )
    columns = [("Sample", "text"), ("Label", "label"), *((title, "text") for title in kinds.values())]
    return [Table("deciding", "What decided, and what was read", columns, rows, caption)]


def _contrasts(samples: Sequence[Sample]) -> list[Table]:
    """The first genes of every contrast, label by label."""
    keys = ["contrast", "group", "direction", "rank", "gene", "score", "score_other", "effect", "adjusted_p_value"]
    keys += ["expression_log2_change", "differential", "n_cells", "n_cells_other"]
    rows = []
    for sample in samples:
        table = sample.tables.get("contrasts")
        if table is not None:
            rows += [[sample.name, *row] for row in table.loc[table["rank"] <= 20, keys].itertuples(index=False)]
    if not rows:
        return []
    columns = [("Sample", "text"), ("Contrast", "text"), ("Label", "label"), ("Attended", "text"), ("Rank", "count")]
    columns += [
        ("Gene", "text"),
        ("Attention", "share"),
        ("Attention, other side", "share"),
        ("Effect", "number"),
        ("Adjusted p", "p"),
    ]
    columns += [("Expression change", "number"), ("Differential", "text"), ("Cells", "count"), ("Cells, other side", "count")]
    title = "Contrasts"
    if len(names := {row[1] for row in rows}) == 1:
        title, columns, rows = f"Contrast: {names.pop()}", [columns[0], *columns[2:]], [[row[0], *row[2:]] for row in rows]
    caption = (
        "Assigned cells of the first named side against those of the second, within one label. Attended: more or less than by "
        "the other side. Effect: the difference in standard deviations. The first 20 genes either way."
    )
    return [bounded("contrast_table", title, columns, rows, caption=caption)]


def tag_heatmap(samples: Sequence[Sample]) -> Figure:
    """Mean attention per label of each label's top genes, raw or relative to the gene's highest."""
    variants = {}
    for i, sample in enumerate(samples):
        for j, relative in enumerate((True, False)):
            figure = _tag_heatmap(sample, relative=relative)
            if figure:
                variants[drawing.key(samples, i, j)] = figure
    selectors = drawing.sample_selector(samples)
    selectors.append(Selector("Colour", ["Relative to the gene's highest label", "Mean attention"]))
    caption = (
        "The genes that the model attends to most, grouped by the label that leads to them, and their mean "
        "attention in the assigned cells of every label. A row that is strong in one column is specific to that label; a "
        "row that is strong everywhere is attended to in all cells. Means are over the cells drawn in this page."
    )
    return Figure("tags", "Type-associated genes by label", caption, variants, selectors, "This sample has no attention table.")


def _tag_heatmap(sample: Sample, *, relative: bool) -> dict | None:
    if sample.attention is None or "tags" not in sample.tables:
        return None
    cells = sample.cells.iloc[sample.drawn]
    drawn = cells["label"].where(cells["status"] == ASSIGNED)
    groups = [label for label in drawn.cat.categories if (drawn == label).any()]
    place = {gene: i for i, gene in enumerate(sample.genes)}
    each = max(1, min(5, MAX_HEAT_GENES // max(1, len(groups))))
    genes = [gene for gene in first_genes(sample.tables["tags"], groups, each) if gene in place][:MAX_HEAT_GENES]
    if not genes:
        return None
    means = means_of_labels(sample.attention, drawn.cat.set_categories(groups).cat.codes.to_numpy(), len(groups))
    means = means[:, [place[gene] for gene in genes]].T
    shown = means / np.maximum(means.max(axis=1, keepdims=True), 1e-12) if relative else means
    words = "{row} in {column}<br>" + ("{share} of its highest mean" if relative else "mean attention {share}")
    data = [drawing.heatmap(shown, genes, groups, words=words, scale="attention", title="relative" if relative else "attention")]
    rows = category_axis(genes, down=True)
    layout = {"xaxis": category_axis(groups, side="top", tickangle=-45), "yaxis": rows}
    return drawing.figure(data, layout, 170 + 17 * len(genes), 160 + 22 * len(groups))


def means_of_labels(matrix: sp.csr_matrix, codes: np.ndarray, n: int) -> np.ndarray:
    """Mean (n, genes) of the rows of each code; codes of -1 are left out, a code without rows gives zeros."""
    known = np.flatnonzero(codes >= 0)
    member = sp.csr_matrix((np.ones(len(known)), (codes[known], known)), (n, len(codes)))
    size = np.maximum(np.asarray(member.sum(axis=1)), 1)
    return np.asarray((member @ matrix).todense()) / size


def first_genes(table: pd.DataFrame, groups: Sequence[str], n: int) -> list[str]:
    """The first n genes of every group, in the order of the groups, each once."""
    first = table[table["rank"] <= n].sort_values("rank", kind="stable")
    return list(dict.fromkeys(gene for group in groups for gene in first.loc[first["group"] == group, "gene"]))
