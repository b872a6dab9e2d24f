"""The scripts behind preprocessing on odd inputs: see `results`."""

import shutil
from pathlib import Path

import pytest

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
