"""What a run does not replace in its folder, and what it leaves when its end fails. Stub runs, which write in the same way."""

import json
import shutil
from pathlib import Path

import pytest

from tests.pipeline.nextflow import Run, asked, files_in, pipeline, succeed

STUB = ("-profile", "test", "-stub", "--faithfulness", "false", "--attention", "false", "-resume")
SAMPLE = Path("samples") / "unseen_type"
LABELS = SAMPLE / "unseen_type.labels.csv"
CHANGED = "since this pipeline wrote them, these results were changed, and would be replaced: "
STRANGE = "these files are not known to be of a run of this pipeline, and would be replaced: "


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the results of a run without clusters and annotated files."""
    folder = tmp_path_factory.mktemp("changed")
    succeed(*STUB, "--clusters", "false", "--annotated", "false", folder=folder)
    return folder


@pytest.fixture
def results(folder: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    shutil.copytree(folder / "results", tmp_path / "results")
    return tmp_path / "results"


def refused(run: Run, words: str) -> list[str]:
    assert run.status == 1, run.output
    assert run.submitted == []
    return run.output.split(words)[1].split(". Move them away")[0].split(", ")


def test_files_that_no_run_wrote_are_not_replaced(results: Path, folder: Path):
    mine = ["unseen_type.clusters.tsv", "unseen_type.annotated.h5ad"]
    for name in mine:
        (results / SAMPLE / name).write_text("days of work")
    (results / SAMPLE / "notes.txt").write_text("beside them")
    run = pipeline(*STUB, "--outdir", results, folder=folder)
    assert sorted(refused(run, STRANGE)) == sorted(f"{SAMPLE}/{name}" for name in mine)
    for name in mine:
        (results / SAMPLE / name).unlink()
    succeed(*STUB, "--outdir", results, folder=folder)
    assert (results / SAMPLE / "notes.txt").read_text() == "beside them"


def test_links_to_folders_are_not_followed_without_end(results: Path, folder: Path):
    (results / SAMPLE / "all").symlink_to("..")
    (results / SAMPLE / "raw").symlink_to("/")
    succeed(*STUB, "--outdir", results, folder=folder)
    assert not (results / "pipeline_info" / "unfinished").exists()
    (results / LABELS).write_text("curated")
    assert refused(pipeline(*STUB, "--outdir", results, folder=folder), CHANGED) == [str(LABELS)]


def test_results_that_are_links(folder: Path, tmp_path: Path):
    linked = (*STUB, "--publish_dir_mode", "symlink", "--outdir", tmp_path)
    succeed(*linked, folder=folder)
    assert (tmp_path / LABELS).is_symlink()
    succeed(*linked, folder=folder)
    (tmp_path / LABELS).unlink()
    (tmp_path / LABELS).write_text("curated")
    assert refused(pipeline(*linked, folder=folder), CHANGED) == [str(LABELS)]


def test_a_preview_writes_nothing(results: Path, folder: Path):
    def kept() -> dict[str, bytes]:
        names = (name for name in files_in(results) if not name.startswith("pipeline_info/execution"))
        return {name: (results / name).read_bytes() for name in names if not name.endswith("pipeline_dag.html")}

    before = kept()
    run = succeed(*STUB, "-preview", "--outdir", results, folder=folder)
    assert "mapped in" not in run.output
    assert kept() == before


def test_a_list_of_results_that_is_damaged_is_one_sentence(results: Path, folder: Path):
    (results / "pipeline_info" / "written.json").write_text("{")
    run = pipeline(*STUB, "--outdir", results, folder=folder)
    assert run.status == 1
    assert run.submitted == []
    assert "pipeline_info/written.json, by which results that were changed are told, cannot be read." in run.output


def test_lists_of_results_that_are_none(tmp_path: Path):
    whole = {"report.html": {"bytes": 1, "modified": 2, "sha256": "a"}}
    contents = {"empty": "", "cut": "{", "list": "[]", "number": '{"report.html": 1}', "whole": json.dumps(whole)}
    for name, content in contents.items():
        (tmp_path / name / "pipeline_info").mkdir(parents=True)
        (tmp_path / name / "pipeline_info" / "written.json").write_text(content)
    groovy = "def found = given.collectEntries { name -> [name, remembered(file(name))] }"
    found = asked({"remembered": "changed_results.nf"}, groovy, [*contents, "nowhere"], folder=tmp_path)
    assert found == dict.fromkeys(contents) | {"whole": whole, "nowhere": {}}


@pytest.mark.parametrize("file", ["ro-crate-metadata.json", "pipeline_info/written.json"])
def test_records_that_cannot_be_written_end_the_run_badly(results: Path, folder: Path, file: str):
    path = results / file
    content = path.read_text()
    path.with_name(f".partial-{path.name}").mkdir()
    run = pipeline(*STUB, "--outdir", results, folder=folder)
    assert run.status == 1
    assert "the records of the run cannot be written into" in run.output
    assert "mapped in" not in run.output
    assert path.read_text() == content
    assert (results / "pipeline_info" / "unfinished").exists()
