"""Which cells of a reference train, which validate, and which of them a device reads: of several, each its own part."""

from dataclasses import dataclass

import numpy as np

from cellmemory.sampling import rank_in_group, stratified

VALIDATION_SHARE = 0.15
#: Validation decides when to stop; more cells than these would not change its mind.
MAX_VALIDATION = 5_000
#: Cells that the linear classifiers see, at most.
LINEAR_CELLS = 1_000_000
#: Training cells that novelty is learned from, and whose embeddings and map travel with the model.
KEPT_CELLS = 5_000


@dataclass(frozen=True)
class Split:
    """What one device reads of a reference. rows: (m,) of the reference, sorted; all others are numbers among these.

    training: the cells that it trains on, of several devices a part; kept: those of them that travel with the model; warm_start:
    those that the warm start is fitted on, and validation, the same for all devices. all_training, all_validation: rows of the
    reference, whoever reads them. device: whose split it is, (rank, of how many).
    """

    rows: np.ndarray
    training: np.ndarray
    warm_start: np.ndarray
    validation: np.ndarray
    kept: np.ndarray
    all_training: np.ndarray
    all_validation: np.ndarray
    device: tuple[int, int]


def split_reference(labels: np.ndarray, batch: np.ndarray | None, seed: int, *, rank: int = 0, devices: int = 1) -> Split:
    """The split of a reference for a device, by its number among all.

    labels, batch (or None): (n,) codes of all cells of the reference.

    Beyond some size it grows with the reference by its part of the training cells only: at most a million cells are for the warm
    start, and at most 5,000 validate.
    """
    training, validation = split_validation(labels, batch, min(VALIDATION_SHARE, MAX_VALIDATION / len(labels)), seed)
    warm_start = stratified(labels, training, LINEAR_CELLS, np.random.default_rng(seed))
    own = _dealt(labels, training, rank, devices)
    rows = np.unique(np.concatenate([own, warm_start, validation]))
    own, warm_start, held_out = (np.searchsorted(rows, cells) for cells in (own, warm_start, validation))
    kept = stratified(labels[rows], own, KEPT_CELLS, np.random.default_rng(seed))
    return Split(rows, own, warm_start, held_out, kept, training, validation, (rank, devices))


def split_validation(labels: np.ndarray, batch: np.ndarray | None, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation cells, stratified by label and within a label by batch.

    labels, batch: (n,) integer codes. Every label with two cells or more has at least one on either side. Returns two
    sorted arrays of row numbers.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        n = int(np.clip(round(len(rows) * share), 1, len(rows) - 1))
        if batch is not None:
            rows = rows[np.argsort(batch[rows], kind="stable")]
        # Evenly spaced over cells ordered by batch: each batch gives its share.
        chosen.append(rows[np.floor((np.arange(n) + rng.random()) * len(rows) / n).astype(int)])
    validation = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def _dealt(labels: np.ndarray, cells: np.ndarray, rank: int, devices: int) -> np.ndarray:
    """A device's part of the cells, sorted: of each label in turn, and all of one that has fewer cells than there are devices."""
    few = np.bincount(labels[cells])[labels[cells]] < devices
    return cells[few | (rank_in_group(labels[cells]) % devices == rank)]
