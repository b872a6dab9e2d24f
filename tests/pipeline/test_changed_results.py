"""What a run does not replace in its folder, and what it leaves when its end fails. Stub runs, which write in the same way."""

from pathlib import Path

import pytest

from tests.pipeline.nextflow import Run, files_in, pipeline, succeed

STUB = ("-profile", "test", "-stub", "--faithfulness", "false", "--attention", "false", "--outdir", "results")
SAMPLE = Path("results") / "samples" / "unseen_type"
CHANGED = "since this pipeline wrote them, these results were changed, and would be replaced: "
STRANGE = "these files are not known to be of a run of this pipeline, and would be replaced: "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the results of a run without clusters and annotated files."""
    succeed(*STUB, "--clusters", "false", "--annotated", "false", folder=tmp_path)
    return tmp_path


def refused(run: Run, words: str) -> list[str]:
    assert run.status == 1, run.output
    assert run.submitted == []
    return run.output.split(words)[1].split(". Move them away")[0].split(", ")


def test_files_that_no_run_wrote_are_not_replaced(folder: Path):
    mine = ["unseen_type.clusters.tsv", "unseen_type.annotated.h5ad"]
    for name in mine:
        (folder / SAMPLE / name).write_text("days of work")
    (folder / SAMPLE / "notes.txt").write_text("beside them")
    run = pipeline(*STUB, "-resume", folder=folder)
    assert sorted(refused(run, STRANGE)) == sorted(f"samples/unseen_type/{name}" for name in mine)
    for name in mine:
        (folder / SAMPLE / name).unlink()
    succeed(*STUB, "-resume", folder=folder)
    assert (folder / SAMPLE / "notes.txt").read_text() == "beside them"


def test_links_to_folders_are_not_followed_without_end(folder: Path):
    (folder / SAMPLE / "all").symlink_to("..")
    (folder / SAMPLE / "raw").symlink_to("/")
    succeed(*STUB, "-resume", folder=folder)
    assert not (folder / "results" / "pipeline_info" / "unfinished").exists()
    (folder / SAMPLE / "unseen_type.labels.csv").write_text("curated")
    assert refused(pipeline(*STUB, "-resume", folder=folder), CHANGED) == ["samples/unseen_type/unseen_type.labels.csv"]


def test_results_that_are_links(tmp_path: Path):
    linked = (*STUB, "--publish_dir_mode", "symlink")
    succeed(*linked, folder=tmp_path)
    assert (tmp_path / SAMPLE / "unseen_type.labels.csv").is_symlink()
    succeed(*linked, "-resume", folder=tmp_path)
    labels = tmp_path / SAMPLE / "unseen_type.labels.csv"
    labels.unlink()
    labels.write_text("curated")
    assert refused(pipeline(*linked, "-resume", folder=tmp_path), CHANGED) == ["samples/unseen_type/unseen_type.labels.csv"]


def test_a_preview_writes_nothing(folder: Path):
    def kept() -> dict[str, bytes]:
        names = (name for name in files_in(folder / "results") if not name.startswith("pipeline_info/execution"))
        return {name: (folder / "results" / name).read_bytes() for name in names if not name.endswith("pipeline_dag.html")}

    before = kept()
    run = succeed(*STUB, "-preview", folder=folder)
    assert "mapped in" not in run.output
    assert kept() == before


def test_a_list_of_results_that_is_damaged_is_one_sentence(folder: Path):
    for content in ("", "{", "[]", '{"report.html": 1}'):
        (folder / "results" / "pipeline_info" / "written.json").write_text(content)
        run = pipeline(*STUB, "-resume", folder=folder)
        assert run.status == 1
        assert run.submitted == []
        assert "pipeline_info/written.json, by which results that were changed are told, cannot be read." in run.output


@pytest.mark.parametrize("file", ["ro-crate-metadata.json", "pipeline_info/written.json"])
def test_records_that_cannot_be_written_end_the_run_badly(folder: Path, file: str):
    path = folder / "results" / file
    content = path.read_text()
    path.with_name(f".partial-{path.name}").mkdir()
    run = pipeline(*STUB, "-resume", folder=folder)
    assert run.status == 1
    assert "the records of the run cannot be written into" in run.output
    assert "mapped in" not in run.output
    assert path.read_text() == content
    assert (folder / "results" / "pipeline_info" / "unfinished").exists()
