"""Runs that share a work folder and an outdir, at once or one after another."""

import subprocess
from pathlib import Path

import pytest

from tests.pipeline.nextflow import STEPS, Run, counted, files_in, start, succeed

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
    assert (folder / "results" / "report.html").exists()
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
