"""Checkpoints of a training: one safetensors file with all that its next step depends on, written while it runs.

A training that was killed continues from there and ends with the same bytes as one that was not. No pickle is involved:
tensors are tensors, all else is JSON in the file's metadata. A digest of both is there too: from a checkpoint of which one bit
changed, a training would end with another model, and nobody would know.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from cellmemory.errors import InputError
from cellmemory.io.atomic import replacing
from cellmemory.io.checked import Kind, either, flag, integer, mapping, parse_object, sequence
from cellmemory.io.signature import sha256
from cellmemory.log import say, warn
from cellmemory.training.history import COLUMNS

if TYPE_CHECKING:
    from cellmemory.training.history import History
    from cellmemory.training.step import TrainingStep

SUFFIX = ".safetensors"
LIBRARY = Path(__file__).parents[1]
#: The parts of the library that training imports, itself among them (tests/test_house.py holds this to the imports).
CODE = ("__init__", "errors", "log", "sampling", "io", "cells", "genes", "network", "reference", "training")
FLOAT32_MAX = torch.finfo(torch.float32).max
#: What a file may make of reading it that is not a checkpoint, or is one no longer. RuntimeError: torch opens a file again
#: that safetensors has looked at, and another training may have replaced it between the two.
UNREADABLE = (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError)
#: A loss: infinite or NaN in a training that fails, whose checkpoint is none the worse.
LOSS = Kind("a number of float32", lambda v: isinstance(v, float) and not FLOAT32_MAX < abs(v) < np.inf)
#: What the optimiser keeps of each parameter.
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class CheckpointFile:
    """The checkpoint of one training in a folder that several may share: its name is a digest of `about`.

    about: all that decides the training's result (digests of code and inputs, its settings), as JSON knows it, by name.
    every: seconds between two checkpoints.
    """

    folder: Path
    about: dict
    every: float = 30.0

    @property
    def path(self) -> Path:
        """Where it is, or would be."""
        return self.folder / f"{hashlib.sha256(_json(self.about).encode()).hexdigest()[:16]}{SUFFIX}"

    def write(self, tensors: dict[str, torch.Tensor], state: dict) -> None:
        """Replaces the checkpoint in one move: a kill leaves the old one or the new one."""
        metadata = {"about": _json(self.about), "state": json.dumps(state)}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        # Not by save_file: that writes to a file with a name of its own choice first, which a kill would leave behind.
        content = save(tensors, metadata | {"digest": digest_of(tensors, metadata)})
        with replacing(self.path) as partial, open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> tuple[dict[str, torch.Tensor], dict] | None:
        """Tensors and state of this training's last checkpoint as they were written; None where there is none, or a damaged
        one, which is said. Raises InputError where anything but a file is in its place."""
        if not self.path.exists():
            return None
        if not self.path.is_file():  # a pipe would be waited for
            raise InputError(f"{self.path} is not a file, but a checkpoint is to be written there. Remove it.")
        with suppress(*UNREADABLE), safe_open(self.path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata())
            if metadata.pop("digest") == digest_of(tensors, metadata) and metadata["about"] == _json(self.about):
                return tensors, json.loads(metadata["state"])
        self.warn_of_damage()
        return None

    def warn_of_damage(self) -> None:
        """Says that the checkpoint is not used. It is this training's own: its next one replaces it."""
        warn(f"The checkpoint {self.path} is damaged; training starts at the beginning.")

    def others(self) -> list[str]:
        """The checkpoints of other trainings in the folder: each one's path, and in which points it differs from this."""
        found = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            with suppress(*UNREADABLE):
                if path != self.path and not path.name.startswith(".") and path.is_file():
                    with safe_open(path, "pt") as file:
                        found.append(f"{path} ({_differences(parse_object(file.metadata()['about']), self.about)})")
        return found

    def remove(self) -> None:
        """Removes the checkpoint, and the folder with its last one."""
        for path in (self.path, *self.folder.glob(f".partial-*{self.path.name}")):  # the latter of kills while one was written
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def code_digest() -> str:
    """A digest of the code of training: a changed one would end with other bytes than the one that a checkpoint is of."""
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY)
        if name.parts[0].removesuffix(".py") in CODE:
            digest.update(f"{name} {sha256(path)}\n".encode())
    return digest.hexdigest()


def digest_of(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
    """The hexadecimal SHA-256 of metadata and tensors in memory, in whatever order: of these names, types, shapes and bytes."""
    digest = hashlib.sha256(_json(metadata).encode())
    for name, value in sorted(tensors.items()):
        digest.update(_json([name, str(value.dtype), value.shape]).encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _named(group: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{group}.{name}": value for name, value in tensors.items()}


def _forms(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (value.dtype, value.shape) for name, value in tensors.items()}


def _differences(there: dict, here: dict) -> str:
    """`other reference, batch_size 64 instead of 32`; what is a digest is not shown."""
    words = []
    for name in sorted(there.keys() | here.keys()):
        a, b = there.get(name), here.get(name)
        if a != b:
            is_digest = isinstance(a, str) and isinstance(b, str) and len(a) == len(b) == 64
            words.append(f"other {name}" if is_digest else f"{name} {a} instead of {b}")
    return ", ".join(words)


class Checkpoints(Callback):
    """Writes a training's state every `every` seconds of its file, at its end, and when it is asked to stop; restores it.

    It only ever writes between two steps, or after all that an epoch ends with.
    """

    def __init__(self, file: CheckpointFile, step: "TrainingStep", history: "History", stopping: EarlyStopping):
        self.file, self.step, self.history, self.stopping = file, step, history, stopping
        self.finished = False
        self._optimiser: dict | None = None
        self._written = time.monotonic()
        self._writable = True

    def restore(self) -> None:
        """Takes up the last checkpoint, if there is one, before the trainer starts, and says so."""
        others = self.file.others()
        if others:
            say(f"Not resumed, since they belong to other trainings: {'; '.join(others)}. Delete what is no longer wanted.")
        found = self.file.read()
        if found is None:
            return
        if not self._fits(*found):
            self.file.warn_of_damage()
            return
        tensors, state = found
        step, part = self.step, lambda prefix: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        step.load_state_dict(part("step."))
        step.steps, step.micro_batch, step.epoch_loss = state["steps"], state["micro_batch"], state["epoch_loss"]
        self.history.restore(state["history"], part("best."))
        # It counts as the history does: an epoch is better whose loss is lower than all before.
        self.stopping.best_score = torch.tensor(self.history.best_loss)
        self.stopping.wait_count = len(self.history.rows) - self.history.best_epoch
        self.finished = state["finished"]
        self._optimiser = {}
        for name, value in part("optimiser.").items():
            parameter, key = name.split(".")
            self._optimiser.setdefault(int(parameter), {})[key] = value
        say(f"Resumed at step {step.steps} of {step.total_steps} from {self.file.path}.")

    def _fits(self, tensors: dict[str, torch.Tensor], state: Any) -> bool:
        """Whether this training may have written it. A digest says that it is as it was written, not who wrote it."""
        return self._is_state(state) and self._are_tensors(tensors, state["history"])

    def _is_state(self, state: Any) -> bool:
        """Whether a state has values of the kinds that `_write` gives it, which agree with each other."""
        total, per_epoch = self.step.total_steps, self.step.steps_per_epoch
        row = {name: integer(1, total) if name in ("epoch", "step") else LOSS for name in COLUMNS}
        fields = {
            "steps": integer(1, total),
            "micro_batch": either(integer(1, 2**31), None),
            "epoch_loss": LOSS,
            "history": sequence(mapping(row)),
            "finished": flag(),
        }
        if not mapping(fields).holds(state):
            return False
        epochs, into_epoch = divmod(state["steps"], per_epoch)
        numbered = [(row["epoch"], row["step"]) for row in state["history"]]
        return numbered == [(i, i * per_epoch) for i in range(1, epochs + 1)] and not (state["finished"] and into_epoch)

    def _are_tensors(self, tensors: dict[str, torch.Tensor], rows: list[dict]) -> bool:
        """Whether tensors are those of such a step: each of its name, type and shape, none too many and none too few."""
        network = self.step.network
        step = _named("step", self.step.state_dict())
        best = _named("best", network.state_dict()) if any(row["validation_loss"] < np.inf for row in rows) else {}
        # A parameter that no cell has reached has no moments yet.
        moments = [
            _named(f"optimiser.{i}", {"step": torch.zeros(()), **dict.fromkeys(MOMENTS, value)})
            for i, value in enumerate(network.parameters())
        ]
        expected = step | best
        for group in moments:
            expected |= group if group.keys() & tensors.keys() else {}
        return _forms(tensors) == _forms(expected) and all(tensors[name].isfinite().all() for name in best)

    def on_train_start(self, trainer: L.Trainer, step: "TrainingStep") -> None:
        if self._optimiser is not None:
            optimiser = trainer.optimizers[0]
            optimiser.load_state_dict({"state": self._optimiser, "param_groups": optimiser.state_dict()["param_groups"]})
            self._optimiser = None

    def on_train_batch_end(self, trainer: L.Trainer, step: "TrainingStep", *_: object) -> None:
        if not step.epoch_ended and self._due(trainer):
            self._write(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, step: "TrainingStep") -> None:
        self.finished = trainer.should_stop or step.steps == step.total_steps
        if self._due(trainer) or self.finished:
            self._write(trainer)

    def on_exception(self, trainer: L.Trainer, step: "TrainingStep", exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException) and not step.epoch_ended:
            self._write(trainer)

    def _due(self, trainer: L.Trainer) -> bool:
        # Only the first device writes, and only its clock counts: the others need not wait for it.
        return trainer.is_global_zero and time.monotonic() - self._written >= self.file.every

    def _write(self, trainer: L.Trainer) -> None:
        if not (trainer.is_global_zero and self._writable):
            return
        step = self.step
        tensors = _named("step", step.state_dict()) | _named("best", self.history.best_weights or {})
        for parameter, values in trainer.optimizers[0].state_dict()["state"].items():
            tensors |= _named(f"optimiser.{parameter}", values)
        state = {
            "steps": step.steps,
            "micro_batch": step.micro_batch,
            "epoch_loss": float(step.epoch_loss),
            "history": self.history.rows,
            "finished": self.finished,
        }
        try:
            self.file.write(tensors, state)
        except OSError as error:
            self._writable = False
            say(f"No checkpoint could be written to {self.file.folder} ({error}); training continues without one.")
        self._written = time.monotonic()
