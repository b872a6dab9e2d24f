"""A first walk through an HDF5 file, by a child process: bytes that were overwritten can crash the HDF5 library, or keep it busy
without end. A file may also say that a part of it is another file of whoever reads it, or a pipe: such a part is never opened."""

import faulthandler
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import h5py

from cellmemory.cells.faults import AGAIN, ReadingError
from cellmemory.errors import first_ids

#: Processor time that a walk may use; waiting for a disk does not count. A million cells take half a second.
CPU_SECONDS = 30
#: Texts that are read at once where they are not in chunks.
SLICE_BYTES = 65536
#: How the child ends where something leads outside of the file.
LEADS_OUTSIDE = 3


def survive(path: Path) -> None:
    """Raises ReadingError if the HDF5 library crashes over a file, or does not return, or if parts of it are kept in other files;
    anything else that is wrong is left for whoever reads the file.

    Raises MemoryError where the child was killed for memory.
    """
    child = os.fork()
    if not child:
        _be_the_child(path)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        if os.WEXITSTATUS(status) == LEADS_OUTSIDE:
            with h5py.File(path, "r") as file:
                found = list(_outside(file))
            raise ReadingError(
                f"this file keeps parts of it in other files ({first_ids(found)}), which are not read: nobody would see what "
                "they are. Write it again with anndata, as one file."
            )
        return
    # Of a crash and of CPU_SECONDS it dies by other signals: this one comes from the system, or a scheduler, for memory.
    if os.WTERMSIG(status) == signal.SIGKILL:
        raise MemoryError(f"the process that looked at {path} was killed")
    if os.WTERMSIG(status) == signal.SIGXCPU:
        raise ReadingError(
            f"it takes more than {CPU_SECONDS} s of processor time to look through this file: it has far too many parts (tens of "
            "thousands in uns, for example), or it is damaged inside its HDF5 structure. Remove from it what is not needed, and "
            "write it again with a current anndata."
        )
    raise ReadingError(f"this file is damaged inside its HDF5 structure, and the HDF5 library cannot read it. {AGAIN}")


def _be_the_child(path: Path) -> None:
    status = 0
    try:
        faulthandler.disable()
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + CPU_SECONDS, int(used) + CPU_SECONDS + 1))
        with h5py.File(path, "r") as file:
            if next(_outside(file), None) is not None:
                status = LEADS_OUTSIDE
                return
            _look_at(file)
            file.visititems(lambda _name, element: _look_at(element))
    finally:
        os._exit(status)


def _outside(file: h5py.File) -> Iterator[str]:
    """The names of links to other files, and of arrays whose values are in other files."""
    seen, todo = set(), [("", file)]
    while todo:
        place, group = todo.pop()
        for name in group:
            link, path = group.get(name, getlink=True), f"{place}{name}"
            if isinstance(link, h5py.ExternalLink):
                yield path
            if not isinstance(link, h5py.HardLink):  # a soft link leads to what a hard one leads to, or through an external one
                continue
            try:
                element = group[name]
            except Exception:
                continue
            if isinstance(element, h5py.Dataset):
                if element.external or element.is_virtual:
                    yield path
            elif isinstance(element, h5py.Group) and (number := h5py.h5o.get_info(element.id).addr) not in seen:
                seen.add(number)
                todo.append((f"{path}/", element))


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
        return [slice(start, start + SLICE_BYTES) for start in range(0, len(stored), SLICE_BYTES)]
    starts: set[int] = set()
    stored.id.chunk_iter(lambda chunk: starts.add(chunk.chunk_offset[0]))
    return [slice(start, start + stored.chunks[0]) for start in sorted(starts)]
