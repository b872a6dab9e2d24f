"""What the figures of several sections share: their variants, heatmaps and stacked bars.

Figures are plain plotly dicts, made without plotly: script/figures.js adds what depends on the theme and on the width. Colours
that follow the theme are the names in colours.THEMES and, for colour scales, `meta.scale`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cellmemory.report.blocks import Selector, category_axis, plain, short, text
from cellmemory.report.data import Sample

MAX_VARIANTS = 200  # of figures of one sample and one label
LEGEND_ABOVE = {"traceorder": "normal", "orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}
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
    groups, n = samples[0].groups, max(1, MAX_VARIANTS // len(samples))
    cells = sum(sample.cells["label"].value_counts().reindex(groups, fill_value=0) for sample in samples)
    kept = set(cells.sort_values(ascending=False, kind="stable").index[:n])
    return [group for group in groups if group in kept]


def groups_note(samples: Sequence[Sample]) -> str:
    """What a caption adds where `shown_groups` are not all."""
    shown, groups = len(shown_groups(samples)), len(samples[0].groups)
    return "" if shown == groups else f" Here for the {shown} labels with the most cells; the samples' own pages have all."


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


def _digits(values: np.ndarray, n: int) -> np.ndarray:
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
                "marker": {"color": colours[label]},
                "hovertext": hover,
                "hoverinfo": "text",
            }
        )
    rows = category_axis(list(counts.index), down=True)
    axis: dict[str, Any] = {"title": {"text": "Share of cells" if share else "Cells"}, "rangemode": "tozero"}
    axis |= {"tickformat": ".0%", "range": [0, 1]} if share else {}
    layout = {"barmode": "stack", "xaxis": axis, "yaxis": rows, "bargap": 0.3, "legend": {"traceorder": "normal"}}
    return figure(data, layout, max(220 + 34 * len(counts), min(900, 110 + 20 * len(data))))
