"""One step of training and the validation, as lightning calls them; nothing of when to stop or what to keep."""

from collections.abc import Sequence
from typing import cast

import lightning as L
import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cellmemory.errors import InputError
from cellmemory.log import say
from cellmemory.network.model import CellMemory
from cellmemory.network.runtime import in_halves, is_out_of_memory
from cellmemory.training.cuda_graph import StepGraph
from cellmemory.training.settings import Schedule

#: Steps between two updates of the running average, which cost as much as a tenth of a step of a small network.
AVERAGE_EVERY = 4
NO_MEMORY = (
    "Training ran out of memory with one cell at a time; use a machine or GPU with more memory, or a smaller model "
    "(--variant light, --d_model, --n_layers)."
)


class TrainingStep(L.LightningModule):
    """Steps and validation of the CLS token's part. Batches are this device's share, (gene, bin, valid, target).

    What is validated and kept is the running average of the weights: its score moves less from epoch to epoch. truth:
    (n,) labels of the validation cells. longest: tokens of a cell in a batch, at most; where it is known, a GPU replays
    what it has recorded of a step. A step depends only on the weights, the optimiser's state, the seed and its number, so
    that a training can go on at any step.

    Optimisation is lightning's manual one, since running out of memory is mended within a step.
    """

    def __init__(
        self,
        network: CellMemory,
        schedule: Schedule,
        total_steps: int,
        *,
        seed: int = 0,
        truth: np.ndarray | None = None,
        longest: int | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.network, self.schedule, self.total_steps, self.seed, self.truth = network, schedule, total_steps, seed, truth
        self.longest = longest
        self._graph: StepGraph | None = None
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(schedule.average_decay))
        self.average.requires_grad_(False)
        self.steps = 0
        self.micro_batch: int | None = None  # cells that go through the network together, where not all of a batch do
        self.epoch_loss: torch.Tensor | float = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        schedule = self.schedule
        return torch.optim.AdamW(
            self.network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
        )

    @property
    def steps_per_epoch(self) -> int:
        return self.total_steps // self.schedule.max_epochs

    @property
    def epoch_ended(self) -> bool:
        """Whether the last step was the last of an epoch."""
        return self.steps % self.steps_per_epoch == 0

    def take_epoch_loss(self) -> float:
        """The mean training loss of the epoch that ended; the next one starts at 0."""
        loss, self.epoch_loss = float(self.epoch_loss), 0.0
        return loss / self.steps_per_epoch

    def training_step(self, batch: tuple[torch.Tensor, ...], _: int) -> None:
        loss = self.take_step(batch, cast(torch.optim.Optimizer, self.optimizers()))
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
            if not _any(here=loss is None, device=self.device):
                break
            self._halve(len(batch[0]))
        assert loss is not None
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
        size = self.micro_batch or n
        try:
            graph = self._recorded(batch) if size == n else None
            torch.manual_seed(_mixed(self.seed, self.steps, self.global_rank))
            if graph:
                return graph.replay(batch)
            parts = ([part[i : i + size] for part in batch] for i in range(0, n, size))
            return cast(torch.Tensor, sum(self._add_gradients(part, n) for part in parts))
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
        if self.micro_batch == 1 or n == 1:
            raise InputError(NO_MEMORY)
        self.micro_batch, self._graph = -(-(self.micro_batch or n) // 2), None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        say(
            f"Out of memory at step {self.steps}: from here on {self.micro_batch} of {n} cells go through the network at once. "
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
        assert self.truth is not None
        self._logits = torch.zeros(len(self.truth), self.network.config.n_labels, device=self.device)

    def validation_step(self, batch: tuple[torch.Tensor, ...], _: int) -> None:
        *cells, row = batch

        def run(some: slice) -> None:
            self._logits[row[some]] = self.average.module(*(part[some] for part in cells))[0].float()

        in_halves(len(row), run, NO_MEMORY)

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


def _any(*, here: bool, device: torch.device) -> bool:
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
