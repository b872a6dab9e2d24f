"""Parameters and samplesheet: what is refused, with which words, and that all places agree on the defaults."""

import json
import shutil
from importlib import import_module
from pathlib import Path

import pytest

import cellmemory
from tests.pipeline.nextflow import DATA, ROOT, nextflow, pipeline, problems, refused

REFERENCE = ("--reference", DATA / "reference.h5ad", "--label_key", "cell_type")

SCRIPTS = ("check_inputs", "preprocess_reference", "preprocess_query", "train", "map_query", "extract_tags", "enrich")
SCRIPTS += ("faithfulness",)
RENAMED = {("extract_tags", "top"): "top_tags", ("enrich", "top"): "enrich_top"}
RENAMED |= {("faithfulness", "cells_per_label"): "faithfulness_cells"}


def definitions() -> dict[str, dict]:
    groups = json.loads((ROOT / "nextflow_schema.json").read_text())["$defs"].values()
    return {name: definition for group in groups for name, definition in group["properties"].items()}


def test_no_default_is_a_truth_value_in_words():
    """nf-core's linter refuses these: a shell and YAML take them for booleans."""
    texts = {name: definition.get("default") for name, definition in definitions().items() if definition["type"] == "string"}
    assert [name for name, default in texts.items() if str(default).lower() in ("true", "false")] == []


def test_help_shows_every_parameter_and_leaves_nothing_behind(tmp_path: Path):
    run = pipeline("--help", folder=tmp_path)
    assert run.status == 0
    for name, definition in definitions().items():
        shown = f"--{name} " in run.output and definition["description"] in run.output
        assert shown != definition.get("hidden", False), name
    assert not (tmp_path / "results").exists()


def test_configurations_of_institutions_are_loaded_where_they_are_and_missed_by_nobody(tmp_path: Path):
    profile = "here { params.config_profile_name = 'here'; params.max_memory = 8.GB; manifest.version = '9.9' }"
    (tmp_path / "nfcore_custom.config").write_text(f"profiles {{ {profile} }}")
    run = pipeline("--version", "-profile", "here", "--custom_config_base", tmp_path, folder=tmp_path)
    assert run.status == 0, run.output
    assert "nf-cellmemory 9.9" in run.output
    # No name ends in .invalid: a network that does not reach it is like none. All other tests are without a network.
    nowhere = ("--custom_config_base", "https://configs.invalid/master")
    run = pipeline("--version", *nowhere, folder=tmp_path, NXF_OFFLINE="false")
    assert run.status == 0, run.output
    assert f"nf-cellmemory {cellmemory.__version__}" in run.output


def test_configuration_has_the_defaults_of_the_schema(tmp_path: Path):
    run = nextflow("config", ROOT, "-flat", folder=tmp_path)
    for name, definition in definitions().items():
        default = definition.get("default")
        shown = f"'{default}'" if isinstance(default, str) else json.dumps(default)
        assert f"params.{name} = {shown}\n" in run.output
    assert run.output.count("\nparams.") + run.output.startswith("params.") == len(definitions())


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_have_the_defaults_of_the_schema(script: str):
    schema = definitions()
    for option in import_module(script).main.params:
        definition = schema.get(RENAMED.get((script, option.name), option.name))
        if definition and "default" in definition and option.name != "version":
            assert option.default == definition["default"], f"{script}.py --{option.name}"


def test_all_problems_are_said_at_once(tmp_path: Path):
    (tmp_path / "queries.csv").write_text("sample,h5ad,colour\na,a.h5ad,red\n")
    (tmp_path / "sets").mkdir()
    output = refused(
        "--input", "queries.csv", "--reference", "none.h5ad", "--lable_key", "x", "--n_genes", "1", "--mode", "quick",
        "--alpha", "1", "--seed", "x", "--gmt", "none.gmt,sets", "--gene_map", "sets", "--model", "queries.csv",
        "--label_map", "none.tsv", "--checkpoint_dir", "s3://bucket/checkpoints", "--batch_key",
        folder=tmp_path,
    )  # fmt: skip
    for sentence in (
        "There is no parameter --lable_key: did you mean --label_key?",
        "--reference: there is no file none.h5ad.",
        "--n_genes is 1, but must be at least 2.",
        "--mode is 'quick', but must be one of fast, full.",
        "--alpha is 1, but must be more than 0 and less than 1.",
        "--seed needs a whole number, but is 'x'.",
        "--batch_key needs a value, but is 'true'.",
        "--label_key is missing",
        "--gmt: there is no file none.gmt.",
        "--gmt: sets is a folder, but must be a file.",
        "--gene_map: sets is a folder, but must be a file.",
        "--label_map: there is no file none.tsv.",
        "--reference and --model exclude each other",
        "--label_map is about labels of several references, but there is no --references.",
        "--checkpoint_dir: s3://bucket/checkpoints is not a folder of a file system",
        "queries.csv has a column 'colour' that means nothing here",
    ):
        assert sentence in output


def test_levels_end_with_the_labels_before_any_task(tmp_path: Path):
    reference = {"input": DATA / "samplesheet.csv", "reference": DATA / "reference.h5ad", "label_key": "cell_type"}
    found = problems(*(reference | {"label_levels": f"cell_type, {last}"} for last in ("lineage", "cell_type")), folder=tmp_path)
    said = "--label_levels 'cell_type, lineage' ends with 'lineage', but the labels to train on (--label_key) are 'cell_type'"
    assert found == [[f"{said}: put the finest level last."], []]


def test_the_test_profile_takes_a_model_in_place_of_its_reference(tmp_path: Path):
    (tmp_path / "model").mkdir()
    for name in ("config.json", "panel.tsv"):
        (tmp_path / "model" / name).touch()
    run = pipeline("-profile", "test", "--model", "model", "-stub-run", folder=tmp_path)
    assert "--reference" not in run.output
    assert not [task for task in run.submitted if task.startswith(("TRAIN", "PREPROCESS_REFERENCE"))]
    assert run.status == 0


def test_a_run_replaces_neither_inputs_nor_what_others_wrote(tmp_path: Path):
    """As `--outdir` of a folder did that had a report, a model and the query itself in it."""
    out = tmp_path / "out"
    query = out / "samples" / "a" / "a.h5ad"
    query.parent.mkdir(parents=True)
    shutil.copy(DATA / "unseen_type.h5ad", query)
    (out / "model").mkdir()
    (out / "model" / "thesis.txt").write_text("mine")
    (tmp_path / "sheet.csv").write_text(f"sample,h5ad\na,{query}\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    output = refused("--input", "sheet.csv", *REFERENCE, "--outdir", "out", folder=tmp_path)
    assert f"--outdir {out} holds samples, model, which this pipeline did not write. Give another folder." in output
    assert f"--outdir {out}: the input {query} lies where results are written. Give another folder." in output
    assert {path: path.read_bytes() for path in before} == before


def test_what_a_run_would_replace_in_its_folder_is_said(tmp_path: Path):
    (tmp_path / "sheet.csv").write_text(f"sample,h5ad\na,{DATA / 'unseen_type.h5ad'}\n")
    own, earlier = tmp_path / "own", tmp_path / "earlier"
    records = ("ro-crate-metadata.json", "model.provenance.json", "pipeline_info/versions.yml")
    of_a_run = [earlier / "pipeline_info" / "inputs.json", earlier / "model" / "thesis.txt"]
    for path in [own / record for record in records] + of_a_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    # A model that is trained now has the place of one that is given.
    place = own / "references" / "a" / "model"
    place.mkdir(parents=True)
    rows = f"a,{DATA / 'reference.h5ad'},,cell_type\nold,,own/references/a/model,\n"
    (tmp_path / "refs.csv").write_text(f"reference,h5ad,model,label_key\n{rows}")
    sheet = {"input": "sheet.csv"}
    reference = sheet | {"reference": DATA / "reference.h5ad", "label_key": "cell_type"}
    within, records_of_their_own, trained, beside = problems(
        sheet | {"model": earlier / "model", "outdir": earlier / "model" / "new"},
        reference | {"outdir": "own"},
        sheet | {"references": "refs.csv", "outdir": "own"},
        reference | {"outdir": "earlier"},
        folder=tmp_path,
    )
    assert f"--outdir {earlier}/model/new lies in the model {earlier}/model, an input. Give another folder." in within
    listed = "references, model.provenance.json, ro-crate-metadata.json, pipeline_info/versions.yml"
    assert records_of_their_own == [f"--outdir {own} holds {listed}, which this pipeline did not write. Give another folder."]
    assert f"--outdir {own}: the input {place} lies where results are written. Give another folder." in trained
    strangers = f"the model {earlier}/model is replaced, but holds what is not of it (thesis.txt). Move this away."
    assert beside == [f"--outdir {earlier}: {strangers}"]


def test_problems_of_a_samplesheet_name_their_line(tmp_path: Path):
    query = DATA / "unseen_type.h5ad"
    lines = ["sample,h5ad,truth_key", f"a b,{query},x", "", "c,missing.h5ad,", f"d,{DATA},"]
    lines += [f'"e",{query},x', f"e,{query},x", f"f,{DATA / 'samplesheet.csv'},", f"g,{query}", ",,x"]
    (tmp_path / "queries.csv").write_text("\n".join(lines))
    output = refused("--input", "queries.csv", *REFERENCE, folder=tmp_path)
    for sentence in (
        "queries.csv, line 2: the sample name is 'a b'. A sample name may hold only letters",
        f"queries.csv, line 4: there is no file {tmp_path / 'missing.h5ad'}.",
        f"queries.csv, line 5: the folder {DATA} has no .mtx or .mtx.gz file",
        "queries.csv: the sample name e is used by lines 6, 7; every query needs its own.",
        "queries.csv, line 8: samplesheet.csv is neither an .h5ad or 10x .h5 file nor a 10x mtx folder.",
        "queries.csv, line 9: 2 cells, but there are 3 columns.",
        "queries.csv, line 10: sample is empty.",
        "queries.csv, line 10: h5ad is empty.",
    ):
        assert sentence in output


def test_what_only_the_files_show_is_refused_before_anything_heavy(tmp_path: Path):
    contrasts = "author_label:CD19+ B:Moon cell, state:ill:well"
    run = pipeline("-profile", "test", "--label_key", "no_such_column", "--contrast", contrasts, folder=tmp_path)
    assert run.status != 0
    assert run.submitted == ["CHECK_INPUTS"]
    assert "no_such_column" in run.output
    assert "cell_type" in run.output
    assert "--contrast author_label:CD19+ B:Moon cell: the obs column 'author_label'" in run.output
    assert "--contrast state:ill:well: write COLUMN:A:B" in run.output


def test_what_is_wrong_with_files_names_them_by_the_users_own_paths(tmp_path: Path):
    """And not by where the task has them."""
    for name in ("my query (1).h5ad", "my reference.h5ad", "my genes.tsv", "my sets.gmt"):
        (tmp_path / name).write_text("nothing of the kind")
    (tmp_path / "queries.csv").write_text("sample,h5ad\na,my query (1).h5ad\n")
    run = pipeline("--input", "queries.csv", "--reference", "my reference.h5ad", "--label_key", "x", "--gene_map", "my genes.tsv",
                   "--gmt", "my sets.gmt", folder=tmp_path)  # fmt: skip
    assert run.status == 1
    assert run.submitted == ["CHECK_INPUTS"]
    errors = [line for line in run.output.splitlines() if "Error: " in line]
    for name in ("my query (1).h5ad", "my reference.h5ad", "my genes.tsv", "my sets.gmt"):
        assert any(f"{tmp_path / name}" in line for line in errors), (name, errors)
    for staged in ("query_1", "reference_1", "gene_map/", "gene_sets_1"):
        assert not any(staged in line for line in errors), errors
