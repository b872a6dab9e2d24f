"""The page's figures as plain plotly dicts, without plotly: page.js adds what depends on the theme and on the width.

Colours that follow the theme are the names in colours.THEMES and, for colour scales, `meta.scale`.
"""

from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.hierarchy import Hierarchy
from cellmemory.hierarchy import column as level_column
from cellmemory.report.blocks import Figure, Selector, category_axis, plain, short, text
from cellmemory.report.data import Sample, level_title

MAX_BARS, MAX_TERMS, MAX_HEAT_GENES = 40, 40, 120
MAX_VARIANTS = 200  # of figures of one sample and one label
SIGNIFICANT = 0.05
Colours = dict[str, str]


def _figure(data: list[dict], layout: dict, height: int, min_width: int = 0) -> dict:
    """A plotly figure; below `min_width` pixels the reader scrolls it sideways."""
    return plain({"data": data, "layout": {**layout, "height": height}, "min_width": min_width})


def _key(samples: Sequence[Sample], sample: int, *choices: int) -> str:
    """The key of a figure's variant; a page of one sample has no selector for it."""
    return ",".join(map(str, choices if len(samples) == 1 else (sample, *choices)))


def _sample_selector(samples: Sequence[Sample]) -> list[Selector]:
    return [Selector("Sample", [sample.name for sample in samples])] if len(samples) > 1 else []


def _variants(samples: Sequence[Sample], make: Callable[[Sample], dict | None]) -> tuple[dict[str, dict], list[Selector]]:
    """One variant for every sample that there is a figure of, and the selector."""
    made = {_key(samples, i): figure for i, sample in enumerate(samples) if (figure := make(sample)) is not None}
    return made, _sample_selector(samples)


def _heatmap(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], words: str, scale: str, title: str) -> dict:
    """A heatmap; page.js shows `words` over a cell, with {row}, {column}, and {share} or {value} filled in.

    Shares are given as such in the colour bar, too.
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


def shown_groups(samples: Sequence[Sample]) -> list[str]:
    """The labels that figures of one label exist for: all, or in a large run those with the most cells."""
    groups, n = samples[0].groups, max(1, MAX_VARIANTS // len(samples))
    cells = sum(sample.cells["label"].value_counts().reindex(groups, fill_value=0) for sample in samples)
    kept = set(cells.sort_values(ascending=False, kind="stable").index[:n])
    return [group for group in groups if group in kept]


def _groups_note(samples: Sequence[Sample]) -> str:
    shown, groups = len(shown_groups(samples)), len(samples[0].groups)
    return "" if shown == groups else f" Here for the {shown} labels with the most cells; the samples' own pages have all."


REFERENCE = "(reference)"


def composition(groupings: dict[str, pd.Series], labels: pd.Series, colours: Colours, reference: pd.Series) -> Figure:
    """Stacked bars of predicted labels (N,), for each of the `bar_groupings`. reference: cells of each label there."""
    variants = {
        f"{i},{j}": figure
        for i, grouping in enumerate(groupings.values())
        for j, figure in enumerate(_proportions(grouping, labels, colours, None if i else reference))
    }
    caption = (
        "Predicted labels of all cells. Every label keeps its colour in all figures of this page; its best guess "
        "counts for a cell that is unassigned, too. Click a label in the legend to hide it, twice to see it alone."
    )
    return Figure("composition", "Composition", caption, variants, [Selector("Bars", list(groupings)), _LENGTH])


def lineages(
    groupings: dict[str, pd.Series], levels: dict[str, pd.Series], colours: Colours, hierarchy: Hierarchy, reference: pd.Series
) -> Figure:
    """The same for the `coarse_labels`."""
    variants = {}
    for k, (level, labels) in enumerate(levels.items()):
        parents = hierarchy.ancestors.set_index(hierarchy.levels[-1])[level]
        totals = reference.groupby(parents.reindex(reference.index)).sum()
        for i, grouping in enumerate(groupings.values()):
            for j, figure in enumerate(_proportions(grouping, labels, colours, None if i else totals)):
                variants[f"{k},{i},{j}"] = figure
    caption = (
        "What samples and conditions are made of at the coarser levels of the labels, of which each cell has the most "
        "probable label. A coarse label has the colour of its largest child in the reference."
    )
    selectors = [Selector("Level", list(levels)), Selector("Bars", list(groupings)), _LENGTH]
    return Figure("lineages", "Lineage proportions", caption, variants, selectors)


_LENGTH = Selector("Length", ["Share of cells", "Cells"])


def coarse_labels(samples: Sequence[Sample], hierarchy: Hierarchy | None) -> dict[str, pd.Series]:
    """The labels (N,) of all cells at each level above the finest, where the reference had such."""
    keys = {level: level_title(level_column(level)) for level in (hierarchy.levels[:-1] if hierarchy else ())}
    return {
        level: pd.concat([sample.columns[key] for sample in samples], ignore_index=True)
        for level, key in keys.items()
        if all(key in sample.columns for sample in samples)
    }


def bar_groupings(samples: Sequence[Sample]) -> dict[str, pd.Series]:
    """What a bar may stand for: a sample, a category of an obs column, or both where a sample has several; (N,) names."""
    names = np.repeat([s.name for s in samples], [len(s.cells) for s in samples])
    groupings = {"Sample": pd.Series(pd.Categorical(names, [s.name for s in samples]))}
    for key in dict.fromkeys(key for sample in samples for key in sample.columns):
        if {isinstance(s.columns[key].dtype, pd.CategoricalDtype) for s in samples if key in s.columns} != {True}:
            continue
        values = pd.concat(
            [s.columns[key].astype(object) if key in s.columns else pd.Series([None] * len(s.cells)) for s in samples],
            ignore_index=True,
        )
        if 2 <= values.nunique() <= MAX_BARS:
            groupings[key] = values
            both = (names + ", " + values.astype(str)).where(values.notna(), None)
            if len(samples) < both.nunique() <= MAX_BARS and len(samples) > 1:
                groupings[f"Sample, {key}"] = pd.Series(pd.Categorical(both, both.dropna().unique()))
    return groupings


def _proportions(grouping: pd.Series, labels: pd.Series, colours: Colours, reference: pd.Series | None) -> list[dict]:
    """Bars as shares of cells, with one of the reference if given, and as cells."""
    counts = pd.crosstab(grouping.array, labels, dropna=False).reindex(columns=list(colours), fill_value=0)
    counts = counts.loc[counts.index.isin(grouping.dropna().unique())]
    shares = counts
    if reference is not None:
        last = reference.reindex(counts.columns, fill_value=0).to_frame(REFERENCE).T
        shares = pd.concat([counts.set_axis(counts.index.astype(str)), last])
    return [_stacked_bars(shares, colours, True), _stacked_bars(counts, colours, False)]


def _stacked_bars(counts: pd.DataFrame, colours: Colours, share: bool) -> dict:
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
    axis = {"title": {"text": "Share of cells" if share else "Cells"}, "rangemode": "tozero"}
    axis |= {"tickformat": ".0%", "range": [0, 1]} if share else {}
    layout = {"barmode": "stack", "xaxis": axis, "yaxis": rows, "bargap": 0.3, "legend": {"traceorder": "normal"}}
    return _figure(data, layout, max(220 + 34 * len(counts), min(900, 110 + 20 * len(data))))


def consensus_shares(summaries: Sequence[dict]) -> Figure:
    """Stacked bars of each sample's cells: agreed on by the references, split, assigned by one alone, unassigned by all."""
    counts = pd.DataFrame([summary["status"] for summary in summaries], [summary["sample"] for summary in summaries])
    colours = dict(zip(counts.columns, ("@accent", "@warn", "@muted", "@line"), strict=True))
    variants = {str(i): _stacked_bars(counts, colours, share) for i, share in enumerate((True, False))}
    caption = (
        "Agreed: more than half of the references that assign a cell give it the same label. Split: they do not. Single: "
        "one reference alone assigns it. Unassigned: none does."
    )
    return Figure("consensus", "Agreement by sample", caption, variants, [_LENGTH])


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
    data = [_heatmap(shares, names, names, words, "expression", "share") | {"zmax": 1}]
    data[0] |= {"text": [[f"{share:.0%}" for share in row] for row in shares], "texttemplate": "%{text}"}
    layout = {"xaxis": category_axis(names, tickangle=-45), "yaxis": category_axis(names, down=True)}
    caption = "The share of cells with the same label by both references, of the cells that both assign, in all samples."
    figure = _figure(data, layout, 200 + 32 * max(3, len(names)), 240 + 32 * len(names))
    return Figure("agreement", "Agreement of every two references", caption, {"": figure})


def confidence_histogram(samples: Sequence[Sample]) -> Figure:
    """How confident the model is, for assigned and unassigned cells."""

    def make(sample: Sample) -> dict:
        return _two_histograms(sample.cells["confidence"], sample.cells["unassigned"], "Confidence", 40)

    caption = (
        "The calibrated probability of the label that was given. After calibration, of the cells with a confidence "
        "near 0.8 about 80 % should be right, as far as the query resembles the reference. Much weight at the left "
        "means many cells between labels."
    )
    variants, selectors = _variants(samples, make)
    return Figure("confidence", "Confidence", caption, variants, selectors)


def novelty_histogram(samples: Sequence[Sample]) -> Figure:
    """Novelty p-values: flat where the query is like the reference, a peak at zero where it is not."""

    def make(sample: Sample) -> dict:
        alpha = float(sample.info.get("novelty_alpha", 0.05))
        figure = _two_histograms(sample.cells["novelty_p"], sample.cells["unassigned"], "Novelty p", 40)
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
    variants, selectors = _variants(samples, make)
    return Figure("novelty", "Novelty p", caption, variants, selectors)


def _two_histograms(values: pd.Series, unassigned: pd.Series, title: str, bins: int) -> dict:
    edges = np.linspace(0, 1, bins + 1)
    data = []
    for name, chosen, colour in (("assigned", ~unassigned, "@accent"), ("unassigned", unassigned, "@warn")):
        counts, _ = np.histogram(values[chosen.to_numpy()].dropna(), edges)
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
    return _figure(
        data,
        {"barmode": "stack", "bargap": 0.04, "xaxis": axis, "yaxis": {"title": {"text": "Cells"}}, "legend": _TOP},
        320,
    )


_TOP = {"traceorder": "normal", "orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}


def confidence_by_label(samples: Sequence[Sample], colours: Colours) -> Figure:
    """Box of the confidence, or of the distance to the reference, per label."""
    measures = {
        "Confidence": "confidence",
        "Distance to the reference": "novelty",
        "Novelty p": "novelty_p",
        "Linear share of the decision": "linear_share",
    }
    variants = {}
    for i, sample in enumerate(samples):
        for j, (title, key) in enumerate(measures.items()):
            variants[_key(samples, i, j)] = _boxes(sample, key, title, colours)
    selectors = _sample_selector(samples)
    caption = (
        "Boxes span the middle half of a label's cells, the line is their median, whiskers reach the 5th and 95th "
        "percentile. A label whose cells are far from the reference, or hardly ever confident, deserves a look at "
        "its markers. The linear share is how much of a decision the linear path made; attention explains the rest."
    )
    return Figure("by_label", "By label", caption, variants, [*selectors, Selector("Show", list(measures))])


def _boxes(sample: Sample, key: str, title: str, colours: Colours) -> dict:
    groups = sample.cells.groupby("label", observed=True)[key]
    labels = [label for label in colours if label in groups.groups]
    quantiles = [np.nanquantile(groups.get_group(label), [0.05, 0.25, 0.5, 0.75, 0.95]) for label in labels]
    low, first, median, third, high = np.reshape(quantiles, (-1, 5)).T[..., None]
    each = {"lowerfence": low, "q1": first, "median": median, "q3": third, "upperfence": high}
    each |= {"y": [[place] for place in range(len(labels))], "name": [short(label) for label in labels]}
    each["marker"] = [{"color": colours[label]} for label in labels]
    data = [{"type": "box", "orientation": "h", "line": {"width": 1.5}, "width": 0.6, "showlegend": False}]
    data[0]["meta"] = {"each": each}  # page.js makes a trace of each, with its own colour
    axis = category_axis(labels, down=True)
    layout = {"xaxis": {"title": {"text": title}, "rangemode": "tozero"}, "yaxis": axis, "hovermode": "closest"}
    return _figure(data, layout, 110 + 26 * max(3, len(labels)))


def set_sizes(samples: Sequence[Sample], palette: Sequence[str]) -> Figure:
    """How many labels the conformal sets hold."""
    data = []
    for sample, colour in zip(samples, ["@accent"] if len(samples) == 1 else cycle(palette), strict=False):
        size = sample.cells["label_set"].map(lambda s: 0 if s in ("", "nan") else s.count("|") + 1).astype(int)
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
        "legend": _TOP,
        "yaxis": {"title": {"text": "Share of cells"}, "tickformat": ".0%"},
        "showlegend": len(samples) > 1,
        "bargap": 0.35,
    }
    alpha = float(samples[0].info.get("alpha", 0.05))
    caption = (
        "A set is all labels that cannot be ruled out: for cells like the reference it holds the true label in at "
        f"least {1 - alpha:.0%} of "
    )
    caption += "cases. One label is a clear call, several name the alternatives."
    return Figure("set_sizes", "Size of the label sets", caption, {"": _figure(data, layout, 320)})


def tag_heatmap(samples: Sequence[Sample]) -> Figure:
    """Mean attention per label of each label's top genes, raw or relative to the gene's highest."""
    variants = {}
    for i, sample in enumerate(samples):
        for j, relative in enumerate((True, False)):
            figure = _tag_heatmap(sample, relative)
            if figure:
                variants[_key(samples, i, j)] = figure
    selectors = _sample_selector(samples)
    selectors.append(Selector("Colour", ["Relative to the gene's highest label", "Mean attention"]))
    caption = (
        "The genes that the model attends to most, grouped by the label that leads to them, and their mean "
        "attention in the cells of every label. A row that is strong in one column is specific to that label; a "
        "row that is strong everywhere is attended to in all cells. Means are over the cells drawn in this page."
    )
    return Figure("tags", "Type-associated genes by label", caption, variants, selectors, "This sample has no attention table.")


def label_means(matrix: sp.csr_matrix, codes: np.ndarray, n: int) -> np.ndarray:
    """Mean (n, genes) of the rows of each code; codes of -1 are left out, a code without rows gives zeros."""
    known = np.flatnonzero(codes >= 0)
    member = sp.csr_matrix((np.ones(len(known)), (codes[known], known)), (n, len(codes)))
    size = np.maximum(np.asarray(member.sum(axis=1)), 1)
    return np.asarray((member @ matrix).todense()) / size


def top_genes(table: pd.DataFrame, groups: Sequence[str], n: int) -> list[str]:
    """The first n genes of every group, in the order of the groups, each once."""
    first = table[table["rank"] <= n].sort_values("rank", kind="stable")
    return list(dict.fromkeys(gene for group in groups for gene in first.loc[first["group"] == group, "gene"]))


def _tag_heatmap(sample: Sample, relative: bool) -> dict | None:
    if sample.attention is None or "tags" not in sample.tables:
        return None
    drawn = sample.cells["label"].iloc[sample.drawn]
    groups = [label for label in drawn.cat.categories if (drawn == label).any()]
    place = {gene: i for i, gene in enumerate(sample.genes)}
    each = max(1, min(5, MAX_HEAT_GENES // max(1, len(groups))))
    genes = [gene for gene in top_genes(sample.tables["tags"], groups, each) if gene in place][:MAX_HEAT_GENES]
    if not genes:
        return None
    means = label_means(sample.attention, drawn.cat.set_categories(groups).cat.codes.to_numpy(), len(groups))
    means = means[:, [place[gene] for gene in genes]].T
    shown = means / np.maximum(means.max(axis=1, keepdims=True), 1e-12) if relative else means
    words = "{row} in {column}<br>" + ("{share} of its highest mean" if relative else "mean attention {share}")
    data = [_heatmap(shown, genes, groups, words, "attention", "relative" if relative else "attention")]
    rows = category_axis(genes, down=True)
    layout = {"xaxis": category_axis(groups, side="top", tickangle=-45), "yaxis": rows}
    return _figure(data, layout, 170 + 17 * len(genes), 160 + 22 * len(groups))


def slot_heatmap(samples: Sequence[Sample]) -> Figure:
    """Genes by memory slots of one label: what is written into each slot, or which slots a gene reads from."""
    variants = {}
    groups = shown_groups(samples)
    read = any(sample.slot_read is not None for sample in samples)  # the light variant's genes read nothing
    sides = ["Written into the slot"] + (["Read by the gene"] if read else [])
    for i, sample in enumerate(samples):
        if sample.slot_write is None:
            continue
        present = set(sample.cells["label"].dropna())
        kept = [values for values in (sample.slot_write, sample.slot_read) if values is not None]
        for g, group in enumerate(groups):
            for j, values in enumerate(kept if group in present else ()):
                key = (i, g, j) if read else (i, g)
                variants[_key(samples, *key)] = _slot_heatmap(sample, group, values, j == 0)
    selectors = [*_sample_selector(samples), Selector("Label", groups), *([Selector("Side", sides)] if read else [])]
    caption = (
        "The top five genes of every memory slot in the cells of one label. Genes compete to write into few slots; "
        "what a slot took in is then read by the cell's summary. Written: the share of the slot's attention that goes to "
        "the gene. "
        + ("Read: of what the gene reads, the share that comes from the slot. " if read else "")
        + "A slot has no meaning of its own across training runs; look at which genes share one."
    )
    caption += _groups_note(samples)
    return Figure("slots", "Genes of the memory slots", caption, variants, selectors, "No cell of this sample has this label.")


def _slot_heatmap(sample: Sample, group: str, values: np.ndarray, written: bool) -> dict:
    place = sample.groups.index(group)
    values, write = values[:, place], sample.slot_write[:, place]
    best = np.argsort(-write, axis=0, kind="stable")[:5].T.ravel()
    rows = [row for row in dict.fromkeys(best.tolist()) if write[row].max() > 0]
    genes, slots = [sample.genes[row] for row in rows], [f"slot {h + 1}" for h in range(values.shape[1])]
    words = "{row}, {column}<br>{share} " + ("of the slot's writing attention" if written else "of the gene's reading")
    data = [_heatmap(values[rows], genes, slots, words, "attention" if written else "expression", "share")]
    axis = category_axis(genes, down=True)
    return _figure(data, {"xaxis": category_axis(slots, side="top"), "yaxis": axis}, 120 + 17 * max(6, len(genes)), 420)


def slot_use(samples: Sequence[Sample]) -> Figure:
    """How much the summary of a cell reads from each slot, by label."""

    def make(sample: Sample) -> dict | None:
        if sample.slot_use is None:
            return None
        codes = sample.cells["label"].cat.codes.to_numpy()
        labels = [label for i, label in enumerate(sample.cells["label"].cat.categories) if (codes == i).any()]
        means = np.stack([sample.slot_use[(sample.cells["label"] == label).to_numpy()].mean(axis=0) for label in labels])
        slots = [f"slot {h + 1}" for h in range(means.shape[1])]
        rows = category_axis(labels, down=True)
        data = [_heatmap(means, labels, slots, "{row}, {column}<br>{share} of what the cell reads", "expression", "share")]
        return _figure(data, {"xaxis": category_axis(slots, side="top"), "yaxis": rows}, 120 + 22 * max(5, len(labels)), 420)

    caption = (
        "Where the label's decision comes from: the share of each memory slot in what a cell's summary reads, "
        "averaged over the cells of a label. Labels with the same profile are told apart by genes within the same "
        "slots."
    )
    variants, selectors = _variants(samples, make)
    return Figure("slot_use", "Use of the slots by label", caption, variants, selectors, "This sample has no slot attention.")


#: What the table of faithfulness calls the mean of all labels (`faithfulness.ALL`, whose module imports torch).
ALL_LABELS = "(all labels)"
#: What genes are ranked by: key in the table of faithfulness, name, colour, dash.
RANKINGS = (
    ("attention", "attention", "@warn", "solid"),
    ("cls_contribution", "CLS contribution", "@accent", "solid"),
    ("linear_contribution", "linear contribution", "#8a6bbf", "solid"),
    ("expression", "expression", "@muted", "dash"),
    ("random", "random", "@muted", "dot"),
)


def faithfulness(samples: Sequence[Sample]) -> Figure:
    """Probability of a label while the first genes of a ranking are removed, and while they alone are kept."""
    groups = [ALL_LABELS, *shown_groups(samples)]
    parts = {"Whole decision": "whole", "CLS token alone": "cls"}
    variants = {}
    for i, sample in enumerate(samples):
        table = sample.tables.get("faithfulness")
        if table is None:
            continue
        blocks = dict(list(table.groupby(["group", "part"])))
        for g, group in enumerate(groups):
            for j, part in enumerate(parts.values()):
                if (group, part) in blocks:
                    variants[_key(samples, i, g, j)] = _curves(blocks[group, part])
    caption = (
        "Left: the first genes of each cell are taken from it, as if they had not been measured; the sooner its label's "
        "probability falls, the more faithful the ranking. Right: the first genes alone are kept; the sooner it rises, the "
        "better. Genes go by attention, by what they contribute to the label, by expression, or at random."
    )
    selectors = [*_sample_selector(samples), Selector("Label", groups), Selector("Probability", list(parts))]
    empty = "No cell of this sample has this label, or faithfulness was not tested."
    return Figure("faithfulness", "Faithfulness", caption + _groups_note(samples), variants, selectors, empty)


def _curves(table: pd.DataFrame) -> dict:
    """The two curves of a label side by side, a line for each of RANKINGS; places are log2(1 + genes)."""
    steps = [int(name[1:]) for name in table.columns if name[0] == "k" and name[1:].isdigit()]
    x = np.log2(1 + np.array(steps))
    data = []
    for curve, axis in (("deletion", ""), ("insertion", "2")):
        of_curve = table[table["curve"] == curve].set_index("ranking")
        for key, name, colour, dash in RANKINGS:
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
    return _figure(data, layout, 380, 620)


def enrichment_dots(samples: Sequence[Sample]) -> Figure:
    """Dot plot of gene sets over labels, over the labels of a contrast, or over the slots of one label, for either test."""
    groups = shown_groups(samples)
    tables = [(i, sample, sample.tables["enrichment"]) for i, sample in enumerate(samples) if "enrichment" in sample.tables]
    contrasts = list(dict.fromkeys(name for _, _, table in tables for name in table["contrast"] if name))
    tests = {"First genes": "ora", "Whole ranking (pre-ranked)": "gsea"}
    variants = {}
    for i, sample, whole in tables:
        for t, test in enumerate(tests.values()):
            table = whole[whole["method"] == test]
            labels = [g for g in sample.groups if g in set(table["group"])]
            parts = [_dots(table[table["level"] == "label"], "group", labels)]
            parts += [_dots(table[table["contrast"] == name], "group", labels) for name in contrasts]
            for group in groups:
                slots = table[(table["level"] == "slot") & (table["group"] == group)]
                parts.append(_dots(slots, "slot", sorted(set(slots["slot"]), key=lambda s: (len(s), s)), "slot "))
            variants |= {_key(samples, i, t, j): figure for j, figure in enumerate(parts) if figure}
    columns = ["Labels", *contrasts, *(f"Slots of {group}" for group in groups)]
    selectors = [*_sample_selector(samples), Selector("Test", list(tests)), Selector("Columns", columns)]
    caption = (
        "Gene sets in the rankings of genes, with the model's panel as the background. First genes: over-representation "
        "among them; the dot's size is the share of the set's genes that are among them. Pre-ranked: the size is how far the "
        "set's genes crowd at an end of the ranking (NES), a triangle that they crowd at its lower end. Colour: the adjusted "
        f"p-value. At most {MAX_TERMS} sets, the three best of every column, adjusted p of {SIGNIFICANT} or less."
    )
    caption += _groups_note(samples)
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
    return _figure(data, layout, 210 + 22 * max(4, len(chosen)), 330 + 22 * len(columns))


def _share(overlap: str) -> float:
    """k/K of `'k/K'`; 0 where it is written otherwise."""
    hits, _, size = overlap.partition("/")
    return int(hits) / max(1, int(size)) if hits.isdigit() and size.isdigit() else 0.0


def confusion(samples: Sequence[Sample]) -> Figure:
    """True types against predicted labels, in shares of the true type or in cells. samples: those whose truth is known."""
    variants = {}
    for i, sample in enumerate(samples):
        for j, share in enumerate((True, False)):
            variants[_key(samples, i, j)] = _confusion(sample.tables["metrics"]["confusion"], share)
    selectors = _sample_selector(samples)
    caption = (
        "Rows are the true types, columns the predicted labels; a row adds up to all cells of the type. What lies "
        "beside the diagonal is confused. A row of a type that the reference does not know has no right column: see "
        "which labels such cells are given."
    )
    selectors.append(Selector("Colour", ["Share of the true type", "Cells"]))
    return Figure("confusion", "Confusion matrix", caption, variants, selectors)


def _confusion(table: dict, share: bool) -> dict:
    true, predicted, counts = table["true"], table["predicted"], np.array(table["counts"], dtype=float)
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = counts / totals if share else counts
    words = "true: {row}<br>predicted: {column}<br>" + ("{share} of the true type" if share else "{value} cells")
    data = [_heatmap(shown, true, predicted, words, "expression", "share" if share else "cells")]
    if max(len(true), len(predicted)) <= 16:
        data[0] |= {
            "text": [[("" if n == 0 else f"{n:.0f}") for n in row] for row in counts],
            "texttemplate": "%{text}",
        }
    rows = category_axis(true, title={"text": "true"}, down=True)
    layout = {"xaxis": category_axis(predicted, tickangle=-45, title={"text": "predicted"}), "yaxis": rows}
    return _figure(data, layout, 230 + 26 * max(4, len(true)), 240 + 26 * len(predicted))


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
        return _figure(data, {"xaxis": {"range": [-0.03, 1.03]}, "yaxis": rows, "legend": _TOP}, 130 + 26 * max(3, len(labels)))

    caption = (
        "Recall: of the cells of a type, the share that was given its label. Precision: of the cells with the "
        "label, the share that is of the type. F1 is their harmonic mean. Types that the reference does not know "
        "are left out."
    )
    variants, selectors = _variants(samples, make)
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
        "xaxis": {"title": {"text": "Confidence"}, "range": [0, 1.02]}, "legend": _TOP, "showlegend": len(known) > 1,
        "yaxis": {"title": {"text": "Share of cells that are right"}, "range": [-0.02, 1.05], "tickformat": ".0%"},
    }  # fmt: skip
    caption = (
        "On the dotted line, confidence means what it says. Points below it are over-confident, points above too "
        "modest. A point's size says how many cells it stands for; small points scatter by chance. Only types that "
        "the reference knows."
    )
    return Figure("calibration", "Calibration", caption, {"": _figure(data, layout, 380)} if known else {})


def training(history: pd.DataFrame) -> Figure:
    """Loss, accuracy and macro F1 over the epochs."""
    x = history["epoch"].to_numpy()
    lines = (
        ("training loss", "train_loss", "@muted", "y", "dot"),
        ("validation loss", "validation_loss", "@accent", "y", "solid"),
        ("validation accuracy", "validation_accuracy", "#0072b2", "y2", "solid"),
        ("validation macro F1", "validation_macro_f1", "#e69f00", "y2", "solid"),
    )
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": x,
            "y": history[key].to_numpy(),
            "xaxis": "x2" if axis == "y2" else "x",
            "yaxis": axis,
            "line": {"color": colour, "dash": dash, "width": 2},
            "marker": {"color": colour, "size": 5},
        }
        for name, key, colour, axis, dash in lines
        if key in history
    ]
    ticks = {"tick0": 0, "dtick": max(1, round(len(x) / 8))}
    layout = {
        "grid": {"rows": 1, "columns": 2, "pattern": "independent", "xgap": 0.16},
        "hovermode": "x",
        "xaxis": {"title": {"text": "Epoch"}, **ticks},
        "xaxis2": {"title": {"text": "Epoch"}, **ticks},
        "yaxis": {"title": {"text": "Loss"}, "rangemode": "tozero"},
        "yaxis2": {"title": {"text": "Score"}, "range": [0, 1.02]},
        "legend": {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 1.04, "yanchor": "bottom"},
    }
    caption = (
        "Loss falls while the model learns; validation cells were held out of the reference. Training stops when "
        "their loss has not improved for several epochs, and the best epoch is kept."
    )
    return Figure("training", "Training history", caption, {"": _figure(data, layout, 360, 560)})
