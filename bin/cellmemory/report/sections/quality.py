"""Counts, genes, mitochondrial share and doublet score of the cells of each label: are cells without one merely poor cells?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cellmemory.columns import ASSIGNED, LIKELY_DOUBLET, UNASSIGNED
from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Notes, Section, Selector, Table
from cellmemory.report.colours import NOT_ASSIGNED
from cellmemory.report.data import QUALITY_TITLES, Sample, counted_labels

#: Assigned cells that are poorer than where a cell counts as poor: with fewer genes, or with more mitochondrial counts.
POOREST = 0.05
#: The share of unassigned cells that are poor from which most may be just that, and to which few are.
MOST_POOR, FEW_POOR = 0.5, 0.2
#: Fewer assigned cells do not say what is usual.
FEWEST_ASSIGNED = 20


def section(samples: Sequence[Sample], colours: dict[str, str]) -> Section:
    """Boxes of each measure by label, and a table of medians."""
    lead = (
        "How good the cells are, from all genes of your file. Poor cells have few counts and genes, or many mitochondrial "
        "counts. A doublet is two cells in one droplet or outline; the score is high where a cell is like a sum of two others."
    )
    measured = [sample for sample in samples if sample.quality is not None]
    if not measured:
        return Section("quality", "Quality", lead, absent="the mapped files do not hold the quality of their cells")
    poor = [sentence for sample in measured for sentence in (_poor(sample), _doublets(sample)) if sentence]
    blocks = [*([Notes(poor)] if poor else []), by_label(samples, colours | NOT_ASSIGNED), _table(measured)]
    return Section("quality", "Quality", lead, blocks)


def _poor(sample: Sample) -> str:
    """Whether the unassigned cells are poorer than the assigned ones, as a sentence; '' where there is nothing to compare."""
    assert sample.quality is not None
    assigned, unassigned = ((sample.cells["status"] == status).to_numpy() for status in (ASSIGNED, UNASSIGNED))
    if assigned.sum() < FEWEST_ASSIGNED or not unassigned.any():
        return ""
    genes, share = sample.quality["genes"], sample.quality["mitochondrial"]
    few = (genes < genes[assigned].quantile(POOREST))[unassigned]
    much = (share > share[assigned].quantile(1 - POOREST))[unassigned]
    poor, n = (few | much).mean(), int(unassigned.sum())
    if poor >= MOST_POOR:
        so = "many of them may just be poor cells"
    else:
        so = "they are not just poor cells" if poor < FEW_POOR else "some of them may just be poor cells"
    more = "" if share[unassigned].isna().all() else f", and {much.mean():.0%} have a larger mitochondrial share than all but 5%"
    few_genes = f"{few.mean():.0%} express fewer genes than 95% of the assigned ones"
    return f"{sample.name}: of the {n:,} unassigned cells, {few_genes}{more}: {so}."


def _doublets(sample: Sample) -> str:
    """How many cells may be doublets, of all and of those that are unassigned; '' where it is not known."""
    assert sample.quality is not None
    score = sample.quality["doublet"]
    if score.isna().all():
        return ""
    likely, unassigned = (score >= LIKELY_DOUBLET).to_numpy(), (sample.cells["status"] == UNASSIGNED).to_numpy()
    share = f", {likely[unassigned].mean():.0%} of the unassigned ones" if unassigned.any() else ""
    return f"{sample.name}: {likely.sum():,} of {len(likely):,} cells ({likely.mean():.0%}{share}) may be doublets."


def by_label(samples: Sequence[Sample], colours: dict[str, str]) -> Figure:
    """Box of each measure, per label as cells count under it."""
    variants, shown = {}, drawing.boxed_labels(samples, len(QUALITY_TITLES))
    colours = {label: colours[label] for label in [*shown, *NOT_ASSIGNED]}
    for i, sample in enumerate(samples):
        if sample.quality is None:
            continue
        labels = counted_labels(sample.cells)
        for j, (column, title) in enumerate(QUALITY_TITLES.items()):
            values = sample.quality[column]
            if values.notna().any():
                boxes = drawing.boxes(values, labels, title, colours, logarithmic=column in ("counts", "genes"))
                variants[drawing.key(samples, i, j)] = boxes
    caption = (
        f"{drawing.BOXES} Cells that are ambiguous or unassigned, and those of clusters that may be new types, have boxes of "
        "their own."
    )
    caption += drawing.shown_note(samples, shown)
    selectors = [*drawing.sample_selector(samples), Selector("Show", list(QUALITY_TITLES.values()))]
    empty = (
        "The values of this query do not tell: they are normalised, no mitochondrial gene was measured, or cells not clustered."
    )
    return Figure("quality_by_label", "Quality by label", caption, variants, selectors, empty)


def _table(samples: Sequence[Sample]) -> Table:
    rows = []
    for sample in samples:
        assert sample.quality is not None
        labels = counted_labels(sample.cells)
        medians = sample.quality.groupby(labels.to_numpy(), observed=True).median().reindex(labels.cat.categories)
        cells = labels.value_counts()
        for label in labels.cat.categories:
            if cells[label]:
                rows.append([sample.name, label, int(cells[label]), *_known(medians.loc[label])])
    columns = [("Sample", "text"), ("Label", "label"), ("Cells", "count"), ("Counts", "count"), ("Genes expressed", "count")]
    columns += [("Mitochondrial share", "share"), ("Doublet score", "number")]
    caption = (
        "Medians. Empty where the values do not tell: counts that were normalised, a panel without mitochondrial genes; or where "
        "cells were not clustered, which doublets are looked for with."
    )
    return Table("quality_table", "Quality of each label's cells", columns, rows, caption)


def _known(medians: pd.Series) -> list[float | None]:
    """The medians, as whole numbers where they are of counts or genes."""
    return [
        None if np.isnan(value) else round(value) if name in ("counts", "genes") else float(value)
        for name, value in medians.items()
    ]
