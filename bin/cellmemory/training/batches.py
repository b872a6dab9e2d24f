"""Batches for training and validation: which cells are drawn, and which of their tokens."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from torch.utils.data import IterableDataset

from cellmemory.network.batching import as_tensors, token_batches
from cellmemory.network.tokens import Tokens, pad
from cellmemory.training.settings import Sampling
from cellmemory.training.split import Split
from cellmemory.training.warm_start import WarmStart, balance

#: Steps of an epoch for a reference of 500 cells or fewer; beyond, they grow with the root of the cells: a label of many
#: cells has been learned long before each of them was seen.
STEPS_PER_EPOCH, STEPS_CELLS = 30, 500
#: Weight of the linear classifiers' probabilities in a cell's target.
SOFT_LABEL_WEIGHT = 0.5


@dataclass(frozen=True)
class TrainingCells:
    """The cells that a device reads of a reference: tokens, labels (n,) and, where there are any, batches (n,) of the rows of
    its split."""

    tokens: Tokens
    labels: np.ndarray
    split: Split
    batch: np.ndarray | None = None


class TrainingBatches(IterableDataset):
    """Batches (gene, bin, valid, target) as tensors; iterating gives the rest of an epoch, iterating again the next one.

    target: (B, C), half the label, half what a linear classifier that never saw the cell makes of it. Of several devices
    each draws an equal part of a batch, from its own cells. A batch depends only on seed, step and split, so training can
    go on at any step.
    """

    def __init__(self, cells: TrainingCells, warm_start: WarmStart, sampling: Sampling, *, seed: int):
        split, labels = cells.split, cells.labels
        self.tokens, self.cells, self.sampling = cells.tokens, split.training, sampling
        self.seed, self.device, self.next_step = seed, split.device, 0
        self.steps_per_epoch = round(STEPS_PER_EPOCH * max(1.0, len(split.all_training) / STEPS_CELLS) ** 0.5)
        self._target = SOFT_LABEL_WEIGHT * softmax(warm_start.out_of_fold(self.tokens, self.cells), 1)
        self._target[np.arange(len(self.cells)), labels[self.cells]] += 1 - SOFT_LABEL_WEIGHT
        counts = np.bincount(labels[self.cells])[labels[self.cells]]
        far = balance(len(split.all_training)) if sampling.sampling == "balanced" else 0.0
        self._odds = np.cumsum(counts.astype(float) ** -far)

    @property
    def longest(self) -> int:
        """Tokens of a cell in a batch, at most."""
        most = max(1, self.tokens.lengths_of(self.cells).max())
        return int(min(most, self.sampling.tokens_per_cell or most))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        end = (self.next_step // self.steps_per_epoch + 1) * self.steps_per_epoch
        for step in range(self.next_step, end):
            self.next_step = step + 1
            yield self.batch(step)

    def batch(self, step: int) -> tuple[torch.Tensor, ...]:
        """This device's part of the batch of a step. Which part of the panel is left out is the same for all devices."""
        rank, devices = self.device
        rng = np.random.default_rng((self.seed, step))
        drawn = rng.random(self.sampling.batch_size)[rank::devices] * self._odds[-1]
        rows = np.searchsorted(self._odds, drawn, side="right")
        left_out = rng.random(len(self.tokens.measured)) < rng.uniform(0, self.sampling.panel_dropout)
        gene, bins, _, valid = pad(self.tokens, self.cells[rows])
        valid &= ~left_out[gene]
        arrays = subsample(gene, bins, valid, self.sampling.tokens_per_cell, rng=np.random.default_rng((self.seed, step, rank)))
        return tuple(torch.from_numpy(a) for a in (*arrays, self._target[rows]))


def subsample(
    gene: np.ndarray, bins: np.ndarray, valid: np.ndarray, n: int, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most n valid tokens of each row (all if n is 0), drawn at random, moved to the front of narrower rectangles."""
    width = max(1, valid.sum(1).max())
    width = min(width, n) if n else width
    key = np.where(valid, rng.random(valid.shape), 2.0)
    chosen = np.argpartition(key, width - 1, 1)[:, :width] if width < valid.shape[1] else np.argsort(key, 1)
    gene, bins, valid = (np.take_along_axis(a, chosen, 1) for a in (gene, bins, valid))
    return gene, bins, valid


class ValidationBatches(IterableDataset):
    """All tokens of the validation cells, in batches of cells alike in length: (gene, bin, valid, number of the cell).

    Of several devices that validate together each has some of the batches.
    """

    def __init__(self, cells: TrainingCells, token_budget: int):
        self.tokens, self.device = cells.tokens.select(cells.split.validation), cells.split.device
        self.token_budget = token_budget

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        rank, devices = self.device
        for cells in list(token_batches(self.tokens, self.token_budget))[rank::devices]:
            gene, bins, _, valid, _ = as_tensors(self.tokens, cells)
            yield gene, bins, valid, torch.from_numpy(cells.copy())
