"""Cells where they lie in the tissue."""

from collections.abc import Sequence

from cellmemory.report.blocks import Explorer, Section
from cellmemory.report.data import Sample


def section(samples: Sequence[Sample]) -> Section:
    """Cells where they lie in the tissue."""
    lead = (
        "The cells at their place in the tissue. The vertical axis points down, as in images. The bar is as long as its number "
        "says, in the units of your coordinates: micrometres for most imaging methods, pixels of the full image for Visium."
    )
    if all(sample.spatial is None for sample in samples):
        return Section(
            "spatial",
            "Tissue",
            lead,
            absent="No sample has spatial coordinates (obsm['spatial']), so that there is no picture of the tissue.",
        )
    return Section(
        "spatial",
        "Tissue",
        lead,
        [Explorer("tissue", "Cells in space", "Colours and genes are chosen as on the map.", "spatial")],
    )
