"""CellMemory for facilities: the library that the scripts in `bin/` share. No click, no Nextflow.

In a notebook: `cellmemory.load(folder).map(cells)` and `cellmemory.train(cells, label_key)` (docs/notebook.md).
"""

import atexit
import importlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from typing import Any

__version__ = "0.1.0"
#: Our name in a file of cells: the key of uns that says how it was made, and what our other names begin with.
RUN = "cellmemory"
PREFIX = f"{RUN}_"
#: What a column with terms of an ontology is called in tables of labels, and in obs after the label column's own name and `_`.
TERM_COLUMN = "ontology_term_id"


def _keep_caches_out_of_the_image() -> None:
    """Containers are read-only and homes may be: caches of numba, matplotlib and torch go to a folder that is writable."""
    try:
        folder = os.environ.get("CELLMEMORY_CACHE") or _own_folder(
            os.path.join(tempfile.gettempdir(), f"cellmemory-{os.getuid()}")
        )
    except OSError:  # no temporary folder: the scripts say so
        return
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ.setdefault(name, os.path.join(folder, name.lower()))


def _own_folder(path: str) -> str:
    """`path`, a folder that is written by this user alone, made if need be. Where somebody else laid something there, a new
    folder for as long as this process runs: numba and torch run what they find in their caches."""
    with suppress(OSError):
        os.mkdir(path, 0o700)
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            path = tempfile.mkdtemp(prefix="cellmemory-")
            atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


_keep_caches_out_of_the_image()
# Threads that spin for long while they wait steal the cores that their neighbours' tasks were given; threads that never
# spin are woken too late, and a small network then runs at half its speed. So they spin for some microseconds.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    """The API for notebooks, which is loaded when it is asked for: it loads all else."""
    if name in ("load", "train"):
        return getattr(importlib.import_module("cellmemory.notebook"), name)
    raise AttributeError(f"module 'cellmemory' has no attribute {name!r}")
