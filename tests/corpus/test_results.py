"""The scripts behind preprocessing on odd inputs: see `results`."""

import json
import shutil
from pathlib import Path

import pytest

from cellmemory.io.outputs import replaceable
from tests.conftest import ROOT
from tests.corpus import results
from tests.corpus.__main__ import table
from tests.corpus.edits import COMMANDS, Case, nothing
from tests.corpus.made import make
from tests.corpus.runner import Outcome, preload, run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    preload()
    return make(tmp_path_factory.mktemp("made"))


def prepared(case: Case, folder: Path, made: Path) -> Path:
    """A folder with copies of what the case's command names, changed as the case says, and an empty `out`."""
    before = COMMANDS[case.script] + " " + case.options
    for name in dict.fromkeys(before.split()):
        if (made / name).is_dir():
            shutil.copytree(made / name, folder / name)
        elif (made / name).is_file():
            shutil.copy(made / name, folder / name)
    (folder / "out").mkdir()
    case.edit(folder, made)
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    """All files in `out` by their paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "out").rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def untouched(made: Path, tmp_path_factory: pytest.TempPathFactory):
    """The outputs of a command on good files, each command run once."""
    found: dict[tuple[str, str], dict[str, bytes]] = {}

    def of(script: str, options: str) -> dict[str, bytes]:
        if (script, options) not in found:
            case = Case(script, "untouched", nothing, (), more=options)
            folder = prepared(case, tmp_path_factory.mktemp(script), made)
            assert run(script, case.options.split(), folder).status == 0
            found[script, options] = outputs(folder)
        return found[script, options]

    return of


#: `make test` takes every third of them, of each script and kind therefore some.
CASES = [pytest.param(case, marks=[pytest.mark.corpus] if place % 3 else []) for place, case in enumerate(results.CASES)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.script}-{case.name}")
def test_results(case, made, untouched, tmp_path):
    folder = prepared(case, tmp_path, made)
    done = run(case.script, case.options.split(), folder)
    assert done.status in (0, 1), done.output
    assert "Traceback" not in done.output
    if case.ok:
        _is_read(case, done, folder)
        if case.same:
            assert outputs(folder) == untouched(case.script, case.more)
    else:
        _is_refused(case, done, folder)


#: Results of the run that a step may write again, and the kind of each.
RESULTS = {
    "panel.tsv": "panel", "query_genes.tsv": "query_genes", "q.tags.tsv": "tags", "q.slot_tags.tsv": "slot_tags",
    "q.contrasts.tsv": "contrasts", "q.faithfulness.tsv": "faithfulness", "q.enrichment.tsv": "enrichment",
    "q.labels.csv": "labels", "q.consensus.csv": "consensus", "inputs.json": "inputs", "q.alignment.json": "alignment",
    "q.metrics.json": "metrics", "q.consensus.json": "agreement", "q.cell_clusters.csv": "cell_clusters",
    "q.clusters.tsv": "clusters", "q.cluster_markers.tsv": "cluster_markers",
}  # fmt: skip


def note_in(path: Path) -> None:
    """What somebody adds of their own: a column of notes in a table, a key in a JSON, a value changed deep in one."""
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        content["note"] = "look at these again"
        path.write_text(json.dumps(content))
    else:
        separator = "," if path.suffix == ".csv" else "\t"
        header, *rows = path.read_text().splitlines()
        path.write_text("\n".join([f"{header}{separator}my_note", *(f"{row}{separator}seen" for row in rows)]))


@pytest.mark.parametrize(("name", "kind"), RESULTS.items())
def test_a_result_with_a_note_of_its_user_is_not_replaced(name, kind, made, tmp_path):
    copy = Path(shutil.copy(made / name, tmp_path / name))
    assert replaceable(copy, kind)
    note_in(copy)
    assert not replaceable(copy, kind)


def test_a_json_with_another_value_is_not_replaced(made, tmp_path):
    content = json.loads((made / "q.metrics.json").read_text())
    content["per_class"][0]["label"] += " (doubtful)"
    (tmp_path / "m.json").write_text(json.dumps(content))
    assert not replaceable(tmp_path / "m.json", "metrics")


def test_a_model_with_a_note_in_its_card_is_not_replaced(made, tmp_path):
    model = Path(shutil.copytree(made / "model", tmp_path / "model"))
    assert replaceable(model, "model")
    with (model / "model_card.md").open("a") as card:
        card.write("Checked by hand.\n")
    assert not replaceable(model, "model")


def test_the_page_counts_the_corpus():
    assert table() in (ROOT / "docs" / "reliability.md").read_text()


def _is_read(case: Case, done: Outcome, folder: Path) -> None:
    assert done.status == 0, done.output
    for part in case.says:
        assert part in done.output, done.output
    assert {part for part in case.options.split() if part.startswith("out/")} <= {
        f"out/{p.name}" for p in (folder / "out").iterdir()
    }
    assert case.holds is None or case.holds(folder)


def _is_refused(case: Case, done: Outcome, folder: Path) -> None:
    assert done.status == 1, done.output
    assert any(all(part in sentence for part in case.says) for sentence in done.sentences), done.output
    assert not list((folder / "out").iterdir())
