"""Confidence and novelty, together and by label."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cellmemory.columns import AMBIGUOUS, ASSIGNED, UNASSIGNED
from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Section, Selector, Table, bounded
from cellmemory.report.data import Sample


def section(samples: Sequence[Sample], colours: dict[str, str]) -> Section:
    """Confidence and novelty, together and by label."""
    lead = (
        "Two different questions. Confidence: among the labels that the reference has, how sure is this one? "
        "Novelty: is there anything like this cell in the reference? A cell can be given a label with confidence "
        "and still be unlike all that the model has seen."
    )
    blocks = [
        confidence_histogram(samples),
        novelty_histogram(samples),
        confidence_by_label(samples, colours),
        *reasons(samples),
    ]
    return Section("confidence", "Confidence and novelty", lead, blocks, advanced=True)


def reasons(samples: Sequence[Sample]) -> list[Table]:
    """Why cells are not assigned, the commonest reason first."""
    rows = []
    for sample in samples:
        cells = sample.cells[sample.cells["status"] != ASSIGNED]
        counts = cells.astype({"status": str, "reason": str}).value_counts(["status", "reason"])
        rows += [[sample.name, status, reason, n, n / len(sample.cells)] for (status, reason), n in counts.items()]
    columns = [("Sample", "text"), ("Status", "text"), ("Reason", "text"), ("Cells", "count"), ("Share", "share")]
    caption = (
        "An ambiguous cell is known, and lies between the labels that are named here. An unassigned one is unlike the "
        "reference, or expresses fewer genes than 95 % of the reference's cells and cannot be judged (low quality)."
    )
    return [bounded("reasons", "Why cells are not assigned", columns, rows, caption=caption)] if rows else []


def confidence_histogram(samples: Sequence[Sample]) -> Figure:
    """How confident the model is, for cells of each status."""

    def make(sample: Sample) -> dict:
        return _histograms(sample.cells["confidence"], sample.cells["status"], "Confidence", 40)

    caption = (
        "The calibrated probability of the label that was given. After calibration, of the cells with a confidence "
        "near 0.8 about 80 % should be right, as far as the query resembles the reference. Much weight at the left "
        "means many cells between labels."
    )
    variants, selectors = drawing.for_each_sample(samples, make)
    return Figure("confidence", "Confidence", caption, variants, selectors)


def novelty_histogram(samples: Sequence[Sample]) -> Figure:
    """Novelty p-values: flat where the query is like the reference, a peak at zero where it is not."""

    def make(sample: Sample) -> dict:
        alpha = sample.run.novelty_alpha
        figure = _histograms(sample.cells["novelty_p"], sample.cells["status"], "Novelty p", 40)
        figure["layout"]["shapes"] = [
            {
                "type": "line",
                "x0": alpha,
                "x1": alpha,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": "@warn", "width": 1.5, "dash": "dot"},
            }
        ]
        figure["layout"]["annotations"] = [
            {
                "x": alpha,
                "y": 1,
                "yref": "paper",
                "text": f"unassigned below {alpha:g}",
                "showarrow": False,
                "xanchor": "left",
                "xshift": 6,
                "yanchor": "top",
                "font": {"color": "@warn", "size": 12},
            }
        ]
        return figure

    caption = (
        "How unusual a cell is: the share of held-out reference cells that lie at least as far from the reference "
        "as this cell does. Cells like the reference give a flat picture; a peak at the left is cells of a kind, "
        "state or quality that the reference does not hold."
    )
    variants, selectors = drawing.for_each_sample(samples, make)
    return Figure("novelty", "Novelty p", caption, variants, selectors)


def _histograms(values: pd.Series, status: pd.Series, title: str, bins: int) -> dict:
    edges = np.linspace(0, 1, bins + 1)
    data = []
    for name, colour in ((ASSIGNED, "@accent"), (AMBIGUOUS, "@muted"), (UNASSIGNED, "@warn")):
        counts, _ = np.histogram(values[(status == name).to_numpy()], edges)
        hover = [
            f"{title} {low:.3g} to {high:.3g}<br>{n:,} {name} cells"
            for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
        data.append(
            {
                "type": "bar",
                "name": name,
                "x": (edges[:-1] + edges[1:]) / 2,
                "y": counts,
                "width": 1 / bins,
                "marker": {"color": colour},
                "hovertext": hover,
                "hoverinfo": "text",
            }
        )
    axis = {"title": {"text": title}, "range": [0, 1]}
    return drawing.figure(
        data,
        {
            "barmode": "stack",
            "bargap": 0.04,
            "xaxis": axis,
            "yaxis": {"title": {"text": "Cells"}},
            "legend": drawing.LEGEND_ABOVE,
        },
        320,
    )


def confidence_by_label(samples: Sequence[Sample], colours: dict[str, str]) -> Figure:
    """Box of the confidence, or of the distance to the reference, per label."""
    measures = {
        "Confidence": "confidence",
        "Distance to the reference": "novelty",
        "Novelty p": "novelty_p",
        "Linear share of the decision": "linear_share",
    }
    variants, shown = {}, drawing.boxed_labels(samples, len(measures))
    colours = {label: colours[label] for label in shown}
    for i, sample in enumerate(samples):
        for j, (title, key) in enumerate(measures.items()):
            variants[drawing.key(samples, i, j)] = drawing.boxes(sample.cells[key], sample.cells["label"], title, colours)
    selectors = drawing.sample_selector(samples)
    caption = (
        f"{drawing.BOXES} A label whose cells are far from the reference, or hardly ever confident, deserves a look at "
        "its markers. The linear share is how much of a decision the linear path made; attention explains the rest."
    )
    caption += drawing.shown_note(samples, shown)
    return Figure("by_label", "By label", caption, variants, [*selectors, Selector("Show", list(measures))])
