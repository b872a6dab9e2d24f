"""CellMemory for facilities: the library that the scripts in `bin/` share. No click, no Nextflow.

In a notebook: `cellmemory.load(folder).map(cells)` and `cellmemory.train(cells, label_key)` (docs/notebook.md).
"""

import importlib
import os
import tempfile
from typing import Any

__version__ = "0.1.0"
#: Our name in a file of cells: the key of uns that says how it was made, and what our other names begin with.
RUN = "cellmemory"
PREFIX = f"{RUN}_"


def _keep_caches_out_of_the_image() -> None:
    """Containers are read-only and homes may be: caches of numba, matplotlib and torch go to a folder that is writable."""
    folder = os.environ.get("CELLMEMORY_CACHE") or os.path.join(tempfile.gettempdir(), f"cellmemory-{os.getuid()}")
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ.setdefault(name, os.path.join(folder, name.lower()))


_keep_caches_out_of_the_image()
# Threads that spin for long while they wait steal the cores that their neighbours' tasks were given; threads that never
# spin are woken too late, and a small network then runs at half its speed. So they spin for some microseconds.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    """The API for notebooks, which is loaded when it is asked for: it loads all else."""
    if name in ("load", "train"):
        return getattr(importlib.import_module("cellmemory.notebook"), name)
    raise AttributeError(f"module 'cellmemory' has no attribute {name!r}")
