"""CellMemory for facilities: the library that the scripts in `bin/` share. No click, no Nextflow; usable in a notebook."""

import os
import tempfile

__version__ = "0.1.0"


def _keep_caches_out_of_the_image() -> None:
    """Containers are read-only and homes may be: caches of numba, matplotlib and torch go to a folder that is writable."""
    folder = os.environ.get("CELLMEMORY_CACHE") or os.path.join(tempfile.gettempdir(), f"cellmemory-{os.getuid()}")
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ.setdefault(name, os.path.join(folder, name.lower()))


_keep_caches_out_of_the_image()
# Threads that spin while they wait steal the cores that their neighbours' tasks were given.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
