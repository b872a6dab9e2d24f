"""What must not matter to results: clock, dates of files, time zone, language, hash seed, and the number of threads."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import DATA, ROOT, refused, succeed

ELSEWHERE = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "7"}


def map_one(folder: Path, query: Path, aligned: Path, model: Path, threads: int = 1) -> dict[str, Path]:
    """Runs preprocess_query and map_query in `folder`; returns what they write, by name."""
    succeed("preprocess_query", "--query", query, "--panel", aligned / "panel.tsv", "--output", "q.aligned.h5ad",
            "--alignment", "q.alignment.json", folder=folder)  # fmt: skip
    succeed("map_query", "--query", "q.aligned.h5ad", "--model", model, "--output", "q.mapped.h5ad", "--labels", "q.labels.csv",
            "--threads", threads, folder=folder)  # fmt: skip
    return {name: folder / name for name in ("q.aligned.h5ad", "q.alignment.json", "q.mapped.h5ad", "q.labels.csv")}


@pytest.fixture(scope="module")
def here(aligned: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return map_one(tmp_path_factory.mktemp("here"), DATA / "unseen_type.h5ad", aligned, model)


@pytest.mark.parametrize("date", [0, 4_102_444_800], ids=["1970", "2100"])
def test_neither_clock_nor_language_nor_hash_seed_changes_a_byte(date, here, aligned, model, tmp_path, monkeypatch):
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    query = tmp_path / "unseen_type.h5ad"
    query.write_bytes((DATA / "unseen_type.h5ad").read_bytes())
    os.utime(query, (date, date))
    there = map_one(tmp_path, query, aligned, model)
    for name, path in here.items():
        assert there[name].read_bytes() == path.read_bytes(), name


def test_the_settings_of_jupyter_are_not_those_of_a_script(aligned, tmp_path, monkeypatch):
    """It hands a backend of matplotlib to all that it starts, of a module that only its own kernels have."""
    monkeypatch.setenv("MPLBACKEND", "module://no_such_module.backend_inline")
    given = ("--reference", aligned / "reference.h5ad", "--panel", aligned / "panel.tsv", "--label_key", "cell_type")
    small = ("--max_epochs", 1, "--d_model", 16, "--n_layers", 1, "--threads", 1)
    succeed("train", *given, *small, "--output", "model", folder=tmp_path)
    assert (tmp_path / "model" / "history.png").stat().st_size > 1000


def test_threads_change_no_label_and_numbers_by_rounding_alone(here, aligned, model, tmp_path):
    there = map_one(tmp_path, DATA / "unseen_type.h5ad", aligned, model, threads=2)
    one, two = (pd.read_csv(files["q.labels.csv"], index_col=0) for files in (here, there))
    pd.testing.assert_frame_equal(two, one, rtol=1e-4, atol=1e-5)
    assert one["cellmemory_label"].nunique() > 1


def cache_of_numba(temporary: Path) -> Path:
    """Where a step has it whose temporary folder this is."""
    told = [sys.executable, "-c", "import cellmemory, os; print(os.environ['NUMBA_CACHE_DIR'])"]
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("CACHE_DIR", "_CACHE"))}
    environment |= {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT / "bin")}
    return Path(subprocess.run(told, env=environment, capture_output=True, text=True, check=True).stdout.strip())


def written_by_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def elsewhere(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to("elsewhere")


def of_somebody_else(folder: Path) -> None:
    folder.mkdir()
    try:
        os.chown(folder, os.getuid() + 1, -1)
    except PermissionError:
        pytest.skip("only root gives folders away")


@pytest.mark.parametrize("lay", [written_by_all, elsewhere, of_somebody_else])
def test_caches_that_others_may_write_are_not_used(lay: Callable[[Path], None], tmp_path: Path):
    """numba runs what its cache holds."""
    folder = tmp_path / f"cellmemory-{os.getuid()}"
    lay(folder)
    before = set(tmp_path.iterdir())
    assert cache_of_numba(tmp_path).parent not in before
    assert set(tmp_path.iterdir()) == before  # its own folder is gone with it
    assert list(folder.iterdir()) == []


def without_end(path: Path) -> None:
    os.truncate(path, 10)


def with_other_bytes(path: Path) -> None:
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[len(content) // 3 :: 97] ^= 0xFF
    path.write_bytes(content.tobytes())


@pytest.mark.usefixtures("model")  # whose training has filled the cache
@pytest.mark.parametrize("damage", [without_end, with_other_bytes])
def test_a_damaged_cache_is_one_sentence(aligned, tmp_path, monkeypatch, damage: Callable[[Path], None]):
    """As after a crash of the machine."""
    given = ("--reference", aligned / "reference.h5ad", "--panel", aligned / "panel.tsv", "--label_key", "cell_type")
    small = ("--max_epochs", 1, "--d_model", 16, "--n_layers", 1, "--threads", 1)
    cache = tmp_path / "numba"
    # Without what other tests are about to write there.
    shutil.copytree(cache_of_numba(Path(tempfile.gettempdir())), cache, ignore=shutil.ignore_patterns("*.tmp.*"))
    kept = list(cache.rglob("*.nbi"))
    assert kept
    for path in kept:
        damage(path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
    assert refused("train", *given, *small, "--output", "model", folder=tmp_path) == [
        f"the cache of numba, {cache}, is damaged. Delete this folder, and run again."
    ]
    assert not (tmp_path / "model").exists()


def test_caches_are_kept_where_nobody_else_writes(tmp_path: Path):
    folder = tmp_path / f"cellmemory-{os.getuid()}"
    assert cache_of_numba(tmp_path) == cache_of_numba(tmp_path) == folder / "numba_cache_dir"
    assert folder.stat().st_mode & 0o777 == 0o700
