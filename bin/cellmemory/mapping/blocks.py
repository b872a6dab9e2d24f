"""A mapped query in the making: mapped cells block by block, slices of a query, and what is made of all cells at the end.

There is one way to a mapped file, whether one task maps all cells or many map a slice each: blocks of cells are written
in order, then the file is finished. A slice stops before that; gathering reads blocks from slices instead.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import GrowingTable, H5adWriter, is_plain
from cellmemory.columns import PREFIX
from cellmemory.io.spreadsheet import write_csv
from cellmemory.mapping.cell_ranges import CellRange
from cellmemory.mapping.co_embedding import CoEmbedding
from cellmemory.mapping.slots import SlotSums
from cellmemory.reference.alarms import alarms, own_cells_sentence
from cellmemory.reference.fingerprints import count_known, fingerprints
from cellmemory.reference.trained_model import TrainedModel

STATUSES = ["unassigned", "assigned"]
ADAPTED = (
    "The model was adapted to this query, without its labels (--adapt): a cell's label, confidence and novelty depend on the "
    "query's other cells, and may be others in another query."
)


@dataclass(frozen=True)
class MappedBlock:
    """What mapping makes of some cells: names (n,), the new columns of obs, embedding (n, d), and with attention slots
    (n, H) and attention (n, genes)."""

    names: np.ndarray
    table: pd.DataFrame
    embedding: np.ndarray
    slots: np.ndarray | None
    attention: sp.csr_matrix | None

    def __len__(self) -> int:
        return len(self.names)


def join_blocks(blocks: Sequence[MappedBlock]) -> MappedBlock:
    """Parts that follow each other as one."""
    if len(blocks) == 1:
        return blocks[0]
    attended = blocks[0].attention is not None
    return MappedBlock(
        np.concatenate([block.names for block in blocks]),
        pd.concat([block.table for block in blocks], ignore_index=True),
        np.concatenate([block.embedding for block in blocks]),
        np.concatenate([block.slots for block in blocks]) if attended else None,
        sp.vstack([block.attention for block in blocks], format="csr") if attended else None,
    )


def write_blocks(
    writer: H5adWriter, blocks: Iterable[MappedBlock], file: CellFile, trained: TrainedModel, labels: Path | None
) -> tuple[GrowingTable, int]:
    """Writes blocks as they come, and the labels as CSV where a path is given. file: the aligned query.

    Returns obs, to be finished, and the number of unassigned cells.
    """
    obs = GrowingTable(writer.group("obs"), _index_name(file), column_categories(trained))
    unassigned, header = 0, True
    with labels.open("w", newline="") if labels else nullcontext() as csv:
        for block in blocks:
            obs.append(block.names, block.table)
            writer.append("obsm/X_cellmemory", block.embedding)
            if block.attention is not None:
                writer.append("obsm/X_cellmemory_slots", block.slots)
                writer.append("layers/attention", block.attention)
            if csv:
                write_csv(block.table.set_axis(pd.Index(block.names, name="cell")), csv, header)
                header = False
            unassigned += int((block.table[f"{PREFIX}status"] == "unassigned").sum())
    return obs, unassigned


def column_categories(trained: TrainedModel) -> dict[str, list[str]]:
    """The new columns of obs that hold categories which the model knows beforehand, and these."""
    categories = {"label": trained.labels, "status": STATUSES} | (trained.hierarchy.categories() if trained.hierarchy else {})
    return {PREFIX + name: values for name, values in categories.items()}


def finish_slice(
    writer: H5adWriter, obs: GrowingTable, file: CellFile, run: dict, cells: CellRange, sums: SlotSums | None
) -> None:
    """Completes the file of a slice: an h5ad of what was made of its cells, without what the query's file has."""
    obs.finish()
    writer.write("var", file.var())
    writer.write("uns/cellmemory", run)
    summed = sums.present() if sums is not None else {}
    writer.write("uns/cellmemory_slice", {"start": cells.start, "stop": cells.stop, "n_cells": cells.n_cells} | summed)


def finish(
    writer: H5adWriter, obs: GrowingTable, file: CellFile, trained: TrainedModel, run: dict, sums: SlotSums | None, threads: int
) -> list[str]:
    """Completes a mapped query: what is in the query's own file, slot means, co-embedding, provenance.

    Returns what is unusual about the query as a whole, a sentence each (see alarms.alarms).
    Everything goes from disk to disk: memory holds a chunk of cells, and the cells that the UMAP is fitted on.
    """
    own_cells = 0
    for start, rows in file.chunks("X"):
        writer.append("X", rows)
        found = fingerprints(file.names(start, start + rows.shape[0]), rows)
        own_cells += count_known(found, trained.weights["reference.fingerprint"])
    for name in file.columns:
        _take(writer, file, f"obs/{name}", lambda name=name: file.obs[name])
    obs.finish(file.columns)
    writer.write("var", file.var())
    for key in file.obsm:
        _take(writer, file, f"obsm/{key}", lambda key=key: file.embedding(key))
    if sums is not None:
        for name, values in sums.varm().items():
            writer.write(f"varm/{name}", values)
    embedding, label = trained.reference
    with threadpool_limits(threads):
        co_embedding = CoEmbedding(writer.stored("obsm/X_cellmemory"), embedding, trained.config["seed"])
        for coordinates in co_embedding.query():
            writer.append("obsm/X_umap", coordinates)
    found = alarms(
        writer.stored(f"obs/{PREFIX}novelty_p")[:],
        run["novelty_alpha"],
        np.diff(writer.stored("X/indptr")[:]),
        file.var()["measured"].to_numpy(bool),
        trained.config["usual_share"],
    )
    if trained.adapted_to:
        found.insert(0, ADAPTED)
    if own_cells:
        found.insert(0, own_cells_sentence(own_cells, file.n_cells))
    writer.write("uns/cellmemory", run | {"alarms": np.array(found, object), "reference_cells": own_cells})
    writer.write("uns/cellmemory_reference", {"X_umap": co_embedding.reference, "label": np.array(trained.labels, object)[label]})
    return found


def _take(writer: H5adWriter, file: CellFile, name: str, read: Callable[[], object]) -> None:
    """An element of the query's file: from disk to disk where it is plain, else read (by `read`) and made so."""
    stored = file.stored(name)
    if is_plain(stored):
        writer.copy(name, stored)
    else:
        writer.write(name, read())


def _index_name(file: CellFile) -> str:
    return file.stored("obs").attrs["_index"]
