"""Memory slots: their use, their genes, and the terms enriched in them."""

from collections.abc import Sequence

import numpy as np

from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Section, Selector, bounded, category_axis
from cellmemory.report.data import Sample
from cellmemory.report.sections.enrichment import SIGNIFICANT


def section(samples: Sequence[Sample]) -> Section:
    """Memory slots: use, genes, and the terms enriched in them."""
    lead = (
        "Between genes and label the model keeps a memory of a few slots, a bottleneck for which genes compete. The "
        "genes that share a slot are often a programme: a lineage, a function, a state."
    )
    if all(s.slot_write is None for s in samples):
        return Section(
            "slots",
            "Memory slots",
            lead,
            absent="The mapped files hold no slot attention (--no_attention), so that there are no slots.",
        )
    blocks: list = [slot_use(samples), slot_heatmap(samples)]
    rows = [row for sample in samples for row in _slot_rows(sample)]
    if rows:
        columns = [
            ("Sample", "text"),
            ("Label", "label"),
            ("Slot", "count"),
            ("Use", "share"),
            ("Top genes", "text"),
            ("Best term", "text"),
            ("Adjusted p", "p"),
        ]
        caption = (
            "Use: the share of the slot in what the label's cells read. Top genes: the five that take most of the "
            "slot's attention."
        )
        blocks.append(bounded("slot_table", "Slots at a glance", columns, rows, caption=caption))
    return Section("slots", "Memory slots", lead, blocks, advanced=True)


def _slot_rows(sample: Sample) -> list[list]:
    table, terms = sample.tables.get("slot_tags"), sample.tables.get("enrichment")
    if table is None or table.empty:
        return []
    best = {}
    if terms is not None:
        of_slots = terms[(terms["level"] == "slot") & (terms["method"] == "ora") & (terms["adjusted_p_value"] <= SIGNIFICANT)]
        for row in of_slots.sort_values("adjusted_p_value", kind="stable", ascending=False).itertuples():
            best[row.group, row.slot] = (row.term, row.adjusted_p_value)
    use = {}
    if sample.slot_use is not None:
        for label in sample.cells["label"].dropna().unique():
            use[str(label)] = sample.slot_use[(sample.cells["label"] == label).to_numpy()].mean(axis=0)
    rows = []
    for (group, slot), part in table[table["rank"] <= 5].groupby(["group", "slot"], sort=False):
        term, p = best.get((group, slot), ("", None))
        number = int(slot)
        rows.append(
            [
                sample.name,
                group,
                number,
                use[group][number - 1] if group in use else None,
                ", ".join(part["gene"]),
                term,
                p,
            ]
        )
    return rows


def slot_heatmap(samples: Sequence[Sample]) -> Figure:
    """Genes by memory slots of one label: what is written into each slot, or which slots a gene reads from."""
    variants = {}
    groups = drawing.shown_groups(samples)
    read = any(sample.slot_read is not None for sample in samples)  # the light variant's genes read nothing
    sides = ["Written into the slot"] + (["Read by the gene"] if read else [])
    for i, sample in enumerate(samples):
        if sample.slot_write is None:
            continue
        present = set(sample.cells["label"].dropna())
        kept = [values for values in (sample.slot_write, sample.slot_read) if values is not None]
        for g, group in enumerate(groups):
            for j, values in enumerate(kept if group in present else ()):
                key = (i, g, j) if read else (i, g)
                variants[drawing.key(samples, *key)] = _slot_heatmap(sample, group, (sample.slot_write, values), written=j == 0)
    selectors = [*drawing.sample_selector(samples), Selector("Label", groups), *([Selector("Side", sides)] if read else [])]
    caption = (
        "The top five genes of every memory slot in the cells of one label. Genes compete to write into few slots; "
        "what a slot took in is then read by the cell's summary. Written: the share of the slot's attention that goes to "
        "the gene. "
        + ("Read: of what the gene reads, the share that comes from the slot. " if read else "")
        + "A slot has no meaning of its own across training runs; look at which genes share one."
    )
    caption += drawing.shown_note(samples, groups)
    return Figure("slots", "Genes of the memory slots", caption, variants, selectors, "No cell of this sample has this label.")


def _slot_heatmap(sample: Sample, group: str, arrays: tuple[np.ndarray, np.ndarray], *, written: bool) -> dict:
    """The figure of one label. arrays: what its genes write, by which these are chosen, and what is shown of them."""
    place = sample.groups.index(group)
    write, values = (array[:, place] for array in arrays)
    best = np.argsort(-write, axis=0, kind="stable")[:5].T.ravel()
    rows = [row for row in dict.fromkeys(best.tolist()) if write[row].max() > 0]
    genes, slots = [sample.genes[row] for row in rows], [f"slot {h + 1}" for h in range(values.shape[1])]
    words = "{row}, {column}<br>{share} " + ("of the slot's writing attention" if written else "of the gene's reading")
    data = [
        drawing.heatmap(values[rows], genes, slots, words=words, scale="attention" if written else "expression", title="share")
    ]
    axis = category_axis(genes, down=True)
    return drawing.figure(data, {"xaxis": category_axis(slots, side="top"), "yaxis": axis}, 120 + 17 * max(6, len(genes)), 420)


def slot_use(samples: Sequence[Sample]) -> Figure:
    """How much the summary of a cell reads from each slot, by label."""

    def make(sample: Sample) -> dict | None:
        if sample.slot_use is None:
            return None
        codes = sample.cells["label"].cat.codes.to_numpy()
        labels = [label for i, label in enumerate(sample.cells["label"].cat.categories) if (codes == i).any()]
        means = np.stack([sample.slot_use[(sample.cells["label"] == label).to_numpy()].mean(axis=0) for label in labels])
        slots = [f"slot {h + 1}" for h in range(means.shape[1])]
        rows = category_axis(labels, down=True)
        data = [
            drawing.heatmap(
                means, labels, slots, words="{row}, {column}<br>{share} of what the cell reads", scale="expression", title="share"
            )
        ]
        return drawing.figure(
            data, {"xaxis": category_axis(slots, side="top"), "yaxis": rows}, 120 + 22 * max(5, len(labels)), 420
        )

    caption = (
        "Where the label's decision comes from: the share of each memory slot in what a cell's summary reads, "
        "averaged over the cells of a label. Labels with the same profile differ by genes within the same "
        "slots."
    )
    variants, selectors = drawing.for_each_sample(samples, make)
    return Figure("slot_use", "Use of the slots by label", caption, variants, selectors, "This sample has no slot attention.")
