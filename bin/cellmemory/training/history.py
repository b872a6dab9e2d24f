"""The course of a training: a row an epoch, and the best weights so far."""

import sys
import time
from typing import TYPE_CHECKING

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback

from cellmemory.log import say

if TYPE_CHECKING:
    from cellmemory.training.step import TrainingStep

COLUMNS = ("epoch", "step", "learning_rate", "train_loss", "validation_loss", "validation_accuracy", "validation_macro_f1")


class History(Callback):
    """Collects one row an epoch and keeps the weights of the lowest validation loss."""

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self.best_loss, self.best_epoch = np.inf, 0
        self.best_weights: dict[str, torch.Tensor] | None = None
        self._start = time.monotonic()

    def restore(self, rows: list[dict], best_weights: dict[str, torch.Tensor]) -> None:
        """Goes on after these rows; best_weights are those of the first with the lowest validation loss."""
        self.rows, self.best_weights = rows, best_weights or None
        if best_weights:
            best = min(rows, key=lambda row: row["validation_loss"])
            self.best_loss, self.best_epoch = best["validation_loss"], best["epoch"]

    def on_validation_end(self, trainer: L.Trainer, step: "TrainingStep") -> None:
        found = {name: float(trainer.callback_metrics[name]) for name in COLUMNS if name.startswith("validation_")}
        rate, epoch = trainer.optimizers[0].param_groups[0]["lr"], len(self.rows) + 1
        self.rows.append({"epoch": epoch, "step": step.steps, "learning_rate": rate, **found})
        if found["validation_loss"] < self.best_loss:
            self.best_loss, self.best_epoch = found["validation_loss"], epoch
            self.best_weights = {name: value.detach().cpu().clone() for name, value in step.average.module.state_dict().items()}

    def on_train_epoch_end(self, trainer: L.Trainer, step: "TrainingStep") -> None:
        row = self.rows[-1]
        row["train_loss"] = step.take_epoch_loss()
        if not sys.stderr.isatty():
            say(
                f"Epoch {row['epoch']}: training loss {row['train_loss']:.3f}, validation loss {row['validation_loss']:.3f}, "
                f"accuracy {row['validation_accuracy']:.3f} ({time.monotonic() - self._start:.0f} s)."
            )

    def table(self) -> pd.DataFrame:
        """history.tsv: one row an epoch. No times: the same seed gives the same bytes."""
        return pd.DataFrame(self.rows)[list(COLUMNS)]
