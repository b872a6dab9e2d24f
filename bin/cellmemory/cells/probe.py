"""A first walk through an HDF5 file, by a child process: bytes that were overwritten can crash the HDF5 library, or keep it busy
without end."""

import faulthandler
import os
import resource
import signal
from pathlib import Path

import h5py

from cellmemory.cells.faults import AGAIN, ReadingError

#: Processor time that a walk may use; waiting for a disk does not count. A million cells take half a second.
CPU_SECONDS = 30
#: Texts that are read at once where they are not in chunks.
SLICE = 65536


def survive(path: Path) -> None:
    """Raises ReadingError if the HDF5 library crashes over a file, or does not return; anything else that is wrong is left for
    whoever reads the file.

    Raises MemoryError where the child was killed for memory.
    """
    child = os.fork()
    if not child:
        _be_the_child(path)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return
    # Of a crash and of CPU_SECONDS it dies by other signals: this one comes from the system, or a scheduler, for memory.
    if os.WTERMSIG(status) == signal.SIGKILL:
        raise MemoryError(f"the process that looked at {path} was killed")
    raise ReadingError(f"this file is damaged inside its HDF5 structure, and the HDF5 library cannot read it. {AGAIN}")


def _be_the_child(path: Path) -> None:
    try:
        faulthandler.disable()
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + CPU_SECONDS, int(used) + CPU_SECONDS + 1))
        with h5py.File(path, "r") as file:
            _look_at(file)
            file.visititems(lambda _name, element: _look_at(element))
    finally:
        os._exit(0)


def _look_at(element: h5py.Group | h5py.Dataset) -> None:
    """Reads what leads HDF5 through a file: attributes, the places of chunks, texts in its heaps. Numbers lead nowhere."""
    try:
        dict(element.attrs)
        if isinstance(element, h5py.Dataset) and element.shape and element.id.get_storage_size():
            written = _written(element)
            for rows in written if h5py.check_string_dtype(element.dtype) else written[:1]:
                element[rows]
    except Exception:  # which whoever reads the element meets again, and explains
        return


def _written(stored: h5py.Dataset) -> list[slice]:
    """The rows that are in the file, in parts: a damaged shape may promise a million times as many."""
    if not stored.chunks:
        return [slice(start, start + SLICE) for start in range(0, len(stored), SLICE)]
    starts: set[int] = set()
    stored.id.chunk_iter(lambda chunk: starts.add(chunk.chunk_offset[0]))
    return [slice(start, start + stored.chunks[0]) for start in sorted(starts)]
