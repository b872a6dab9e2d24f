"""The training itself: what a step is, resuming, running out of memory, several devices, the schedule and the figure."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from lightning.pytorch.callbacks import EarlyStopping
from safetensors import safe_open
from safetensors.torch import save

from cellmemory.errors import InputError
from cellmemory.network.config import ModelConfig
from cellmemory.network.model import CellMemory
from cellmemory.network.runtime import configure, is_out_of_memory
from cellmemory.network.tokens import Tokens, tokenize
from cellmemory.training import checkpoints, warm_start
from cellmemory.training.aligned_reference import ReferenceFiles
from cellmemory.training.batches import TrainingBatches, TrainingCells
from cellmemory.training.card import plot_history
from cellmemory.training.checkpoints import CheckpointFile, Checkpoints
from cellmemory.training.fit import Fitted, fit
from cellmemory.training.history import History
from cellmemory.training.settings import Devices, ModelSize, Sampling, Schedule, TrainingSettings
from cellmemory.training.split import split_reference
from cellmemory.training.step import TrainingStep
from cellmemory.training.train import CheckpointFolder, train_reference
from cellmemory.training.warm_start import fit_warm_start
from tests.conftest import ROOT, refused, succeed

GENES, LABELS, N_BINS = 40, 3, 50
STEPS = 30  # of an epoch
SCHEDULE = Schedule(max_epochs=4, patience=2)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Of 240 cells: half are of the first label, a twelfth of the last."""
    return np.repeat([0, 1, 2], [120, 100, 20])


@pytest.fixture(scope="module")
def tokens(labels: np.ndarray) -> Tokens:
    """Random cells, and one gene that only the second label expresses."""
    rng = np.random.default_rng(0)
    matrix = (rng.random((len(labels), GENES)) < 0.4) * rng.gamma(2, 1, (len(labels), GENES))
    matrix[:, 5] = np.where(labels == 1, 3.0, 0.0)
    return tokenize(
        sp.csr_matrix(matrix.astype(np.float32)), np.ones(GENES, bool), mode="fast", binning="quantile", n_bins=N_BINS
    )


def small_network(dropout: float = 0.3) -> CellMemory:
    torch.manual_seed(0)
    config = ModelConfig(GENES, LABELS, "light", d_model=8, d_feedforward=16, d_value=2, n_layers=1, dropout=dropout)
    return CellMemory(config)


def train(
    tokens: Tokens,
    labels: np.ndarray,
    checkpoint: CheckpointFile | None = None,
    schedule: Schedule = SCHEDULE,
    where: str = "cpu",
) -> Fitted:
    runtime = configure(where, "fp32", 1, seed=0)
    cells = TrainingCells(tokens, labels, split_reference(labels, None, 0))
    settings = TrainingSettings("label", schedule=schedule)
    return fit(cells, small_network(), settings, runtime, checkpoint=checkpoint)


@pytest.fixture(scope="module")
def uninterrupted(tokens: Tokens, labels: np.ndarray) -> Fitted:
    return train(tokens, labels)


def same(one: Fitted, other: Fitted) -> bool:
    """Whether two trainings ended with the same bits."""
    weights, others = one.network.state_dict(), other.network.state_dict()
    return one.history.equals(other.history) and all(torch.equal(weights[name], others[name]) for name in weights)


def batches(tokens: Tokens, labels: np.ndarray, device: tuple[int, int] = (0, 1), **sampling: object) -> TrainingBatches:
    """Those of a device that has read its own cells alone."""
    split = split_reference(labels, None, 0, rank=device[0], devices=device[1])
    cells = TrainingCells(tokens.select(split.rows), labels[split.rows], split)
    warm_start = fit_warm_start(cells.tokens, cells.labels, split.warm_start, n_bins=N_BINS, seed=0)
    return TrainingBatches(cells, warm_start, Sampling(**sampling), seed=0)


class TestBatches:
    def test_a_batch_depends_on_its_step_alone(self, tokens, labels):
        drawn, other = batches(tokens, labels), batches(tokens, labels)
        first, second = list(drawn), list(drawn)
        assert len(first) == len(second) == STEPS
        other.next_step = 17
        for number, batch in enumerate(other, 17):
            assert all(torch.equal(a, b) for a, b in zip(batch, first[number], strict=True))
        assert all(torch.equal(a, b) for a, b in zip(next(iter(other)), second[0], strict=True))

    def test_devices_draw_equal_parts_of_a_batch_and_as_many_steps(self, tokens, labels):
        whole, *parts = (batches(tokens, labels, device) for device in ((0, 1), (0, 2), (1, 2)))
        assert [len(part.batch(3)[-1]) for part in (whole, *parts)] == [32, 16, 16]
        assert {part.steps_per_epoch for part in (whole, *parts)} == {STEPS}
        assert not torch.equal(parts[0].batch(3)[-1], parts[1].batch(3)[-1])

    @pytest.mark.parametrize(("sampling", "expected"), [("balanced", [1 / 3] * 3), ("natural", [120 / 240, 100 / 240, 20 / 240])])
    def test_labels_are_drawn_evenly_or_as_they_are(self, tokens, labels, sampling, expected):
        drawn = batches(tokens, labels, batch_size=600, sampling=sampling)
        drawn._target = np.eye(LABELS, dtype=np.float32)[labels[drawn.cells]]
        np.testing.assert_allclose(drawn.batch(0)[-1].mean(0), expected, atol=0.06)

    def test_labels_of_a_large_reference_are_drawn_by_the_root_of_their_cells(self, tokens, labels, monkeypatch):
        monkeypatch.setattr(warm_start, "EXACT_CELLS", 100)
        drawn = batches(tokens, labels, batch_size=2_000)
        drawn._target = np.eye(LABELS, dtype=np.float32)[labels[drawn.cells]]
        roots = np.bincount(labels[drawn.cells]) ** 0.5
        np.testing.assert_allclose(drawn.batch(0)[-1].mean(0), roots / roots.sum(), atol=0.03)


class TestSchedule:
    @pytest.mark.parametrize("steps", [1, 2, 30, 600, 601])
    def test_the_cosine_ends_at_the_last_step(self, steps):
        rates = [Schedule().rate(step, steps) for step in range(steps)]
        assert max(rates) == pytest.approx(1e-3)
        if steps > 2:
            assert rates[-1] == pytest.approx(1e-5)
            assert np.argmax(rates) in (steps // 10 - 1, steps // 10, steps // 10 + 1)

    def test_a_training_to_its_last_epoch_ends_with_the_lowest_rate(self, tokens, labels):
        history = train(tokens, labels, schedule=Schedule(max_epochs=3)).history
        assert history["step"].tolist() == [STEPS, 2 * STEPS, 3 * STEPS]
        assert history["learning_rate"].iloc[-1] == pytest.approx(1e-5)


def weights(tensors: dict[str, torch.Tensor], group: str = "step.network") -> torch.Tensor:
    """One of a checkpoint's tensors, to be changed in place."""
    return next(value for name, value in tensors.items() if name.startswith(group) and value.numel() > 1).view(-1)


def flip_a_bit(tensors: dict[str, torch.Tensor], state: dict) -> None:
    weights(tensors).view(torch.int32)[0] ^= 1


def leave_out(names: str) -> Callable[[dict, dict], None]:
    """Leaves out tensors of these names, a pattern."""

    def alter(tensors: dict[str, torch.Tensor], state: dict) -> None:
        for name in [name for name in tensors if re.match(names, name)]:
            del tensors[name]

    return alter


#: What may be wrong with a checkpoint: each changes tensors and state in place.
ALTERATIONS = {
    "bit": flip_a_bit,
    "NaN": lambda tensors, state: weights(tensors).fill_(np.nan),
    "finished": lambda tensors, state: state.update(finished=True, steps=2 * STEPS),
    "finished in mid-epoch": lambda tensors, state: state.update(finished=True),
    "finished is text": lambda tensors, state: state.update(finished="yes"),
    "steps are text": lambda tensors, state: state.update(steps="x"),
    "steps below zero": lambda tensors, state: state.update(steps=-5),
    "steps without end": lambda tensors, state: state.update(steps=10**9),
    "no steps": lambda tensors, state: state.pop("steps"),
    "half a cell": lambda tensors, state: state.update(micro_batch=0.5),
    "no cell": lambda tensors, state: state.update(micro_batch=0),
    "loss is text": lambda tensors, state: state.update(epoch_loss="low"),
    "loss is a long number": lambda tensors, state: state.update(epoch_loss=10**400),
    "one more": lambda tensors, state: state.update(more=1),
    "empty": lambda tensors, state: state.clear(),
    "history of numbers": lambda tensors, state: state.update(history=[1, 2]),
    "history is too short": lambda tensors, state: state["history"].pop(),
    "history without a column": lambda tensors, state: state["history"][1].pop("train_loss"),
    "epoch of another number": lambda tensors, state: state["history"][0].update(epoch=2),
    "validation loss is text": lambda tensors, state: state["history"][0].update(validation_loss="low"),
    "validation loss is too large": lambda tensors, state: state["history"][0].update(validation_loss=1e308),
    "tensors are missing": leave_out(r"step\.network\.layers"),
    "no tensors": leave_out(""),
    "half of a parameter's moments": leave_out(r"optimiser\.0\.exp_avg$"),
    "no best weights": leave_out("best"),
    "best weights are NaN": lambda tensors, state: weights(tensors, "best.").fill_(np.nan),
    "a shape": lambda tensors, state: tensors.update({"step.network.cls": tensors["step.network.cls"][1:].clone()}),
    "a type": lambda tensors, state: tensors.update({"step.network.cls": tensors["step.network.cls"].double()}),
    "moments of no parameter": lambda tensors, state: tensors.update({"optimiser.x.y": torch.zeros(1)}),
    "names of too many and too few parts": lambda tensors, state: tensors.update(
        {"optimiser": torch.zeros(1), "optimiser.1.2.3": torch.zeros(1)}
    ),
}
#: A training could have written these: with a digest that fits nothing is wrong with them.
ONLY_THE_DIGEST_TELLS = {"bit", "NaN", "finished"}


@pytest.fixture(scope="module")
def interrupted(tokens: Tokens, labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> CheckpointFile:
    """The checkpoint of a training that was interrupted in its third epoch."""
    checkpoint = CheckpointFile(tmp_path_factory.mktemp("interrupted"), {"of": "this"}, 0)
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_at(2 * STEPS + 3, monkeypatch)
        with pytest.raises(InterruptedError):
            train(tokens, labels, checkpoint)
    return checkpoint


def restored(checkpoint: CheckpointFile) -> Checkpoints:
    """What a training takes up from a checkpoint before it starts."""
    step = TrainingStep(small_network(), SCHEDULE, SCHEDULE.max_epochs * STEPS)
    found = Checkpoints(checkpoint, step, History(), EarlyStopping("validation_loss"))
    found.restore()
    return found


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


class TestResuming:
    """A training that stops by an exception at some step, and one that goes on."""

    @pytest.mark.parametrize("step", [1, 17, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS + 3])
    def test_a_resumed_training_is_the_uninterrupted_one(
        self, uninterrupted, tokens, labels, tmp_path, monkeypatch, capsys, step
    ):
        checkpoint = CheckpointFile(tmp_path, {"of": "this"}, 0)
        stop_at(step, monkeypatch)
        with pytest.raises(InterruptedError):
            train(tokens, labels, checkpoint)
        monkeypatch.undo()
        resumed = train(tokens, labels, checkpoint)
        assert f"Resumed at step {step} of {4 * STEPS}" in capsys.readouterr().err
        assert same(resumed, uninterrupted)
        assert same(train(tokens, labels, checkpoint), uninterrupted), "once more, from the checkpoint of its end"

    def test_what_decides_when_to_stop_is_resumed_too(self, tokens, labels, tmp_path, monkeypatch):
        schedule = Schedule(max_epochs=20, patience=1, learning_rate=0.1)
        whole = train(tokens, labels, schedule=schedule)
        assert len(whole.history) < 20
        checkpoint = CheckpointFile(tmp_path, {"of": "this"}, 0)
        stop_at(len(whole.history) * STEPS - 5, monkeypatch)
        with pytest.raises(InterruptedError):
            train(tokens, labels, checkpoint, schedule)
        monkeypatch.undo()
        assert same(train(tokens, labels, checkpoint, schedule), whole)

    def test_a_damaged_checkpoint_is_said_and_not_used(self, uninterrupted, tokens, labels, tmp_path, capsys):
        checkpoint = CheckpointFile(tmp_path, {"of": "this"}, 0)
        checkpoint.path.write_bytes(b"cut off")
        assert same(train(tokens, labels, checkpoint), uninterrupted)
        assert f"Warning: The checkpoint {checkpoint.path} is damaged" in capsys.readouterr().err

    def test_no_bit_of_a_checkpoint_changes_unnoticed(self, tmp_path):
        checkpoint = CheckpointFile(tmp_path, {"of": "this"})
        checkpoint.write({"a": torch.ones(2), "b": torch.ones((), dtype=torch.int64)}, {"steps": 5})
        content = checkpoint.path.read_bytes()
        for i in range(8 * len(content)):
            changed = bytearray(content)
            changed[i // 8] ^= 1 << i % 8
            checkpoint.path.write_bytes(changed)
            assert checkpoint.read() is None, i
        checkpoint.path.write_bytes(content)
        assert checkpoint.read()[1] == {"steps": 5}

    @pytest.mark.parametrize("signed", [False, True])
    @pytest.mark.parametrize("name", ALTERATIONS)
    def test_an_altered_checkpoint_is_said_and_not_used(self, interrupted, tmp_path, capsys, name, signed):
        """Whether its digest fits as well: whoever altered it may have made a new one."""
        checkpoint = replace(interrupted, folder=tmp_path)
        tensors, state = interrupted.read()
        checkpoint.write(tensors, state)
        metadata = metadata_of(checkpoint.path)
        ALTERATIONS[name](tensors, state)
        if signed:
            checkpoint.write(tensors, state)
        else:
            checkpoint.path.write_bytes(save(tensors, metadata | {"state": json.dumps(state)}))
        found = restored(checkpoint)
        if signed and name in ONLY_THE_DIGEST_TELLS:
            assert f"Resumed at step {state['steps']} of" in capsys.readouterr().err
        else:
            warning = f"Warning: The checkpoint {checkpoint.path} is damaged; training starts at the beginning.\n"
            assert capsys.readouterr().err == warning
            assert (found.step.steps, found.history.rows, found.finished) == (0, [], False)

    def test_a_checkpoint_of_another_name_is_not_this_one(self, interrupted, tmp_path, capsys):
        renamed = CheckpointFile(tmp_path, {"of": "another"})
        renamed.path.write_bytes(interrupted.path.read_bytes())
        assert renamed.read() is None
        assert "is damaged" in capsys.readouterr().err

    def test_what_is_not_a_file_is_refused_or_passed_over(self, interrupted, tmp_path):
        checkpoint = CheckpointFile(tmp_path, {"of": "this"})
        os.mkfifo(checkpoint.path)
        with pytest.raises(InputError, match="is not a file, but a checkpoint is to be written there"):
            checkpoint.read()
        assert CheckpointFile(tmp_path, {"of": "another"}).others() == []

    @pytest.mark.parametrize("state", ["[1]", "null", "[" * 100_000, "", "1" * 5000])
    def test_a_state_that_is_not_an_object_is_damage(self, interrupted, tmp_path, capsys, state):
        checkpoint = replace(interrupted, folder=tmp_path)
        tensors, _ = interrupted.read()
        metadata = {"about": metadata_of(interrupted.path)["about"], "state": state}
        checkpoint.path.write_bytes(save(tensors, metadata | {"digest": checkpoints.digest_of(tensors, metadata)}))
        restored(checkpoint)
        assert "is damaged; training starts at the beginning." in capsys.readouterr().err

    @pytest.mark.parametrize("about", ["[]", "7", "null", "[" * 100_000, '{"a": ' * 1000, ""])
    def test_others_that_say_nothing_of_themselves_are_passed_over(self, tmp_path, about):
        (tmp_path / "other.safetensors").write_bytes(save({"a": torch.ones(1)}, {"about": about}))
        assert CheckpointFile(tmp_path, {"of": "this"}).others() == []

    def test_another_that_is_replaced_while_it_is_looked_at_is_passed_over(self, tmp_path, monkeypatch):
        here, there = (CheckpointFile(tmp_path, {"of": name}) for name in ("this", "that"))
        there.write({"weight": torch.ones(2)}, {"steps": 5})

        def replaced(path, framework):
            with safe_open(path, framework) as file:  # as torch says it when a shorter file has come into the place
                torch.UntypedStorage.from_file(str(path), False, path.stat().st_size + 8)
            return file

        monkeypatch.setattr(checkpoints, "safe_open", replaced)
        assert here.others() == []

    def test_a_checkpoint_of_another_training_is_left_alone_and_named(self, tmp_path, capsys):
        here = CheckpointFile(tmp_path, {"batch_size": 32, "reference": "0" * 64})
        there = replace(here, about={"batch_size": 64, "reference": "1" * 64})
        there.write({"weight": torch.ones(2)}, {"steps": 5})
        assert here.read() is None
        assert here.others() == [f"{there.path} (batch_size 64 instead of 32, other reference)"]
        (tmp_path / f".partial-7-{here.path.name}").touch()  # of a kill while it was written
        here.remove()
        assert there.read()[1] == {"steps": 5}
        there.remove()
        assert not tmp_path.exists()

    def test_a_kill_while_it_is_written_leaves_nothing_that_is_not_removed(self, tmp_path):
        checkpoint = CheckpointFile(tmp_path / "checkpoints", {"of": "this"})
        program = (
            "import sys, torch; from pathlib import Path; from cellmemory.training.checkpoints import CheckpointFile\n"
            "while True: CheckpointFile(Path(sys.argv[1]), {'of': 'this'}).write({'weight': torch.zeros(10_000_000)}, {})"
        )
        for _ in range(3):
            process = subprocess.Popen([sys.executable, "-c", program, checkpoint.folder], cwd=ROOT / "bin")
            while not (checkpoint.path.exists() and len(os.listdir(checkpoint.folder)) > 1):  # the next one is being written
                assert process.poll() is None
            process.kill()
            process.wait()
            checkpoint.remove()
            assert not checkpoint.folder.exists()


def interrupt(*_: object) -> None:
    raise InterruptedError


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    take_step = TrainingStep.take_step

    def broken(self, *arguments):
        if self.steps == step:
            raise InterruptedError
        return take_step(self, *arguments)

    monkeypatch.setattr(TrainingStep, "take_step", broken)


class TestOutOfMemory:
    """The allocator's errors, thrown by the forward pass."""

    @staticmethod
    def limit_cells(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception, training: bool = True) -> list[int]:
        """Lets the network take at most so many cells in training (or in validation); returns how many it was given."""
        forward, given = CellMemory.forward, []

        def limited(self, gene, *arguments):
            given.append(len(gene))
            if self.training == training and len(gene) > most:
                raise error
            return forward(self, gene, *arguments)

        monkeypatch.setattr(CellMemory, "forward", limited)
        return given

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
            RuntimeError("std::bad_alloc"),
            MemoryError(),
        ],
    )
    def test_halves_what_is_computed_at_once_and_goes_on(self, tokens, labels, monkeypatch, capsys, error):
        given = self.limit_cells(monkeypatch, 10, error)
        fitted = train(tokens, labels, schedule=Schedule(max_epochs=1))
        assert given[:7] == [32, 16, 8, 8, 8, 8, 8]
        assert fitted.history["step"].tolist() == [STEPS]
        said = capsys.readouterr().err
        assert "from here on 16 of 32 cells" in said
        assert "from here on 8 of 32 cells" in said

    def test_gradients_are_those_of_the_whole_batch(self, tokens, labels, monkeypatch):
        networks = []
        for most in (32, 5):
            self.limit_cells(monkeypatch, most, MemoryError())
            training_step = TrainingStep(small_network(dropout=0.0), SCHEDULE, 120)
            training_step.take_step(batches(tokens, labels).batch(0), training_step.configure_optimizers())
            networks.append(training_step.network)
        assert training_step.micro_batch == 4
        for one, other in zip(*(network.parameters() for network in networks), strict=True):
            if one.grad is not None:
                torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)

    def test_one_cell_too_many_is_one_sentence(self, tokens, labels, monkeypatch):
        self.limit_cells(monkeypatch, 0, MemoryError())
        with pytest.raises(InputError, match="with one cell at a time; use a machine or GPU with more memory"):
            train(tokens, labels)

    def test_validation_makes_do_with_less_too(self, uninterrupted, tokens, labels, monkeypatch):
        self.limit_cells(monkeypatch, 5, MemoryError(), training=False)
        histories = uninterrupted.history, train(tokens, labels).history
        np.testing.assert_allclose(*(history["validation_loss"] for history in histories), rtol=1e-5)

    def test_other_errors_are_no_lack_of_memory(self, tokens, labels, monkeypatch):
        self.limit_cells(monkeypatch, 10, RuntimeError("shapes differ"))
        with pytest.raises(RuntimeError, match="shapes differ"):
            train(tokens, labels)

    def test_the_smaller_portions_are_resumed_too(self, tokens, labels, tmp_path, monkeypatch):
        self.limit_cells(monkeypatch, 16, MemoryError())
        whole = train(tokens, labels)
        checkpoint = CheckpointFile(tmp_path, {"of": "this"}, 0)
        stop_at(40, monkeypatch)
        with pytest.raises(InterruptedError):
            train(tokens, labels, checkpoint)
        monkeypatch.undo()
        assert same(train(tokens, labels, checkpoint), whole), "on a machine with more memory"


class TestDevices:
    def test_a_batch_that_cannot_be_shared_equally_is_refused(self):
        with pytest.raises(InputError, match="--batch_size 32 cannot be shared equally by --devices 3"):
            Devices(3).check(configure("cpu", "fp32", 1, seed=0), Sampling())

    @pytest.mark.slow
    def test_two_processes_score_as_one(self, aligned, tmp_path):
        """With gloo, started by the script's bare name: lightning runs the same command again for the second process."""
        options = ("--max_epochs", 3, "--threads", 1, "--d_model", 32, "--n_layers", 1)
        one, two = (run_train(aligned, tmp_path / name, *options, "--devices", n) for name, n in (("one", 1), ("two", 2)))
        assert two.returncode == 0, two.stderr
        for line in ("Epoch 3:", "Wrote"):
            assert two.stderr.count(line) == one.stderr.count(line) == 1
        histories = [pd.read_csv(tmp_path / name / "history.tsv", sep="\t") for name in ("one", "two")]
        assert histories[0]["step"].tolist() == histories[1]["step"].tolist()
        # Other batches are drawn, so that only where they end can be compared.
        for measure, noise in (("validation_loss", 0.05), ("validation_accuracy", 0.1), ("train_loss", 0.05)):
            np.testing.assert_allclose(*(history[measure].iloc[-1] for history in histories), atol=noise)


def training_command(aligned: Path, output: Path, *options: object) -> list[str]:
    return ["train.py", "--reference", str(aligned / "reference.h5ad"), "--panel", str(aligned / "panel.tsv"), "--label_key",
            "cell_type", "--output", str(output), *map(str, options)]  # fmt: skip


def environment() -> dict[str, str]:
    """In which the scripts are found by their bare names, as in a task."""
    return os.environ | {"PATH": f"{ROOT / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}


def run_train(aligned: Path, output: Path, *options: object) -> subprocess.CompletedProcess:
    command = training_command(aligned, output, *options)
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


SMALL = ("--max_epochs", 3, "--d_model", 16, "--n_layers", 1, "--threads", 1, "--checkpoint_every", 0)


@pytest.fixture(scope="module")
def whole(aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that was trained without interruption."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    assert run_train(aligned, folder, *SMALL).returncode == 0
    return folder


class TestTheScript:
    """train.py, killed for real."""

    def stop(self, aligned: Path, output: Path, signal_number: int, after: int) -> int:
        """Starts a training, and signals it in mid-epoch, as soon as it has taken more than `after` steps."""
        process = subprocess.Popen(training_command(aligned, output, *SMALL), env=environment(), stderr=subprocess.DEVNULL)
        while not after < steps_of(output.with_name(f"{output.name}.checkpoints")) < after + STEPS // 2:
            assert process.poll() is None, "it ended too early to be killed"
            time.sleep(0.01)
        process.send_signal(signal_number)
        return process.wait()

    def test_killed_twice_in_mid_epoch_it_ends_with_the_same_bytes(self, aligned, whole, tmp_path):
        output = tmp_path / "model"
        for after in (STEPS + 3, 2 * STEPS + 3):
            assert self.stop(aligned, output, signal.SIGKILL, after) == -signal.SIGKILL
            assert not output.exists()
        done = run_train(aligned, output, *SMALL)
        assert done.returncode == 0, done.stderr
        assert "Resumed at step" in done.stderr
        for file in whole.iterdir():
            assert (output / file.name).read_bytes() == file.read_bytes(), file.name
        assert [path.name for path in tmp_path.iterdir()] == ["model"], "the checkpoint is removed"

    def test_after_a_bit_of_the_checkpoint_changed_it_starts_anew(self, aligned, whole, tmp_path):
        output = tmp_path / "model"
        self.stop(aligned, output, signal.SIGKILL, STEPS + 3)
        (path,) = output.with_name("model.checkpoints").glob("[!.]*.safetensors")
        with safe_open(path, "pt") as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
        flip_a_bit(tensors, {})
        path.write_bytes(save(tensors, metadata))
        done = run_train(aligned, output, *SMALL)
        assert done.returncode == 0, done.stderr
        assert f"Warning: The checkpoint {path} is damaged; training starts at the beginning." in done.stderr
        assert (output / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
        assert not path.parent.exists(), "the damaged one was this training's own"

    def test_weights_that_were_made_up_and_signed_are_one_sentence(self, aligned, tmp_path, monkeypatch):
        settings = TrainingSettings("cell_type", size=ModelSize(d_model=8, n_layers=1), schedule=Schedule(max_epochs=1))
        source = ReferenceFiles(aligned / "reference.h5ad", aligned / "panel.tsv")
        runtime, folder = configure("cpu", "fp32", 1, seed=0), CheckpointFolder(tmp_path / "checkpoints", 0)
        write = CheckpointFile.write

        def made_up(self, tensors, state):
            best = {name: torch.full_like(value, 1e30) for name, value in tensors.items() if name.startswith("best.")}
            write(self, tensors | best, state)

        with monkeypatch.context() as patched:
            patched.setattr(CheckpointFile, "write", made_up)
            patched.setattr("cellmemory.training.train._finish", interrupt)
            with pytest.raises(InterruptedError):
                train_reference(source, tmp_path / "model", settings, runtime, checkpoint=folder)
        with pytest.raises(InputError, match=r"resumed from .*\.safetensors is not a trained one\. Run the same again\."):
            train_reference(source, tmp_path / "model", settings, runtime, checkpoint=folder)
        assert list(tmp_path.iterdir()) == []

    def test_a_stopped_training_says_so_by_its_status_and_goes_on(self, aligned, whole, tmp_path):
        output = tmp_path / "model"
        assert self.stop(aligned, output, signal.SIGTERM, 3) == 128 + signal.SIGTERM
        other = run_train(aligned, tmp_path / "other", *SMALL, "--batch_size", 16, "--max_epochs", 1,
                          "--checkpoint", tmp_path / "model.checkpoints")  # fmt: skip
        assert "(batch_size 32 instead of 16, max_epochs 3 instead of 1)" in other.stderr
        assert "Resumed" not in other.stderr
        assert "Resumed at step" in succeed("train", *training_command(aligned, output, *SMALL)[1:])
        assert (output / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()

    def test_more_gpus_than_there_are_or_odd_shares_are_one_sentence(self, aligned, tmp_path):
        options = training_command(aligned, tmp_path / "model", "--devices", 3)[1:]
        sentence, = refused("train", *options)  # fmt: skip
        assert "--devices 3" in sentence


def steps_of(folder: Path) -> int:
    """The steps that the training has taken whose checkpoint is in the folder; -1 before there is one."""
    for path in folder.glob("[!.]*.safetensors"):
        # Opened once: safe_open opens a file twice, and the training may replace it between the two.
        with suppress(FileNotFoundError), path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            return json.loads(header["__metadata__"]["state"])["steps"]
    return -1


def test_the_figure_has_the_same_bytes_and_its_marks(uninterrupted):
    history = uninterrupted.history
    figure = plot_history(history)
    assert figure == plot_history(history)
    assert figure.startswith(b"\x89PNG")
    assert plot_history(history.iloc[:1]).startswith(b"\x89PNG")
    assert plot_history(history.assign(validation_loss=history["validation_loss"][::-1].to_numpy())) != figure


def test_running_out_of_memory_is_told_from_other_errors():
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))
