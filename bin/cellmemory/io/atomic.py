"""Outputs that are whole or absent: everything is written beside its final name and renamed when it is complete."""

import ctypes
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cellmemory.errors import InputError
from cellmemory.io.outputs import is_own_folder
from cellmemory.io.signature import sha256, signed_object
from cellmemory.io.text import storable


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; renames it to `path` when the block ends well, removes it otherwise.

    Works for a file and for a folder that the block makes. An existing folder at `path` is replaced if it is one that we
    wrote (see outputs.is_own_folder). Raises InputError where it is another, or a folder would become a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: anndata, pandas and the like choose their format by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    _remove(partial)
    try:
        yield partial
        if path.is_dir():
            if not (partial.is_dir() and is_own_folder(path)):
                raise InputError(f"{path} is a folder with other things in it. Give another path, or remove it first.")
            _exchange(partial, path)
        else:
            partial.replace(path)
    finally:
        _remove(partial)


def _exchange(folder: Path, other: Path) -> None:
    """Swaps two folders at once, so that a kill leaves one of them or the other under either name. Where the system cannot,
    the other is put aside first."""
    libc = ctypes.CDLL(None, use_errno=True)
    here, swap = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    if hasattr(libc, "renameat2") and libc.renameat2(here, os.fsencode(folder), here, os.fsencode(other), swap) == 0:
        return
    aside = other.with_name(f"{folder.name}.replaced")
    other.rename(aside)
    folder.rename(other)
    aside.rename(folder)


def final_name(partial: str | Path) -> Path:
    """What a file, or a file in a folder, that `replacing` named is called in the end."""
    return Path(*(re.sub(r"^\.partial-\d+-", "", part) for part in Path(partial).parts))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def json_text(value: object) -> str:
    """`value` as indented JSON (NaN is refused: no reader but Python's knows it)."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: str | Path, value: dict[str, Any]) -> None:
    """Writes an object as `json_text`, signed."""
    with replacing(path) as partial:
        partial.write_text(json_text(signed_object(value)), encoding="utf-8")


def checksums(paths: Iterable[Path]) -> list[dict[str, str | int]]:
    """Name, size and SHA-256 of each file; a folder's files are named FOLDER/FILE. Raises InputError for a link to nothing."""
    links = [link for path in paths for link in path.rglob("*") if not link.exists()]
    if links:
        raise InputError(f"{link} is a link to nothing. Put the file there, or remove the link." for link in links)
    files = [
        (storable(path.name if file == path else f"{path.name}/{file.relative_to(path)}"), file)
        for path in paths
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]
    return [{"name": name, "bytes": file.stat().st_size, "sha256": sha256(file)} for name, file in files]
