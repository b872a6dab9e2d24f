"""Gene sets of labels, slots and contrasts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Section, Selector, bounded, category_axis, text
from cellmemory.report.data import Sample

MAX_TERMS = 40
SIGNIFICANT = 0.05
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


def section(samples: Sequence[Sample]) -> Section:
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
            absent="No enrichment table was given (gene sets are tested where --gmt names a file).",
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
        [enrichment_dots(samples), bounded("term_table", "All tests", columns, rows, sort_column=place, caption=caption)],
    )


def enrichment_dots(samples: Sequence[Sample]) -> Figure:
    """Dot plot of gene sets over labels, over the labels of a contrast, or over the slots of one label, for either test."""
    groups = drawing.shown_groups(samples)
    tables = [(i, sample, sample.tables["enrichment"]) for i, sample in enumerate(samples) if "enrichment" in sample.tables]
    contrasts = list(dict.fromkeys(name for _, _, table in tables for name in table["contrast"] if name))
    tests = {"First genes": "ora", "Whole ranking (pre-ranked)": "gsea"}
    variants: dict[str, dict] = {}
    for i, sample, whole in tables:
        for t, test in enumerate(tests.values()):
            table = whole[whole["method"] == test]
            tested = dict.fromkeys(table["group"])
            labels = [*(g for g in sample.groups if g in tested), *(g for g in tested if g not in sample.groups)]
            parts = [_dots(table[table["level"] == "label"], "group", labels)]
            parts += [_dots(table[table["contrast"] == name], "group", labels) for name in contrasts]
            for group in groups:
                slots = table[(table["level"] == "slot") & (table["group"] == group)]
                parts.append(_dots(slots, "slot", sorted(set(slots["slot"]), key=lambda s: (len(s), s)), "slot "))
            variants |= {drawing.key(samples, i, t, j): figure for j, figure in enumerate(parts) if figure}
    columns = ["Labels", *contrasts, *(f"Slots of {group}" for group in groups)]
    selectors = [*drawing.sample_selector(samples), Selector("Test", list(tests)), Selector("Columns", columns)]
    caption = (
        "Gene sets in the rankings of genes, with the model's panel as the background. First genes: over-representation "
        "among them; the dot's size is the share of the set's genes that are among them. Pre-ranked: the size is how far the "
        "set's genes crowd at an end of the ranking (NES), a triangle that they crowd at its lower end. Colour: the adjusted "
        f"p-value. At most {MAX_TERMS} sets, the three best of every column, adjusted p of {SIGNIFICANT} or less."
    )
    caption += drawing.shown_note(samples, groups)
    empty = f"No gene set reaches an adjusted p-value of {SIGNIFICANT} here."
    return Figure("enrichment", "Enriched gene sets", caption, variants, selectors, empty)


def _dots(table: pd.DataFrame, key: str, columns: list[str], prefix: str = "") -> dict | None:
    table = table[table["adjusted_p_value"] <= SIGNIFICANT]
    if table.empty:
        return None
    best = table.sort_values("adjusted_p_value", kind="stable").groupby(key, sort=False).head(3)
    chosen = list(dict.fromkeys(zip(best["library"], best["term"], strict=True)))[:MAX_TERMS]
    place = {column: i for i, column in enumerate(columns)}
    # Terms in the order of the column that has them best, so that dots lie along a diagonal.
    first = {(row.library, row.term): place[getattr(row, key)] for row in reversed(list(best.itertuples()))}
    chosen.sort(key=lambda term: first[term])
    shown = table[[pair in set(chosen) for pair in zip(table["library"], table["term"], strict=True)]]
    row_of = {term: i for i, term in enumerate(chosen)}
    ranked = shown["nes"].notna().to_numpy()
    sizes = np.where(ranked, shown["nes"].abs(), [_share(overlap) for overlap in shown["overlap"]])
    strength = -np.log10(np.maximum(shown["adjusted_p_value"], 1e-50))
    hover = [
        f"{text(r.term)}<br>{text(r.library)}, {prefix}{text(getattr(r, key))}"
        f"<br>{text(r.overlap)} genes, {f'NES {r.nes:.2f}, ' if r.nes == r.nes else ''}adjusted p {r.adjusted_p_value:.2g}"
        f"<br>{text(r.genes.replace(';', ', '), 90)}"
        for r in shown.itertuples()
    ]
    largest = max(sizes) or 1.0
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [place[value] for value in shown[key]],
            "y": [row_of[pair] for pair in zip(shown["library"], shown["term"], strict=True)],
            "hovertext": hover,
            "hoverinfo": "text",
            "meta": {"scale": "strength"},
            "showlegend": False,
            "marker": {
                "opacity": 1,
                "size": [6 + 14 * (size / largest) ** 0.5 for size in sizes],
                "symbol": ["triangle-down" if value < 0 else "circle" for value in shown["nes"]],
                "color": strength.to_numpy(),
                "cmin": 0,
                "colorbar": {"title": {"text": "−log10 p"}},
                "line": {"width": 0.5, "color": "@muted"},
            },
        }
    ]
    terms = [term for _, term in chosen]
    rows = category_axis(terms, down=True, ticktext=[text(term, 44) for term in terms])
    layout = {
        "xaxis": category_axis([f"{prefix}{column}" for column in columns], side="top", tickangle=-45),
        "yaxis": rows,
    }
    return drawing.figure(data, layout, 210 + 22 * max(4, len(chosen)), 330 + 22 * len(columns))


def _share(overlap: str) -> float:
    """k/K of `'k/K'`; 0 where it is written otherwise."""
    hits, _, size = overlap.partition("/")
    return int(hits) / max(1, int(size)) if hits.isdigit() and size.isdigit() else 0.0
