"""Trains CellMemory on an aligned reference with lightning, and makes of it a folder that `map_query.py` reads."""

import logging
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from cellmemory.batches import Sampling, TrainingBatches, as_tensors, split_validation, token_batches
from cellmemory.device import Runtime
from cellmemory.initialise import Start, learn_start
from cellmemory.model import CellMemory
from cellmemory.tokens import Tokens

VALIDATION_SHARE = 0.15
#: Steps between two updates of the running average, which cost as much as a tenth of a step of a small network.
AVERAGE_EVERY = 4
#: Validation decides when to stop; more cells than these would not change its mind.
MAX_VALIDATION = 5_000
MINIMUM_LEARNING_RATE = 0.01  # of the highest: where the cosine ends


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


class Plan(L.LightningModule):
    """Loss, optimiser and validation of the CLS token's part; batches are (gene, bin, valid, target).

    What is validated and kept is the running average of the weights: its score moves less from epoch to epoch.
    """

    def __init__(self, network: CellMemory, schedule: Schedule, total_steps: int):
        super().__init__()
        self.network, self.schedule, self.total_steps = network, schedule, total_steps
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(schedule.average_decay))

    def training_step(self, batch: tuple[torch.Tensor, ...], _: int) -> torch.Tensor:
        *cells, target = batch
        logits = self.network(*cells)[0]
        loss = F.cross_entropy(logits, target, label_smoothing=self.schedule.label_smoothing)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(target), prog_bar=True)
        return loss

    def on_train_batch_end(self, _outputs: object, _batch: object, number: int) -> None:
        if number % AVERAGE_EVERY == AVERAGE_EVERY - 1:
            self.average.update_parameters(self.network)

    def on_validation_epoch_start(self) -> None:
        self._predictions: list[tuple[torch.Tensor, torch.Tensor]] = []

    def validation_step(self, batch: tuple[torch.Tensor, ...], _: int) -> None:
        *cells, label = batch
        self._predictions.append((self.average.module(*cells)[0].float().cpu(), label.cpu()))

    def on_validation_epoch_end(self) -> None:
        logits, label = (torch.cat(part) for part in zip(*self._predictions, strict=True))
        scores = validation_scores(logits, label)
        self.log_dict({f"validation_{name}": value for name, value in scores.items()}, prog_bar=True)

    def configure_optimizers(self):
        optimiser = torch.optim.AdamW(
            self.network.parameters(), self.schedule.learning_rate, weight_decay=self.schedule.weight_decay, fused=True
        )
        warmup = max(1, round(self.schedule.warmup * self.total_steps))

        def rate(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            done = min(1.0, (step - warmup) / max(1, self.total_steps - warmup))
            return MINIMUM_LEARNING_RATE + (1 - MINIMUM_LEARNING_RATE) * (1 + np.cos(np.pi * done)) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def validation_scores(logits: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    """Cross-entropy, accuracy and macro F1 (over the labels that occur) of logits (n, C)."""
    predicted = logits.argmax(1)
    f1 = []
    for c in label.unique():
        hit = ((predicted == c) & (label == c)).sum().item()
        f1.append(2 * hit / ((predicted == c).sum().item() + (label == c).sum().item()))
    loss = F.cross_entropy(logits, label).item()
    return {"loss": loss, "accuracy": (predicted == label).float().mean().item(), "macro_f1": float(np.mean(f1))}


class History(Callback):
    """Collects one row an epoch and keeps the weights of the lowest validation loss."""

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self.best_loss, self.best_epoch, self.best_weights = np.inf, 0, None
        self._start = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, plan: Plan) -> None:
        if trainer.sanity_checking:
            return
        found = {name: float(trainer.callback_metrics[name]) for name in
                 ("validation_loss", "validation_accuracy", "validation_macro_f1")}  # fmt: skip
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "learning_rate": rate, **found})
        if found["validation_loss"] < self.best_loss:
            self.best_loss, self.best_epoch = found["validation_loss"], trainer.current_epoch + 1
            self.best_weights = {name: value.detach().cpu().clone() for name, value in plan.average.module.state_dict().items()}

    def on_train_epoch_end(self, trainer: L.Trainer, plan: Plan) -> None:
        row = self.rows[-1]
        row["train_loss"] = float(trainer.callback_metrics["train_loss"])
        if not sys.stderr.isatty():
            print(
                f"epoch {row['epoch']}: training loss {row['train_loss']:.3f}, validation loss {row['validation_loss']:.3f}, "
                f"accuracy {row['validation_accuracy']:.3f} ({time.monotonic() - self._start:.0f} s)",
                file=sys.stderr,
                flush=True,
            )

    def table(self) -> pd.DataFrame:
        """history.tsv: one row an epoch. No times: the same seed gives the same bytes."""
        columns = ["epoch", "step", "learning_rate", "train_loss", "validation_loss", "validation_accuracy",
                   "validation_macro_f1"]  # fmt: skip
        return pd.DataFrame(self.rows)[columns]


class ValidationBatches(torch.utils.data.IterableDataset):
    """All tokens of the validation cells, in batches of cells alike in length."""

    def __init__(self, tokens: Tokens, labels: np.ndarray, cells: np.ndarray):
        self.tokens, self.labels = tokens.select(cells), labels[cells]

    def __iter__(self):
        for cells in token_batches(self.tokens):
            gene, bins, _, valid, _ = as_tensors(self.tokens, cells)
            yield gene, bins, valid, torch.from_numpy(self.labels[cells])


@dataclass(frozen=True)
class Trained:
    """The network with its best weights, what it started from, its history, and which cells trained and validated."""

    network: CellMemory
    start: Start
    history: pd.DataFrame
    best_epoch: int
    training: np.ndarray
    validation: np.ndarray


def fit(
    tokens: Tokens,
    labels: np.ndarray,
    batch: np.ndarray | None,
    network: CellMemory,
    schedule: Schedule,
    sampling: Sampling,
    seed: int,
    runtime: Runtime,
    workspace: Path,
) -> Trained:
    """Trains `network` on the cells of `tokens` (labels: (n,) codes; batch: (n,) codes or None) to its early stop."""
    config = network.config
    share = min(VALIDATION_SHARE, MAX_VALIDATION / len(labels))
    training, validation = split_validation(labels, batch, share, seed)
    start = learn_start(tokens, labels, training, config.n_bins, seed)
    network.start_from(start)
    network.number_format = runtime.number_format
    batches = TrainingBatches(tokens, labels, start, training, sampling, config.n_bins, seed)
    history = History()
    plan = Plan(network, schedule, len(batches) * schedule.max_epochs)
    validating = ValidationBatches(tokens, labels, validation)
    trainer = _trainer(schedule, runtime, history, workspace)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*IterableDataset.*__len__.*")
        warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
        trainer.fit(plan, DataLoader(batches, batch_size=None), DataLoader(validating, batch_size=None))
    network.load_state_dict(history.best_weights)
    network.number_format = torch.float32
    return Trained(network.eval().cpu(), start, history.table(), history.best_epoch, training, validation)


def _trainer(schedule: Schedule, runtime: Runtime, history: History, workspace: Path) -> L.Trainer:
    bar = [TQDMProgressBar()] if sys.stderr.isatty() else []
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return L.Trainer(
        accelerator="gpu" if runtime.device == "cuda" else "cpu",
        devices=1,
        max_epochs=schedule.max_epochs,
        gradient_clip_val=schedule.gradient_clip,
        deterministic=True,
        callbacks=[history, EarlyStopping("validation_loss", patience=schedule.patience), *bar],
        enable_progress_bar=bool(bar),
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        num_sanity_val_steps=0,
        default_root_dir=workspace,
    )
