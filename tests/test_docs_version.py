"""The version: one home, the places that cannot read it, and the command that sets them all."""

import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import cellmemory
from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "set-version.py"
SPEC = spec_from_file_location("set_version", SCRIPT)
set_version = module_from_spec(SPEC)
SPEC.loader.exec_module(set_version)
#: Where a reader or a program may look for the version. Tests have data with versions of their own.
WRITTEN = (
    "*.*",
    "bin/**/*.py",
    "conf/*",
    "containers/**/*",
    "docs/*.md",
    "functions/*",
    "modules/*/*",
    "scripts/*",
    ".github/**/*",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files that hold the version, and the script."""
    for place in (*set_version.PLACES, "CHANGELOG.md", "scripts/set-version.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / place, tmp_path / place)
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, project / "scripts" / "set-version.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_all_places_hold_one_version():
    for place in set_version.PLACES:
        found = set(set_version.pattern(place).findall((ROOT / place).read_text()))
        assert found == {cellmemory.__version__}, place
    newest = re.search(rf"^## \[({set_version.NUMBER})\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == cellmemory.__version__


def test_the_version_is_written_nowhere_else():
    """Beside the word `version` or in an image's name: other things have numbers that look like it."""
    written = re.compile(rf"(?:(?<!encoding-)\bversion\b\W{{1,5}}|nf-cellmemory[:-]){re.escape(cellmemory.__version__)}\b")
    files = {path for where in WRITTEN for path in ROOT.glob(where) if path.is_file()} - {
        ROOT / place for place in set_version.PLACES
    }
    outside = [str(path.relative_to(ROOT)) for path in sorted(files) if written.search(path.read_text(errors="replace"))]
    assert outside == []


def test_one_command_sets_them_all(project: Path):
    before = {place: (project / place).read_text() for place in set_version.PLACES}
    (project / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n- new\n\n## [0.1.0] - 2026-01-01\n\n- old\n")
    done = run(project, "12.0.3")
    assert (done.returncode, done.stderr) == (0, "")
    for place, text in before.items():
        assert (project / place).read_text() == set_version.pattern(place).sub("12.0.3", text) != text
    log = (project / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.*)$", log, re.MULTILINE)[1:] == ["[0.1.0] - 2026-01-01"]
    assert re.search(r"^## \[12\.0\.3\] - \d{4}-\d\d-\d\d$", log, re.MULTILINE)


@pytest.mark.parametrize(
    ("version", "log", "sentence"),
    [
        ("1.2", "## [Unreleased]\n", "'1.2' is not a version. Give three numbers, such as 1.2.0."),
        ("1.2.0", "## [0.1.0] - 2026-01-01\n", "CHANGELOG.md: no section '## [Unreleased]' was found."),
    ],
)
def test_a_wrong_version_or_changelog_changes_nothing(project: Path, version: str, log: str, sentence: str):
    (project / "CHANGELOG.md").write_text(log)
    before = {path: path.read_text() for path in project.rglob("*") if path.is_file()}
    done = run(project, version)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert {path: path.read_text() for path in before} == before
