"""A mapped query in the making: mapped cells block by block, slices of a query, and what is made of all cells at the end.

There is one way to a mapped file, whether one task maps all cells or many map a slice each: blocks of cells are written
in order, then the file is finished. A slice stops before that; gathering reads blocks from slices instead.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from cellmemory import PREFIX, RUN
from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import GrowingTable, H5adWriter, is_plain
from cellmemory.columns import (
    AMBIGUOUS,
    ATTENTION,
    EMBEDDING,
    LABEL,
    NOVELTY_P,
    REFERENCE_MAP,
    SLICE,
    SLOT_USE,
    STATUS,
    STATUSES,
    UMAP,
    UNASSIGNED,
)
from cellmemory.io.spreadsheet import write_csv
from cellmemory.mapping.cell_ranges import CellRange
from cellmemory.mapping.slots import SlotSums
from cellmemory.reference.alarms import QueryFigures, alarms, own_cells_sentence, silent_genes
from cellmemory.reference.calibration import DoubtSettings
from cellmemory.reference.fingerprints import count_known, fingerprints
from cellmemory.reference.run_info import RunInfo
from cellmemory.reference.trained_model import TrainedModel

ADAPTED = (
    "The model was adapted to this query, without its labels (--adapt): a cell's label, confidence and novelty depend on the "
    "query's other cells, and may be others in another query."
)
NOT_ADAPTED = "The model was not adapted to this query (--adapt auto)."
#: Cells that are placed on the map at once.
PLACED_CELLS = 8192


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


class MappedWriter:
    """Writes a mapped query, or a slice of one: blocks as they come, then what belongs to all cells.

    file: the aligned query.
    """

    def __init__(self, writer: H5adWriter, file: CellFile, trained: TrainedModel, run: RunInfo):
        self._writer, self._file, self._trained, self._run = writer, file, trained, run
        self._obs = GrowingTable(writer.group("obs"), file.stored("obs").attrs["_index"], column_categories(trained))
        self._status = dict.fromkeys(STATUSES, 0)

    def write(self, blocks: Iterable[MappedBlock], labels: Path | None) -> None:
        """Writes blocks in their order, and the labels as CSV where a path is given."""
        header = True
        with labels.open("w", encoding="utf-8", newline="") if labels else nullcontext() as csv:
            for block in blocks:
                self._obs.append(block.names, block.table)
                self._writer.append(f"obsm/{EMBEDDING}", block.embedding)
                if block.attention is not None:
                    self._writer.append(f"obsm/{SLOT_USE}", block.slots)
                    self._writer.append(ATTENTION, block.attention)
                if csv:
                    write_csv(block.table.set_axis(pd.Index(block.names, name="cell")), csv, header=header)
                    header = False
                for name in STATUSES:
                    self._status[name] += int((block.table[STATUS] == name).sum())

    def not_assigned(self, doubt: DoubtSettings) -> str:
        """How many cells so far have a label that is not to be used, and why; a part of a sentence."""
        unassigned, ambiguous = self._status[UNASSIGNED], self._status[AMBIGUOUS]
        return (
            f"{unassigned:,} unassigned (novelty p < {doubt.novelty_alpha:g}), "
            f"{ambiguous:,} ambiguous (confidence < {doubt.min_confidence:g})"
        )

    def finish_slice(self, cells: CellRange, sums: SlotSums | None) -> None:
        """Completes the file of a slice: an h5ad of what was made of its cells, without what the query's file has."""
        self._obs.finish()
        self._writer.write("var", self._file.var())
        self._writer.write(f"uns/{RUN}", self._run.to_uns())
        summed = sums.present() if sums is not None else {}
        self._writer.write(f"uns/{SLICE}", {"start": cells.start, "stop": cells.stop, "n_cells": cells.n_cells} | summed)

    def finish(self, sums: SlotSums | None, threads: int) -> list[str]:
        """Completes a mapped query: what is in the query's own file, slot means, places on the reference's map, provenance.

        Returns what is unusual about the query as a whole, a sentence each (see alarms.alarms).
        Everything goes from disk to disk: memory holds a chunk of cells.
        """
        writer, trained = self._writer, self._trained
        own_cells, expressing = self._copy_query()
        if sums is not None:
            for name, values in sums.varm().items():
                writer.write(f"varm/{name}", values)
        self._place(threads)
        found = self._alarms(own_cells, expressing)
        run = replace(self._run, alarms=found, reference_cells=own_cells, n_cells=self._file.n_cells)
        writer.write(f"uns/{RUN}", run.to_uns())
        names = np.array(trained.labels, object)[trained.weights["reference.label"]]
        writer.write(f"uns/{REFERENCE_MAP}", {UMAP: trained.reference_map.coordinates, "label": names})
        return found

    def _place(self, threads: int) -> None:
        """The cells on the reference's map, chunk by chunk, by their embeddings."""
        reference_map, embedding = self._trained.reference_map, self._writer.stored(f"obsm/{EMBEDDING}")
        with threadpool_limits(threads):
            for start in range(0, len(embedding), PLACED_CELLS):
                self._writer.append(f"obsm/{UMAP}", reference_map.place(embedding[start : start + PLACED_CELLS]))

    def _copy_query(self) -> tuple[int, np.ndarray]:
        """Takes over what the query's own file holds; returns how many of its cells are the reference's own, and how many cells
        express each gene (genes,)."""
        writer, file, own_cells = self._writer, self._file, 0
        expressing = np.zeros(len(self._trained.panel), np.int64)
        for start, rows in file.chunks("X"):
            writer.append("X", rows)
            found = fingerprints(file.names(start, start + rows.shape[0]), rows)
            own_cells += count_known(found, self._trained.weights["reference.fingerprint"])
            expressing += np.bincount(rows.indices[rows.data > 0], minlength=len(expressing))
        for name in file.columns:
            self._take("obs", name)
        self._obs.finish(file.columns)
        writer.write("var", file.var())
        for key in file.obsm:
            self._take("obsm", key)
        return own_cells, expressing

    def _take(self, kind: str, name: str) -> None:
        """An element of the query's obs or obsm: from disk to disk where it is plain, else read and made so."""
        stored = self._file.stored(f"{kind}/{name}")
        if is_plain(stored):
            self._writer.copy(f"{kind}/{name}", stored)
        else:
            self._writer.write(f"{kind}/{name}", self._file.obs[name] if kind == "obs" else self._file.embedding(name))

    def _alarms(self, own_cells: int, expressing: np.ndarray) -> list[str]:
        measured = self._file.var()["measured"].to_numpy(bool)
        labels = self._trained.labels
        labelled = np.bincount(self._writer.stored(f"obs/{LABEL}/codes")[:], minlength=len(labels))
        figures = QueryFigures(
            novelty_p=self._writer.stored(f"obs/{NOVELTY_P}")[:],
            expressed=np.diff(self._writer.stored("X/indptr")[:]),
            measured=measured,
            silent=measured & silent_genes(labelled, expressing, self._trained.label_means[0]),
            labelled=dict(zip(labels, labelled.tolist(), strict=True)),
            weaker=self._run.weaker_evidence,
        )
        found = alarms(figures, novelty_alpha=self._run.novelty_alpha, usual=self._trained.config["usual_share"])
        if self._trained.adapting:
            found.insert(0, f"{ADAPTED if self._trained.adapted_to else NOT_ADAPTED} {self._trained.adapting}")
        if own_cells:
            found.insert(0, own_cells_sentence(own_cells, self._file.n_cells))
        return found


def column_categories(trained: TrainedModel) -> dict[str, list[str]]:
    """The new columns of obs that hold categories which the model knows beforehand, and these."""
    levels = trained.hierarchy.categories() if trained.hierarchy else {}
    return {LABEL: trained.labels, STATUS: list(STATUSES)} | {PREFIX + name: values for name, values in levels.items()}
