"""Trains CellMemory on an aligned reference with lightning: the steps, the validation, when to stop, on which devices."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.distributed
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import IterableDataset

from cellmemory.batches import Sampling, TrainingBatches, as_tensors, token_batches
from cellmemory.checkpoints import CheckpointFile, Checkpoints
from cellmemory.device import Runtime, is_out_of_memory
from cellmemory.errors import InputError
from cellmemory.graphs import StepGraph
from cellmemory.history import History
from cellmemory.initialise import Start, learn_start
from cellmemory.log import say
from cellmemory.model import CellMemory
from cellmemory.shares import Share
from cellmemory.tokens import Tokens

#: Steps between two updates of the running average, which cost as much as a tenth of a step of a small network.
AVERAGE_EVERY = 4
MINIMUM_LEARNING_RATE = 0.01  # of the highest: where the cosine ends
NO_MEMORY = (
    "Training ran out of memory with one cell at a time; take a machine or GPU with more memory, or a smaller model "
    "(--variant light, --d_model, --n_layers)."
)


@dataclass(frozen=True)
class Schedule:
    """Optimisation: Adam with a warm-up and a cosine that ends at the last of max_epochs; stops after `patience` epochs
    without a lower validation loss."""

    max_epochs: int = 20
    patience: int = 5
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    gradient_clip: float = 1.0
    average_decay: float = 0.92

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of so many: the last one's is a hundredth of the highest."""
        warmup = max(1, round(self.warmup * steps))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
        return self.learning_rate * (MINIMUM_LEARNING_RATE + (1 - MINIMUM_LEARNING_RATE) * (1 + np.cos(np.pi * done)) / 2)


@dataclass(frozen=True)
class Devices:
    """How many devices (GPUs, or processes on a CPU) share each batch, and lightning's strategy: `auto` or `ddp`."""

    count: int = 1
    strategy: str = "auto"

    def check(self, runtime: Runtime, sampling: Sampling) -> None:
        """Raises InputError for more GPUs than there are, and for batches that cannot be shared equally."""
        if runtime.device == "cuda" and self.count > torch.cuda.device_count():
            raise InputError(f"--devices {self.count} was asked for, but torch finds {torch.cuda.device_count()} GPUs here.")
        if sampling.batch_size % self.count:
            raise InputError(
                f"--batch_size {sampling.batch_size} cannot be shared equally by --devices {self.count}; take a multiple of it."
            )

    @property
    def rank(self) -> int:
        """The number of this process among those that train together: lightning starts the others with theirs."""
        return LightningEnvironment().local_rank() if self.count > 1 else 0


class Plan(L.LightningModule):
    """Steps and validation of the CLS token's part. Batches are this device's share, (gene, bin, valid, target).

    What is validated and kept is the running average of the weights: its score moves less from epoch to epoch. truth:
    (n,) labels of the validation cells. longest: tokens of a cell in a batch, at most; where it is known, a GPU replays
    what it has recorded of a step. A step depends on the weights, the optimiser's state, the seed and its number alone, so
    that a training can go on at any step.

    Optimisation is lightning's manual one, since running out of memory is mended within a step.
    """

    def __init__(
        self,
        network: CellMemory,
        schedule: Schedule,
        total_steps: int,
        seed: int = 0,
        truth: np.ndarray | None = None,
        longest: int | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.network, self.schedule, self.total_steps, self.seed, self.truth = network, schedule, total_steps, seed, truth
        self.longest, self._graph = longest, None
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(schedule.average_decay))
        self.average.requires_grad_(False)
        self.steps = 0
        self.at_once: int | None = None  # cells that go through the network together, where not all of a batch do
        self.epoch_loss: torch.Tensor | float = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        schedule = self.schedule
        return torch.optim.AdamW(
            self.network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
        )

    @property
    def epoch_ended(self) -> bool:
        """Whether the last step was the last of an epoch."""
        return self.steps % (self.total_steps // self.schedule.max_epochs) == 0

    def take_epoch_loss(self) -> float:
        """The mean training loss of the epoch that ended; the next one starts at 0."""
        loss, self.epoch_loss = float(self.epoch_loss), 0.0
        return loss / (self.total_steps // self.schedule.max_epochs)

    def training_step(self, batch: tuple[torch.Tensor, ...], _: int) -> None:
        loss = self.take_step(batch, self.optimizers())
        self.epoch_loss = self.epoch_loss + loss
        self.log("train_loss", loss, on_step=True, on_epoch=False, prog_bar=True)

    def take_step(self, batch: tuple[torch.Tensor, ...], optimiser: torch.optim.Optimizer) -> torch.Tensor:
        """One step of optimiser and running average; returns the loss, the mean over all devices' cells.

        Where memory runs out, half as many cells go through the network at once, from then on; their gradients add up to
        those of the whole batch. Raises InputError where a single cell is too much.
        """
        while True:
            optimiser.zero_grad()
            loss = self._backward(batch)
            if not _any(loss is None, self.device):
                break
            self._halve(len(batch[0]))
        loss = self._over_devices(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.gradient_clip)
        for group in optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.steps, self.total_steps)
        optimiser.step()
        self.steps += 1
        if self.steps % AVERAGE_EVERY == 0:
            self.average.update_parameters(self.network)
        return loss

    def _backward(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor | None:
        """Leaves the gradients of the mean loss over this device's cells; returns that loss, or None if memory ran out."""
        n = len(batch[0])
        size = self.at_once or n
        try:
            graph = self._recorded(batch) if size == n else None
            torch.manual_seed(_mixed(self.seed, self.steps, self.global_rank))
            if graph:
                return graph.replay(batch)
            return sum(self._add_gradients([part[i : i + size] for part in batch], n) for i in range(0, n, size))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _add_gradients(self, cells: Sequence[torch.Tensor], n: int) -> torch.Tensor:
        """Adds the gradients of some of n cells' mean loss; returns their part of it."""
        *cells, target = cells
        logits = self.network(*cells)[0]
        loss = F.cross_entropy(logits, target, label_smoothing=self.schedule.label_smoothing, reduction="sum") / n
        loss.backward()
        return loss.detach()

    def _recorded(self, batch: tuple[torch.Tensor, ...]) -> StepGraph | None:
        """The recorded step for whole batches; None where steps are not recorded: on a CPU, and where devices share a batch."""
        if self.device.type != "cuda" or self.longest is None or _world_size() > 1:
            return None
        if self._graph is None:
            parameters, n = list(self.network.parameters()), len(batch[0])
            self._graph = StepGraph(lambda cells: self._add_gradients(cells, n), parameters, batch, self.longest)
        return self._graph

    def _halve(self, n: int) -> None:
        if self.at_once == 1 or n == 1:
            raise InputError(NO_MEMORY)
        self.at_once, self._graph = -(-(self.at_once or n) // 2), None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        say(
            f"Out of memory at step {self.steps}: from here on {self.at_once} of {n} cells go through the network at once. "
            "Batches and learning rate stay as they are."
        )

    def _over_devices(self, loss: torch.Tensor) -> torch.Tensor:
        """Averages gradients and loss over the devices that train together.

        Not by DDP's own hooks, which do so during the backward pass: a device that runs out of memory there would leave
        the others waiting.
        """
        devices = _world_size()
        if devices == 1:
            return loss
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients] + [loss.view(1)])
        torch.distributed.all_reduce(flat)
        *means, loss = (flat / devices).split([g.numel() for g in gradients] + [1])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))
        return loss.squeeze()

    def on_validation_epoch_start(self) -> None:
        self._logits = torch.zeros(len(self.truth), self.network.config.n_labels, device=self.device)

    def validation_step(self, batch: tuple[torch.Tensor, ...], _: int) -> None:
        *cells, row = batch
        try:
            self._logits[row] = self.average.module(*cells)[0].float()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(row) == 1:
                raise InputError(NO_MEMORY) from error
        else:
            return
        for half in (slice(None, len(row) // 2), slice(len(row) // 2, None)):
            self.validation_step(tuple(part[half] for part in batch), 0)

    def on_validation_epoch_end(self) -> None:
        devices = _world_size()
        if devices > 1:  # each has filled in its own cells
            torch.distributed.all_reduce(self._logits)
        scores = validation_scores(self._logits.cpu(), torch.from_numpy(self.truth))
        self.log_dict({f"validation_{name}": value for name, value in scores.items()}, prog_bar=True, sync_dist=devices > 1)


def _mixed(*numbers: int) -> int:
    """One seed of several numbers: neighbours of any of them give unrelated ones."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _world_size() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def _any(here: bool, device: torch.device) -> bool:
    """Whether it is true on any of the devices that train together."""
    if _world_size() == 1:
        return here
    flag = torch.tensor(float(here), device=device)
    torch.distributed.all_reduce(flag)
    return bool(flag)


def validation_scores(logits: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    """Cross-entropy, accuracy and macro F1 (over the labels that occur) of logits (n, C)."""
    predicted = logits.argmax(1)
    f1 = []
    for c in label.unique():
        hit = ((predicted == c) & (label == c)).sum().item()
        f1.append(2 * hit / ((predicted == c).sum().item() + (label == c).sum().item()))
    loss = F.cross_entropy(logits, label).item()
    return {"loss": loss, "accuracy": (predicted == label).float().mean().item(), "macro_f1": float(np.mean(f1))}


class ValidationBatches(IterableDataset):
    """All tokens of the validation cells, in batches of cells alike in length: (gene, bin, valid, number of the cell).

    Of several devices that validate together each has some of the batches.
    """

    def __init__(self, tokens: Tokens, share: Share, token_budget: int):
        self.tokens, self.device, self.token_budget = tokens.select(share.validation), share.device, token_budget

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        rank, devices = self.device
        for cells in list(token_batches(self.tokens, self.token_budget))[rank::devices]:
            gene, bins, _, valid, _ = as_tensors(self.tokens, cells)
            yield gene, bins, valid, torch.from_numpy(cells.copy())


@dataclass(frozen=True)
class Trained:
    """The network with its best weights, what it started from, and its history."""

    network: CellMemory
    start: Start
    history: pd.DataFrame
    best_epoch: int


def fit(
    tokens: Tokens,
    labels: np.ndarray,
    share: Share,
    network: CellMemory,
    schedule: Schedule,
    sampling: Sampling,
    seed: int,
    runtime: Runtime,
    devices: Devices = Devices(),
    checkpoint: CheckpointFile | None = None,
) -> Trained | None:
    """Trains `network` on a device's share of a reference (tokens and labels (n,) of its rows alone) to the early stop.

    Goes on from `checkpoint` where there is one, and writes it. With several devices lightning starts this program once
    more for each, with its own share: all but the first end here with None.
    """
    devices.check(runtime, sampling)
    n_bins = network.config.n_bins
    start = learn_start(tokens, labels, share.start, n_bins, seed)
    network.start_from(start)
    network.number_format = runtime.number_format
    batches = TrainingBatches(tokens, labels, start, share, sampling, n_bins, seed)
    steps = batches.steps_per_epoch * schedule.max_epochs
    plan = Plan(network, schedule, steps, seed, labels[share.validation], batches.longest)
    history, stopping = History(), _stopping(schedule)
    callbacks: list[Callback] = [history, stopping]
    if checkpoint:
        checkpoints = Checkpoints(checkpoint, plan, history, stopping)
        checkpoints.restore()
        batches.next_step = plan.steps
        callbacks += [checkpoints]
    if not (checkpoint and checkpoints.finished):
        _run(plan, batches, ValidationBatches(tokens, share, runtime.token_budget), callbacks, runtime, devices)
    if devices.rank > 0:
        return None
    if history.best_weights is None:
        raise InputError("The validation loss was no number in any epoch; training needs a lower --learning_rate.")
    network.load_state_dict(history.best_weights)
    network.number_format = torch.float32
    return Trained(network.eval().cpu(), start, history.table(), history.best_epoch)


def _stopping(schedule: Schedule) -> EarlyStopping:
    # Right after validation: what is checkpointed at the end of an epoch then knows what was decided.
    return EarlyStopping("validation_loss", patience=schedule.patience, check_on_train_epoch_end=False)


def _run(
    plan: Plan,
    batches: TrainingBatches,
    validating: ValidationBatches,
    callbacks: list[Callback],
    runtime: Runtime,
    devices: Devices,
) -> None:
    """Trains from the plan's step to the end, on all devices."""
    if devices.count > 1 and runtime.device == "cpu":
        threads = max(1, runtime.threads // devices.count)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # lightning leaves the number alone then
        torch.set_num_threads(threads)
    epochs = plan.schedule.max_epochs - plan.steps // batches.steps_per_epoch
    trainer = _trainer(plan.schedule, epochs, callbacks, runtime, devices)
    # One sentence of the first process is enough, and lightning kills it at once where another fails.
    expected = [InputError] if devices.rank > 0 else []
    with warnings.catch_warnings(), suppress(*expected):
        for message in (".*does not have many workers.*", ".*isinstance.treespec, LeafSpec.*", ".*in eval mode.*", ".*srun.*"):
            warnings.filterwarnings("ignore", message)
        try:
            trainer.fit(plan, batches, validating)
        except SIGTERMException:
            sys.exit(128 + signal.SIGTERM)  # lightning would leave with 0, as if all were well
    torch.set_num_threads(runtime.threads)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _trainer(schedule: Schedule, epochs: int, callbacks: list[Callback], runtime: Runtime, devices: Devices) -> L.Trainer:
    bar = [TQDMProgressBar()] if sys.stderr.isatty() else []
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    together = devices.count > 1 or devices.strategy == "ddp"
    return L.Trainer(
        accelerator="gpu" if runtime.device == "cuda" else "cpu",
        devices=devices.count,
        # Buffers are the same everywhere: no need to broadcast them at each step.
        strategy=DDPStrategy(forward_sync_buffers=False) if together else "auto",
        # Not Slurm's, which lightning takes within a Slurm job: that would need a task of Slurm for each device.
        plugins=[LightningEnvironment()],
        max_epochs=epochs,
        deterministic=True,
        callbacks=[*callbacks, *bar],
        enable_progress_bar=bool(bar),
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
