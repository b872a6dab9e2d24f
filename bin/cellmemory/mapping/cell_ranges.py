"""Ranges of a query's cells: what a task maps of them, and in which blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cellmemory.errors import InputError

#: Cells that are mapped together: blocks begin at multiples of this. The last bits of a cell's results depend on which
#: cells share its matrix products, so a slice maps the blocks that it touches whole, and keeps its own cells.
BLOCK_CELLS = 4096


@dataclass(frozen=True)
class CellRange:
    """Cells start to stop (half-open, from 0) of a query of n cells."""

    start: int
    stop: int
    n_cells: int

    @classmethod
    def parse(cls, text: str | None, n_cells: int) -> "CellRange":
        """`START:STOP`, `START:`, `:STOP`; None: all cells. Raises InputError for what names no cells of the query."""
        found = re.fullmatch(r"([0-9]{0,18}):([0-9]{0,18})", ":" if text is None else text)
        if not found:
            raise InputError(
                f"--cells {text}: write START:STOP, the first cell (from 0) and the one after the last, e.g. 0:4096."
            )
        start, stop = int(found[1] or 0), int(found[2] or n_cells)
        if stop > n_cells or start >= n_cells:
            raise InputError(f"--cells {text}: the query has {n_cells:,} cells; STOP is at most {n_cells}, START less than that.")
        if start >= stop:
            raise InputError(f"--cells {text}: there are no cells in it; START must be less than STOP.")
        return cls(start, stop, n_cells)

    def __len__(self) -> int:
        return self.stop - self.start

    def blocks(self) -> Iterator[tuple[int, int, slice]]:
        """(start, stop) of each block that the range touches, and which of the block's cells are in the range."""
        for start in range(self.start // BLOCK_CELLS * BLOCK_CELLS, self.stop, BLOCK_CELLS):
            stop = min(start + BLOCK_CELLS, self.n_cells)
            yield start, stop, slice(max(self.start - start, 0), min(self.stop, stop) - start)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of the range's own cells in each of these blocks."""
        for start, _, kept in self.blocks():
            yield start + kept.start, start + kept.stop
