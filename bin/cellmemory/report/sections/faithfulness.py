"""Whether a label hangs on the genes that a ranking names first: curves and a table, a part of the section on genes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cellmemory.cells.labels import ALL_LABELS
from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Notes, Selector, bounded
from cellmemory.report.data import Sample

#: What genes are ranked by: key in the table of faithfulness, name, colour, dash.
DRAWN_RANKINGS = (
    ("attention", "attention", "@warn", "solid"),
    ("both_contributions", "contribution", "@accent", "solid"),
    ("cls_contribution", "CLS", "@accent", "dot"),
    ("linear_contribution", "linear path", "#8a6bbf", "dot"),
    ("expression", "expression", "@muted", "dash"),
    ("random", "random", "@muted", "dot"),
)


def faithfulness_blocks(samples: Sequence[Sample]) -> list:
    """Deletion and insertion curves, and how much better than chance each ranking is for each label."""
    if not any("faithfulness" in sample.tables for sample in samples):
        return [Notes(["Faithfulness was not tested (--faithfulness false), so that there are no curves."])]
    titles = {key: name for key, name, _, _ in DRAWN_RANKINGS if key != "random"}
    rows = []
    for sample in samples:
        table = sample.tables.get("faithfulness")
        if table is None:
            continue
        of_all = table["group"] == ALL_LABELS
        for (group, part, curve), block in pd.concat([table[of_all], table[~of_all]]).groupby(
            ["group", "part", "curve"], sort=False
        ):
            gain = block.set_index("ranking")["gain"]
            words = ("whole" if part == "whole" else "CLS only", "removed" if curve == "deletion" else "kept")
            rows.append([sample.name, group, int(block["n_cells"].iloc[0]), *words, *(gain.get(key) for key in titles)])
    columns = [("Sample", "text"), ("Label", "label"), ("Cells", "count"), ("Decision", "text"), ("First genes", "text")]
    columns += [(name[0].upper() + name[1:], "number") for name in titles.values()]
    caption = (
        "How much better the area under the curve is than with random genes: above 0 is more faithful than chance. "
        "Decision: the whole one, or only that of the network's summary (CLS)."
    )
    return [_figure_of_curves(samples), bounded("gains", "Faithfulness by label", columns, rows, caption=caption)]


def _figure_of_curves(samples: Sequence[Sample]) -> Figure:
    """Probability of a label while the first genes of a ranking are removed, and while only they are kept."""
    shown = drawing.shown_groups(samples)
    groups = [ALL_LABELS, *shown]
    parts = {"Whole decision": "whole", "CLS token only": "cls"}
    variants = {}
    for i, sample in enumerate(samples):
        table = sample.tables.get("faithfulness")
        if table is None:
            continue
        blocks = dict(list(table.groupby(["group", "part"])))
        for g, group in enumerate(groups):
            for j, part in enumerate(parts.values()):
                if (group, part) in blocks:
                    variants[drawing.key(samples, i, g, j)] = _curves(blocks[group, part])
    caption = (
        "Left: the first genes of each cell are taken from it, as if they had not been measured; the sooner its label's "
        "probability falls, the more faithful the ranking. Right: only the first genes are kept; the sooner it rises, the "
        "better. Genes go by attention, by what they contribute to the label (in all, by the CLS token, by the linear path), by "
        "expression, or at random."
    )
    selectors = [*drawing.sample_selector(samples), Selector("Label", groups), Selector("Probability", list(parts))]
    empty = "No cell of this sample has this label, or faithfulness was not tested."
    return Figure("faithfulness", "Faithfulness", caption + drawing.shown_note(samples, shown), variants, selectors, empty)


def _curves(table: pd.DataFrame) -> dict:
    """The two curves of a label side by side, a line for each of DRAWN_RANKINGS; places are log2(1 + genes)."""
    steps = [int(name[1:]) for name in table.columns if name[0] == "k" and name[1:].isdigit()]
    x = np.log2(1 + np.array(steps))
    data = []
    for curve, axis in (("deletion", ""), ("insertion", "2")):
        of_curve = table[table["curve"] == curve].set_index("ranking")
        for key, name, colour, dash in DRAWN_RANKINGS:
            if key not in of_curve.index:
                continue
            values = of_curve.loc[key, [f"k{k}" for k in steps]].to_numpy(dtype=float)
            verb = "removed" if curve == "deletion" else "kept"
            hover = [f"{name}<br>{k} genes {verb}<br>probability {value:.3f}" for k, value in zip(steps, values, strict=True)]
            data.append(
                {
                    "type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": values, "hovertext": hover,
                    "hoverinfo": "text", "xaxis": "x" + axis, "yaxis": "y" + axis, "legendgroup": key,
                    "showlegend": not axis, "line": {"color": colour, "dash": dash, "width": 2},
                    "marker": {"color": colour, "size": 5},
                }
            )  # fmt: skip
    ticks = {"tickvals": x, "ticktext": [str(k) for k in steps]}
    layout = {
        "grid": {"rows": 1, "columns": 2, "pattern": "independent", "xgap": 0.12},
        "xaxis": {"title": {"text": "First genes removed"}, **ticks},
        "xaxis2": {"title": {"text": "First genes kept"}, **ticks},
        "yaxis": {"title": {"text": "Probability of the label"}, "range": [-0.02, 1.02]},
        "yaxis2": {"range": [-0.02, 1.02]},
        "legend": {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 1.04, "yanchor": "bottom"},
    }
    return drawing.figure(data, layout, 380, 620)
