"""Where the references of a run agree."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Notes, Section, Table, bounded, category_axis


def section(consensus: Sequence[dict]) -> Section:
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
        consensus_shares(consensus),
        reference_agreement(consensus),
        Table("pairs", "Every two references", columns, rows),
        bounded("differing", "Labels that differ", columns_differing, differing),
    ]
    return Section("references", "References", lead, blocks)


def consensus_shares(summaries: Sequence[dict]) -> Figure:
    """Stacked bars of each sample's cells: agreed on by the references, split, assigned by only one, unassigned by all."""
    counts = pd.DataFrame([summary["status"] for summary in summaries], [summary["sample"] for summary in summaries])
    colours = dict(zip(counts.columns, ("@accent", "@warn", "@muted", "@line"), strict=True))
    variants = {str(i): drawing.stacked_bars(counts, colours, share=share) for i, share in enumerate((True, False))}
    caption = (
        "Agreed: more than half of the references that assign a cell give it the same label. Split: they do not. Single: "
        "only one reference assigns it. Unassigned: none does."
    )
    return Figure("consensus", "Agreement by sample", caption, variants, [drawing.LENGTH])


def reference_agreement(summaries: Sequence[dict]) -> Figure:
    """How often every two references say the same, over the cells of all samples that both assign."""
    names = summaries[0]["references"]
    cells, agreeing = np.zeros((2, len(names), len(names)))
    for pair in (pair for summary in summaries for pair in summary["pairs"]):
        place = names.index(pair["first"]), names.index(pair["second"])
        cells[place] += pair["cells"]
        agreeing[place] += pair["agreeing"]
    cells, agreeing = cells + cells.T, agreeing + agreeing.T
    shares = agreeing / np.maximum(cells, 1) + np.eye(len(names))
    words = "{row} and {column}<br>{share} of the cells that both assign"
    data = [drawing.heatmap(shares, names, names, words=words, scale="expression", title="share") | {"zmax": 1}]
    data[0] |= {"text": [[f"{share:.0%}" for share in row] for row in shares], "texttemplate": "%{text}"}
    layout = {"xaxis": category_axis(names, tickangle=-45), "yaxis": category_axis(names, down=True)}
    caption = "The share of cells with the same label by both references, of the cells that both assign, in all samples."
    figure = drawing.figure(data, layout, 200 + 32 * max(3, len(names)), 240 + 32 * len(names))
    return Figure("agreement", "Agreement of every two references", caption, {"": figure})
