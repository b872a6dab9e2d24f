#!/usr/bin/env python3
"""Sets the version of a release: scripts/set-version.py X.Y.Z

The home of the version is bin/cellmemory/__init__.py, and pyproject.toml reads it there. The other files in PLACES cannot
read it. The changelog's section of unreleased changes gets the version and today's date.
"""

import re
import sys
from datetime import date
from pathlib import Path

NUMBER = r"\d+\.\d+\.\d+"
IMAGE = r"(?<=nf-cellmemory:)V(?=-)"
#: The version in each file that holds it; V stands for the number.
PLACES = {
    "bin/cellmemory/__init__.py": '(?<=^__version__ = ")V(?="$)',
    "nextflow.config": "(?<=^    version = ')V(?='$)",
    "CITATION.cff": "(?<=^version: )V$",
    "conf/containers.config": IMAGE,
    "galaxy/tools/cellmemory/macros.xml": '(?<=<token name="@TOOL_.ERSION@">)V(?=</token>)',
    "galaxy/workflows/cellmemory/cellmemory.gxwf.yml": "(?<=^release: )V$",
    "docs/cloud.md": IMAGE,
    "docs/hpc.md": IMAGE,
    "docs/usage.md": IMAGE,
}
UNRELEASED = rf"^## \[(Unreleased\]|{NUMBER}\] - unreleased)$"


def pattern(place: str) -> re.Pattern:
    """What finds the version in a file of PLACES."""
    return re.compile(PLACES[place].replace("V", NUMBER), re.MULTILINE)


def set_version(root: Path, version: str, day: str) -> None:
    """Sets the version in all places below the folder `root`, or in none.

    Raises ValueError if the version is not a version, or if a place holds none.
    """
    if not re.fullmatch(NUMBER, version):
        raise ValueError(f"'{version}' is not a version. Give three numbers, such as 1.2.0.")
    texts = {}
    for place in PLACES:
        texts[place], n = pattern(place).subn(version, (root / place).read_text())
        if n == 0:
            raise ValueError(f"{place}: no version was found. Correct its line in scripts/set-version.py.")
    log = (root / "CHANGELOG.md").read_text()
    texts["CHANGELOG.md"], n = re.subn(UNRELEASED, f"## [{version}] - {day}", log, count=1, flags=re.MULTILINE)
    if n == 0:
        raise ValueError("CHANGELOG.md: no section '## [Unreleased]' was found. Write what changed under that heading.")
    for place, text in texts.items():
        (root / place).write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        set_version(Path(__file__).resolve().parents[1], sys.argv[1], date.today().isoformat())
    except ValueError as error:
        sys.exit(f"set-version: {error}")
