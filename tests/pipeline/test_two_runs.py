"""Runs that share a work folder and an outdir, at once or one after another; inputs that change under the same path."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.nextflow import DATA, STEPS, Run, counted, files_in, start, succeed

STUB = ("-profile", "test", "-stub-run")


def end(process: subprocess.Popen) -> Run:
    said, _ = process.communicate()
    return Run(process.returncode, said)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """Two runs at once, from folders of their own, with one work folder and one outdir."""
    folder = tmp_path_factory.mktemp("shared")
    places = ("-work-dir", folder / "work", "--outdir", folder / "results")
    for name in ("one", "other"):
        (folder / name).mkdir()
    both = [start(*STUB, *places, folder=folder / name) for name in ("one", "other")]
    return folder, [end(process) for process in both]


def test_two_runs_at_once_in_one_work_folder_and_one_outdir_do_not_disturb_each_other(shared, tmp_path: Path):
    folder, runs = shared
    for run in runs:
        assert run.status == 0, run.output
        assert counted(run.submitted) == STEPS
    succeed(*STUB, folder=tmp_path)
    assert files_in(folder / "results") == files_in(tmp_path / "results")


def test_one_run_cannot_be_resumed_twice_at_once(shared):
    folder, _ = shared
    resume = (*STUB, "-resume", "-work-dir", folder / "work", "--outdir", folder / "results")
    runs = [end(process) for process in [start(*resume, folder=folder / "one") for _ in range(2)]]
    assert sorted(run.status for run in runs) == [0, 1]
    whole, refused = sorted(runs, key=lambda run: run.status)
    assert "Unable to acquire lock on session" in refused.output
    assert refused.submitted == []
    assert (whole.submitted, counted(whole.cached)) == ([], STEPS)


def test_a_query_that_changes_under_its_path_is_mapped_again_and_the_others_are_not(tmp_path: Path):
    """Even where it keeps its size."""
    for name in ("unseen_type", "reduced_panel"):
        (tmp_path / f"{name}.h5ad").write_bytes((DATA / f"{name}.h5ad").read_bytes())
    sheet = "sample,h5ad\nunseen_type,unseen_type.h5ad\nreduced_panel,reduced_panel.h5ad\n"
    (tmp_path / "sheet.csv").write_text(sheet)
    given = ("-stub-run", "--reference", DATA / "reference.h5ad", "--label_key", "cell_type", "--input", "sheet.csv")
    succeed(*given, folder=tmp_path)
    changed = tmp_path / "unseen_type.h5ad"
    size = changed.stat().st_size
    with changed.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\0")
    assert changed.stat().st_size == size
    run = succeed(*given, "-resume", folder=tmp_path)
    assert "PREPROCESS_QUERY (unseen_type)" in run.submitted
    assert "MAP_QUERY (unseen_type)" in run.submitted
    assert "MAP_QUERY (reduced_panel)" in run.cached
