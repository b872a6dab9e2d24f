"""Label sets: which, and how large."""

from collections.abc import Sequence
from itertools import cycle

from cellmemory.cells.labels import SEPARATOR, LabelSets
from cellmemory.report import drawing, wording
from cellmemory.report.blocks import Figure, Section, bounded, short, text
from cellmemory.report.data import Sample, label_set_sizes


def section(samples: Sequence[Sample], palette: Sequence[str]) -> Section:
    """Label sets."""
    rows = []
    for sample in samples:
        counts = sample.cells["label_set"].value_counts()
        counts, sets = counts[counts > 0], LabelSets(sample.groups)
        for one, n in counts.items():
            labels = sets.members(str(one)) or []
            rows.append([sample.name, f"  {SEPARATOR}  ".join(labels), len(labels), n, n / len(sample.cells)])
    columns = [("Sample", "text"), ("Set", "text"), ("Labels", "count"), ("Cells", "count"), ("Share", "share")]
    lead = "Where one label is too bold a claim, the set of labels that remain possible."
    return Section(
        "sets",
        "Label sets",
        lead,
        [set_sizes(samples, palette), bounded("set_table", "Sets of labels", columns, rows)],
        advanced=True,
    )


def set_sizes(samples: Sequence[Sample], palette: Sequence[str]) -> Figure:
    """How many labels the sets hold."""
    data = []
    for sample, colour in zip(samples, ["@accent"] if len(samples) == 1 else cycle(palette), strict=False):
        size = label_set_sizes(sample.cells["label_set"], sample.groups)
        counts = size.value_counts().sort_index()
        share = counts / len(size)
        hover = [f"{text(sample.name)}<br>{k} labels: {n:,} cells ({n / len(size):.1%})" for k, n in counts.items()]
        data.append(
            {
                "type": "bar",
                "name": short(sample.name),
                "x": counts.index.to_list(),
                "marker": {"color": colour},
                "y": share.to_numpy(),
                "hovertext": hover,
                "hoverinfo": "text",
            }
        )
    layout = {
        "barmode": "group",
        "xaxis": {"title": {"text": "Labels in the set"}, "dtick": 1},
        "legend": drawing.LEGEND_ABOVE,
        "yaxis": {"title": {"text": "Share of cells"}, "tickformat": ".0%"},
        "showlegend": len(samples) > 1,
        "bargap": 0.35,
    }
    alpha = samples[0].run.alpha
    caption = (
        "A set is all labels that cannot be ruled out: for cells like the reference it holds the true label in at "
        f"least {wording.percent(1 - alpha)} of "
    )
    caption += "cases. One label is a clear call, several name the alternatives."
    return Figure("set_sizes", "Size of the label sets", caption, {"": drawing.figure(data, layout, 320)})
