"""The UMAP of reference and query."""

from collections.abc import Sequence

from cellmemory.columns import UMAP
from cellmemory.report.blocks import Explorer, Notes, Section
from cellmemory.report.data import Sample


def section(samples: Sequence[Sample]) -> Section:
    """UMAP of reference and query."""
    lead = (
        "A map on which cells that the model sees alike lie close together (UMAP of its cell embedding, reference "
        "and query at once). Distances between far groups mean little; use the map to see what mixes and what "
        "stands apart."
    )
    if all(sample.umap is None for sample in samples):
        return Section("map", "Map", lead, [Notes([f"The mapped files hold no {UMAP}, so that there is no map."])])
    caption = (
        "Choose a colour; click a legend entry to hide it, twice to see only it; drag to zoom, double-click to "
        "reset. The reference may be shown in grey or in its own labels. Below, the expression of a gene beside the "
        "attention that the model paid to it."
    )
    return Section("map", "Map", lead, [Explorer("umap", "Cells", caption, "umap"), *_drawn_note(samples)])


def _drawn_note(samples: Sequence[Sample]) -> list[Notes]:
    drawn, cells = sum(len(s.drawn) for s in samples), sum(len(s.cells) for s in samples)
    if drawn == cells:
        return []
    drawn_of = f"{drawn:,} of {cells:,} cells are drawn, taken at random with rare labels kept"
    return [Notes([f"{drawn_of}; numbers and tables are about all cells unless a caption says otherwise."])]
