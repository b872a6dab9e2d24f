"""Options of the scripts that no step can work with are refused before any work."""

import ast
import os
import re

import pytest

from tests.conftest import DATA, ROOT, refused


@pytest.mark.parametrize(
    ("script", "option", "value", "sentence"),
    [
        ("map_query", "--alpha", "nan", "nan is not a number."),
        ("map_query", "--novelty_alpha", "NaN", "NaN is not a number."),
        ("map_query", "--seed", "99999999999999999999", "is not in the range 0<=x<=4294967295."),
        ("map_query", "--threads", "100000000000", "is not in the range 1<=x<=4096."),
        ("train", "--learning_rate", "nan", "nan is not a number."),
        ("train", "--seed", "-1", "is not in the range 0<=x<=4294967295."),
        ("preprocess_query", "--min_coverage", "nan", "nan is not a number."),
    ],
)
def test_numbers_that_are_none(script: str, option: str, value: str, sentence: str):
    (found,) = refused(script, option, value)
    assert sentence in found


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (found,) = refused("copy_model", "--model", tmp_path / "pipe", "--output", tmp_path / "out")
    assert "is a device or a pipe. Give a file." in found
    (found,) = refused("preprocess_query", "--query", DATA / "unseen_type.h5ad", "--panel", "/dev/zero", "--output",
                       tmp_path / "o.h5ad", "--alignment", tmp_path / "o.json")  # fmt: skip
    assert "is a device or a pipe. Give a file." in found


def test_what_a_name_would_make_a_terminal_do_is_written_out(tmp_path):
    (found,) = refused("preprocess_reference", "--reference", DATA / "reference.h5ad", "--label_key", "\x1b[2Jkind", "--output",
                       tmp_path / "o.h5ad", "--panel", tmp_path / "p.tsv")  # fmt: skip
    assert r"'\x1b[2Jkind'" in found


def test_messages_name_scripts_that_there_are():
    scripts = {path.name for path in (ROOT / "bin").glob("*.py")}
    named = {
        name
        for path in (ROOT / "bin").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"\b([a-z_]+\.py)\b", node.value)
    }
    assert len(named & scripts) > 10
    assert named <= scripts
