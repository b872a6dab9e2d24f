"""What samples and conditions are made of, by predicted labels of every level."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cellmemory.columns import AMBIGUOUS, ASSIGNED, UNASSIGNED
from cellmemory.reference.hierarchy import Hierarchy
from cellmemory.reference.hierarchy import column as level_column
from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Section, Selector, Table, bounded
from cellmemory.report.colours import NOT_ASSIGNED
from cellmemory.report.data import Sample, counted, counted_labels, level_title, share_of
from cellmemory.report.verdicts import is_used

MAX_BARS = 40
REFERENCE = "(reference)"
_CAPTION = (
    "To be used: assigned cells that are not in a cluster that may be a new type; share: of the sample's cells. Best guess of: "
    "all cells with the label, whatever their status; the other columns are of these."
)


def section(samples: Sequence[Sample], trained: TrainedModel, colours: dict[str, str]) -> Section:
    """How many cells got which label."""
    rows = []
    for sample in samples:
        for label, cells in sample.cells.groupby("label", observed=True):
            used = int(is_used(cells).sum())
            shares = [share_of(cells, status) for status in (ASSIGNED, AMBIGUOUS, UNASSIGNED)]
            confidence = cells["confidence"].median()
            rows.append([sample.name, label, used, used / len(sample.cells), len(cells), confidence, *shares])
    columns = [
        ("Sample", "text"),
        ("Label", "label"),
        ("To be used", "count"),
        ("Share", "share"),
        ("Best guess of", "count"),
        ("Confidence", "number"),
        ("Assigned", "share"),
        ("Ambiguous", "share"),
        ("Unassigned", "share"),
    ]
    lead = "What the query is made of. Cells count under a label where it may be used, and else under none."
    reference = trained.label_table.set_index("label")["n_cells"]
    groupings, levels = bar_groupings(samples), coarse_labels(samples, trained.hierarchy)
    finest = pd.concat([counted_labels(sample.cells).astype(object) for sample in samples], ignore_index=True)
    colours = colours | NOT_ASSIGNED
    blocks: list = []
    if levels and trained.hierarchy:
        blocks.append(lineages(groupings, levels, colours, hierarchy=trained.hierarchy, reference=reference))
    blocks += [
        composition(groupings, finest, colours, reference),
        Table("label_table", "Cells per label", columns, rows, _CAPTION),
        *_proportion_table(groupings, levels, finest, trained),
    ]
    return Section("labels", "Labels", lead, blocks)


def _proportion_table(
    groupings: dict[str, pd.Series], levels: dict[str, pd.Series], finest: pd.Series, trained: TrainedModel
) -> list[Table]:
    """What the bars of the figures show, for each thing that a bar may stand for but the samples' own labels."""
    levels = levels | {trained.hierarchy.levels[-1] if trained.hierarchy else "": finest}
    rows = []
    for title, grouping in groupings.items():
        for level, names in levels.items():
            if title == "Sample" and names is finest:
                continue
            counts = names.astype(object).groupby([grouping.astype(object), names.astype(object)]).size()
            totals = counts.groupby(level=0).sum()
            rows += [[title, str(bar), level, str(label), n, n / totals[bar]] for (bar, label), n in counts.items()]
    columns = [("Bars", "text"), ("Bar", "text"), ("Level", "text"), ("Label", "label"), ("Cells", "count"), ("Share", "share")]
    if not trained.hierarchy:
        columns, rows = [c for c in columns if c[0] != "Level"], [[*row[:2], *row[3:]] for row in rows]
    title = "Proportions by sample, condition and level"
    return [bounded("proportions", title, columns, rows, caption="What the bars above show.")] if rows else []


def composition(groupings: dict[str, pd.Series], labels: pd.Series, colours: dict[str, str], reference: pd.Series) -> Figure:
    """Stacked bars of predicted labels (N,), for each of the `bar_groupings`. reference: cells of each label there."""
    variants = {
        f"{i},{j}": figure
        for i, grouping in enumerate(groupings.values())
        for j, figure in enumerate(_bars(grouping, labels, colours, None if i else reference))
    }
    caption = (
        "The labels of assigned cells. Cells that are ambiguous or unassigned, and those of clusters that may be new types, are "
        "grey: their best guess counts for no label. Every label keeps its colour in all figures of this page. Click a label "
        "in the legend to hide it, twice to see only it."
    )
    return Figure("composition", "Composition", caption, variants, [Selector("Bars", list(groupings)), drawing.LENGTH])


def lineages(
    groupings: dict[str, pd.Series],
    levels: dict[str, pd.Series],
    colours: dict[str, str],
    *,
    hierarchy: Hierarchy,
    reference: pd.Series,
) -> Figure:
    """The same for the `coarse_labels`."""
    variants = {}
    for k, (level, labels) in enumerate(levels.items()):
        parents = hierarchy.ancestors.set_index(hierarchy.levels[-1])[level]
        totals = reference.groupby(parents.reindex(reference.index)).sum()
        for i, grouping in enumerate(groupings.values()):
            for j, figure in enumerate(_bars(grouping, labels, colours, None if i else totals)):
                variants[f"{k},{i},{j}"] = figure
    caption = (
        "What samples and conditions are made of at the coarser levels of the labels, of which each cell has the most "
        "probable label; unassigned cells are hatched in grey. A coarse label has the colour of its largest child."
    )
    selectors = [Selector("Level", list(levels)), Selector("Bars", list(groupings)), drawing.LENGTH]
    return Figure("lineages", "Lineage proportions", caption, variants, selectors)


def coarse_labels(samples: Sequence[Sample], hierarchy: Hierarchy | None) -> dict[str, pd.Series]:
    """The labels (N,) of all cells at each level above the finest, as they count, where the reference had such."""
    keys = {level: level_title(level_column(level)) for level in (hierarchy.levels[:-1] if hierarchy else ())}
    return {
        level: pd.concat([counted(sample.columns[key], sample.cells, finest=False) for sample in samples], ignore_index=True)
        for level, key in keys.items()
        if all(key in sample.columns for sample in samples)
    }


def bar_groupings(samples: Sequence[Sample]) -> dict[str, pd.Series]:
    """What a bar may stand for: a sample, a category of an obs column, or both where a sample has several; (N,) names."""
    names = np.repeat([s.name for s in samples], [len(s.cells) for s in samples])
    groupings = {"Sample": pd.Series(pd.Categorical(names, [s.name for s in samples]))}
    for key in dict.fromkeys(key for sample in samples for key in sample.columns):
        if {isinstance(s.columns[key].dtype, pd.CategoricalDtype) for s in samples if key in s.columns} != {True}:
            continue
        values = pd.concat(
            [s.columns[key].astype(object) if key in s.columns else pd.Series([None] * len(s.cells)) for s in samples],
            ignore_index=True,
        )
        if 2 <= values.nunique() <= MAX_BARS:
            groupings[key] = values
            both = (names + ", " + values.astype(str)).where(values.notna(), None)
            if len(samples) < both.nunique() <= MAX_BARS and len(samples) > 1:
                groupings[f"Sample, {key}"] = pd.Series(pd.Categorical(both, both.dropna().unique()))
    return groupings


def _bars(grouping: pd.Series, labels: pd.Series, colours: dict[str, str], reference: pd.Series | None) -> list[dict]:
    """Bars as shares of cells, with one of the reference if given, and as cells."""
    counts = pd.crosstab(grouping.array, labels, dropna=False).reindex(columns=list(colours), fill_value=0)
    counts = counts.loc[counts.index.isin(grouping.dropna().unique())]
    shares = counts
    if reference is not None:
        last = reference.reindex(counts.columns, fill_value=0).to_frame(REFERENCE).T
        shares = pd.concat([counts.set_axis(counts.index.astype(str)), last])
    return [drawing.stacked_bars(shares, colours, share=True), drawing.stacked_bars(counts, colours, share=False)]
