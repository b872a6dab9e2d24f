"""Shared by all tests: where things are, and one thread, so that parallel tests do not fight over cores."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from _cli import THREAD_VARIABLES
from cellmemory.log import show_on_standard_error

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"

for name in THREAD_VARIABLES:
    os.environ.setdefault(name, "1")
# Of numba's ways to start threads the one that bears a process to be split off later: tests/corpus does that.
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

# For tests that look at what the library says.
show_on_standard_error({})

# How long an example takes says more about the machine's other work than about the code.
# The same examples in every run: what chance finds is for `make fuzz`, not for whoever changed something else.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


#: Folders whose files take longest: begun first, so that the end finds all workers at work.
LONG = ("pipeline", "training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in LONG)


def script(name: str, *arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess:
    """Runs bin/<name>.py as a user does, from `folder`."""
    command = [sys.executable, str(ROOT / "bin" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def succeed(name: str, *arguments: object, folder: Path | None = None) -> str:
    """Runs a script that must succeed; returns its log."""
    done = script(name, *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stderr


def refused(name: str, *arguments: object, folder: Path | None = None) -> list[str]:
    """Runs a script that must refuse its input: status 1, no traceback. Returns its sentences."""
    done = script(name, *arguments, folder=folder)
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    return [line.removeprefix("Error: ") for line in done.stderr.splitlines() if line.startswith("Error: ")]


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name`, filled by `make`, which the first worker that asks for it makes for all."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def align(folder: Path) -> None:
    """Checks and preprocesses the test profile's data: reference.h5ad, panel.tsv, <query>.aligned.h5ad."""
    succeed("check_inputs", "--samplesheet", DATA / "samplesheet.csv", "--reference", DATA / "reference.h5ad",
            "--label_key", "cell_type", "--output", "inputs.json", "--query_genes", "genes.tsv", folder=folder)  # fmt: skip
    succeed("preprocess_reference", "--reference", DATA / "reference.h5ad", "--label_key", "cell_type",
            "--query_genes", "genes.tsv", "--output", "reference.h5ad", "--panel", "panel.tsv", folder=folder)  # fmt: skip
    for query in ("reduced_panel", "unseen_type"):
        succeed("preprocess_query", "--query", DATA / f"{query}.h5ad", "--panel", "panel.tsv",
                "--truth_key", "author_label", "--output", f"{query}.aligned.h5ad",
                "--alignment", f"{query}.alignment.json", folder=folder)  # fmt: skip


@pytest.fixture(scope="session")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `align` makes."""
    return once(tmp_path_factory, "aligned", align)


@pytest.fixture(scope="session")
def model(aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for a moment on the test data: real in every part, but no measure of accuracy."""

    def train(folder: Path) -> None:
        succeed("train", "--reference", aligned / "reference.h5ad", "--panel", aligned / "panel.tsv", "--label_key", "cell_type",
                "--output", folder / "model", "--max_epochs", 1, "--threads", 1, folder=folder)  # fmt: skip

    return once(tmp_path_factory, "trained", train) / "model"
