"""Trains CellMemory on an aligned reference with lightning: when to stop, what to keep, on which devices."""

import logging
import os
import signal
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass

import lightning as L
import pandas as pd
import torch
import torch.distributed
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from cellmemory.errors import InputError
from cellmemory.network.model import CellMemory
from cellmemory.network.runtime import Runtime
from cellmemory.training.batches import TrainingBatches, TrainingCells, ValidationBatches
from cellmemory.training.checkpoints import CheckpointFile, Checkpoints
from cellmemory.training.history import History
from cellmemory.training.settings import Devices, Schedule, TrainingSettings
from cellmemory.training.step import TrainingStep
from cellmemory.training.warm_start import WarmStart, fit_warm_start


@dataclass(frozen=True)
class Fitted:
    """The network with its best weights, its warm start, and its history."""

    network: CellMemory
    warm_start: WarmStart
    history: pd.DataFrame
    best_epoch: int


def fit(
    cells: TrainingCells,
    network: CellMemory,
    settings: TrainingSettings,
    runtime: Runtime,
    *,
    devices: Devices = Devices(),
    checkpoint: CheckpointFile | None = None,
) -> Fitted | None:
    """Trains `network` on a device's cells of a reference to the early stop.

    Goes on from `checkpoint` where there is one, and writes it. With several devices lightning starts this program once
    more for each, with its own split: all but the first end here with None.
    """
    schedule, sampling, seed = settings.schedule, settings.sampling, settings.seed
    devices.check(runtime, sampling)
    split = cells.split
    warm_start = fit_warm_start(
        cells.tokens, cells.labels, split.warm_start, batch=cells.batch, n_bins=network.config.n_bins, seed=seed
    )
    network.start_from(warm_start.loadings, warm_start.scaler.mean, warm_start.scaler.spread, warm_start.share)
    network.dtype = runtime.dtype
    batches = TrainingBatches(cells, warm_start, sampling, seed=seed)
    steps, truth = batches.steps_per_epoch * schedule.max_epochs, cells.labels[split.validation]
    training_step = TrainingStep(network, schedule, steps, seed=seed, truth=truth, longest=batches.longest)
    history, stopping = History(), _stopping(schedule)
    callbacks: list[Callback] = [history, stopping]
    if checkpoint:
        checkpoints = Checkpoints(checkpoint, training_step, history, stopping)
        checkpoints.restore()
        batches.next_step = training_step.steps
        callbacks += [checkpoints]
    if not (checkpoint and checkpoints.finished):
        validating = ValidationBatches(cells, runtime.token_budget)
        _run(training_step, (batches, validating), callbacks, runtime, devices=devices)
    if devices.rank > 0:
        return None
    if history.best_weights is None:
        if checkpoint:
            checkpoint.remove()  # nothing in it can be gone on with
        raise InputError("The validation loss was NaN in every epoch; lower --learning_rate.")
    network.load_state_dict(history.best_weights)
    network.dtype = torch.float32
    return Fitted(network.eval().cpu(), warm_start, history.table(), history.best_epoch)


def _stopping(schedule: Schedule) -> EarlyStopping:
    # Right after validation: what is checkpointed at the end of an epoch then knows what was decided.
    return EarlyStopping("validation_loss", patience=schedule.patience, check_on_train_epoch_end=False)


def _run(
    training_step: TrainingStep,
    batches: tuple[TrainingBatches, ValidationBatches],
    callbacks: list[Callback],
    runtime: Runtime,
    *,
    devices: Devices,
) -> None:
    """Trains from the step that was reached to the end, on all devices."""
    if devices.count > 1 and runtime.device == "cpu":
        threads = max(1, runtime.threads // devices.count)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # lightning leaves the number alone then
        torch.set_num_threads(threads)
    epochs = training_step.schedule.max_epochs - training_step.steps // batches[0].steps_per_epoch
    trainer = _trainer(epochs, callbacks, runtime, devices)
    # One sentence of the first process is enough, and lightning kills it at once where another fails.
    expected = [InputError] if devices.rank > 0 else []
    with warnings.catch_warnings(), suppress(*expected):
        for message in (".*does not have many workers.*", ".*isinstance.treespec, LeafSpec.*", ".*in eval mode.*", ".*srun.*"):
            warnings.filterwarnings("ignore", message)
        try:
            trainer.fit(training_step, *batches)
        except SIGTERMException:
            sys.exit(128 + signal.SIGTERM)  # lightning would leave with 0, as if all were well
    torch.set_num_threads(runtime.threads)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _trainer(epochs: int, callbacks: list[Callback], runtime: Runtime, devices: Devices) -> L.Trainer:
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
