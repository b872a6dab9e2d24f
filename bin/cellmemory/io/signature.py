"""Digests: of files, and those by which an h5ad or a JSON says who wrote it, so that a result as it was written differs
from one that somebody went on working with.

anndata leaves the signature out when it writes a file again, and one that was changed in place has other parts than it says.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from cellmemory.io.text import PART_BYTES, Source, opened

if TYPE_CHECKING:
    import h5py

#: The attribute of an h5ad, a digest of the names of its parts, and the key of a JSON, a digest of all else in it.
SIGNATURE = "nf-cellmemory"
#: The key of a model's config.json, whose digest is also the model's name.
DIGEST = "digest"


def sign(file: "h5py.File") -> None:
    """Signs a file that is complete."""
    file.attrs[SIGNATURE] = _digest(file)


def is_signed(file: "h5py.File") -> bool:
    """Whether a file was signed, and no part (a column of obs, a layer) came or went since."""
    return bool(SIGNATURE in file.attrs and file.attrs[SIGNATURE] == _digest(file))


def _digest(file: "h5py.File") -> str:
    import h5py

    names = []
    for name in file:
        # In the file itself: what a link leads to may be a pipe, which would be waited for.
        is_group = isinstance(file.get(name, getlink=True), h5py.HardLink) and file.get(name, getclass=True) is h5py.Group
        names += [f"{name}/{part}" for part in file[name]] if is_group else [name]
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def signed_object(value: dict[str, Any], key: str = SIGNATURE) -> dict[str, Any]:
    """An object that becomes JSON, with a digest of all else in it under the key. Raises ValueError where it holds NaN."""
    return {**value, key: _digest_without(value, key)}


def is_signed_object(value: dict[str, Any], key: str = SIGNATURE) -> bool:
    """Whether an object that was read from JSON was signed under the key, and nothing in it changed since."""
    return value.get(key) == _digest_without(value, key)


def _digest_without(value: dict[str, Any], key: str) -> str:
    """The hexadecimal SHA-256 of the other keys, in whatever order they are."""
    rest = {name: item for name, item in value.items() if name != key}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, allow_nan=False).encode()).hexdigest()


def sha256(path: Source) -> str:
    """The hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with opened(path) as file:
        while part := file.read(PART_BYTES):
            digest.update(part)
    return digest.hexdigest()
