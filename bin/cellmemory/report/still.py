"""The page's figures as files, for papers and slides: what the page's script draws with plotly, drawn with matplotlib.

Every figure is drawn as the page first shows it, on white. The same report gives the same bytes.
"""

from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellmemory.io.atomic import replacing
from cellmemory.io.outputs import DRAWN_BY
from cellmemory.report.blocks import Figure, Section
from cellmemory.report.colours import NOT_ASSIGNED, OTHER, THEMES
from cellmemory.report.data import Sample, counted_labels
from cellmemory.report.points import bar_length
from cellmemory.report.wording import count

if TYPE_CHECKING:
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure as Canvas

#: What is drawn in: matplotlib's types refuse what its methods take.
Axes = Any

LIGHT = THEMES["light"]
PIXELS = 100  # of the page to an inch
FORMATS = {"svg": {"Date": None, "Creator": DRAWN_BY}, "png": {"Software": DRAWN_BY}}
FORMATS |= {"pdf": {"CreationDate": None, "Creator": DRAWN_BY}}
#: Dots to an inch that journals ask for.
RESOLUTION = 300
#: Text stays text: names in the SVG files, and letters that an editor knows in the PDF files.
EDITABLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "cellmemory", "pdf.fonttype": 42}
#: Letters of a title, at most.
TITLE = 110
MARKERS = {"triangle-down": "v", "triangle-left-open": "<", "triangle-right-open": ">"}
DASHES = {"solid": "-", "dash": "--", "dot": ":"}


def write(samples: Sequence[Sample], parts: Sequence[Section], colours: dict[str, str], folder: Path) -> list[Path]:
    """Writes the figures of a page, and its maps coloured by label and by confidence, as SVG, PDF and PNG to `folder`.

    A run's figures show all its samples; figures of one sample are written with that sample.
    """
    import matplotlib

    of = samples[0].name if len(samples) == 1 else count(len(samples), "sample")
    drawings = {}
    for block in (block for part in parts for block in part.blocks):
        if block.kind == "figure" and (first := first_variant(block)) and not _of_one_sample(block):
            chosen = [f"{selector.name.lower()}: {selector.options[0]}" for selector in block.selectors]
            drawings[block.id] = to_matplotlib(first, " · ".join([block.title, of, *chosen]))
    if len(samples) == 1:
        drawings |= _maps(samples[0], colours)
    with replacing(folder) as partial, matplotlib.rc_context(EDITABLE):
        partial.mkdir()
        for name, figure in drawings.items():
            # Laid out once for all formats. With an engine, or the placeholder of "none", each would be drawn twice.
            if engine := figure.get_layout_engine():
                engine.execute(figure)
            figure.set_layout_engine(None)
            for kind, metadata in FORMATS.items():
                figure.savefig(partial / f"{name}.{kind}", metadata=metadata, dpi=RESOLUTION)
    return sorted(folder.iterdir())


def first_variant(block: Figure) -> dict | None:
    """What the page shows before anything is chosen."""
    first = ",".join("0" for _ in block.selectors)
    return block.variants.get(first) or next(iter(block.variants.values()), None)


def _of_one_sample(block: Figure) -> bool:
    return any(selector.name == "Sample" for selector in block.selectors)


def to_matplotlib(figure: dict, title: str) -> "Canvas":
    """A matplotlib figure of one of plotly's, of the kinds that sections make."""
    from matplotlib.figure import Figure as Canvas

    layout, traces = figure["layout"], [single for trace in figure["data"] for single in _expanded(trace)]
    panels = list(dict.fromkeys(trace.get("xaxis", "x") for trace in traces))
    width = max(760, figure.get("min_width", 0))
    canvas = Canvas(figsize=(width / PIXELS, layout["height"] / PIXELS), layout="constrained")
    axes = dict(zip(panels, canvas.subplots(1, len(panels), squeeze=False)[0], strict=True))
    for suffix, ax in ((panel[1:], ax) for panel, ax in axes.items()):
        _prepare(ax, layout.get("xaxis" + suffix, {}), layout.get("yaxis" + suffix, {}))
    stacked = np.zeros(0)
    bars = [trace for trace in traces if trace["type"] == "bar"]
    for trace in traces:
        ax = axes[trace.get("xaxis", "x")]
        if trace["type"] == "bar":
            stacked = _bar(ax, trace, layout, place=bars.index(trace), bars=len(bars), stacked=stacked)
        else:
            {"box": _box, "heatmap": _heatmap, "scatter": _scatter}[trace["type"]](ax, trace)
    for suffix, ax in ((panel[1:], ax) for panel, ax in axes.items()):
        _finish(ax, layout.get("xaxis" + suffix, {}), layout.get("yaxis" + suffix, {}))
    first = axes[panels[0]]
    for line in layout.get("shapes", ()):
        first.axvline(line["x0"], color=_colour(line["line"]["color"]), ls=DASHES[line["line"]["dash"]], lw=1.5)
    for note in layout.get("annotations", ()):
        place = {"xycoords": first.get_xaxis_transform(), "xytext": (5, -4), "textcoords": "offset points", "va": "top"}
        first.annotate(_words(note["text"]), (note["x"], note["y"]), color=_colour(note["font"]["color"]), size=9, **place)
    if layout.get("showlegend", True):
        _legend(canvas, list(axes.values()), [trace for trace in traces if trace.get("showlegend", True) and trace.get("name")])
    _write_title(canvas, title)
    return canvas


def _write_title(canvas: "Canvas", title: str) -> None:
    words = unescape(title)
    canvas.suptitle(_words(words if len(words) <= TITLE else words[: TITLE - 1] + "…"), size=11, x=0.01, ha="left")


def _expanded(trace: dict) -> list[dict]:
    each = trace.get("meta", {}).get("each")
    if not each:
        return [trace]
    return [trace | {key: values[i] for key, values in each.items()} for i in range(len(each["name"]))]


def _words(text: object) -> str:
    """A text as matplotlib shows it, literally: plotly's is escaped, and a dollar would begin a formula."""
    return unescape(str(text)).replace("$", r"\$")


def _colour(name: str) -> str:
    return LIGHT.get(name, name)


def _scale(name: str) -> "Colormap":
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(name, LIGHT["scales"][name])


def _prepare(ax: Axes, x: dict, y: dict) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(length=0, labelsize=8.5)
    for axis, spec in ((ax.xaxis, x), (ax.yaxis, y)):
        if "tickvals" not in spec:
            axis.grid(visible=True, color=LIGHT["@line"], lw=0.8)
    ax.set_axisbelow(True)


def _finish(ax: Axes, x: dict, y: dict) -> None:
    from matplotlib.ticker import LogLocator, MultipleLocator, NullLocator, PercentFormatter

    for axis, spec, limit in ((ax.xaxis, x, ax.set_xlim), (ax.yaxis, y, ax.set_ylim)):
        if "tickvals" in spec:
            axis.set_ticks(spec["tickvals"], [_words(name) for name in spec["ticktext"]])
        if "range" in spec:
            limit(*spec["range"])
        elif spec.get("rangemode") == "tozero":
            limit(left=0) if axis is ax.xaxis else limit(bottom=0)
        if spec.get("type") == "log":
            (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:,.0f}")
            axis.set_minor_locator(NullLocator())
        if "dtick" in spec:
            axis.set_major_locator(MultipleLocator(spec["dtick"]))
        if "%" in spec.get("tickformat", ""):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_label_text(_words(spec.get("title", {}).get("text", "")), size=9)
    if x.get("side") == "top":
        ax.xaxis.tick_top()
    if x.get("tickangle"):
        top = x.get("side") == "top"
        ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=45, ha="left" if top else "right", rotation_mode="anchor")


def _bar(ax: Axes, trace: dict, layout: dict, *, place: int, bars: int, stacked: np.ndarray) -> np.ndarray:
    """A trace of bars; returns where the next that are stacked on them begin."""
    horizontal = trace.get("orientation") == "h"
    at, length = (np.asarray(trace[key], float) for key in ("yx" if horizontal else "xy"))
    size = trace.get("width", 1) * (1 - layout.get("bargap", 0.2))
    begin = np.zeros(len(at))
    if layout.get("barmode") == "stack":
        begin = stacked if len(stacked) else begin
    else:
        size /= bars
        at = at + (place - (bars - 1) / 2) * size
    options: dict[str, Any] = {"color": _colour(trace["marker"]["color"]), "label": _words(trace["name"])}
    options |= {"hatch": "///", "edgecolor": "white", "linewidth": 0} if "pattern" in trace["marker"] else {}
    if horizontal:
        ax.barh(at, length, size, left=begin, **options)
    else:
        ax.bar(at, length, size, bottom=begin, **options)
    return begin + length


def _box(ax: Axes, trace: dict) -> None:
    (y,), colour = trace["y"], _colour(trace["marker"]["color"])
    low, first, median, third, high = (trace[key][0] for key in ("lowerfence", "q1", "median", "q3", "upperfence"))
    ax.plot([low, high], [y, y], color=colour, lw=1.5)
    ax.barh(y, third - first, 0.6, left=first, facecolor="white", edgecolor=colour, lw=1.5)
    ax.plot([median, median], [y - 0.3, y + 0.3], color=colour, lw=2.5)


def _heatmap(ax: Axes, trace: dict) -> None:
    from matplotlib.ticker import PercentFormatter

    values, meta, bar = np.array(trace["z"], float), trace["meta"], trace["colorbar"]
    edges = [np.arange(n + 1) - 0.5 for n in values.shape[::-1]]
    drawn = ax.pcolormesh(*edges, values, cmap=_scale(meta["scale"]), vmin=0, edgecolors="white", lw=1)
    ax.spines[:].set_visible(False)
    form = PercentFormatter(1) if "%" in bar["tickformat"] else None
    colours = ax.figure.colorbar(drawn, ax=ax, shrink=0.5, aspect=18, pad=0.02, format=form)
    _plain_bar(colours, bar["title"]["text"])
    dark = values > 0.6 * values.max(initial=0)
    for (row, column), cell in np.ndenumerate(np.array(trace.get("text", ()), object)):
        ax.text(column, row, cell, ha="center", va="center", size=8, color="white" if dark[row, column] else LIGHT["@ink"])


def _plain_bar(colours: "Colorbar", title: str) -> None:
    colours.outline.set_visible(False)
    colours.ax.tick_params(labelsize=8, length=0)
    colours.set_label(_words(title), size=8.5, color=LIGHT["@muted"])


def _scatter(ax: Axes, trace: dict) -> None:
    marker, line = trace.get("marker", {}), trace.get("line", {})
    x, y = np.asarray(trace["x"], float), np.asarray(trace["y"], float)
    name = _words(trace.get("name", ""))
    if "lines" in trace["mode"]:
        style = {"color": _colour(line["color"]), "ls": DASHES[line.get("dash", "solid")], "lw": line.get("width", 1.5)}
        ax.plot(x, y, label=name, **style)
    if "markers" not in trace["mode"]:
        return
    # plotly's sizes are diameters in pixels, matplotlib's areas in points.
    sizes = np.broadcast_to((0.72 * np.asarray(marker.get("size", 6), float)) ** 2, x.shape)
    symbols = np.broadcast_to(np.asarray(marker.get("symbol", "circle"), object), x.shape)
    scaled = "scale" in trace.get("meta", {})
    shades = np.asarray(marker["color"], float) if scaled else None
    for symbol in dict.fromkeys(symbols):
        own = symbols == symbol
        colour = (
            {"color": _colour(marker["color"])} if shades is None else {"c": shades[own], "cmap": _scale(trace["meta"]["scale"])}
        )
        if shades is not None:
            colour |= {"vmin": marker.get("cmin", 0), "vmax": marker.get("cmax", shades.max())}
        if symbol.endswith("-open"):
            colour = {"facecolor": "none", "edgecolor": colour["color"]}
        label = {} if "lines" in trace["mode"] else {"label": name}
        drawn = ax.scatter(x[own], y[own], sizes[own], marker=MARKERS.get(symbol, "o"), zorder=3, **colour, **label)
    if scaled:
        colours = ax.figure.colorbar(drawn, ax=ax, shrink=0.5, aspect=18, pad=0.02)
        _plain_bar(colours, marker["colorbar"]["title"]["text"])


def _legend(canvas: Any, axes: list[Axes], traces: list[dict]) -> None:
    kept = {_words(trace["name"]) for trace in traces}
    shown = {name: handle for ax in axes for handle, name in zip(*ax.get_legend_handles_labels(), strict=True) if name in kept}
    if not shown:
        return
    beside = len(shown) > 5
    place = (
        {"loc": "outside right upper", "ncols": 1 + (len(shown) - 1) // 45}
        if beside
        else {"loc": "outside upper right", "ncols": len(shown)}
    )
    canvas.legend(shown.values(), shown.keys(), frameon=False, fontsize=8.5, **place)


def _maps(sample: Sample, colours: dict[str, str]) -> dict:
    """The sample's cells on the map and in the tissue, by label and by confidence."""
    found = {}
    for space, xy in (("umap", sample.umap), ("tissue", sample.spatial)):
        if xy is None:
            continue
        cells, xy = sample.cells.iloc[sample.drawn], xy[sample.drawn]
        behind = sample.reference_umap if space == "umap" else None
        labels = counted_labels(cells).cat.remove_unused_categories()
        place = "Map of the reference" if space == "umap" else "Tissue"
        for name, values in (("label", labels), ("confidence", cells["confidence"])):
            title = f"{place} · {sample.name} · {name} of {count(len(xy), 'cell')}"
            found[f"{space}.{name}"] = _map(xy, behind, values, colours | NOT_ASSIGNED, title=title)
    return found


def _map(xy: np.ndarray, behind: np.ndarray | None, values: pd.Series, colours: dict[str, str], *, title: str) -> "Canvas":
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(8.6, 6), layout="constrained")
    ax = canvas.subplots()
    ax.set_axis_off()
    ax.set_aspect("equal", "datalim")
    _write_title(canvas, title)
    dots: dict[str, Any] = {"s": float(np.clip(30_000 / max(len(xy), 1), 2, 22)), "lw": 0, "rasterized": True}
    if behind is not None:
        ax.scatter(*behind.T, color=LIGHT["reference"], alpha=0.5, label="reference", **dots)
    else:
        ax.invert_yaxis()  # as in images
        _scale_bar(ax, xy)
    if isinstance(values.dtype, pd.CategoricalDtype):
        for label in values.cat.categories:
            ax.scatter(*xy[(values == label).to_numpy()].T, color=colours.get(label, OTHER), label=_words(label)[:40], **dots)
        rows = len(values.cat.categories)
        canvas.legend(loc="outside right upper", frameon=False, fontsize=8.5, markerscale=2, ncols=1 + rows // 28)
    else:
        drawn = ax.scatter(xy[:, 0], xy[:, 1], c=values, cmap=_scale("confidence"), vmin=0, vmax=1, **dots)
        _plain_bar(canvas.colorbar(drawn, ax=ax, shrink=0.4), values.name)
    return canvas


def _scale_bar(ax: Axes, places: np.ndarray) -> None:
    """A bar below the tissue at its left, and its length in the units of the places (n, 2)."""
    length, known = bar_length(places), places[np.isfinite(places).all(axis=1)]
    if not length:
        return
    (left, top), bottom = known.min(axis=0), known[:, 1].max()
    level = bottom + 0.08 * (bottom - top or length)
    ax.plot([left, left + length], [level, level], color=LIGHT["@ink"], lw=2)
    place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center"}
    ax.annotate(f"{length:g}", (left + length / 2, level), size=9, **place)
