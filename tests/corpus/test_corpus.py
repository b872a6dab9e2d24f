"""The corpus of odd inputs: each is read, or refused in a sentence; never a traceback, a signal, or a file half written."""

import re
from pathlib import Path

import pytest

from cellmemory.consensus.label_map import read_label_map
from cellmemory.errors import InputError
from cellmemory.io.samplesheet import read_samplesheet
from tests.corpus import cells, sheets
from tests.corpus.runner import Outcome, run


def run_quietly(script: str, arguments: list[object], folder: Path, outputs: list[str]) -> Outcome:
    """Runs a script that must end with 0 and all outputs, or with 1, a sentence and none."""
    done = run(script, arguments, folder)
    assert done.status in (0, 1), (done.status, done.output)
    assert not re.search(r"Traceback|[a-z]Warning:", done.output), done.output
    assert len(set(done.sentences)) == len(done.sentences), done.output
    there = [name for name in outputs if (folder / name).exists()]
    assert there == (outputs if done.status == 0 else []), done.output
    assert bool(done.sentences) == (done.status == 1), done.output
    assert not list(folder.glob(".partial-*"))
    return done


def expect(done: Outcome, says: tuple[str, ...], ok: bool) -> None:
    assert done.status == (0 if ok else 1), done.output
    if ok:
        for part in says:
            assert part in done.output, done.output
    else:
        assert any(all(part in sentence for part in says) for sentence in done.sentences), done.output


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good reference and query, and the reference's panel."""
    folder = tmp_path_factory.mktemp("good")
    cells.good(0).write_h5ad(folder / "reference.h5ad")
    cells.good(1).write_h5ad(folder / "query.h5ad")
    done = run("preprocess_reference", ["--reference", "reference.h5ad", "--label_key", "cell_type", "--output", "aligned.h5ad",
                                        "--panel", "panel.tsv"], folder)  # fmt: skip
    assert done.status == 0, done.output
    return folder


def check(sheet: Path, reference: Path, label_key: str, *options: object) -> list[object]:
    return ["--samplesheet", sheet, "--reference", reference, "--label_key", label_key, *options,
            "--output", "inputs.json", "--query_genes", "genes.tsv"]  # fmt: skip


@pytest.mark.parametrize("case", cells.QUERIES, ids=lambda case: case.name)
def test_queries(case, good, tmp_path):
    path = cells.written(case, tmp_path, seed=1)
    if case.at in ("step", "both"):
        arguments = ["--query", path, "--sample", "s", "--panel", good / "panel.tsv", *case.options, "--output", "a.h5ad",
                     "--alignment", "a.json"]  # fmt: skip
        done = run_quietly("preprocess_query", arguments, tmp_path, ["a.h5ad", "a.json"])
        expect(done, case.says, case.ok)
    if case.at in ("check", "both"):
        columns = {option.removeprefix("--"): value for option, value in zip(case.options[::2], case.options[1::2], strict=True)}
        sheet = tmp_path / "sheet.csv"
        head, row = ",".join(["sample", "h5ad", *columns]), ",".join(["s", path.name, *columns.values()])
        sheet.write_text(f"{head}\n{row}\n")
        done = run_quietly("check_inputs", check(sheet, good / "reference.h5ad", "cell_type", "--min_coverage", 0.2), tmp_path,
                           ["inputs.json", "genes.tsv"])  # fmt: skip
        expect(done, case.says, case.ok)


@pytest.mark.parametrize("case", cells.REFERENCES, ids=lambda case: case.name)
def test_references(case, good, tmp_path):
    path = cells.written(case, tmp_path, seed=0)
    if case.at in ("step", "both"):
        arguments = ["--reference", path, "--label_key", case.label_key, *case.options, "--output", "r.h5ad", "--panel", "p.tsv"]
        done = run_quietly("preprocess_reference", arguments, tmp_path, ["r.h5ad", "p.tsv"])
        if case.name != "reference_without_cells" and case.name != "reference_of_one_gene":
            expect(done, case.says, case.ok)
    if case.at in ("check", "both"):
        sheet = tmp_path / "sheet.csv"
        sheet.write_text(f"sample,h5ad\ns,{good / 'query.h5ad'}\n")
        arguments = check(sheet, path, case.label_key, *case.options)
        done = run_quietly("check_inputs", arguments, tmp_path, ["inputs.json", "genes.tsv"])
        expect(done, case.says[-1:], case.ok)


@pytest.mark.parametrize("name", sheets.SHEETS)
def test_samplesheets(name, good, tmp_path):
    expected = sheets.SHEETS[name]
    sheet = tmp_path / "sheet.csv"
    sheet.write_bytes(sheets.filled(expected.content, good / "query.h5ad"))
    done = run_quietly("check_inputs", check(sheet, good / "reference.h5ad", "cell_type"), tmp_path, ["inputs.json", "genes.tsv"])
    if expected.script is None or name in sheets.READ_IN_VAIN:
        [query] = read_samplesheet(sheet, [])
        assert (query.sample, query.path) == ("a", good / "query.h5ad")
        assert query.origin.truth_key == expected.settings.get("truth_key")
    if expected.script is None:
        expect(done, ("120 cells, 60 of 60 genes",), ok=True)
    else:
        expect(done, (expected.script,), ok=False)
        assert len(done.output.splitlines()) <= 21


@pytest.mark.parametrize("name", sheets.LABEL_MAPS)
def test_label_maps(name, tmp_path):
    """In this process: the options around them are tested in results.py."""
    expected = sheets.LABEL_MAPS[name]
    path = tmp_path / "map.tsv"
    path.write_bytes(expected.content)
    if expected.script is None:
        assert read_label_map(path, ["a"]) == {("a", "B"): "b"}
    else:
        with pytest.raises(InputError, match=re.escape(expected.script)) as error:
            read_label_map(path, ["a"])
        assert all(str(path) in problem for problem in error.value.problems)


@pytest.mark.parametrize("name", sheets.MAPS)
def test_gene_maps(name, good, tmp_path):
    content, refusal = sheets.MAPS[name]
    found = tmp_path / "map.tsv"
    found.write_bytes(content)
    query = cells.good(1)
    query.var_names = ["X1" if gene == "GENE1" else gene for gene in query.var_names]
    query.write_h5ad(tmp_path / "q.h5ad")
    arguments = [
        "--query",
        "q.h5ad",
        "--panel",
        good / "panel.tsv",
        "--gene_map",
        found,
        "--output",
        "a.h5ad",
        "--alignment",
        "a.json",
    ]
    done = run_quietly("preprocess_query", arguments, tmp_path, ["a.h5ad", "a.json"])
    expect(done, ("Matched 60 of 60", "1 renamed") if refusal is None else (refusal,), refusal is None)


@pytest.mark.parametrize("name", sheets.GENE_SETS)
def test_gene_sets(name, good, tmp_path):
    content, refusal = sheets.GENE_SETS[name]
    (tmp_path / "sets.gmt").write_bytes(content)
    (tmp_path / "sheet.csv").write_text(f"sample,h5ad\ns,{good / 'query.h5ad'}\n")
    arguments = check(tmp_path / "sheet.csv", good / "reference.h5ad", "cell_type", "--gmt", "sets.gmt")
    done = run_quietly("check_inputs", arguments, tmp_path, ["inputs.json", "genes.tsv"])
    expect(done, () if refusal is None else (refusal,), refusal is None)
