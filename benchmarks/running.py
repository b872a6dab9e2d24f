"""Runs methods on tasks, each in a process of its own, and keeps what came of it, so that a stopped run goes on."""

import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import pandas as pd

from _cli import THREAD_VARIABLES
from ours import BIN, VARIANTS
from peers import PEERS
from scoring import score
from splits import Task, write_task

HERE = Path(__file__).resolve().parent
#: These give the same answer whatever the seed: a split is run once.
DETERMINISTIC = {"logistic_regression", "logistic_regression_c001", "celltypist"}


@dataclass(frozen=True)
class Settings:
    """How methods are run. limit: seconds after which a run is stopped; extra: options that all our trainings get."""

    peers_python: Path
    threads: int = 1
    limit: float = 1800
    extra: tuple[str, ...] = ()


def methods() -> list[str]:
    """All methods, ours first."""
    return [*VARIANTS, *PEERS]


def seeds_of(method: str, kind: str, seeds: int) -> list[int]:
    """The seeds that a method is run with. On parts of a reference every method has all: the seed draws the part."""
    return [0] if method in DETERMINISTIC and kind == "splits" else list(range(seeds))


class Store:
    """The results of one kind of task: <kind>.json, and the predictions of every run beside it.

    The JSON holds `tasks` (name -> split, part, and what was drawn with each seed) and `runs` (task -> method -> seed ->
    metrics, seconds and memory, or an error). Several runs may add to it at the same time.
    """

    def __init__(self, folder: Path, kind: str):
        self.path = folder / f"{kind}.json"
        self._predictions = folder / "predictions" / kind

    def read(self) -> dict:
        return json.loads(self.path.read_text()) if self.path.exists() else {"tasks": {}, "runs": {}}

    @contextmanager
    def changing(self) -> Iterator[dict]:
        """Yields what is kept; what the block makes of it is kept instead."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = self.read()
            yield kept
            partial = self.path.with_suffix(".partial")
            partial.write_text(json.dumps(kept, indent=1))
            partial.replace(self.path)

    def expect(self, tasks: list[Task]) -> None:
        """Notes which tasks there are, and their order, so that a summary knows what is missing."""
        with self.changing() as kept:
            new = {task.name: {"split": task.split, "part": task.part, "seeds": {}} for task in tasks}
            kept["tasks"] = {**new, **kept["tasks"]}

    def has(self, task: Task, method: str, seed: int) -> bool:
        """Whether this run was made, and made well."""
        return "macro_f1" in self.read()["runs"].get(task.name, {}).get(method, {}).get(str(seed), {})

    def predictions(self, task: str, method: str, seed: int) -> Path:
        """Where the predictions of a run are."""
        slug = re.sub(r"[^\w.-]+", "_", task)
        return self._predictions / f"{slug}-{zlib.crc32(task.encode()):08x}" / f"{method}.{seed}.csv.gz"

    def add(self, task: Task, method: str, seed: int, about: dict, run: dict, predictions: pd.DataFrame | None) -> None:
        if predictions is not None:
            path = self.predictions(task.name, method, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            predictions.to_csv(path, index=False, float_format="%.6g")
        with self.changing() as kept:
            kept["tasks"][task.name]["seeds"][str(seed)] = about
            kept["runs"].setdefault(task.name, {}).setdefault(method, {})[str(seed)] = run


def run_method(
    method: str, reference: ad.AnnData, query: ad.AnnData, seed: int, settings: Settings
) -> tuple[dict, dict, pd.DataFrame | None]:
    """Runs a method on a task: what the task is, the run's metrics and costs (or its error), and its predictions."""
    with tempfile.TemporaryDirectory(prefix="cellmemory-bench-") as name:
        folder = Path(name)
        about = write_task(reference, query, folder)
        error = _execute(_command(method, folder, about, seed, settings), folder, settings)
        if error:
            return about, {"error": error, "threads": settings.threads}, None
        run = json.loads((folder / "run.json").read_text())
        # 'NA', 'None' and the like may be the name of a type.
        read = {"index_col": 0, "keep_default_na": False, "dtype": {"cell": str, "truth": str, "label": str}}
        truth = pd.read_csv(folder / "truth.csv", **read)
        answers = pd.read_csv(folder / "predictions.csv", **read)
    if not answers.index.equals(truth.index):
        return about, {"error": "the answers are not those of the query's cells", "threads": settings.threads}, None
    predictions = truth.join(answers).reset_index()
    run = {**score(predictions, about["types"]), **run, "threads": settings.threads}
    if method in VARIANTS:
        run["version"] = " ".join([code_digest(), *settings.extra])
    return about, run, predictions


def _command(method: str, folder: Path, about: dict, seed: int, settings: Settings) -> list[str]:
    common = ["--seed", str(seed), "--threads", str(settings.threads)]
    if method in VARIANTS:
        batches = ["--batches"] if about["batches"] > 1 else []
        return [sys.executable, str(HERE / "ours.py"), method, str(folder), *batches, *common, *settings.extra]
    return [str(settings.peers_python), str(HERE / "peers.py"), method, str(folder), *common]


def _execute(command: list[str], folder: Path, settings: Settings) -> str | None:
    """Runs a command with its threads and time limited; returns why it failed, or None."""
    environment = (
        os.environ | dict.fromkeys(THREAD_VARIABLES, str(settings.threads)) | {"CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}
    )
    log = folder / "log"
    with open(log, "w") as output:
        # A group of its own, so that the time limit ends the scripts that it started, too.
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output, start_new_session=True)
        try:
            status = process.wait(settings.limit)
        except subprocess.TimeoutExpired:
            return f"stopped after {settings.limit:g} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status:
        return f"ended with {status}: " + " ".join(log.read_text().strip().splitlines()[-3:])[-600:]
    return None


def code_digest() -> str:
    """A digest of our scripts and library: results of different code are not to be taken for one another's."""
    digest = hashlib.sha256()
    for path in sorted([*BIN.glob("*.py"), *(BIN / "cellmemory").rglob("*.py")]):
        digest.update(str(path.relative_to(BIN)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]
