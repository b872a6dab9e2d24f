"""The reference's map, and the query's cells on it."""

from collections.abc import Sequence

from cellmemory.columns import UMAP
from cellmemory.report.blocks import Explorer, Notes, Section
from cellmemory.report.data import Sample


def section(samples: Sequence[Sample]) -> Section:
    """The map of the reference with the query's cells on it."""
    lead = (
        "A map on which cells that the model sees alike lie close together (UMAP of its embeddings of reference "
        "cells; each cell of the query is placed among its nearest). All queries share it. Distances between far groups mean "
        "little, and a type that the reference lacks lies among the labels that it resembles most."
    )
    if all(sample.umap is None for sample in samples):
        return Section("map", "Map", lead, absent=f"The mapped files hold no {UMAP}, so that there is no map.")
    caption = (
        "Choose a colour; click a legend entry to hide it, twice to see only it; drag to zoom, double-click to "
        "reset. Draw a line or a box around cells (the first buttons at the top right) to see what they are and which genes are "
        "highest in them, and to save their names. The reference may be shown in grey or in its own labels. Below, the "
        "expression of a gene beside the attention that the model paid to it."
    )
    return Section("map", "Map", lead, [Explorer("umap", "Cells", caption, "umap"), *_drawn_note(samples)])


def _drawn_note(samples: Sequence[Sample]) -> list[Notes]:
    drawn, cells = sum(len(s.drawn) for s in samples), sum(len(s.cells) for s in samples)
    if drawn == cells:
        return []
    drawn_of = f"{drawn:,} of {cells:,} cells are drawn, taken at random with rare labels kept"
    return [Notes([f"{drawn_of}; numbers and tables are about all cells unless a caption says otherwise."])]
