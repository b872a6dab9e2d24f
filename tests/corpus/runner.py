"""Runs a script in a process of its own, split off this one: nothing is imported anew, and a signal ends only the copy."""

import gc
import importlib
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LONGEST = 180  # seconds
#: What scripts load, and take the most of a second each for: loaded here once, by nothing that starts a thread.
LIBRARIES = ("anndata", "scanpy", "torch", "cellmemory.training.fit", "cellmemory.mapping.adaptation",
             "cellmemory.mapping.mapper", "cellmemory.mapping.gathering", "cellmemory.explanation.enrichment",
             "cellmemory.explanation.stability", "cellmemory.report.page", "cellmemory.report.still",
             "cellmemory.reference.reference_map", "umap")  # fmt: skip


def preload() -> None:
    """Loads the libraries and has UMAP compiled, for the copies to have both: for who runs many scripts."""
    for name in LIBRARIES:
        importlib.import_module(name)
    points = np.random.default_rng(0).normal(size=(100, 16)).astype(np.float32)
    assert len(importlib.import_module("cellmemory.reference.reference_map").fit_map(points, 0)) == len(points)
    gc.collect()
    gc.freeze()  # a copy's own collections would make the pages of all these objects its own


@dataclass(frozen=True)
class Outcome:
    """How a script ended. status: its exit status, or minus the number of the signal that ended it; output: all it said."""

    status: int
    output: str

    @property
    def sentences(self) -> list[str]:
        """What it said was wrong, a sentence each."""
        return [line.removeprefix("Error: ") for line in self.output.splitlines() if line.startswith("Error: ")]


def run(script: str, arguments: list[object], folder: Path) -> Outcome:
    """Runs bin/<script>.py with these arguments in `folder`. One that does not end in time is killed (status -9)."""
    command = importlib.import_module(script).main
    log = folder / "said.txt"
    child = os.fork()
    if child == 0:
        _be_the_script(command, [str(argument) for argument in arguments], folder, log)
    status = _wait(child)
    return Outcome(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"))


def _be_the_script(command, arguments: list[str], folder: Path, log: Path) -> None:
    status = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for standard in (1, 2):
            os.dup2(file, standard)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", errors="backslashreplace", closefd=False)
        os.chdir(folder)
        command.main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # what a user would see as a traceback
        traceback.print_exc()
        status = 71
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int) -> int:
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]
