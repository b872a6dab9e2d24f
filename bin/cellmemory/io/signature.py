"""What an h5ad says of who wrote it, so that a result as it was written can be told from one that somebody went on working with.

anndata leaves the signature out when it writes a file again, and one that was changed in place has other parts than it says.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

#: The attribute of the file: a digest of the names of its parts.
SIGNATURE = "nf-cellmemory"


def sign(file: "h5py.File") -> None:
    """Signs a file that is complete."""
    file.attrs[SIGNATURE] = _digest(file)


def is_signed(file: "h5py.File") -> bool:
    """Whether a file was signed, and no part (a column of obs, a layer) came or went since."""
    return file.attrs.get(SIGNATURE) == _digest(file)


def _digest(file: "h5py.File") -> str:
    import h5py

    names = []
    for name in file:
        # In the file itself: what a link leads to may be a pipe, which would be waited for.
        is_group = isinstance(file.get(name, getlink=True), h5py.HardLink) and file.get(name, getclass=True) is h5py.Group
        names += [f"{name}/{part}" for part in file[name]] if is_group else [name]
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
