"""The aligned reference as a training reads it: opened once, its labels whole and its cells by the split."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.cells.labels import as_text, check_labels, label_terms
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError
from cellmemory.genes.panel import read_panel
from cellmemory.genes.values import checked
from cellmemory.io.signature import sha256
from cellmemory.network.config import ModelConfig
from cellmemory.network.tokens import Tokens, joined, tokenize
from cellmemory.reference.fingerprints import fingerprints
from cellmemory.reference.hierarchy import Hierarchy, read_hierarchy
from cellmemory.training.batches import TrainingCells
from cellmemory.training.settings import Devices, TrainingSettings
from cellmemory.training.split import Split, split_reference


@dataclass(frozen=True)
class Reference:
    """What this device reads of a reference over its panel of G genes.

    labels: names of the C labels, sorted; terms: ids in an ontology of those that have one; codes: (N,) of all its cells.
    config: sizes of a network for it. cells, and expressed, the genes (n,) that each expresses: of the rows of the device's
    split. validation_values, kept_values: values (·, G) of those that validate and of those that are kept. fingerprints: of
    all cells, sorted, where this device writes the model, else none.
    """

    panel: pd.DataFrame
    labels: np.ndarray
    terms: dict[str, str]
    codes: np.ndarray
    hierarchy: Hierarchy | None
    config: ModelConfig
    cells: TrainingCells
    expressed: np.ndarray
    validation_values: sp.csr_matrix
    kept_values: sp.csr_matrix
    fingerprints: np.ndarray

    @property
    def split(self) -> Split:
        """Which cells train, and which validate."""
        return self.cells.split


@dataclass(frozen=True)
class ReferenceFiles:
    """What preprocess_reference.py wrote: the reference over its panel, .h5ad, and the panel, .tsv."""

    h5ad: Path
    panel: Path

    def digests(self) -> dict[str, str]:
        """Checksums of both, by what they are."""
        return {"reference": sha256(self.h5ad), "panel": sha256(self.panel)}

    def read(self, settings: TrainingSettings, devices: Devices) -> Reference:
        """The reference, opened once and read chunk by chunk. Memory: the device's split over the panel as tokens.

        Raises InputError for columns that are missing, cells without a label, and genes that are not the panel's.
        """
        panel = read_panel(self.panel)
        with CellFile(self.h5ad) as file:
            labels, terms, codes, batch, hierarchy = _annotation(file, panel, settings)
            config = settings.size.config(len(panel), len(labels))
            split = split_reference(codes, batch, settings.seed, rank=devices.rank, devices=devices.count)
            expressed, known = _survey(file, fingerprinted=devices.rank == 0)
            expressed = expressed[split.rows]
            held = _HeldValues(split)
            tokens = joined(
                _tokenized(file, split.rows, config.n_bins, settings, held=held),
                np.ones(len(panel), bool),
                n_cells=len(expressed),
                n_tokens=int(expressed.sum()) if settings.mode == "fast" else len(expressed) * len(panel),
            )
        cells = TrainingCells(tokens, codes[split.rows], split, None if batch is None else batch[split.rows])
        return Reference(panel, labels, terms, codes, hierarchy, config, cells, expressed, *held.values(), known)


def _survey(file: CellFile, *, fingerprinted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of all cells: how many genes each expresses (N,), and their fingerprints, sorted, or none."""
    expressed, known = [], [np.empty(0, np.uint64)]
    for start, rows in file.chunks("X"):
        expressed.append(np.diff(rows.indptr))
        if fingerprinted:
            known.append(fingerprints(file.names(start, start + rows.shape[0]), rows))
    return np.concatenate(expressed), np.sort(np.concatenate(known))


class _HeldValues:
    """Keeps the values of those cells of a split that validate, and of those that are kept."""

    def __init__(self, split: Split):
        self._split = split
        self._validation: list[sp.csr_matrix] = []
        self._kept: list[sp.csr_matrix] = []

    def add(self, numbers: np.ndarray, values: sp.csr_matrix) -> None:
        """Of cells of the split by their numbers, the next ones each time."""
        self._validation.append(values[np.isin(numbers, self._split.validation)])
        self._kept.append(values[np.isin(numbers, self._split.kept)])

    def values(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """Those of both, (cells, G) each."""
        return sp.vstack(self._validation, format="csr"), sp.vstack(self._kept, format="csr")


def _tokenized(
    file: CellFile, rows: np.ndarray, n_bins: int, settings: TrainingSettings, *, held: _HeldValues
) -> Iterator[Tokens]:
    """The tokens of some rows, chunk by chunk, whose values `held` sees as well."""
    for numbers, values in file.picked_chunks("X", rows):
        checked(values, file, "X", rows[numbers], scale="log1p")
        held.add(numbers, values)
        yield tokenize(values, np.ones(values.shape[1], bool), mode=settings.mode, binning=settings.binning, n_bins=n_bins)


def _annotation(
    file: CellFile, panel: pd.DataFrame, settings: TrainingSettings
) -> tuple[np.ndarray, dict[str, str], np.ndarray, np.ndarray | None, Hierarchy | None]:
    """Names of the labels, sorted, their terms, their codes (N,) of all cells, batch codes (N,) or None, and the labels'
    hierarchy, if any."""
    labels = check_labels(file, settings.label_key, settings.batch_key)
    if labels.isna().any():
        raise InputError(f"{file.path}: {labels.isna().sum()} cells have no label. Run preprocess_reference.py first.")
    if file.var().index.astype(str).tolist() != panel["gene"].tolist():
        raise InputError(f"{file.path}: its genes are not those of the panel. Give the two files of one preprocessing.")
    batch = file.column(settings.batch_key, "batch", "batch_key") if settings.batch_key else None
    batches = None if batch is None else np.unique(as_text(batch), return_inverse=True)[1]
    hierarchy = read_hierarchy(file, list(settings.label_levels), labels) if settings.label_levels else None
    names, codes = np.unique(labels.to_numpy(str), return_inverse=True)
    return names, label_terms(file, settings.label_key, labels)[0], codes, batches, hierarchy
