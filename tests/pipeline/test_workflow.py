"""The pipeline's own code: how long its parts may be, which file includes which, and that the strict parser runs all of it."""

import dataclasses
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from cellmemory.io import samplesheet
from tests.pipeline.nextflow import DATA, ROOT, STEPS, asked, counted, files_in, nextflow, succeed

FOLDERS = ("workflows", "subworkflows", "modules", "functions")
FILES = [ROOT / "main.nf", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.nf"))]
GENE_SETS = ROOT / "assets" / "genesets" / "blood_cell_markers.gmt"
SCREEN = 60
STRICT = {"NXF_VER": "25.04.0", "NXF_SYNTAX_PARSER": "v2"}
"""Nextflow that parses by the strict rules, which are the only ones from 26.04 on. Of 25.04 not all jars are to be had
from Maven: two are of 24.10 (scripts/nextflow-25.04.0.pom.xml). It warns of settings that it does not know, such as
process.publishDir.path, and is right about everything else that these tests ask."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def included(path: Path) -> set[Path]:
    """The files that one includes."""
    return {
        (path.parent / found).resolve() for found in re.findall(r"^include \{.*\} from '(.+)'", path.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("path", FILES, ids=name)
def test_each_workflow_and_function_fits_a_screen(path: Path):
    bodies = re.findall(r"^(?:workflow|process|def) ?(\w*)[^\n]*\{\n(.*?)^\}", path.read_text(), re.MULTILINE | re.DOTALL)
    assert bodies
    # What is data, and nothing else, may be as long as it is.
    data = {"siteProblems", "crate"}
    assert {name: lines for name, body in bodies if name not in data and (lines := body.count("\n")) > SCREEN} == {}


def test_includes_form_a_tree_but_for_files_that_include_nothing():
    """The strict parser of 25.04 takes the functions of a file with includes for defined twice when two files include it."""
    by = defaultdict(set)
    for path in FILES:
        for found in included(path):
            by[found].add(name(path))
    assert by.keys() <= set(FILES)
    assert {name(path): files for path, files in by.items() if included(path) and len(files) > 1} == {}
    for path in (ROOT / "modules").rglob("*.nf"):
        assert [name(found) for found in included(path) if included(found)] == []


def test_every_file_is_included():
    assert set(FILES) - {found for path in FILES for found in included(path)} == {ROOT / "main.nf"}


def test_workflows_emit_names_alone():
    """`emit: name = value` is lost by the strict parser of 25.04."""
    for path in (*(ROOT / "workflows").glob("*.nf"), *(ROOT / "subworkflows").glob("*.nf")):
        emitted = path.read_text().split("    emit:\n")[1].split("}\n")[0]
        assert re.fullmatch(r"(    \w+( //.*)?\n)+", emitted), name(path)


def test_parameters_are_read_in_the_entry_alone():
    for path in FILES[1:]:
        assert not re.search(r"\bparams\b", re.sub(r"//.*", "", path.read_text())), name(path)


def test_files_are_published_by_meta_and_not_by_what_their_names_match():
    text = (ROOT / "conf" / "modules.config").read_text()
    assert not re.search(r"~/|=~|replaceFirst|replaceAll|\.replace\(", text)


@pytest.mark.parametrize("kind", ["input", "references"])
def test_what_the_schema_of_a_sheet_says_is_complete(kind: str):
    schema = json.loads((ROOT / "assets" / f"schema_{kind}.json").read_text())
    columns = schema["items"]["properties"]
    assert set(schema["items"]["required"]) <= set(columns)
    for rule in columns.values():
        assert rule["description"].endswith(".")
        assert ("pattern" in rule) == ("errorMessage" in rule)
    if kind == "input":
        assert [field.name for field in dataclasses.fields(samplesheet.Origin)] == list(samplesheet.OPTIONAL)


def test_the_strict_parser_shows_the_help(tmp_path: Path):
    run = nextflow("run", ROOT, "--help", folder=tmp_path, **STRICT)
    assert run.status == 0, run.output
    assert "--reference" in run.output


def test_the_strict_parser_runs_every_step(tmp_path: Path):
    """Onto two references, with everything that can be asked for; and what it publishes is what the other parser does."""
    rows = [f"{own},{DATA / 'reference.h5ad'},cell_type\n" for own in ("a", "b")]
    (tmp_path / "references.csv").write_text("reference,h5ad,label_key\n" + "".join(rows))
    (tmp_path / "cells.config").write_text("process { withName: 'PREPROCESS_QUERY' { ext.stub_cells = 2 } }")
    # Without a profile: 25.04 looks for it in each of the files for -c, too.
    asked = ("-stub-run", "-c", "cells.config", "--input", DATA / "samplesheet.csv", "--references", "references.csv",
             "--gmt", GENE_SETS, "--cells_per_task", "1", "--adapt", "true", "--contrast_with", "unseen_type")  # fmt: skip
    run = succeed(*asked, folder=tmp_path, **STRICT)
    pairs = dict.fromkeys(STEPS, 4) | {"ADAPT": 4, "GATHER": 4, "MAP_QUERY": 8}
    once = {"CHECK_INPUTS": 1, "CONSENSUS": 2, "CHECKSUMS_CONSENSUS": 2}
    both = dict.fromkeys(("PREPROCESS_REFERENCE", "TRAIN", "CHECKSUMS_MODEL", "REPORT_RUN"), 2)
    assert counted(run.submitted) == pairs | once | both
    strict = files_in(tmp_path / "results")
    (tmp_path / "results").rename(tmp_path / "strict")
    again = succeed(*asked, folder=tmp_path)
    assert counted(again.submitted) == counted(run.submitted)
    assert files_in(tmp_path / "results") == strict


def test_a_pages_command_has_nothing_that_differs_when_the_same_run_is_resumed(tmp_path: Path):
    lines = {
        "nextflow run . -resume --input a.csv --outdir out": "nextflow run . --input a.csv",
        "nextflow run . --input a.csv --outdir 'my out' -w \"wk 1\" -resume angry_bell": "nextflow run . --input a.csv",
        r"nextflow run . --outdir out\ o\'dir --seed 1 -name x": "nextflow run . --seed 1",
        "nextflow run . --outdir=out -profile test": "nextflow run . -profile test",
    }
    groovy = "def found = given.collect { line -> sameCommand(line) }"
    assert asked({"sameCommand": "pages.nf"}, groovy, list(lines), folder=tmp_path) == list(lines.values())
