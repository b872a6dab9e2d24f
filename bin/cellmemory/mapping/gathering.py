"""Joins the slices of a query, mapped by many tasks, into the file that one task would have written, bit for bit."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from cellmemory.cells.faults import reading
from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import H5adWriter
from cellmemory.columns import ATTENTION, CELL_COLUMNS, EMBEDDING, SLICE, SLOT_USE
from cellmemory.errors import InputError, Problems, first_ids
from cellmemory.io.atomic import replacing
from cellmemory.log import say, warn
from cellmemory.mapping.aligned import describe_run, open_aligned
from cellmemory.mapping.blocks import MappedBlock, MappedWriter, column_categories, join_blocks
from cellmemory.mapping.cell_ranges import CellRange
from cellmemory.mapping.mapped_checks import finite, problems_of_slice, read_cell_range, read_run
from cellmemory.mapping.slots import SlotSums
from cellmemory.reference.run_info import RunInfo
from cellmemory.reference.trained_model import TrainedModel


class Slice(CellFile):
    """A slice of a query, by `map_query.py --cells`. Raises InputError for a file that is not one."""

    def __init__(self, path: Path):
        super().__init__(path)
        if SLICE not in self.uns:
            self.close()
            raise InputError(f"{path}: this is not a slice of a mapped query; write slices with map_query.py --cells START:STOP.")
        run = read_run(self)
        problems = problems_of_slice(self, run, [field.name for field in fields(SlotSums)])
        if problems:
            self.close()
            raise InputError(problems)
        self.run = RunInfo.from_uns(run)
        cell_range = read_cell_range(self.uns[SLICE])
        assert cell_range  # problems_of_slice has looked at it
        self.cells = CellRange(*cell_range)
        self.attention = ATTENTION in self.matrices

    def sums(self) -> SlotSums:
        """What the slots got of these cells. Read from disk each time: with many labels it is not small."""
        stored = self.uns[SLICE]
        with reading(self.path, f"uns/{SLICE}"):
            sums: dict[str, Any] = {f.name: stored[f.name][:] if f.name in stored else None for f in fields(SlotSums)}
            return SlotSums(**sums)

    def block(self, start: int, stop: int) -> MappedBlock:
        """Cells start to stop, numbered as in the query."""
        first, last = start - self.cells.start, stop - self.cells.start
        with reading(self.path, f"the slice's cells {first} to {last}"):
            return MappedBlock(
                self.names(first, last),
                pd.DataFrame({name: self._column(name, first, last) for name in self.columns}),
                finite(self.path, f"obsm['{EMBEDDING}']", self.obsm[EMBEDDING][first:last]),
                finite(self.path, f"obsm['{SLOT_USE}']", self.obsm[SLOT_USE][first:last]) if self.attention else None,
                self.rows(ATTENTION, first, last) if self.attention else None,
            )

    def categories(self, name: str) -> list[str]:
        """The names that an obs column of categories holds; one that says so where it has none."""
        stored = self.stored(f"obs/{name}")
        return [str(value) for value in self.obs[name].cat.categories] if isinstance(stored, h5py.Group) else ["no categories"]

    def _column(self, name: str, first: int, last: int) -> np.ndarray:
        stored = self.stored(f"obs/{name}")
        # Not `"codes" in stored`: of numbers that would look through all cells, one by one.
        if isinstance(stored, h5py.Group):
            return stored["categories"].asstr()[:].astype(object)[stored["codes"][first:last]]
        return stored[first:last]


def gather(query: Path, trained: TrainedModel, slices: Sequence[Path], *, output: Path, labels: Path, threads: int) -> None:
    """Writes `<sample>.mapped.h5ad` and `<sample>.labels.csv` from slices in any order.

    Memory: a block of cells, whatever the number of cells. Raises InputError, a sentence for each problem, where the
    slices are not all the cells of the query, each once, mapped with this model and the same settings.
    """
    with ExitStack() as opened:
        file = opened.enter_context(open_aligned(query, trained))
        opened_slices = _open_slices(slices, opened)
        run = _same_run(opened_slices, file, trained)
        sums = _total(opened_slices)
        with (
            replacing(output) as partial,
            replacing(labels) as partial_labels,
            H5adWriter(partial, len(trained.panel)) as writer,
        ):
            mapped = MappedWriter(writer, file, trained, run)
            mapped.write(_blocks(opened_slices, file.n_cells), partial_labels)
            found = mapped.finish(sums, threads)
    say(f"Joined {len(slices)} slices of {file.n_cells:,} cells; {mapped.not_assigned(run.doubt)}.")
    for alarm in found:
        warn(alarm)
    say(f"Wrote {output} and {labels}.")


def _open_slices(paths: Sequence[Path], opened: ExitStack) -> list[Slice]:
    """The slices by their first cell."""
    found: list[Slice] = []
    problems = Problems()
    for path in paths:
        with problems.collect():
            found.append(opened.enter_context(Slice(path)))
    problems.raise_any()
    return sorted(found, key=lambda one: (one.cells.start, one.cells.stop))


def _same_run(slices: Sequence[Slice], file: CellFile, trained: TrainedModel) -> RunInfo:
    """What the slices say of how they were made. Raises InputError unless it is the same, of this query, by this model,
    and their cells are those of the query, each once."""
    of_others = {one.path: _of_query(one, file) for one in slices}
    first = next((one for one in slices if not of_others[one.path]), slices[0])
    run = describe_run(file, trained, first.run.doubt, first.run.precision)
    run = replace(run, weaker_evidence=first.run.weaker_evidence)
    problems = []
    for one in slices:
        if not trained.mapped(one.run):
            problems.append(f"{one.path}: this slice was mapped with another model than {trained.path}; map it again with that.")
            continue
        problems += of_others[one.path]
        if of_others[one.path]:
            continue
        other = one.run.differences(run)
        if one.attention != first.attention:
            other.append(f"{'with' if one.attention else 'without'} attention")
        if other:
            problems.append(f"{one.path}: this slice was mapped otherwise ({'; '.join(other)}); map it again like the others.")
        problems += _of_model(one, trained)
    problems += _coverage(slices, file.n_cells)
    if problems:
        raise InputError(problems)
    return run


def _of_query(one: Slice, file: CellFile) -> list[str]:
    """A sentence where a slice's cells are not those of the query."""
    if one.cells.n_cells != file.n_cells:
        return [
            f"{one.path}: this slice comes from a query of {one.cells.n_cells:,} cells, but {file.path} has {file.n_cells:,}."
        ]
    first = one.cells.start
    for start, stop in one.cells.pieces():
        names, expected = one.names(start - first, stop - first), file.names(start, stop)
        if (names != expected).any():
            wrong = int(np.argmax(names != expected))
            return [
                f"{one.path}: this slice comes from another query: cell {start + wrong} is '{names[wrong]}' here, "
                f"but '{expected[wrong]}' in {file.path}."
            ]
    return []


def _of_model(one: Slice, trained: TrainedModel) -> list[str]:
    """A sentence where a slice's columns are not those that the model writes, with its labels."""
    known = column_categories(trained)
    missing = [name for name in dict.fromkeys((*CELL_COLUMNS, *known)) if name not in one.columns]
    if missing:
        return [f"{one.path}: this slice has no obs column {', '.join(missing)}; map it again."]
    found = {name: one.categories(name) for name in known}
    strange = [f"'{value}' in {name}" for name, values in found.items() for value in values if value not in known[name]]
    width = trained.sizes.d_model
    if one.stored(f"obsm/{EMBEDDING}") is None or one.obsm[EMBEDDING].shape[1] != width:
        strange.append(f"an embedding that is not {width} wide")
    if one.attention and SLOT_USE not in one.obsm:
        strange.append(f"attention without obsm['{SLOT_USE}']")
    return [f"{one.path}: this slice has what the model does not write ({first_ids(strange)}); map it again."] if strange else []


def _coverage(slices: Sequence[Slice], n_cells: int) -> list[str]:
    """A sentence for each run of cells that no slice has, and for each slice that has cells of another."""
    problems, reached, furthest = [], 0, slices[0]
    for one in slices:
        cells = one.cells
        if cells.start > reached:
            problems.append(_missing(reached, cells.start))
        elif cells.start < reached:
            problems.append(
                f"{one.path}: cells {cells.start}:{min(cells.stop, reached)} are in {furthest.path} already; give each cell once."
            )
        if cells.stop > reached:
            reached, furthest = cells.stop, one
    if reached < n_cells:
        problems.append(_missing(reached, n_cells))
    return problems


def _missing(start: int, stop: int) -> str:
    return f"No slice has the cells {start}:{stop}; map them with map_query.py --cells {start}:{stop}, and give all slices."


def _total(slices: Sequence[Slice]) -> SlotSums | None:
    if not slices[0].attention:
        return None
    total = slices[0].sums()
    for one in slices[1:]:
        total.add_sums(one.sums())
    return total


def _blocks(slices: Sequence[Slice], n_cells: int) -> Iterator[MappedBlock]:
    """The blocks that one task would have made, whatever the slices."""
    for start, stop in CellRange(0, n_cells, n_cells).pieces():
        here = [one for one in slices if one.cells.start < stop and one.cells.stop > start]
        yield join_blocks([one.block(max(start, one.cells.start), min(stop, one.cells.stop)) for one in here])
