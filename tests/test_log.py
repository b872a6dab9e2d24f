"""One log, one form of a line: sentences, by one logger."""

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellmemory import log
from tests.conftest import ROOT

SOURCES = sorted((ROOT / "bin").rglob("*.py"))


def calls(path: Path, *names: str) -> list[ast.Call]:
    """Calls of functions of these names in a file, as `say(...)` or `_cli.say(...)`."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [node for node in found if getattr(node.func, "attr", getattr(node.func, "id", "")) in names]


def ends(argument: ast.expr) -> tuple[str, str]:
    """What a written sentence begins and ends with; an empty text where that is computed."""
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    first, last = (part.value if isinstance(part, ast.Constant) else "" for part in (parts[0], parts[-1]))
    return first[:1], last[-1:]


def test_lines_of_the_log_are_sentences():
    wrong = [
        f"{path.name}, line {call.lineno}"
        for path in SOURCES
        for call in calls(path, "say", "warn")
        for argument in call.args
        if isinstance(argument, ast.Constant | ast.JoinedStr)
        for begin, end in [ends(argument)]
        if begin.islower() or end not in ("", ".")
    ]
    assert wrong == []


def test_nothing_else_writes_to_standard_error():
    printing = [path.name for path in SOURCES for call in calls(path, "print") if any(k.arg == "file" for k in call.keywords)]
    assert printing == ["log.py"]


def test_scripts_show_lines_on_standard_error(capsys):
    log.say("Read 3 cells, 100 % of them.")
    log.warn("One is empty.")
    assert capsys.readouterr() == ("", "Read 3 cells, 100 % of them.\nWarning: One is empty.\n")


def test_names_are_the_users_own_and_nothing_a_terminal_would_obey(capsys):
    log.show_on_standard_error({"/jobs/dataset_4.dat": r"my\1 cells.h5ad"})
    log.say("Read /jobs/dataset_4.dat, not /jobs/dataset_4.data: label '\x1b[31mB'.")
    log.show_on_standard_error({})
    assert capsys.readouterr().err == r"Read my\1 cells.h5ad, not /jobs/dataset_4.data: label '\x1b[31mB'." + "\n"


def test_a_sentence_is_no_longer_than_a_screen(capsys):
    columns = ", ".join(f"column_{n}" for n in range(5_000))
    log.say(f"q.h5ad: there is no column 'x'; the columns are {columns}. Give one of these.")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("q.h5ad: there is no column 'x'; the columns are column_0, ")
    assert re.search(r" \.\.\. \(6\d,\d{3} characters left out\) \.\.\. ", line)
    assert line.endswith(", column_4999. Give one of these.")
    assert len(line) < 2100


def test_only_the_first_of_several_processes_writes(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    log.say("Read 3 cells.")
    assert capsys.readouterr().err == ""


@pytest.fixture
def of_a_notebook() -> Iterator[None]:
    """The logger as it is where no script has set it."""
    log.LOGGER.handlers, log.LOGGER.propagate = [], True
    log.LOGGER.setLevel(logging.NOTSET)
    yield
    log.show_on_standard_error({})


@pytest.mark.usefixtures("of_a_notebook")
def test_a_notebook_sees_warnings_and_the_rest_once_it_asks(caplog, capsys):
    log.say("Read 3 cells.")
    log.warn("One is empty.")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", "One is empty.")]
    with caplog.at_level("INFO"):
        log.say("Read 3 cells.")
    assert caplog.records[-1].getMessage() == "Read 3 cells."
    assert capsys.readouterr().err == ""
