#!/usr/bin/env python3
"""Prints the versions of Python packages as YAML, for `versions.yml`: `versions.py PROCESS PACKAGE ...`.

It reads what the installation says of itself, since importing torch only for its version takes seconds.
"""

import platform
import sys
from importlib.metadata import version

import cellmemory


def main(process: str, packages: list[str]) -> None:
    versions = {"nf-cellmemory": cellmemory.__version__, "python": platform.python_version()}
    versions |= {package: version(package) for package in packages}
    # Where a process stands among the workflows says nothing of its software.
    print(f'"{process.split(":")[-1]}":')
    for name, number in versions.items():
        print(f"    {name}: {number}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
