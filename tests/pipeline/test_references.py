"""Several references: what their sheet may say, the graph of tasks by stubs, and a real run onto two."""

import json
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest

from cellmemory.io import signature
from tests import conftest
from tests.pipeline.nextflow import DATA, STEPS, counted, problems, succeed

SHEET = DATA / "samplesheet.csv"
REFERENCE = DATA / "reference.h5ad"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_problems_of_the_sheet_are_said_at_once(tmp_path: Path):
    write(tmp_path / "references.csv", "reference,h5ad,model,label_key", f"a.b,{REFERENCE},,x", f"both,{REFERENCE},{DATA},x",
          "neither,,,x", f"c,{REFERENCE},,", "d,missing.h5ad,,x", f"e,{DATA / 'samplesheet.csv'},,x", f"f,,{DATA},x",
          f"g,,{REFERENCE},", "h,,missing,", "h,,", f",{REFERENCE},,x", f"c,{REFERENCE},,x")  # fmt: skip
    (found,) = problems({"input": SHEET, "references": "references.csv", "model": DATA}, folder=tmp_path)
    for sentence in (
        "--references excludes --reference and --model",
        "references.csv, line 2: the reference name is 'a.b'. A reference name may hold only letters, digits, '_' and '-'",
        "references.csv, line 3: a reference needs either h5ad (to train a model) or model (a trained one), but both are given.",
        "references.csv, line 4: a reference needs either h5ad (to train a model) or model (a trained one), but neither is",
        "references.csv, line 5: label_key is missing, here or as --label_key",
        f"references.csv, line 6: there is no file {tmp_path / 'missing.h5ad'}.",
        "references.csv, line 7: samplesheet.csv is not an .h5ad file.",
        "references.csv, line 8: label_key and batch_key are of an h5ad",
        f"references.csv, line 10: there is no file or folder {tmp_path / 'missing'}.",
        "references.csv, line 11: 3 cells, but there are 4 columns.",
        "references.csv, line 12: reference is empty.",
        "references.csv: the reference name c is used by lines 5, 13; every reference needs its own.",
    ):
        assert any(sentence in each for each in found), sentence


def test_problems_of_the_label_map_are_said_before_anything_runs(tmp_path: Path):
    write(tmp_path / "map.tsv", "reference\tlabel\tcommon_label", "blood\tB", "brain\tB\tB")
    write(tmp_path / "references.csv", "reference,h5ad", f"blood,{REFERENCE}")
    sheet = {"references": "references.csv", "label_key": "cell_type", "label_map": "map.tsv"}
    (found,) = problems({"input": SHEET, **sheet}, folder=tmp_path)
    assert len(found) == 2
    assert "--label_map: line 2 of map.tsv does not have three tab-separated texts" in found[0]
    assert "--label_map: line 3 of map.tsv names the reference 'brain'; there are blood." in found[1]


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """A sheet of two references to train on and a trained model, as far as stubs look."""
    (tmp_path / "model").mkdir()
    for name in ("panel.tsv", "model.safetensors"):
        (tmp_path / "model" / name).touch()
    rows = (f"blood,{REFERENCE},,cell_type", f"other,{REFERENCE},,", "old,,model,")
    return write(tmp_path / "references.csv", "reference,h5ad,model,label_key", *rows)


def test_every_query_is_mapped_onto_every_reference(sheet: Path, tmp_path: Path):
    write(tmp_path / "map.tsv", "reference\tlabel\tcommon_label", "blood\tB\tb")
    stub = ("-stub-run", "--input", SHEET, "--references", sheet, "--label_key", "cell_type", "--contrast_with", "unseen_type")
    run = succeed(*stub, "--label_map", "map.tsv", folder=tmp_path)
    once = {
        "CHECK_INPUTS": 1,
        "PREPROCESS_REFERENCE": 2,
        "TRAIN": 2,
        "CHECKSUMS_MODEL": 2,
        "REPORT_RUN": 3,
        "CONSENSUS": 2,
        "CHECKSUMS_CONSENSUS": 2,
    }
    pairs = {step: 6 for step in STEPS if step not in once and step != "ENRICH"}
    assert counted(run.submitted) == once | pairs
    assert {"TRAIN (blood)", "TRAIN (other)", "MAP_QUERY (reduced_panel.old)", "CONSENSUS (unseen_type)"} <= set(run.submitted)
    results = tmp_path / "results"
    for sample in ("reduced_panel", "unseen_type"):
        assert (results / "samples" / sample / f"{sample}.consensus.csv").exists()
        for reference in ("blood", "other", "old"):
            folder = results / "samples" / sample / reference
            assert {f"{sample}.{reference}.{kind}" for kind in ("mapped.h5ad", "report.html", "provenance.json")} <= {
                path.name for path in folder.iterdir()
            }
            assert (folder / "figures").is_dir()
            assert (folder / f"{sample}.{reference}.contrasts.tsv").exists() == (sample == "reduced_panel")
    found = {str(path.relative_to(results / "references")) for path in (results / "references").glob("*/*")}
    always = {"inputs.json", "report.html", "figures"}
    assert found == {f"{name}/{file}" for name in ("blood", "other") for file in always | {"model", "model.provenance.json"}} | {
        f"old/{file}" for file in always
    }
    # Another order, and one reference less: what is left was mapped already, and no model is trained again.
    lines = sheet.read_text().splitlines()
    write(sheet, lines[0], lines[3], lines[1])
    run = succeed(*stub, "-resume", folder=tmp_path)
    assert set(counted(run.submitted)) <= {
        "CHECK_INPUTS",
        "CONSENSUS",
        "REPORT_SAMPLE",
        "REPORT_RUN",
        "CHECKSUMS_SAMPLE",
        "CHECKSUMS_CONSENSUS",
    }


def test_one_reference_of_a_sheet_needs_no_consensus(tmp_path: Path):
    write(tmp_path / "references.csv", "reference,h5ad,label_key", f"blood,{REFERENCE},cell_type")
    run = succeed("-stub-run", "--input", SHEET, "--references", "references.csv", folder=tmp_path)
    assert counted(run.submitted) == {step: n for step, n in STEPS.items() if step != "ENRICH"}
    assert (tmp_path / "results" / "samples" / "unseen_type" / "blood" / "unseen_type.blood.labels.csv").exists()


@pytest.mark.slow
def test_two_references_and_their_consensus(model: Path, tmp_path: Path):
    """A trained model beside a reference with the same cells under other names, which no text has in common."""
    cells = ad.read_h5ad(REFERENCE)
    cells.obs["kind"] = [f"kind {label}" for label in cells.obs["cell_type"]]
    cells.write_h5ad(tmp_path / "renamed.h5ad")
    write(tmp_path / "references.csv", "reference,model,h5ad,label_key", f"blood,{model},,", "renamed,,renamed.h5ad,kind")
    write(tmp_path / "queries.csv", "sample,h5ad", f"q.1,{DATA / 'unseen_type.h5ad'}")
    run = succeed("--references", "references.csv", "--input", "queries.csv", "--n_genes", "200",
                  "--max_epochs", "1", "--attention", "false", "--clusters", "false", "--annotated", "false",
                  folder=tmp_path)  # fmt: skip
    assert "1 query mapped onto 2 references" in run.output
    assert "q.1: the references blood and renamed give no label in common" in run.output

    results = tmp_path / "results"
    sample = results / "samples" / "q.1"
    tables = {name: sample / name / f"q.1.{name}.labels.csv" for name in ("blood", "renamed")}
    own = {name: pd.read_csv(path, index_col="cell") for name, path in tables.items()}
    found = pd.read_csv(sample / "q.1.consensus.csv", index_col="cell")
    for name, labels in own.items():
        for key in ("label", "confidence", "status"):
            pd.testing.assert_series_equal(
                found[f"cellmemory_{key}_{name}"], labels[f"cellmemory_{key}"], check_names=False, check_exact=True
            )
    votes = sum((labels["cellmemory_status"] == "assigned").astype(int) for labels in own.values())
    status = votes.map({0: "unassigned", 1: "single", 2: "split"})
    assert found["cellmemory_consensus_status"].tolist() == status.tolist()

    report = (results / "references" / "renamed" / "report.html").read_text()
    assert '<section id="references"' in report
    assert (results / "multiqc" / "q.1_consensus_mqc.json").exists()
    record = json.loads((sample / "blood" / "q.1.blood.provenance.json").read_text())
    assert record["model"] == json.loads((model / "config.json").read_text())["digest"]
    assert [Path(file["path"]).name for file in record["inputs"]] == ["unseen_type.h5ad"]
    agreed = json.loads((sample / "q.1.consensus.provenance.json").read_text())
    assert [file["name"] for file in agreed["results"]] == ["q.1.consensus.csv", "q.1.consensus.json"]
    assert {Path(file["path"].removeprefix("file://")) for file in agreed["inputs"]} == set(tables.values())
    assert {file["sha256"] for file in agreed["inputs"]} == {signature.sha256(path) for path in tables.values()}
    crate = json.loads((results / "ro-crate-metadata.json").read_text())
    parts = [entity["@id"] for entity in crate["@graph"] if entity["@type"] in ("File", "Dataset") and entity["@id"] != "./"]
    assert [part for part in parts if not (results / part).exists()] == []
    assert {"samples/q.1/q.1.consensus.csv", "references/renamed/model/config.json", "references/blood/report.html"} <= set(parts)

    # With the names made common, the same tables agree wherever both are right.
    rows = [f"renamed\tkind {label}\t{label}" for label in cells.obs["cell_type"].unique()]
    write(tmp_path / "map.tsv", "reference\tlabel\tcommon_label", *rows)
    options = [part for name, path in tables.items() for part in ("--labels", name, path)]
    conftest.succeed("consensus", "--sample", "q.1", *options, "--label_map", "map.tsv", "--output", "q.csv",
                     "--summary", "q.json", folder=tmp_path)  # fmt: skip
    summary = json.loads((tmp_path / "q.json").read_text())
    assert summary["warnings"] == []
    assert summary["pairs"][0]["agreement"] > 0.5
