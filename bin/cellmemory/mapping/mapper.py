"""Maps a query by a trained model: streamed from disk in blocks of cells, written as it goes."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.special import softmax

from cellmemory import PREFIX
from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import H5adWriter
from cellmemory.columns import (
    CONFIDENCE,
    LABEL,
    LABEL_SET,
    LINEAR_SHARE,
    NOVELTY,
    NOVELTY_P,
    REASON,
    STATUS,
)
from cellmemory.errors import InputError
from cellmemory.genes.values import checked
from cellmemory.io.atomic import replacing
from cellmemory.log import say, warn
from cellmemory.mapping.aligned import describe_run, open_aligned
from cellmemory.mapping.blocks import MappedBlock, MappedWriter
from cellmemory.mapping.cell_ranges import CellRange
from cellmemory.mapping.slots import SlotSums
from cellmemory.mapping.status import reasons, statuses
from cellmemory.network.inference import Inference, Mapped
from cellmemory.network.runtime import Runtime
from cellmemory.network.tokens import Tokens, tokenize
from cellmemory.reference.calibration import DoubtSettings, conformal_thresholds, label_sets, likeliest
from cellmemory.reference.novelty import CommonShift
from cellmemory.reference.trained_model import TrainedModel
from cellmemory.sampling import evenly_spaced

#: Blocks of cells, evenly spaced over a query's file, that say what all of its cells have in common: to read single cells apart
#: would be to read the whole file, in each task.
SHIFT_BLOCKS, SHIFT_BLOCK_CELLS = 40, 50


class Mapper(Inference):
    """A trained model that is ready to map: network, calibration and novelty."""

    def __init__(self, trained: TrainedModel, runtime: Runtime):
        super().__init__(trained.network(), runtime)
        self.network.dtype = runtime.dtype
        self.trained, self.novelty = trained, trained.novelty

    def tokenize(self, rows: sp.csr_matrix, measured: np.ndarray) -> Tokens:
        """The tokens of aligned cells as the model was trained on them."""
        config = self.trained.config
        return tokenize(rows, measured, mode=config["mode"], binning=config["binning"], n_bins=self.network.config.n_bins)

    def no_sums(self) -> SlotSums:
        """What the slots got of no cells."""
        config = self.network.config
        return SlotSums.zeros(config.n_labels, config.n_slots, config.n_genes, read=config.variant == "standard")

    def shift(self, file: CellFile) -> CommonShift | None:
        """What the cells of an aligned query have in common (see novelty.Novelty.shift), whichever of them are mapped here;
        None where there are none."""
        n, size = file.n_cells, SHIFT_BLOCK_CELLS
        blocks = [range(n)]
        if n > SHIFT_BLOCKS * size:
            blocks = [range(start, start + size) for start in evenly_spaced(n - size + 1, SHIFT_BLOCKS).tolist()]
        rows = sp.vstack(
            [checked(file.rows("X", block.start, block.stop), file, "X", block, scale="log1p") for block in blocks], format="csr"
        )
        rows = rows[np.diff(rows.indptr) > 0]
        if not rows.shape[0]:
            return None
        tokens = self.tokenize(rows, file.var()["measured"].to_numpy(bool))
        return self.novelty.shift(self.run(tokens, attention=False).logits, tokens)

    def table(
        self, mapped: Mapped, tokens: Tokens, empty: np.ndarray, *, doubt: DoubtSettings, shift: CommonShift | None
    ) -> pd.DataFrame:
        """The `cellmemory_` columns of obs for the cells of a chunk. empty: cells without counts, never assigned. shift: what
        the query's cells have in common."""
        labels, calibration = self.trained.labels, self.trained.calibration
        if not np.isfinite(mapped.logits).all():
            raise InputError(
                f"{self.trained.path}: the model's numbers leave the range of float32 for these cells. Use an untouched copy of "
                "the trained model; if it is one, check the query's values."
            )
        probabilities = softmax(mapped.logits.astype(np.float64) / calibration.temperature, 1)
        best = probabilities.argmax(1)
        novelty, p = self.novelty(mapped.logits, tokens, shift)
        status = statuses((p < doubt.novelty_alpha) | empty, probabilities.max(1), doubt.min_confidence)
        thresholds = conformal_thresholds(calibration, len(labels), doubt.alpha)
        levels = self.trained.hierarchy.table(probabilities, doubt.min_confidence) if self.trained.hierarchy else pd.DataFrame()
        candidates = np.array(likeliest(probabilities, labels, doubt.min_confidence), object)
        if "answer" in levels:  # the labels' common ancestor says more than their names
            candidates = np.where(levels["answer"] == "", candidates, levels["answer"].astype(object))
        expressed = np.diff(tokens.start) / max(1, tokens.measured.sum())
        columns = {
            LABEL: pd.Categorical.from_codes(best, labels),
            CONFIDENCE: probabilities.max(1),
            STATUS: status,
            REASON: reasons(status, expressed, self.trained.config["usual_share"][0], candidates),
            NOVELTY: novelty,
            NOVELTY_P: p,
            LABEL_SET: label_sets(probabilities, labels, thresholds, doubt.alpha),
            LINEAR_SHARE: linear_share(mapped.logits, mapped.cls_logits),
        }
        return pd.concat([pd.DataFrame(columns), levels.add_prefix(PREFIX)], axis=1)


def linear_share(logits: np.ndarray, cls_logits: np.ndarray) -> np.ndarray:
    """How much of each cell's decision (n,) the linear path made, 0 to 1, the rest being the CLS token's.

    A part's weight in it is how far it puts the chosen label above the mean of all labels, or below.
    """
    rows, best = np.arange(len(logits)), logits.argmax(1)
    linear, cls = (np.abs((part - part.mean(1, keepdims=True))[rows, best]) for part in (logits - cls_logits, cls_logits))
    return linear / np.maximum(linear + cls, 1e-12)


@dataclass(frozen=True)
class MappingSettings:
    """What is made of a query. attention: whether attention is computed and written. cells: `START:STOP`, only these, as a
    slice for `gathering.gather`; None for all."""

    doubt: DoubtSettings = field(default_factory=DoubtSettings)
    attention: bool = True
    cells: str | None = None


def map_query(
    query: Path,
    trained: TrainedModel,
    settings: MappingSettings,
    runtime: Runtime,
    *,
    output: Path,
    labels: Path | None = None,
) -> None:
    """Writes `<sample>.mapped.h5ad`, or a slice, and where asked for the new columns as `<sample>.labels.csv`.

    Memory: a block of cells with its attention, whatever the number of cells.
    """
    mapper, doubt, cells = Mapper(trained, runtime), settings.doubt, settings.cells
    with open_aligned(query, trained) as file:
        cell_range = CellRange.parse(cells, file.n_cells)
        shift = mapper.shift(file) if doubt.novelty_shift else None
        run = describe_run(file, trained, doubt, runtime.precision)
        run = replace(run, weaker_evidence=round(shift.evidence, 6) if shift else None)
        sums = mapper.no_sums() if settings.attention else None
        blocks = runtime.progress(map_blocks(file, mapper, doubt, cell_range, shift=shift, sums=sums), len(cell_range), "Mapped")
        with (
            replacing(output) as partial,
            replacing(labels) if labels else nullcontext() as partial_labels,
            H5adWriter(partial, len(trained.panel)) as writer,
        ):
            mapped = MappedWriter(writer, file, trained, run)
            mapped.write(blocks, partial_labels)
            found = []
            if cells is None:
                found = mapped.finish(sums, runtime.threads)
            else:
                mapped.finish_slice(cell_range, sums)
    say(
        f"Mapped {len(cell_range):,} cells{f' ({cells})' if cells else ''} onto {len(trained.labels)} labels ({runtime}); "
        f"{mapped.not_assigned(doubt)}."
    )
    for alarm in found:
        warn(alarm)
    say(f"Wrote {output}{f' and {labels}' if labels else ''}.")


def map_blocks(
    file: CellFile,
    mapper: Mapper,
    doubt: DoubtSettings,
    cell_range: CellRange,
    *,
    shift: CommonShift | None,
    sums: SlotSums | None,
) -> Iterator[MappedBlock]:
    """Maps the cells of a range, block by block. shift: what the query's cells have in common.

    Adds to `sums` what the slots get; without it no attention is made.
    """
    measured = file.var()["measured"].to_numpy(bool)
    for start, stop, kept in cell_range.blocks():
        rows = checked(file.rows("X", start, stop), file, "X", range(start, stop), scale="log1p")
        tokens = mapper.tokenize(rows, measured)
        mapped = mapper.run(tokens, attention=sums is not None)
        table = mapper.table(mapped, tokens, np.diff(rows.indptr) == 0, doubt=doubt, shift=shift)[kept]
        slots = weights = None
        if sums is not None:
            assert mapped.cls is not None
            assert mapped.slots is not None
            assert mapped.write is not None
            first, last = tokens.start[kept.start], tokens.start[kept.stop]
            chosen = tokens.select(np.arange(kept.start, kept.stop))
            weights = chosen.matrix(mapped.cls[first:last])
            slots = mapped.slots[kept]
            label = table[LABEL].cat.codes.to_numpy(np.int64)
            read = None if mapped.read is None else mapped.read[first:last]
            sums.add(label, chosen, mapped.write[first:last], read)
        yield MappedBlock(file.names(start + kept.start, start + kept.stop), table, mapped.embedding[kept], slots, weights)
