"""A disk without room: one sentence, status 1, and nothing that looks like a result. Files are limited in size instead."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from cellmemory.cells.writing import H5adWriter
from cellmemory.io.guarded import GuardedFile
from tests.conftest import ROOT


def limited(kilobytes: int, script: str, *arguments: object) -> subprocess.CompletedProcess:
    """Runs a script that may write no file larger than this: to the program it looks like a full disk."""
    command = [
        "bash",
        "-c",
        f'ulimit -f {kilobytes}; exec "$@"',
        "bash",
        sys.executable,
        ROOT / "bin" / f"{script}.py",
        *arguments,
    ]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


@pytest.fixture
def commands(model: Path, aligned: Path, tmp_path: Path) -> dict[str, tuple]:
    query = aligned / "unseen_type.aligned.h5ad"
    return {
        "map_query": ("--query", query, "--model", model, "--output", tmp_path / "m.h5ad", "--labels", tmp_path / "l.csv"),
        "adapt": ("--query", query, "--model", model, "--output", tmp_path / "adapted"),
        "preprocess_query": ("--query", ROOT / "tests/data/unseen_type.h5ad", "--panel", model / "panel.tsv",
                             "--output", tmp_path / "a.h5ad", "--alignment", tmp_path / "a.json"),
        "copy_model": ("--model", model, "--output", tmp_path / "copy.zip"),
        "train": ("--reference", aligned / "reference.h5ad", "--panel", aligned / "panel.tsv", "--label_key", "cell_type",
                  "--output", tmp_path / "model", "--max_epochs", 1, "--d_model", 16, "--n_layers", 1),
    }  # fmt: skip


@pytest.mark.parametrize("script", ["map_query", "adapt", "preprocess_query", "copy_model", "train"])
def test_nothing_is_left_half_written(commands, tmp_path, script):
    run = limited(40, script, *commands[script])
    assert run.returncode == 1, run.stderr
    (sentence,) = [line for line in run.stderr.splitlines() if line.startswith("Error")]
    assert sentence.endswith("could not be written (File too large). Make room, and run the same again.")
    assert f"Error: {tmp_path}/" in sentence, "it says what could not be written"
    assert "Traceback" not in run.stderr
    assert ".partial" not in run.stderr
    assert [path for path in tmp_path.iterdir() if path.suffix != ".checkpoints"] == []


def test_a_failure_of_the_last_bytes_is_not_overlooked(tmp_path, monkeypatch):
    """What HDF5 writes when it closes a file must be on the disk, too."""
    rows = sp.random(50, 20, 0.3, "csr", np.float32, np.random.default_rng(0))
    writer = H5adWriter(tmp_path / "a.h5ad", 20)
    writer.append("X", rows)
    monkeypatch.setattr(GuardedFile, "write", _full)
    with pytest.raises(OSError, match="No space"):
        writer.__exit__(None)


def _full(self: GuardedFile, data: memoryview) -> int:
    self._keep(OSError(28, "No space left on device"))
    return len(data)
