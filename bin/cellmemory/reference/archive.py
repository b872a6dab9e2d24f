"""A trained model as one file: a zip archive of the files of its folder, which are read where they lie and never unpacked.

What an archive says of itself is not believed: it may hold the files of a model, each once, and nothing else; no more than a
bounded number of times its own size; and every byte is compared with its checksum before anything is used.
"""

import errno
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from cellmemory.errors import InputError, first_ids

#: How many times its own size an archive may hold. Text of a model is packed to a tenth at most, its tensors hardly.
MAX_RATIO = 50
#: The date in an archive: the same content gives the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
#: What begins a file's entry, and what begins the end of an archive: 22 bytes with the length of a comment at their end.
_FIRST, _LAST, _END_BYTES = b"PK\x03\x04", b"PK\x05\x06", 22
_DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, ValueError, OverflowError, EOFError)
_REMEDY = "Use an untouched copy, or make one with copy_model.py."


def model_files(path: Path, known: Collection[str]) -> Traversable:
    """The files of a trained model, in its folder or in its archive; what a file is, its content decides, not its name.

    known: names of the files that an archive may hold. Raises InputError for an archive that holds anything else, that is
    damaged, or that is none, and for a path where nothing is.
    """
    if path.is_dir():
        return path
    if not path.is_file():
        what = "it is a device or a pipe" if path.exists() else "there is no such file or folder"
        raise InputError(f"{path}: {what}. Give the folder or the archive of a trained model.")
    try:
        archive = zipfile.ZipFile(path)
        problems = _problems(archive, path.stat().st_size, known) + _around(path, archive)
        if not problems and archive.testzip() is not None:
            problems = ["a file in it is damaged"]
    except (*_DAMAGES, OSError) as error:
        # A place before the file's beginning; any other error of the system is not the archive's.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        problems = ["it is damaged or incomplete" if zipped else "it is not a zip archive"]
    if problems:
        raise InputError(f"{path} is not the archive of a trained model: {'; '.join(problems)}. {_REMEDY}")
    return zipfile.Path(archive)


def _problems(archive: zipfile.ZipFile, size: int, known: Collection[str]) -> list[str]:
    """What keeps an archive from being read, by its own list of what is in it."""
    members = archive.infolist()
    names = [member.filename for member in members]
    problems = [] if members else ["it is empty"]
    if other := [name for name in dict.fromkeys(names) if name not in known]:
        problems.append(f"it holds what a trained model does not have ({first_ids(other)})")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        problems.append(f"it holds a name more than once ({first_ids(twice)})")
    if any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
        problems.append("it holds a link")
    if any(member.flag_bits & _ENCRYPTED for member in members):
        problems.append("it is encrypted")
    elif any(member.compress_type not in _METHODS for member in members):
        problems.append("it is packed in another way than zip's own")
    if sum(member.file_size for member in members) > MAX_RATIO * size:
        problems.append(f"it would unpack to more than {MAX_RATIO} times its size")
    return problems


def _around(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """What stands before the first file of an archive, or behind its end: neither has a checksum."""
    members = archive.infolist()
    with path.open("rb") as file:
        begins = file.read(len(_FIRST)) == _FIRST or not members
        file.seek(-_END_BYTES, 2)
        end = file.read()
    ends = end.startswith(_LAST) and end.endswith(bytes(2)) and not any(member.comment for member in members)
    return [] if begins and ends else ["it holds something other than its files: a comment, or bytes around them"]


def write_archive(path: Path, contents: Mapping[str, bytes]) -> None:
    """Writes the files of a model, by name, as an archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            member = zipfile.ZipInfo(name, _DATE)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, content)
