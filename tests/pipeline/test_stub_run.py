"""The whole graph of tasks with stubs: seconds instead of minutes, for what does not depend on the results."""

import os
import shutil
from pathlib import Path

import pytest

from tests.pipeline.nextflow import DATA, ROOT, STEPS, counted, succeed

STUB = ("-profile", "test", "-stub-run")
REFERENCE = ("--reference", DATA / "reference.h5ad", "--label_key", "cell_type")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A trained model as far as stubs look: its files are there, and empty."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("panel.tsv", "model.safetensors"):
        (folder / name).touch()
    return folder


def test_without_attention_no_genes_are_listed(tmp_path: Path):
    # `false` may be a text, too.
    switches = ("--attention", "false", "--help", "false", "--version", "false")
    run = succeed(*STUB, *switches, folder=tmp_path, NXF_DISABLE_PARAMS_TYPE_DETECTION="true")
    assert counted(run.submitted) == {
        step: n for step, n in STEPS.items() if step not in ("EXTRACT_TAGS", "FAITHFULNESS", "ENRICH")
    }


def test_samples_are_contrasted_with_one_of_them_and_faithfulness_is_left_out(tmp_path: Path):
    run = succeed(*STUB, "--contrast_with", "unseen_type", "--faithfulness", "false", "--clusters", "false",
                  "--annotated", "false", folder=tmp_path)  # fmt: skip
    left_out = ("FAITHFULNESS", "CLUSTER", "ANNOTATE")
    assert counted(run.submitted) == {step: n for step, n in STEPS.items() if step not in left_out}
    published = {path.name for path in (tmp_path / "results" / "samples").rglob("*.contrasts.tsv")}
    assert published == {"reduced_panel.contrasts.tsv"}


def test_a_large_query_is_scattered_over_its_cells_and_gathered(tmp_path: Path):
    cells = "process { withName: 'PREPROCESS_QUERY' { ext.stub_cells = { meta.id == 'unseen_type' ? 1000 : 400 } } }"
    (tmp_path / "cells.config").write_text(cells)
    scattered = (*STUB, "-c", "cells.config", "--cells_per_task", "400")
    run = succeed(*scattered, folder=tmp_path)
    assert counted(run.submitted) == STEPS | {"MAP_QUERY": 4, "GATHER": 1}
    ranges = ("reduced_panel", "unseen_type 0:400", "unseen_type 400:800", "unseen_type 800:1000")
    assert [task for task in run.submitted if "MAP_QUERY" in task] == [f"MAP_QUERY ({cells})" for cells in ranges]
    for sample in ("reduced_panel", "unseen_type"):
        published = {path.name for path in (tmp_path / "results" / "samples" / sample).iterdir()}
        assert {f"{sample}.mapped.h5ad", f"{sample}.labels.csv"} <= published
        assert not any("slice" in name for name in published)
    assert succeed(*scattered, "-resume", folder=tmp_path).submitted == []

    # What somebody else has put among the results stays when these are written again.
    others = [tmp_path / "results" / name for name in ("notes.txt", "figures/mine.svg", "samples/unseen_type/figures/own.png")]
    for path in others:
        path.write_text("mine")
    run = succeed(*STUB, "-c", "cells.config", "--cells_per_task", "0", folder=tmp_path)
    assert counted(run.submitted) == STEPS
    assert [path.read_text() for path in others] == ["mine"] * 3


def test_without_truth_and_gene_sets_neither_is_used(tmp_path: Path):
    rows = f"a,{DATA / 'unseen_type.h5ad'}\nb,{DATA / 'reduced_panel.h5ad'}\n"
    (tmp_path / "queries.csv").write_text(f"sample,h5ad\n{rows}")
    run = succeed("-stub-run", *REFERENCE, "--input", "queries.csv", folder=tmp_path)
    assert counted(run.submitted) == {step: n for step, n in STEPS.items() if step not in ("EVALUATE", "ENRICH")}


def test_with_a_trained_model_only_what_changed_runs_again(model: Path, tmp_path: Path):
    """Another query, a query that changed under its path and keeps its size, a file of the model that changed."""
    stub = ("-stub-run", "--model", model, "--input", "queries.csv")
    rows = [f"{name},{name}.h5ad\n" for name in ("unseen_type", "reduced_panel")]
    for name in ("unseen_type", "reduced_panel"):
        (tmp_path / f"{name}.h5ad").write_bytes((DATA / f"{name}.h5ad").read_bytes())
    (tmp_path / "queries.csv").write_text("sample,h5ad\n" + rows[0])
    succeed(*stub, folder=tmp_path)

    (tmp_path / "queries.csv").write_text("sample,h5ad\n" + rows[1] + rows[0])
    run = succeed(*stub, "-resume", folder=tmp_path)
    assert "MAP_QUERY (unseen_type)" in run.cached
    assert "MAP_QUERY (reduced_panel)" in run.submitted

    with (tmp_path / "unseen_type.h5ad").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\0")
    assert (tmp_path / "unseen_type.h5ad").stat().st_size == (DATA / "unseen_type.h5ad").stat().st_size
    run = succeed(*stub, "-resume", folder=tmp_path)
    assert {"PREPROCESS_QUERY (unseen_type)", "MAP_QUERY (unseen_type)"} <= set(run.submitted)
    assert "MAP_QUERY (reduced_panel)" in run.cached

    # Written in place: the folder itself stays as it was.
    (model / "model.safetensors").write_bytes(b"changed")
    run = succeed(*stub, "-resume", folder=tmp_path)
    assert counted(run.submitted)["CHECK_INPUTS"] == 1
    assert counted(run.submitted)["MAP_QUERY"] == 2


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project whose code may be changed."""
    copy = tmp_path / "project"
    kept_out = shutil.ignore_patterns(".git", ".venv", ".tools", ".nextflow*", ".nf-test*", "work", "results", "docs")
    shutil.copytree(ROOT, copy, ignore=kept_out, symlinks=True)
    return copy


def test_changed_library_code_is_never_served_from_the_cache(project: Path, tmp_path: Path):
    """A step runs again where a part of the library changed that it imports, with all that follows, and nothing else does."""
    library = project / "bin" / "cellmemory"
    succeed(*STUB, folder=tmp_path, project=project)

    def submitted_after(changed: str) -> dict[str, int]:
        with (library / changed).open("a") as file:
            file.write("\n")
        return counted(succeed(*STUB, "-resume", folder=tmp_path, project=project).submitted)

    # Bytecode of what every step imports is no change, though it changes the folder's date.
    (library / "__pycache__").mkdir(exist_ok=True)
    (library / "__pycache__" / "errors.cpython-311.pyc").write_bytes(b"bytecode")
    reports = ("REPORT_SAMPLE", "REPORT_RUN", "CHECKSUMS_SAMPLE")
    assert submitted_after("report/page.css") == {step: STEPS[step] for step in reports}
    assert submitted_after("network/layers.py") == {step: n for step, n in STEPS.items() if not step.startswith("PREPROCESS")}
    assert submitted_after("__init__.py") == STEPS


def test_another_pipeline_can_include_it(tmp_path: Path):
    including = ROOT / "tests" / "including"
    run = succeed("-stub-run", folder=tmp_path, project=including)
    assert counted(run.submitted)["MAKE_QUERY"] == 2
    assert counted(run.submitted)["MAP_QUERY"] == 2
    assert counted(run.submitted)["EVALUATE"] == 1
    assert "donor_1 has its labels in donor_1.labels.csv" in run.output
    assert (tmp_path / "results" / "samples" / "donor_2" / "donor_2.report.html").exists()
    # Its queries come from a task, in any order: resuming must not depend on it.
    assert succeed("-stub-run", "-resume", folder=tmp_path, project=including).submitted == []
