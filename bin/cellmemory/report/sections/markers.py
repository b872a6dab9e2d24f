"""Which genes tell the labels apart: markers found in the cells themselves, and those that sets of the user name, in the cells
of every label and in those of none."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cellmemory.genes.gene_sets import MARKER_LISTS, MARKER_SET
from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Section, Selector, category_axis, text
from cellmemory.report.data import Sample, counted_labels
from cellmemory.report.sections.tags import means_of_labels

#: Genes of each row, columns of the figures of markers that are found and that are known, and cells that a row needs.
MARKERS_OF_ROW, MAX_GENES, MAX_KNOWN, MIN_DRAWN = 4, 80, 120, 5
#: Rows, those with the most cells, and dots in all variants of a figure: with very many samples there are fewer genes.
MAX_LABELS, MAX_DOTS = 40, 4_000
#: A marker is expressed by this share of its row's cells.
EXPRESSED = 0.25
#: Genes of a list of markers that are shown, the first.
GENES_OF_SET = 6
_DOTS = "Size: the share of the row's cells that express the gene. Colour: the mean, relative to the highest row."


class _Means(NamedTuple):
    """rows: labels with enough cells, and what stands for none. (rows, genes): means, and shares of cells that express a gene."""

    rows: list[str]
    means: np.ndarray
    shares: np.ndarray


def section(samples: Sequence[Sample], gene_sets: Mapping[str, Mapping[str, list[str]]]) -> Section:
    """Dot plots by label: of the markers that the cells show, and of those that the user's sets name.

    gene_sets: by the name of their file, the genes of each set as the panel writes them.
    """
    lead = (
        "Genes that cells of one label express and those of no other do. A label whose own markers are missing, or that has "
        "those of another, is to be doubted. Cells that count under no label have rows of their own."
    )
    means = [_means(sample) for sample in samples]
    figures = [figure for figure in (_found(samples, means), _known(samples, means, gene_sets)) if figure]
    absent = "" if figures else "No label has enough cells, so that there are no markers."
    return Section("markers", "Markers", lead, figures, absent)


def _means(sample: Sample) -> _Means:
    labels = counted_labels(sample.cells.iloc[sample.drawn])
    counts = labels.value_counts(sort=False)
    most_cells = counts[counts >= MIN_DRAWN].sort_values(ascending=False, kind="stable").index[:MAX_LABELS]
    rows = [str(label) for label in counts.index if label in most_cells]
    codes = labels.cat.set_categories(rows).cat.codes.to_numpy()
    return _Means(rows, *(means_of_labels(values, codes, len(rows)) for values in (sample.expression, sample.expression > 0)))


def _found(samples: Sequence[Sample], means: Sequence[_Means]) -> Figure | None:
    """The markers that the cells themselves show."""
    caption = (
        f"Columns: for each row the genes whose mean is furthest above that of every other row. {_DOTS} Rows count cells as the "
        f"composition does; rows of fewer than {MIN_DRAWN} of the drawn cells are left out, and those beyond the {MAX_LABELS} "
        "largest."
    )
    variants = {}
    for i, (sample, found) in enumerate(zip(samples, means, strict=True)):
        genes = _markers(found.means, found.shares, _at_most(len(samples), found, MAX_GENES)) if len(found.rows) > 1 else []
        if genes:
            variants[drawing.key(samples, i)] = _dots(sample, found, genes)
    return Figure("markers", "Markers by label", caption, variants, drawing.sample_selector(samples)) if variants else None


def _known(samples: Sequence[Sample], means: Sequence[_Means], gene_sets: Mapping[str, Mapping[str, list[str]]]) -> Figure | None:
    """The genes of the user's sets, set by set."""
    caption = (
        f"Columns: the first genes of each set of --gmt that are in the panel and were measured, at most {GENES_OF_SET}, and "
        f"fewer where there are many sets. Sets of more than {MARKER_SET} genes, and files of more than {MARKER_LISTS} sets, are "
        f"left out: they are pathways rather than lists of markers. {_DOTS}"
    )
    lists = {name: list(sets.items()) for name, sets in gene_sets.items()}
    variants = {}
    for i, (sample, found) in enumerate(zip(samples, means, strict=True)):
        for j, sets in enumerate(lists.values()):
            if found.rows and (columns := _columns(sample, sets, _at_most(len(samples) * len(lists), found, MAX_KNOWN))):
                variants[drawing.key(samples, i, *([j] if len(lists) > 1 else []))] = _dots(sample, found, *columns)
    selectors = drawing.sample_selector(samples) + ([Selector("Gene sets", list(lists))] if len(lists) > 1 else [])
    empty = "This sample measured no gene of these sets."
    return Figure("known_markers", "Known markers by label", caption, variants, selectors, empty) if variants else None


def _columns(sample: Sample, sets: Sequence[tuple[str, list[str]]], limit: int) -> tuple[list[int], list[str]] | None:
    """The columns of the first genes of each set, at most `limit` in all, and the set of each."""
    place = {gene: i for i, gene in enumerate(sample.genes) if sample.measured[i]}
    known = [(name, [place[gene] for gene in genes if gene in place]) for name, genes in sets]
    known = [(name, genes) for name, genes in known if genes][:limit]
    each = max(1, min(GENES_OF_SET, limit // max(1, len(known))))
    shown = [(gene, name) for name, genes in known for gene in genes[:each]]
    return ([gene for gene, _ in shown], [name for _, name in shown]) if shown else None


def _at_most(n_variants: int, found: _Means, most: int) -> int:
    """How many genes a variant of a figure has: fewer than `most` where there are many variants or rows."""
    return min(most, max(1, MAX_DOTS // n_variants // max(1, len(found.rows))))


def _dots(sample: Sample, found: _Means, genes: Sequence[int], sets: Sequence[str] = ()) -> dict:
    """A dot for each row and gene; `genes` are columns of the means. sets: the set of each gene, with a line between two sets."""
    rows, means, shares = found
    highest = np.maximum(means[:, genes].max(axis=0), 1e-12)
    places = [(row, column) for row in range(len(rows)) for column in range(len(genes)) if shares[row, genes[column]] > 0]
    names = [sample.genes[gene] for gene in genes]
    of_set = [f" ({text(name)})" for name in sets] or [""] * len(genes)
    shown = [(means[row, genes[column]], shares[row, genes[column]], highest[column]) for row, column in places]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [column for _, column in places],
        "y": [row for row, _ in places],
        "hovertext": [
            f"{text(names[column])}{of_set[column]} in {text(rows[row])}<br>mean {mean:.2f}, in {share:.0%} of the cells"
            for (row, column), (mean, share, _) in zip(places, shown, strict=True)
        ],
        "hoverinfo": "text",
        "meta": {"scale": "expression"},
        "showlegend": False,
        "marker": {
            "opacity": 1,
            "size": [3 + 13 * share**0.5 for _, share, _ in shown],
            "color": [mean / top for mean, _, top in shown],
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": {"text": "relative mean"}},
            "line": {"width": 0.5, "color": "@muted"},
        },
    }
    first = [column for column, name in enumerate(sets) if column == 0 or sets[column - 1] != name]
    ticks = [f"{sets[i]}: {name}" if i in first else name for i, name in enumerate(names)]
    layout: dict[str, Any] = {"xaxis": category_axis(ticks, side="top", tickangle=-60), "yaxis": category_axis(rows, down=True)}
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": "@line", "width": 1, "dash": "solid"}}
    layout["shapes"] = [{**line, "x0": column - 0.5, "x1": column - 0.5} for column in first[1:]]
    return drawing.figure([trace], layout, 190 + 26 * len(rows), 320 + 20 * len(genes))


def _markers(means: np.ndarray, shares: np.ndarray, limit: int) -> list[int]:
    """The columns of the markers, at most `limit`: the best of each row before the second best of any, in the order of the rows.

    means, shares: (rows, genes).
    """
    best = []
    for row in range(len(means)):
        lead = means[row] - np.delete(means, row, axis=0).max(axis=0)
        order = np.argsort(-np.where(shares[row] >= EXPRESSED, lead, -np.inf), kind="stable")[:MARKERS_OF_ROW]
        best.append([int(gene) for gene in order if lead[gene] > 0 and shares[row, gene] >= EXPRESSED])
    by_place = [genes[place] for place in range(MARKERS_OF_ROW) for genes in best if place < len(genes)]
    kept = set(list(dict.fromkeys(by_place))[:limit])
    return list(dict.fromkeys(gene for genes in best for gene in genes if gene in kept))
