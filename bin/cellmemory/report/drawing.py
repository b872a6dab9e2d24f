"""What the figures of several sections share: their variants, heatmaps and stacked bars.

Figures are plain plotly dicts, made without plotly: script/figures.js adds what depends on the theme and on the width. Colours
that follow the theme are the names in colours.THEMES and, for colour scales, `meta.scale`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cellmemory.report.blocks import Selector, category_axis, plain, short, text
from cellmemory.report.colours import NOT_ASSIGNED
from cellmemory.report.data import Sample

MAX_VARIANTS = 200  # of figures of one sample and one label
MAX_BOXES = 2_000  # of all variants of a figure
LEGEND_ABOVE = {"traceorder": "normal", "orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}
#: What a caption says of `boxes`.
BOXES = "Boxes span the middle half of a label's cells, the line is their median, whiskers reach the 5th and 95th percentile."
#: How bars are filled of cells that count under no label.
HATCHED = {"shape": "/", "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.6)", "size": 7, "solidity": 0.2}
LENGTH = Selector("Length", ["Share of cells", "Cells"])


def figure(data: list[dict], layout: dict, height: int, min_width: int = 0) -> dict:
    """A plotly figure; below `min_width` pixels the reader scrolls it sideways."""
    return plain({"data": data, "layout": {**layout, "height": height}, "min_width": min_width})


def key(samples: Sequence[Sample], sample: int, *choices: int) -> str:
    """The key of a figure's variant; a page of one sample has no selector for it."""
    return ",".join(map(str, choices if len(samples) == 1 else (sample, *choices)))


def sample_selector(samples: Sequence[Sample]) -> list[Selector]:
    """The choice of a sample; none on a page of one."""
    return [Selector("Sample", [sample.name for sample in samples])] if len(samples) > 1 else []


def for_each_sample(samples: Sequence[Sample], make: Callable[[Sample], dict | None]) -> tuple[dict[str, dict], list[Selector]]:
    """One variant for every sample that there is a figure of, and the selector."""
    made = {key(samples, i): one for i, sample in enumerate(samples) if (one := make(sample)) is not None}
    return made, sample_selector(samples)


def shown_groups(samples: Sequence[Sample]) -> list[str]:
    """The labels that figures of one label exist for: all, or in a large run those with the most cells."""
    return _with_most_cells(samples, MAX_VARIANTS // len(samples))


def boxed_labels(samples: Sequence[Sample], measures: int) -> list[str]:
    """The labels that have boxes, in a figure of this number of measures: all, or in a large run those with the most cells."""
    return _with_most_cells(samples, MAX_BOXES // (len(samples) * measures))


def _with_most_cells(samples: Sequence[Sample], at_most: int) -> list[str]:
    """The labels that most cells got, one at least, in the model's order."""
    groups, n = samples[0].groups, max(1, at_most)
    cells = sum(sample.cells["label"].value_counts().reindex(groups, fill_value=0) for sample in samples)
    kept = set(cells.sort_values(ascending=False, kind="stable").index[:n])
    return [group for group in groups if group in kept]


def shown_note(samples: Sequence[Sample], shown: Sequence[str]) -> str:
    """What a caption adds where the labels that are shown are not all."""
    if len(shown) == len(samples[0].groups):
        return ""
    return f" Here for the {len(shown)} labels with the most cells; the samples' own pages have all."


def heatmap(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, words: str, scale: str, title: str) -> dict:
    """A heatmap; the page's script shows `words` over a cell, with {row}, {column}, and {share} or {value} filled in.

    The colour bar shows shares as such.
    """
    return {
        "type": "heatmap",
        "z": _digits(values, 2 if "highest" in words else 3),
        "zmin": 0,
        "xgap": 1,
        "ygap": 1,
        "meta": {"scale": scale, "rows": list(map(text, rows)), "columns": list(map(text, columns)), "words": words},
        "colorbar": {"title": {"text": title}, "tickformat": ".2~%" if "{share}" in words else ",d"},
    }


def boxes(values: pd.Series, labels: pd.Series, title: str, colours: dict[str, str], *, logarithmic: bool = False) -> dict:
    """A box of the values (n,) for each label (n,) that has some, in the order of `colours`; they are named by `title`."""
    values = values.where(values > 0) if logarithmic else values
    known = values.notna().to_numpy()
    groups = values[known].groupby(labels.to_numpy()[known])
    named = [label for label in colours if label in groups.groups]
    quantiles = _digits([np.quantile(groups.get_group(label), [0.05, 0.25, 0.5, 0.75, 0.95]) for label in named], 3)
    low, first, median, third, high = np.reshape(quantiles, (-1, 5)).T[..., None]
    each = {"lowerfence": low, "q1": first, "median": median, "q3": third, "upperfence": high}
    each |= {"y": [[place] for place in range(len(named))], "name": [short(label) for label in named]}
    each["marker"] = [{"color": colours[label]} for label in named]
    data: list[dict] = [{"type": "box", "orientation": "h", "line": {"width": 1.5}, "width": 0.6, "showlegend": False}]
    data[0]["meta"] = {"each": each}  # the page's script makes a trace of each, with its own colour
    axis: dict[str, Any] = {"title": {"text": title}}
    axis |= {"type": "log"} if logarithmic else {"rangemode": "tozero"}
    layout = {"xaxis": axis, "yaxis": category_axis(named, down=True), "hovermode": "closest"}
    return figure(data, layout, 110 + 26 * max(3, len(named)))


def _digits(values: Sequence | np.ndarray, n: int) -> np.ndarray:
    """Values to n significant digits: a colour needs no more, and a page of many heatmaps is half as large."""
    values = np.asarray(values, dtype=float)
    exponent = np.floor(np.log10(np.abs(values), where=values != 0, out=np.zeros_like(values)))
    return np.round(values / 10.0**exponent, n - 1) * 10.0**exponent


def stacked_bars(counts: pd.DataFrame, colours: dict[str, str], *, share: bool) -> dict:
    """A bar for each row of counts, a part for each column, as shares of the row or as cells."""
    total = counts.sum(axis=1)
    data = []
    for label in [label for label in counts if counts[label].sum()]:
        length = counts[label] / total.clip(lower=1) if share else counts[label]
        hover = [
            f"{text(g)}<br>{text(label)}<br>{n:,} of {t:,} cells ({n / max(t, 1):.1%})"
            for g, n, t in zip(counts.index, counts[label], total, strict=True)
        ]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": short(label),
                "x": length.to_numpy(),
                "y": list(range(len(counts))),
                "marker": {"color": colours[label]} | ({"pattern": HATCHED} if label in NOT_ASSIGNED else {}),
                "hovertext": hover,
                "hoverinfo": "text",
            }
        )
    rows = category_axis(list(counts.index), down=True)
    axis: dict[str, Any] = {"title": {"text": "Share of cells" if share else "Cells"}, "rangemode": "tozero"}
    axis |= {"tickformat": ".0%", "range": [0, 1]} if share else {}
    layout = {"barmode": "stack", "xaxis": axis, "yaxis": rows, "bargap": 0.3, "legend": {"traceorder": "normal"}}
    return figure(data, layout, max(220 + 34 * len(counts), min(900, 110 + 20 * len(data))))
