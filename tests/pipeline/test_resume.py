"""-resume with work files gone: what made them runs again, and a run never ends well without all of its results."""

import re
import shutil
from pathlib import Path

import pytest

from tests.pipeline.nextflow import ROOT, counted, files_in, lose, pipeline, succeed

# One query is mapped whole and contrasted, the other in slices: the chains of the two do not depend on each other, so that
# one -resume can show two losses, or more where nothing follows from them.
STUB = ("-profile", "test", "-stub-run", "-c", "cells.config", "--cells_per_task", "400")
CELLS = "process { withName: 'PREPROCESS_QUERY' { ext.stub_cells = { meta.id == 'unseen_type' ? 800 : 400 } } }"
LOST = (
    {"reduced_panel.mapped.h5ad": "MAP_QUERY (reduced_panel)",
     "unseen_type.400-800.slice.h5ad": "MAP_QUERY (unseen_type 400:800)"},
    {"reduced_panel.contrasts.tsv": "EXTRACT_TAGS (reduced_panel)", "unseen_type.labels.csv": "GATHER (unseen_type)"},
    {"reduced_panel.metrics.json": "EVALUATE (reduced_panel)", "reduced_panel.faithfulness.tsv": "FAITHFULNESS (reduced_panel)",
     "reduced_panel.enrichment.tsv": "ENRICH (reduced_panel)", "reduced_panel.annotated.h5ad": "ANNOTATE (reduced_panel)",
     "unseen_type.aligned.h5ad": "PREPROCESS_QUERY (unseen_type)"},
    {"reduced_panel.cell_clusters.csv": "CLUSTER (reduced_panel)",
     "unseen_type.report.html": "REPORT_SAMPLE (unseen_type.report)"},
    {"reduced_panel.labels.csv": "MAP_QUERY (reduced_panel)", "query_genes.tsv": "CHECK_INPUTS",
     "unseen_type.checksums.json": "CHECKSUMS_SAMPLE (unseen_type)"},
    {"model/config.json": "TRAIN (reference)"},
)  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resumed")
    (folder / "cells.config").write_text(CELLS)
    succeed(*STUB, "--contrast_with", "unseen_type", folder=folder)
    (folder / "results").rename(folder / "first")
    return folder


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: ",".join(lost))
def test_what_is_lost_is_made_again(lost: dict[str, str], run_folder: Path):
    for name in lost:
        lose(run_folder / "work", name)
    run = succeed(*STUB, "--contrast_with", "unseen_type", "-resume", folder=run_folder)
    assert set(lost.values()) <= set(run.submitted)
    assert "2 queries mapped in" in run.output
    assert files_in(run_folder / "results") == files_in(run_folder / "first")
    shutil.rmtree(run_folder / "results")


def test_a_figure_that_is_gone_from_its_folder_ends_a_resumed_run(run_folder: Path):
    """Nextflow itself asks for one of them only."""
    pages = [path for path in (run_folder / "work").glob("*/*/report.html") if not path.is_symlink()]
    newest = max(pages, key=lambda path: path.stat().st_mtime_ns)
    (newest.parent / "figures" / "composition.svg").unlink()
    run = pipeline(*STUB, "--contrast_with", "unseen_type", "-resume", folder=run_folder)
    assert run.status == 1
    found = re.search(r"(/\S+): 1 of 4 figures and tables are gone. Delete this folder, and run the same command", run.output)
    assert "queries mapped" not in run.output
    shutil.rmtree(found[1])
    run = succeed(*STUB, "--contrast_with", "unseen_type", "-resume", folder=run_folder)
    assert run.submitted == ["REPORT_RUN (report)"]
    shutil.rmtree(run_folder / "results")


def test_a_task_can_run_again_in_the_folder_of_one_that_died_with_nextflow():
    """Where Nextflow was killed before it wrote down that a task ran, it takes the same folder again, with all that is in it."""
    for path in ROOT.glob("modules/*/main.nf"):
        assert not re.search(r"mkdir (?!-p )|ln -s ", path.read_text()), path


def test_nothing_is_optional():
    for path in ROOT.glob("modules/*/main.nf"):
        assert not re.search(r"optional:\s*true|arity: '0", path.read_text().split("output:")[1].split("script:")[0]), path


def test_a_run_that_loses_results_without_a_failed_task_ends_with_an_error(tmp_path: Path):
    """With a mistake put into a copy of the pipeline: an output that may be absent, and is."""
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".*", "work", "results", "docs"), symlinks=True)
    module = project / "modules" / "report" / "main.nf"
    text = module.read_text()
    for right, wrong in {"emit: html": "emit: html, optional: true", """["${named(meta.id, 'report')}.html", """: "["}.items():
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    module.write_text(text)
    run = pipeline("-profile", "test", "-stub-run", folder=tmp_path, project=project)
    assert run.status == 1
    assert "There are no results of reduced_panel, unseen_type, report.html, though no task failed." in run.output
    assert "Exception" not in run.output
    assert "queries mapped" not in run.output
    assert counted(run.submitted)["MAP_QUERY"] == 2
