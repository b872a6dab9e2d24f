"""Which genes tell the labels apart: markers found in the cells themselves, in the cells of every label and in those of none."""

from collections.abc import Sequence

import numpy as np

from cellmemory.report import drawing
from cellmemory.report.blocks import Figure, Section, category_axis, text
from cellmemory.report.data import Sample, counted_labels
from cellmemory.report.sections.tags import means_of_labels

#: Genes of each row, columns of the figure, and cells that a row needs.
MARKERS_OF_ROW, MAX_GENES, MIN_DRAWN = 4, 80, 5
#: Rows, those with the most cells, and dots in the figures of all samples: with very many samples there are fewer genes.
MAX_LABELS, MAX_DOTS = 40, 4_000
#: A marker is expressed by this share of its row's cells.
EXPRESSED = 0.25


def section(samples: Sequence[Sample]) -> Section:
    """A dot plot of markers by label."""
    lead = (
        "Genes that cells of one label express and those of no other do. A label whose own markers are missing, or that has "
        "those of another, is to be doubted. Cells that count under no label have rows of their own."
    )
    caption = (
        "Columns: for each row the genes whose mean is furthest above that of every other row. Size: the share of the row's "
        "cells that express the gene. Colour: the mean, relative to the highest row. Rows count cells as the composition does; "
        f"rows of fewer than {MIN_DRAWN} of the drawn cells are left out, and those beyond the {MAX_LABELS} largest."
    )
    variants, selectors = drawing.for_each_sample(samples, lambda sample: _dots(sample, MAX_DOTS // len(samples)))
    if not variants:
        return Section("markers", "Markers", lead, absent="No label has enough cells, so that there are no markers.")
    return Section("markers", "Markers", lead, [Figure("markers", "Markers by label", caption, variants, selectors)])


def _dots(sample: Sample, most: int) -> dict | None:
    labels = counted_labels(sample.cells.iloc[sample.drawn])
    counts = labels.value_counts(sort=False)
    most_cells = counts[counts >= MIN_DRAWN].sort_values(ascending=False, kind="stable").index[:MAX_LABELS]
    rows = [str(label) for label in counts.index if label in most_cells]
    if len(rows) < 2:
        return None
    codes = labels.cat.set_categories(rows).cat.codes.to_numpy()
    means = means_of_labels(sample.expression, codes, len(rows))
    shares = means_of_labels(sample.expression > 0, codes, len(rows))
    genes = _markers(means, shares, min(MAX_GENES, max(1, most // len(rows))))
    if not genes:
        return None
    highest = np.maximum(means[:, genes].max(axis=0), 1e-12)
    places = [(row, column) for row in range(len(rows)) for column in range(len(genes)) if shares[row, genes[column]] > 0]
    names = [sample.genes[gene] for gene in genes]
    found = [(means[row, genes[column]], shares[row, genes[column]], highest[column]) for row, column in places]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [column for _, column in places],
        "y": [row for row, _ in places],
        "hovertext": [
            f"{text(names[column])} in {text(rows[row])}<br>mean {mean:.2f}, in {share:.0%} of the cells"
            for (row, column), (mean, share, _) in zip(places, found, strict=True)
        ],
        "hoverinfo": "text",
        "meta": {"scale": "expression"},
        "showlegend": False,
        "marker": {
            "opacity": 1,
            "size": [3 + 13 * share**0.5 for _, share, _ in found],
            "color": [mean / top for mean, _, top in found],
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": {"text": "relative mean"}},
            "line": {"width": 0.5, "color": "@muted"},
        },
    }
    layout = {"xaxis": category_axis(names, side="top", tickangle=-60), "yaxis": category_axis(rows, down=True)}
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
