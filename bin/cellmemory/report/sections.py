"""The report's sections in order: which figures, tables and notes each has, and why one is not there."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.bundle import Bundle
from cellmemory.coverage import expected_accuracy
from cellmemory.report import figures
from cellmemory.report.blocks import Explorer, Facts, Notes, Section, Table, Tiles, plain
from cellmemory.report.data import Sample

MAX_ROWS, MAX_TAGS = 5000, 50


def all_sections(
    samples: Sequence[Sample],
    model: Bundle,
    inputs: dict | None,
    provenance: dict | None,
    consensus: Sequence[dict],
    colours: dict[str, str],
    palette: Sequence[str],
) -> list[Section]:
    """Every section of the page, those that have nothing to show with one sentence that says why.

    consensus: the summaries of consensus.py; without them, as in a run with one reference, there is no such section.
    """
    parts = [
        summary(samples, model, inputs),
        checks(samples, inputs, model),
        labels(samples, model, colours),
        *([references(consensus)] if consensus else []),
        maps(samples),
        spatial(samples),
        confidence(samples, colours),
        label_sets(samples, palette),
        tags(samples),
        slots(samples),
        enrichment(samples),
        truth(samples, palette),
        training(model),
        about(samples, model, provenance),
    ]
    if len(samples) == 1:
        parts = [replace(part, blocks=[_without_sample(block) for block in part.blocks]) for part in parts]
    return parts


def _without_sample(block: object) -> object:
    """A table without the column that says the same in every row of a sample's own page."""
    if block.kind != "table" or block.id == "samples" or block.columns[0] != ("Sample", "text"):
        return block
    return replace(block, columns=block.columns[1:], rows=[row[1:] for row in block.rows])


def summary(samples: Sequence[Sample], model: Bundle, inputs: dict | None) -> Section:
    """The numbers to look at first, and a row for every sample."""
    cells = pd.concat([s.cells for s in samples], ignore_index=True)
    reference = (inputs or {}).get("reference") or {}
    trained = int(model.label_table["n_cells"].sum())
    tiles = [
        ("Cells", f"{len(cells):,}", f"in {_count(len(samples), 'sample')}"),
        ("Assigned", f"{1 - cells['unassigned'].mean():.1%}", "the others are unlike the reference"),
        ("Median confidence", near_one(cells["confidence"].median()), "calibrated probability"),
        ("Labels found", f"{cells['label'].nunique()} of {len(model.labels)}", "that the reference knows"),
    ]
    coverages = [a["coverage"] for s in samples if (a := alignment_of(s)) and "coverage" in a]
    if coverages:
        low, high = min(coverages), max(coverages)
        span = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{100 * low:.0f}–{high:.0%}"
        tiles.append(("Panel measured", span, f"of {len(model.panel):,} genes"))
    scored = [s.tables["metrics"] for s in samples if s.tables.get("metrics", {}).get("accuracy") is not None]
    if scored:
        weight = [m["known_cells"] for m in scored]
        right = np.average([m["accuracy"] for m in scored], weights=weight) if sum(weight) else np.nan
        tiles.append(("Accuracy", f"{right:.1%}", "over types that the reference knows"))
    rows = []
    for sample in samples:
        metrics = sample.tables.get("metrics", {})
        rows.append(
            [
                sample.name,
                len(sample.cells),
                1 - sample.cells["unassigned"].mean(),
                sample.cells["confidence"].median(),
                sample.cells["label"].nunique(),
                (alignment_of(sample) or {}).get("coverage"),
                metrics.get("accuracy"),
                metrics.get("macro_f1"),
                metrics.get("novelty_auroc"),
            ]
        )
    columns = [
        ("Sample", "text"),
        ("Cells", "count"),
        ("Assigned", "share"),
        ("Median confidence", "number"),
        ("Labels", "count"),
    ]
    columns += [("Panel measured", "share"), ("Accuracy", "share"), ("Macro F1", "number"), ("Novelty AUROC", "number")]
    keep = [i for i in range(len(columns)) if i < 5 or any(row[i] is not None for row in rows)]
    table = Table("samples", "Samples", [columns[i] for i in keep], [[row[i] for i in keep] for row in rows])
    made = [
        ("Label column", model.config.get("label_key", "")),
        ("Labels", f"{len(model.labels)}"),
        ("Cells", f"{trained:,}"),
    ]
    made += [("Genes in the panel", f"{len(model.panel):,}"), ("Model", _digest(model.config.get("digest", "")))]
    if reference.get("path"):
        made.insert(0, ("File", Path(reference["path"]).name))
    lead = (
        "Every cell was given the label of the reference that fits best, a calibrated confidence, and a test of "
        "whether the reference knows cells like it at all."
    )
    unusual = [f"{sample.name}: {alarm}" for sample in samples for alarm in sample.info.get("alarms", ())]
    notes = [Notes(unusual, "Unlike the reference as a whole", warning=True)] if unusual else []
    return Section("summary", "Summary", lead, [Tiles(tiles), *notes, table, Facts("Reference", made)])


def near_one(confidence: float) -> str:
    """Two digits; what is not certain is not rounded to it."""
    return ">0.99" if 0.99 < confidence < 1 else f"{confidence:.2f}"


def alignment_of(sample: Sample) -> dict | None:
    """What preprocessing said of the sample's genes: the file given, else the copy that the mapped file may hold."""
    if "alignment" in sample.tables:
        return sample.tables["alignment"]
    stored = sample.info.get("alignment")
    return json.loads(str(stored)) if stored else None


def checks(samples: Sequence[Sample], inputs: dict | None, model: Bundle) -> Section:
    """How the queries' genes and values met the model's panel."""
    lead = (
        "The model reads a fixed panel of genes. A gene that a query did not measure is absent, not zero; the fewer "
        "genes are measured, the less certain the labels."
    )
    found = {sample.name: alignment for sample in samples if (alignment := alignment_of(sample))}
    blocks: list = []
    if found:
        columns = [("Sample", "text"), *((title, kind) for _, title, kind in _ALIGNMENT)]
        rows = [[name, *(alignment.get(key) for key, _, _ in _ALIGNMENT)] for name, alignment in found.items()]
        caption = (
            "Panel measured: the share of the model's genes that the file holds. Summed: rows of the file that were "
            "added to another of the same gene. Unknown: genes of the file that the model does not use."
        )
        blocks.append(Table("alignment", "Genes and values", columns, rows, caption))
        blocks += [Notes([str(m) for m in a["messages"]], name) for name, a in found.items() if a.get("messages")]
        small = [(name, a["coverage"]) for name, a in found.items() if a.get("coverage", 1) < WHOLE_PANEL]
        if small:
            blocks.append(Notes([_loss_of_coverage(*one, model) for one in small], "What a smaller panel costs"))
        remarks = {"missing_genes": "not measured", "summed_genes": "summed over several rows of the file"}
        genes = [[n, gene, remark] for n, a in found.items() for key, remark in remarks.items() for gene in a.get(key, ())]
        if genes:
            columns = [("Sample", "text"), ("Gene", "text"), ("Remark", "text")]
            blocks.append(_bounded("panel_genes", "Panel genes that were summed or not measured", columns, genes))
    else:
        blocks.append(Notes(["No alignment file was given, so that panel coverage is not shown."]))
    reference = (inputs or {}).get("reference")
    if reference:
        facts = [(title, _shown(reference[key])) for key, title in _REFERENCE_FACTS if key in reference]
        blocks.append(Facts("Reference file", facts))
    if (inputs or {}).get("gmt"):
        blocks.append(Facts("Gene sets", [(str(g.get("name", "")), _count(g.get("sets", 0), "set")) for g in inputs["gmt"]]))
    return Section("inputs", "Input checks", lead, blocks)


def _loss_of_coverage(sample: str, coverage: float, model: Bundle) -> str:
    """What a query of this coverage has to expect, and what training on its own genes could win."""
    tried = model.calibration["panel_accuracy"]
    whole, fewer = (expected_accuracy(tried, share) for share in (1.0, coverage))
    return (
        f"{sample} measured {coverage:.0%} of the panel. On cells held out of the reference, with so many genes left, at random, "
        f"{fewer:.0%} of the labels are right, with all genes {whole:.0%}. A model trained on the genes that this query measured "
        "(a run with --reference) would choose others in place of those that are missing: what it can win back is that "
        f"difference, {max(0.0, whole - fewer):.1%}, at most."
    )


#: Above this share of the panel nothing is lost that a new training could win.
WHOLE_PANEL = 0.98

_ALIGNMENT = (
    ("coverage", "Panel measured", "share"),
    ("matched", "Matched", "count"),
    ("genes_in_file", "In the file", "count"),
    ("id_type", "Gene ids", "text"),
    ("value_scale", "Values", "text"),
    ("values_from", "Taken from", "text"),
    ("renamed", "Renamed", "count"),
    ("summed", "Summed", "count"),
    ("unknown", "Unknown", "count"),
)

_REFERENCE_FACTS = (
    ("path", "File"),
    ("cells", "Cells"),
    ("genes", "Genes"),
    ("label_key", "Label column"),
    ("id_type", "Gene ids"),
    ("value_scale", "Values"),
)


def labels(samples: Sequence[Sample], model: Bundle, colours: dict[str, str]) -> Section:
    """How many cells got which label."""
    rows = []
    for sample in samples:
        for label, cells in sample.cells.groupby("label", observed=True):
            share = len(cells) / len(sample.cells)
            rows.append([sample.name, label, len(cells), share, cells["confidence"].median(), cells["unassigned"].mean()])
    columns = [
        ("Sample", "text"),
        ("Label", "label"),
        ("Cells", "count"),
        ("Share", "share"),
        ("Median confidence", "number"),
        ("Unassigned", "share"),
    ]
    lead = "What the query is made of, by its predicted labels."
    reference = model.label_table.set_index("label")["n_cells"]
    groupings, levels = figures.bar_groupings(samples), figures.coarse_labels(samples, model.hierarchy)
    blocks: list = []
    if levels:
        blocks.append(figures.lineages(groupings, levels, colours, model.hierarchy, reference))
    finest = pd.concat([sample.cells["label"] for sample in samples], ignore_index=True)
    blocks += [
        figures.composition(groupings, finest, colours, reference),
        Table("label_table", "Cells per label", columns, rows),
        *_proportions(groupings, levels, finest, model),
    ]
    return Section("labels", "Labels", lead, blocks)


def _proportions(groupings: dict[str, pd.Series], levels: dict[str, pd.Series], finest: pd.Series, model: Bundle) -> list[Table]:
    """What the bars of the figures show, for each thing that a bar may stand for but the samples' own labels."""
    levels = levels | {model.hierarchy.levels[-1] if model.hierarchy else "": finest}
    rows = []
    for title, grouping in groupings.items():
        for level, names in levels.items():
            if title == "Sample" and names is finest:
                continue
            counts = names.astype(object).groupby([grouping.astype(object), names.astype(object)]).size()
            totals = counts.groupby(level=0).sum()
            rows += [[title, str(bar), level, str(label), n, n / totals[bar]] for (bar, label), n in counts.items()]
    columns = [("Bars", "text"), ("Bar", "text"), ("Level", "text"), ("Label", "label"), ("Cells", "count"), ("Share", "share")]
    if not model.hierarchy:
        columns, rows = [c for c in columns if c[0] != "Level"], [[*row[:2], *row[3:]] for row in rows]
    title = "Proportions by sample, condition and level"
    return [_bounded("proportions", title, columns, rows, caption="What the bars above show.")] if rows else []


def references(consensus: Sequence[dict]) -> Section:
    """Where the references of the run agree."""
    lead = (
        "The samples were mapped onto several references, of which this page shows one. Each reference that knows the like of "
        "a cell has a vote on its label. Labels that several references agree on are safer; where they differ, one of them "
        "may lack the type, divide it more finely, or only write it differently (--label_map)."
    )
    warnings = [sentence for summary in consensus for sentence in summary["warnings"]]
    pairs = [(summary["sample"], pair) for summary in consensus for pair in summary["pairs"]]
    rows = [[name, p["first"], p["second"], p["cells"], p["agreeing"], p["agreement"]] for name, p in pairs]
    between = [("Sample", "text"), ("Reference", "text"), ("Other reference", "text")]
    columns = [*between, ("Assigned by both", "count"), ("Agreeing", "count"), ("Share", "share")]
    differing = [
        [name, pair["first"], pair["second"], row["first"], row["second"], row["cells"], row["cells"] / pair["cells"]]
        for name, pair in pairs
        for row in pair["labels"]
        if row["first"] != row["second"]
    ]
    columns_differing = [*between, ("Label", "text"), ("Other label", "text"), ("Cells", "count"), ("Share", "share")]
    blocks = [
        *([Notes(warnings, "No label in common", warning=True)] if warnings else []),
        figures.consensus_shares(consensus),
        figures.reference_agreement(consensus),
        Table("pairs", "Every two references", columns, rows),
        _bounded("differing", "Labels that differ", columns_differing, differing),
    ]
    return Section("references", "References", lead, blocks)


def maps(samples: Sequence[Sample]) -> Section:
    """UMAP of reference and query."""
    lead = (
        "A map on which cells that the model sees alike lie close together (UMAP of its cell embedding, reference "
        "and query at once). Distances between far groups mean little; use the map to see what mixes and what "
        "stands apart."
    )
    if all(sample.umap is None for sample in samples):
        return Section("map", "Map", lead, [Notes(["The mapped files hold no X_umap, so that there is no map."])])
    caption = (
        "Choose a colour; click a legend entry to hide it, twice to see it alone; drag to zoom, double-click to "
        "reset. The reference may be shown in grey or in its own labels. Below, the expression of a gene beside the "
        "attention that the model paid to it."
    )
    return Section("map", "Map", lead, [Explorer("umap", "Cells", caption, "umap"), *_drawn_note(samples)])


def spatial(samples: Sequence[Sample]) -> Section:
    """Cells where they lie in the tissue."""
    lead = "The cells at their place in the tissue. The vertical axis points down, as in images."
    if all(sample.spatial is None for sample in samples):
        return Section(
            "spatial",
            "Tissue",
            lead,
            [Notes(["No sample has spatial coordinates (obsm['spatial']), so that there is no picture of the tissue."])],
        )
    return Section(
        "spatial",
        "Tissue",
        lead,
        [Explorer("tissue", "Cells in space", "Colours and genes are chosen as on the map.", "spatial")],
    )


def _drawn_note(samples: Sequence[Sample]) -> list[Notes]:
    drawn, cells = sum(len(s.drawn) for s in samples), sum(len(s.cells) for s in samples)
    if drawn == cells:
        return []
    sentence = (
        f"{drawn:,} of {cells:,} cells are drawn, taken at random with rare labels kept; all numbers and tables are of all cells "
    )
    return [Notes([sentence + "unless a caption says otherwise."])]


def confidence(samples: Sequence[Sample], colours: dict[str, str]) -> Section:
    """Confidence and novelty, together and by label."""
    lead = (
        "Two different questions. Confidence: among the labels that the reference has, how sure is this one? "
        "Novelty: is there anything like this cell in the reference? A cell can be given a label with confidence "
        "and still be unlike all that the model has seen."
    )
    blocks = [
        figures.confidence_histogram(samples),
        figures.novelty_histogram(samples),
        figures.confidence_by_label(samples, colours),
    ]
    return Section("confidence", "Confidence and novelty", lead, blocks)


def label_sets(samples: Sequence[Sample], palette: Sequence[str]) -> Section:
    """Conformal label sets."""
    rows = []
    for sample in samples:
        counts = sample.cells["label_set"].value_counts()
        counts = counts[counts > 0]
        rows += [
            [sample.name, str(s).replace("|", "  |  ") or "(none)", _set_size(str(s)), n, n / len(sample.cells)]
            for s, n in counts.items()
        ]
    columns = [("Sample", "text"), ("Set", "text"), ("Labels", "count"), ("Cells", "count"), ("Share", "share")]
    lead = "Where one label is too bold a claim, the set of labels that remain possible."
    return Section(
        "sets",
        "Label sets",
        lead,
        [figures.set_sizes(samples, palette), _bounded("set_table", "Sets of labels", columns, rows)],
    )


def _set_size(labels: str) -> int:
    return labels.count("|") + 1 if labels else 0


def tags(samples: Sequence[Sample]) -> Section:
    """Type-associated genes."""
    lead = (
        "Type-associated genes (TAGs) are the genes that a cell's summary attends to, averaged over the cells of a "
        "label. Attention says what the model read to decide, not how much a gene is expressed nor what causes "
        "what: a marker that every cell has is expressed but of no use to tell types apart."
    )
    tables = [(s, s.tables["tags"]) for s in samples if "tags" in s.tables]
    if not tables:
        return Section(
            "tags",
            "Genes",
            lead,
            [Notes(["No TAG table was given (mapping may have run with --no_attention), so there are no genes."])],
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
    blocks = [figures.tag_heatmap(samples)] if any(s.attention is not None for s in samples) else []
    return Section("tags", "Genes", lead, [*blocks, table, *_deciding(tables), *_faithfulness(samples), *_contrasts(samples)])


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
    "all other cells. Differential: whether expression alone would have found the gene (Wilcoxon)."
)


def _deciding(tables: list[tuple[Sample, pd.DataFrame]]) -> list[Table]:
    """The first genes of each label by attention and by contribution, side by side."""
    kinds = {"rank": "By attention", "contribution_rank": "By contribution"}
    rows = []
    for sample, table in tables:
        if not all(kind in table and table[kind].notna().any() for kind in kinds):
            continue
        for group, part in table.groupby("group", sort=False):
            rows.append([sample.name, group, *(", ".join(part.sort_values(kind)["gene"].head(6)) for kind in kinds)])
    if not rows:
        return []
    caption = (
        "Attention is what the model read; contributions are what its label hangs on. Where the lists differ, the attended "
        "genes are striking in these cells, but others make the label."
    )
    columns = [("Sample", "text"), ("Label", "label"), *((title, "text") for title in kinds.values())]
    return [Table("deciding", "What was read, and what decided", columns, rows, caption)]


def _faithfulness(samples: Sequence[Sample]) -> list:
    """Deletion and insertion curves, and how much better than chance each ranking is for each label."""
    if not any("faithfulness" in sample.tables for sample in samples):
        return [Notes(["Faithfulness was not tested (--faithfulness false), so that there are no curves."])]
    titles = {key: name for key, name, _, _ in figures.RANKINGS if key != "random"}
    rows = []
    for sample in samples:
        table = sample.tables.get("faithfulness")
        if table is None:
            continue
        of_all = table["group"] == figures.ALL_LABELS
        for (group, part, curve), block in pd.concat([table[of_all], table[~of_all]]).groupby(
            ["group", "part", "curve"], sort=False
        ):
            gain = block.set_index("ranking")["gain"]
            words = ("whole" if part == "whole" else "CLS alone", "removed" if curve == "deletion" else "kept")
            rows.append([sample.name, group, int(block["n_cells"].iloc[0]), *words, *(gain.get(key) for key in titles)])
    columns = [("Sample", "text"), ("Label", "label"), ("Cells", "count"), ("Decision", "text"), ("First genes", "text")]
    columns += [(name.capitalize() if name.islower() else name, "number") for name in titles.values()]
    caption = (
        "How much better the area under the curve is than with random genes: above 0 is more faithful than chance. "
        "Decision: the whole one, or that of the network's summary (CLS) alone."
    )
    return [figures.faithfulness(samples), _bounded("gains", "Faithfulness by label", columns, rows, caption=caption)]


def _contrasts(samples: Sequence[Sample]) -> list[Table]:
    """The first genes of every contrast, label by label."""
    keys = ["contrast", "group", "direction", "rank", "gene", "score", "score_other", "effect", "adjusted_p_value"]
    keys += ["expression_log2_change", "differential"]
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
    columns += [("Expression change", "number"), ("Differential", "text")]
    title = "Contrasts"
    if len(names := {row[1] for row in rows}) == 1:
        title, columns, rows = f"Contrast: {names.pop()}", [columns[0], *columns[2:]], [[row[0], *row[2:]] for row in rows]
    caption = (
        "Cells of the first named side against those of the second, within one label. Attended: more or less than by the "
        "other side. Effect: the difference in standard deviations. The first 20 genes either way."
    )
    return [_bounded("contrast_table", title, columns, rows, caption=caption)]


def slots(samples: Sequence[Sample]) -> Section:
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
            [Notes(["The mapped files hold no slot attention (--no_attention), so that there are no slots."])],
        )
    blocks: list = [figures.slot_use(samples), figures.slot_heatmap(samples)]
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
        blocks.append(_bounded("slot_table", "Slots at a glance", columns, rows, caption=caption))
    return Section("slots", "Memory slots", lead, blocks)


def _slot_rows(sample: Sample) -> list[list]:
    table, terms = sample.tables.get("slot_tags"), sample.tables.get("enrichment")
    if table is None or table.empty:
        return []
    best = {}
    if terms is not None:
        of_slots = terms[
            (terms["level"] == "slot") & (terms["method"] == "ora") & (terms["adjusted_p_value"] <= figures.SIGNIFICANT)
        ]
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


def enrichment(samples: Sequence[Sample]) -> Section:
    """Gene sets."""
    lead = (
        "Which known gene sets the genes of a label, a slot or a contrast belong to more often than chance would have it, "
        "given the genes of the panel: the first genes of a ranking (over-representation), or the whole ranking "
        "(pre-ranked). The panel is small and chosen for variable genes: a set that is not here may be missing from it."
    )
    tables = [(s, s.tables["enrichment"]) for s in samples if "enrichment" in s.tables]
    if not tables:
        return Section(
            "enrichment",
            "Gene sets",
            lead,
            [Notes(["No enrichment table was given (gene sets are tested where --gmt names a file)."])],
        )
    columns = [("Sample", "text"), *((title, kind) for _, title, kind in _TERM_COLUMNS)]
    keys = [key for key, _, _ in _TERM_COLUMNS]
    rows = []
    for sample, table in tables:
        names = {"ora": "ORA", "gsea": "GSEA"}
        shown = table.sort_values(["level", "p_value"], kind="stable")[keys]
        shown = shown.assign(genes=table["genes"].str.replace(";", ", "), method=table["method"].map(names))
        shown["level"] = table["contrast"].where(table["contrast"] != "", table["level"])
        rows += [[sample.name, *row] for row in shown.itertuples(index=False)]
    caption = (
        "Test: over-representation among the first genes (ORA), or pre-ranked (GSEA). Of: labels, slots, or a contrast. "
        "Adjusted p: Benjamini-Hochberg within each ranking, library and test. Overlap: genes among the first (or in the "
        "leading edge), of the set's genes in the panel. NES: normalised score of a pre-ranked test; below 0 the set's genes "
        "are at the ranking's end."
    )
    place = columns.index(("p", "p"))
    return Section(
        "enrichment",
        "Gene sets",
        lead,
        [figures.enrichment_dots(samples), _bounded("term_table", "All tests", columns, rows, place, caption)],
    )


_TERM_COLUMNS = (
    ("method", "Test", "text"),
    ("level", "Of", "text"),
    ("group", "Label", "label"),
    ("slot", "Slot", "text"),
    ("library", "Library", "text"),
    ("term", "Term", "text"),
    ("overlap", "Overlap", "text"),
    ("p_value", "p", "p"),
    ("adjusted_p_value", "Adjusted p", "p"),
    ("odds_ratio", "Odds ratio", "number"),
    ("nes", "NES", "number"),
    ("genes", "Genes", "text"),
)


def truth(samples: Sequence[Sample], palette: Sequence[str]) -> Section:
    """Comparison with known labels."""
    lead = (
        "How the predictions compare with labels that came with the query and were not shown to the model. Types "
        "that the reference lacks cannot be named rightly; for them it counts that they are flagged as novel."
    )
    scored = [(s.name, s.tables["metrics"]) for s in samples if "metrics" in s.tables]
    if not scored:
        return Section(
            "truth",
            "Known truth",
            lead,
            [Notes(["No true labels are known (truth_key in the samplesheet), so nothing is compared."])],
        )
    blocks: list = [_scores(scored), *_levels(scored)]
    known = [sample for sample in samples if "metrics" in sample.tables]
    blocks += [figures.confusion(known), figures.class_scores(known)]
    curve = figures.calibration(samples, palette)
    blocks += [curve] if curve.variants else []
    unknown = [
        [name, u["label"], u["cells"], u["mean_novelty_p"], u["flagged_fraction"]]
        for name, m in scored
        for u in m.get("unknown_types", ())
    ]
    if unknown:
        columns = [
            ("Sample", "text"),
            ("True type", "label"),
            ("Cells", "count"),
            ("Mean novelty p", "number"),
            ("Unassigned", "share"),
        ]
        blocks.append(Table("unknown", "Types that the reference does not know", columns, unknown))
    classes = [
        [name, c["label"], c["cells"], c["precision"], c["recall"], c["f1"]] for name, m in scored for c in m.get("per_class", ())
    ]
    columns = [
        ("Sample", "text"),
        ("Label", "label"),
        ("Cells", "count"),
        ("Precision", "number"),
        ("Recall", "number"),
        ("F1", "number"),
    ]
    blocks.append(Table("classes", "Scores by label", columns, classes))
    return Section("truth", "Known truth", lead, blocks)


def _levels(scored: Sequence[tuple[str, dict]]) -> list[Table]:
    """How well each level of the labels was told, where they have several."""
    rows = []
    for name, metrics in scored:
        found = metrics.get("hierarchy") or {"levels": [], "answers": []}
        answers = {row["level"]: row for row in found["answers"]}
        for row in found["levels"]:
            answer = answers[row["level"]]
            rows.append([name, row["level"], row["accuracy"], row["macro_f1"], answer["share"], answer["accuracy"]])
    columns = [
        ("Sample", "text"),
        ("Level", "text"),
        ("Accuracy", "share"),
        ("Macro F1", "number"),
        ("Answered here", "share"),
        ("Answers right", "share"),
    ]
    caption = (
        "From coarse to fine. A cell is answered at the deepest level whose label is probable enough; cells that are answered "
        "at none make up the rest."
    )
    return [Table("levels", "Levels of the labels", columns, rows, caption)] if rows else []


def _scores(scored: Sequence[tuple[str, dict]]) -> Table:
    """A row for every score that any sample has, a column for every sample; with many samples the other way round."""
    kept = [score for score in _SCORES if any(metrics.get(score[0]) is not None for _, metrics in scored)]
    caption = "Scores are over cells whose true type the reference knows, unless they say otherwise."
    if len(scored) > 4:
        columns = [("Sample", "text"), *((title, kind) for _, title, kind, _ in kept)]
        return Table("scores", "Scores", columns, [[name, *(m.get(key) for key, *_ in kept)] for name, m in scored], caption)
    columns = [("Score", "text"), *((name, "score") for name, _ in scored), ("What it says", "text")]
    rows = [[title, *(_score(m.get(key), kind) for _, m in scored), words] for key, title, kind, words in kept]
    return Table("scores", "Scores", columns, rows, caption)


def _score(value: float | None, kind: str) -> str:
    if value is None:
        return "–"
    return {"count": f"{value:,.0f}", "share": f"{value:.1%}", "number": f"{value:.3f}"}[kind]


_SCORES = (
    ("cells", "Cells", "count", "All cells of the query"),
    ("unknown_cells", "Cells of unknown types", "count", "Their true type is not among the reference's labels"),
    ("accuracy", "Accuracy", "share", "Cells with the right label"),
    ("accuracy_all", "Accuracy, all cells", "share", "The same, where cells of unknown types count as wrong"),
    ("balanced_accuracy", "Balanced accuracy", "share", "Mean recall: every type counts the same"),
    ("macro_f1", "Macro F1", "number", "Mean F1: every type counts the same"),
    ("weighted_f1", "Weighted F1", "number", "Mean F1: every cell counts the same"),
    ("rare_f1", "F1 of rare types", "number", "Mean F1 of the types that are rare in the reference"),
    ("ece", "Calibration error", "number", "How far confidence and accuracy lie apart; 0 is best"),
    (
        "novelty_auroc",
        "Novelty AUROC",
        "number",
        "How well novelty tells unknown types apart; 0.5 is chance, 1 perfect",
    ),
    ("unknown_flagged", "Unknown types flagged", "share", "Cells of unknown types that are unassigned"),
    ("known_flagged", "Known types flagged", "share", "Cells of known types that are unassigned"),
    ("assigned_accuracy", "Accuracy of assigned cells", "share", "Unassigned cells left out"),
    (
        "label_set_coverage",
        "Label sets that hold the truth",
        "share",
        "At least as many as was asked for, if all is well",
    ),
    ("label_set_mean_size", "Mean size of a label set", "number", "Labels in a set"),
)


def training(model: Bundle) -> Section:
    """How the model was trained."""
    lead = "How the model learned the reference, and how its confidence was calibrated on cells held out of training."
    table = model.label_table
    titles = {
        "label": ("Label", "label"),
        "n_cells": ("Cells", "count"),
        "n_train": ("Training", "count"),
        "n_validation": ("Validation", "count"),
        "rare": ("Rare", "text"),
    }
    keys = [key for key in titles if key in table]
    rows = [
        [_yes(value) if key == "rare" else value for key, value in zip(keys, row, strict=True)]
        for row in table[keys].itertuples(index=False)
    ]
    facts = [
        (title, _shown(model.calibration[key])) for key, title in _CALIBRATION_FACTS if model.calibration.get(key) is not None
    ]
    blocks = [figures.training(model.history)] if len(model.history) else [Notes(["The model folder holds no training history."])]
    return Section(
        "training",
        "Training",
        lead,
        [
            *blocks,
            Facts("Calibration", facts),
            Table("reference_labels", "Labels of the reference", [titles[k] for k in keys], rows),
        ],
    )


_CALIBRATION_FACTS = (
    ("temperature", "Temperature"),
    ("ece_before", "Calibration error before"),
    ("ece_after", "Calibration error after"),
    ("validation_cells", "Validation cells"),
)


def about(samples: Sequence[Sample], model: Bundle, provenance: dict | None) -> Section:
    """Versions, parameters and checksums: what is needed to make the same page again."""
    lead = "What made these results. The same inputs, versions and seed give the same results again."
    mapping = []
    for key, title in (
        ("version", "nf-cellmemory"),
        ("mode", "Tokens"),
        ("binning", "Binning"),
        ("precision", "Precision"),
        ("seed", "Seed"),
        ("novelty_alpha", "Novelty alpha"),
        ("alpha", "Label set alpha"),
        ("adapted_to", "Adapted to"),
    ):
        values = dict.fromkeys(_shown(s.info[key]) for s in samples if s.info.get(key, "") != "")
        if values:
            mapping.append((title, ", ".join(values)))
    blocks = [Facts("Mapping", mapping)]
    for key, title in (("model", "Model"), ("training", "Training")):
        if model.config.get(key):
            blocks.append(Facts(title, _flat(model.config[key])))
    if provenance:
        blocks += [
            Facts("Run" if not isinstance(v, dict) else str(k), _flat(v if isinstance(v, dict) else {k: v}))
            for k, v in provenance.items()
        ]
    blocks.append(
        Facts("Checksums (SHA-256)", [*model.config.get("files", {}).items(), ("model", model.config.get("digest", ""))])
    )
    return Section("about", "Provenance", lead, blocks)


def _flat(value: dict, prefix: str = "") -> list[tuple[str, str]]:
    items = []
    for key, item in value.items():
        items += _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else [(f"{prefix}{key}", _shown(item))]
    return items


def _shown(value: object) -> str:
    value = plain(value)
    if isinstance(value, bool):
        return _yes(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def _yes(value: object) -> str:
    return "yes" if str(value).lower() in ("true", "1", "yes") else "no"


def _digest(digest: str) -> str:
    return digest[:12] or "unknown"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _bounded(
    id: str,
    title: str,
    columns: list[tuple[str, str]],
    rows: list[list],
    sort_column: int | None = None,
    caption: str = "",
) -> Table:
    """A table of at most MAX_ROWS rows that says what it leaves out; the smallest p-values in `sort_column` stay."""
    note = (
        f"The first {MAX_ROWS:,} of {len(rows):,} rows; the pipeline's own tables hold all of them."
        if len(rows) > MAX_ROWS
        else ""
    )
    if note and sort_column is not None and columns[sort_column][1] == "p":
        rows = sorted(rows, key=lambda row: row[sort_column])
    return Table(id, title, columns, rows[:MAX_ROWS], caption, note)
