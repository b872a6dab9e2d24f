"""Columns of a user's obs that mapping would write over."""

from cellmemory.cells.reading import CellFile
from cellmemory.columns import PREFIX


def taken_columns(file: CellFile) -> list[str]:
    """A sentence where obs has columns of the names that mapping writes."""
    taken = [name for name in file.columns if name.startswith(PREFIX)]
    if not taken:
        return []
    listed = ", ".join(taken[:5]) + (", ..." if len(taken) > 5 else "")
    return [f"{file.path}: obs has columns that mapping writes ({listed}); rename or remove them first."]
