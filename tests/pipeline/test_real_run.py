"""The test profile for real: what it leaves, what it finds, and that it can be stopped, resumed and repeated."""

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.nextflow import DATA, ROOT, STEPS, Run, command, counted, succeed

SAMPLES = ("reduced_panel", "unseen_type")
pytestmark = pytest.mark.slow


def digests(folder: Path) -> dict[str, str]:
    """A digest of each result that must be the same whenever the same is run again."""
    paths = [folder / "model" / "model.safetensors", folder / "model" / "calibration.json"]
    paths += [path for kind in ("labels.csv", "tags.tsv", "slot_tags.tsv", "enrichment.tsv", "metrics.json")
              for path in folder.glob(f"samples/*/*.{kind}")]  # fmt: skip
    assert len(paths) == 2 + 5 * len(SAMPLES)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def metrics(results: Path, sample: str) -> dict:
    return json.loads((results / "samples" / sample / f"{sample}.metrics.json").read_text())


def test_every_step_runs_once_for_each_query(real_run: Run):
    assert counted(real_run.submitted) == STEPS


def test_the_end_says_where_the_report_is(real_run: Run, results: Path):
    assert f"Report:  {results / 'report.html'}" in real_run.output
    assert "2 queries mapped" in real_run.output


def test_results_are_where_the_manual_says(results: Path):
    names = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    model = ("model.safetensors", "config.json", "panel.tsv", "labels.tsv", "calibration.json", "history.tsv",
             "history.png", "model_card.md")  # fmt: skip
    kinds = ("alignment.json", "mapped.h5ad", "labels.csv", "tags.tsv", "slot_tags.tsv", "enrichment.tsv",
             "metrics.json", "report.html")  # fmt: skip
    info = ("inputs.json", "versions.yml", "execution_report.html", "execution_timeline.html", "execution_trace.tsv",
            "pipeline_dag.html")  # fmt: skip
    expected = {"report.html"} | {f"model/{name}" for name in model} | {f"pipeline_info/{name}" for name in info}
    expected |= {f"samples/{sample}/{sample}.{kind}" for sample in SAMPLES for kind in kinds}
    assert {name for name in names if not name.startswith("multiqc/")} == expected
    assert any(name.startswith("multiqc/") and name.endswith("_mqc.json") for name in names)


def test_versions_of_all_steps_are_kept(results: Path):
    versions = (results / "pipeline_info" / "versions.yml").read_text()
    for step in STEPS:
        assert f'"CELLMEMORY:{step}":' in versions
    assert "torch: " in versions


def test_reduced_panel_is_mapped_well(results: Path):
    # 105 cells: between seeds it varies from 0.77 to 0.82.
    assert metrics(results, "reduced_panel")["accuracy"] >= 0.74


def test_unknown_type_is_further_from_the_reference(results: Path):
    found = metrics(results, "unseen_type")
    assert found["unknown_types"][0]["label"] == "CD19+ B"
    assert found["novelty_auroc"] >= 0.7
    assert found["unknown_flagged"] > found["known_flagged"]


def test_nothing_changed_means_all_is_cached(real_run: Run, folder: Path):
    again = succeed("-profile", "test", "-resume", folder=folder)
    assert again.submitted == []
    assert counted(again.cached) == STEPS


def one_thread(folder: Path) -> tuple[str, str]:
    """Options for as many threads as in the test profile: the last bits of a result may depend on them."""
    (folder / "cpus.config").write_text("process { withName: 'MAP_QUERY' { cpus = 1 } }")
    return "-c", "cpus.config"


def test_a_trained_model_is_used_as_it_is(results: Path, tmp_path: Path):
    run = succeed("--model", results / "model", "--input", DATA / "samplesheet.csv", *one_thread(tmp_path), folder=tmp_path)
    steps = counted(run.submitted)
    assert "TRAIN" not in steps
    assert "PREPROCESS_REFERENCE" not in steps
    assert steps["MAP_QUERY"] == 2
    for sample in SAMPLES:
        name = f"samples/{sample}/{sample}.labels.csv"
        assert (tmp_path / "results" / name).read_bytes() == (results / name).read_bytes()


def test_scattered_queries_give_the_same_files(results: Path, tmp_path: Path):
    run = succeed("--model", results / "model", "--input", DATA / "samplesheet.csv", "--cells_per_task", "64",
                  *one_thread(tmp_path), folder=tmp_path)  # fmt: skip
    steps = counted(run.submitted)
    assert (steps["MAP_QUERY"], steps["GATHER"]) == (2 + 4, 2)
    for sample in SAMPLES:
        for kind in ("mapped.h5ad", "labels.csv", "tags.tsv", "slot_tags.tsv", "metrics.json"):
            name = f"samples/{sample}/{sample}.{kind}"
            assert (tmp_path / "results" / name).read_bytes() == (results / name).read_bytes(), name


def stop_at(step: str, folder: Path) -> None:
    """Runs the test profile until `step` has started, and kills all of it then, as a crashing machine does."""
    run = subprocess.Popen(
        command("run", ROOT, "-ansi-log", "false", "-profile", "test", "-resume"),
        cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert any(f"Submitted process > CELLMEMORY:{step}" in line for line in run.stdout), f"{step} never started"
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def test_killed_and_resumed_is_the_same_as_uninterrupted(results: Path, tmp_path: Path):
    for step in ("TRAIN", "MAP_QUERY", "REPORT_SAMPLE"):
        stop_at(step, tmp_path)
    run = succeed("-profile", "test", "-resume", folder=tmp_path)
    assert "TRAIN" in run.cached
    assert digests(tmp_path / "results") == digests(results)
