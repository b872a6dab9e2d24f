"""What set-up says on a machine that lacks something. That it works where all is there, every other test shows."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

JAVA = "Java 17 or newer is missing"
PYTHON = "Python 3.11 or newer is missing"
MAVEN = "Maven is missing, which fetches Nextflow"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A fresh clone, as far as set-up looks."""
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name)
    return tmp_path / "project"


def machine(folder: Path, *lacking: str) -> Path:
    """A folder for the PATH with this machine's commands but those whose names begin with one of `lacking`."""
    folder.mkdir()
    for place in (Path("/bin"), Path("/usr/bin")):
        for command in place.iterdir():
            link = folder / command.name
            if not command.name.startswith(lacking) and not link.exists():
                link.symlink_to(command)
    return folder


def set_up(project: Path, path: Path, *arguments: str) -> list[str]:
    """Sets up, which must fail with status 1 and install nothing; returns what it says."""
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    done = subprocess.run(
        [project / "scripts" / "setup.sh", *arguments],
        env=environment | {"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert not (project / ".venv").exists()
    assert not (project / ".tools").exists()
    return done.stderr.splitlines()


def test_all_that_is_missing_is_said_at_once(project: Path, tmp_path: Path):
    lines = set_up(project, machine(tmp_path / "path", "python", "java", "mvn", "nextflow"))
    assert len(lines) == 3
    for sentence in (PYTHON, JAVA, MAVEN):
        assert any(sentence in line for line in lines)


def test_old_java_is_no_java(project: Path, tmp_path: Path):
    path = machine(tmp_path / "path", "java", "mvn", "nextflow")
    (path / "java").write_text("#!/bin/sh\necho 'openjdk version \"11.0.22\" 2024-01-16' >&2\n")
    (path / "java").chmod(0o755)
    assert any(JAVA in line for line in set_up(project, path))


def test_an_unknown_extra(project: Path, tmp_path: Path):
    lines = set_up(project, machine(tmp_path / "path"), "tset")
    assert lines == ["setup: there is no extra 'tset': the extras are test, docs, integration, bench, lint and galaxy."]


def test_nextflow_of_the_user_is_preferred(project: Path, tmp_path: Path):
    path = machine(tmp_path / "path", "python", "mvn", "nextflow")
    (path / "nextflow").write_text("#!/bin/sh\necho nextflow version 25.10.2.10555\n")
    (path / "nextflow").chmod(0o755)
    lines = set_up(project, path)
    assert not any(MAVEN in line for line in lines)
    (path / "nextflow").write_text("#!/bin/sh\necho nextflow version 23.10.1.5891\n")
    assert any(MAVEN in line for line in set_up(project, path))
