"""Predictions beside labels that came with the query."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np

from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Section, Selector, Table, category_axis, short, text
from cellmemory.report.data import Sample

_SCORES = (
    ("cells", "Cells", "count", "All cells of the query"),
    ("unknown_cells", "Cells of unknown types", "count", "Their true type is not among the reference's labels"),
    ("assigned_fraction", "Assigned cells", "share", "Cells whose label may be used"),
    ("assigned_accuracy", "Right, of assigned cells", "share", "All others left out; cells of unknown types count as wrong"),
    ("accuracy_all", "Right, of all cells", "share", "Whether assigned or not; cells of unknown types count as wrong"),
    ("accuracy", "Right, of known types", "share", "Whether assigned or not; cells of unknown types left out"),
    ("balanced_accuracy", "Balanced accuracy", "share", "Mean recall: every type counts the same"),
    ("macro_f1", "Macro F1", "number", "Mean F1: every type counts the same"),
    ("weighted_f1", "Weighted F1", "number", "Mean F1: every cell counts the same"),
    ("rare_f1", "F1 of rare types", "number", "Mean F1 of the types that are rare in the reference"),
    ("ece", "Calibration error", "number", "How far confidence and accuracy lie apart; 0 is best"),
    ("novelty_auroc", "Novelty AUROC", "number", "How well novelty separates unknown types; 0.5 is chance, 1 perfect"),
    ("unknown_flagged", "Unknown types flagged", "share", "Cells of unknown types that are unassigned"),
    ("known_flagged", "Known types flagged", "share", "Cells of known types that are unassigned"),
    ("known_ambiguous", "Known types ambiguous", "share", "Cells of known types that are between labels"),
    ("surely_wrong", "Surely wrong", "share", "Cells with a wrong label and a confidence above 0.9"),
    ("label_set_coverage", "Label sets that hold the truth", "share", "At least as many as was asked for, if all is well"),
    ("label_set_mean_size", "Mean size of a label set", "number", "Labels in a set"),
)


def section(samples: Sequence[Sample], palette: Sequence[str]) -> Section:
    """Comparison with known labels."""
    lead = (
        "How the predictions compare with labels that came with the query and were not shown to the model. Where the two differ, "
        "either may be wrong. Types that the reference lacks cannot be named rightly; it counts that they are unassigned."
    )
    scored = [(s.name, s.tables["metrics"]) for s in samples if "metrics" in s.tables]
    if not scored:
        return Section(
            "truth",
            "Comparison with your labels",
            lead,
            absent="No true labels are known (truth_key in the samplesheet), so nothing is compared.",
        )
    blocks: list = [_scores(scored), *_levels(scored)]
    known = [sample for sample in samples if "metrics" in sample.tables]
    blocks += [confusion(known), class_scores(known)]
    curve = calibration(samples, palette)
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
        [name, c["label"], c["cells"], c["precision"], c["recall"], c["f1"], c.get("label_set_coverage")]
        for name, m in scored
        for c in m.get("per_class", ())
    ]
    columns = [
        ("Sample", "text"),
        ("Label", "label"),
        ("Cells", "count"),
        ("Precision", "number"),
        ("Recall", "number"),
        ("F1", "number"),
        ("In the label set", "share"),
    ]
    blocks.append(Table("classes", "Scores by label", columns, classes))
    return Section("truth", "Comparison with your labels", lead, blocks)


def _scores(scored: Sequence[tuple[str, dict]]) -> Table:
    """A row for every score that any sample has, a column for every sample; with many samples the other way round."""
    kept = [score for score in _SCORES if any(metrics.get(score[0]) is not None for _, metrics in scored)]
    caption = "Your labels are taken for right here. Scores are over types that the reference knows, unless they say otherwise."
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


def _levels(scored: Sequence[tuple[str, dict]]) -> list[Table]:
    """The accuracy of each level of the labels, where they have several."""
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


def confusion(samples: Sequence[Sample]) -> Figure:
    """True types against predicted labels, in shares of the true type or in cells. samples: those whose truth is known."""
    variants = {}
    for i, sample in enumerate(samples):
        for j, share in enumerate((True, False)):
            variants[drawing.key(samples, i, j)] = _confusion(sample.tables["metrics"]["confusion"], share=share)
    selectors = drawing.sample_selector(samples)
    caption = (
        "Rows are the true types, columns the predicted labels; a row adds up to all cells of the type. What lies "
        "beside the diagonal is confused. A row of a type that the reference does not know has no right column: see "
        "which labels such cells are given."
    )
    selectors.append(Selector("Colour", ["Share of the true type", "Cells"]))
    return Figure("confusion", "Confusion matrix", caption, variants, selectors)


def _confusion(table: dict, *, share: bool) -> dict:
    true, predicted, counts = table["true"], table["predicted"], np.array(table["counts"], dtype=float)
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = counts / totals if share else counts
    words = "true: {row}<br>predicted: {column}<br>" + ("{share} of the true type" if share else "{value} cells")
    data = [drawing.heatmap(shown, true, predicted, words=words, scale="expression", title="share" if share else "cells")]
    if max(len(true), len(predicted)) <= 16:
        data[0] |= {
            "text": [[("" if n == 0 else f"{n:.0f}") for n in row] for row in counts],
            "texttemplate": "%{text}",
        }
    rows = category_axis(true, title={"text": "true"}, down=True)
    layout = {"xaxis": category_axis(predicted, tickangle=-45, title={"text": "predicted"}), "yaxis": rows}
    return drawing.figure(data, layout, 230 + 26 * max(4, len(true)), 240 + 26 * len(predicted))


def class_scores(samples: Sequence[Sample]) -> Figure:
    """Precision, recall and F1 of every label."""

    def make(sample: Sample) -> dict | None:
        classes = sample.tables.get("metrics", {}).get("per_class")
        if not classes:
            return None
        labels = [row["label"] for row in classes]
        hover = [
            f"{text(r['label'])} ({r['cells']:,} cells)<br>F1 {_number(r['f1'])}, "
            f"precision {_number(r['precision'])}, recall {_number(r['recall'])}"
            for r in classes
        ]
        marks = (
            ("F1", "f1", "circle", 11, "@accent"),
            ("precision", "precision", "triangle-left-open", 10, "@muted"),
            ("recall", "recall", "triangle-right-open", 10, "@ink"),
        )
        data = [
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [row[key] for row in classes],
                "y": list(range(len(labels))),
                "hovertext": hover,
                "hoverinfo": "text",
                "marker": {"symbol": symbol, "size": size, "color": colour},
            }
            for name, key, symbol, size, colour in marks
        ]
        rows = category_axis(labels, down=True)
        return drawing.figure(
            data,
            {"xaxis": {"range": [-0.03, 1.03]}, "yaxis": rows, "legend": drawing.LEGEND_ABOVE},
            130 + 26 * max(3, len(labels)),
        )

    caption = (
        "Recall: of the cells of a type, the share that was given its label. Precision: of the cells with the "
        "label, the share that belongs to the type. F1 is their harmonic mean. Types that the reference does not know "
        "are left out."
    )
    variants, selectors = drawing.for_each_sample(samples, make)
    return Figure(
        "per_class", "Every label's F1", caption, variants, selectors, "The reference knows none of this sample's types."
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def calibration(samples: Sequence[Sample], palette: Sequence[str]) -> Figure:
    """Accuracy against confidence, by bins of confidence."""
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 1],
            "y": [0, 1],
            "line": {"color": "@muted", "dash": "dot", "width": 1},
            "showlegend": False,
            "hoverinfo": "skip",
        }
    ]
    known = [sample for sample in samples if sample.tables.get("metrics", {}).get("calibration")]
    for sample, colour in zip(known, cycle(palette), strict=False):
        bins = [b for b in sample.tables["metrics"]["calibration"] if b["cells"] and b["accuracy"] is not None]
        hover = [
            f"{text(sample.name)}<br>confidence {b['confidence']:.2f}, right {b['accuracy']:.0%} of {b['cells']:,} cells"
            for b in bins
        ]
        size = np.sqrt([b["cells"] for b in bins]) if bins else np.array([])
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": short(sample.name),
                "x": [b["confidence"] for b in bins],
                "y": [b["accuracy"] for b in bins],
                "hovertext": hover,
                "hoverinfo": "text",
                "line": {"color": colour, "width": 1.5},
                "marker": {"color": colour, "size": 5 + 9 * size / max(size.max(initial=1), 1)},
            }
        )
    layout = {
        "xaxis": {"title": {"text": "Confidence"}, "range": [0, 1.02]},
        "yaxis": {"title": {"text": "Share of cells that are right"}, "range": [-0.02, 1.05], "tickformat": ".0%"},
        "legend": drawing.LEGEND_ABOVE,
        "showlegend": len(known) > 1,
    }
    caption = (
        "On the dotted line, confidence means what it says. Points below it are over-confident, points above too "
        "modest. A point's size says how many cells it stands for; small points scatter by chance. Only types that "
        "the reference knows."
    )
    return Figure("calibration", "Calibration", caption, {"": drawing.figure(data, layout, 380)} if known else {})
