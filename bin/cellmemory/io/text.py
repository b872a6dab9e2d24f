"""Text files as users have them: saved by an editor, a spreadsheet or another program."""

import codecs
import csv
import io
import re
import unicodedata
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO, TypeAlias

from cellmemory.errors import InputError

#: A path, or a file in an archive.
Source: TypeAlias = str | Path | Traversable

#: What spreadsheets put between cells.
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}

#: What packed files begin with, and who unpacks them.
PACKED = {
    rb"\x1f\x8b": "gzip",
    rb"BZh[1-9]1AY&SY": "bzip2",
    rb"\xfd7zXZ\x00": "xz",
    rb"PK\x03\x04": "zip, as workbooks are",
    rb"\x28\xb5\x2f\xfd": "zstd",
    rb"7z\xbc\xaf\x27\x1c": "7z",
    rb"\x1f\x9d": "compress (.Z)",
    rb"(?s:.{257})ustar": "tar",
}

#: Read at once of a file that is gone through.
PART_BYTES = 1 << 20


def read_text(path: Source, remedy: str = "Save it as text in UTF-8.") -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark; every line ends with one newline character.

    Raises InputError, with the remedy, for a file in another encoding.
    """
    try:
        with opened(path) as file:
            return decoded(file)
    except ValueError as error:
        raise InputError(f"{path} is {error}. {remedy}") from None


def cleaned(text: str) -> str | None:
    """A name as labels and groups are written; None for one of which nothing is left.

    Control characters, line ends among them, become blanks, and letters without width go; blanks at the ends are dropped and
    those inside are made one. Composed and decomposed letters are the same.
    """
    kinds = ((letter, unicodedata.category(letter)) for letter in unicodedata.normalize("NFC", text))
    blank = "".join(" " if kind in ("Cc", "Zl", "Zp") else letter for letter, kind in kinds if kind != "Cf")
    return re.sub(r"\s+", " ", blank).strip() or None


def file_name(path: Path) -> str:
    """The last part of a path as `storable`."""
    return storable(path.name)


def storable(path: str) -> str:
    """A path, or a text with one in it, as UTF-8 can hold it, whatever bytes an old file system has in names."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_url(value: str) -> bool:
    """Whether a path is none, but says where in a network or a cloud something is."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value) is not None


def url_for_a_file(value: str) -> str:
    """What to say of a URL where a file is read."""
    return f"'{value[:100]}' is a URL, which only the pipeline fetches. Download it, and give its path."


def url_for_an_output(value: str) -> str:
    """What to say of a URL where a file or folder is written."""
    return f"'{value[:100]}' is a URL. Outputs are written to a path: give one, and copy them from there."


def opened(path: Source) -> IO[bytes]:
    """The open file of a path, to read bytes. Raises InputError for a pipe or a device, which may never end."""
    place = Path(path) if isinstance(path, str) else path
    if isinstance(place, Path) and place.exists() and not (place.is_file() or place.is_dir()):
        raise InputError(f"{place} is a device or a pipe. Give a file.")
    return place.open("rb")


def decoded(file: IO[bytes]) -> str:
    """The text of an open file as `read_text` gives it. Raises ValueError as `encoding_of` does."""
    data = io.BytesIO(file.read())
    text = data.getvalue().decode(_encoding(data))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(path: Source) -> str:
    """The encoding of a text file: UTF-8 with a mark or without, or UTF-16 with its mark. Reads the file part by part.

    Raises ValueError for a packed file and, with the first line that is at fault, for one in another encoding.
    """
    with opened(path) as file:
        return _encoding(file)


def _encoding(file: IO[bytes]) -> str:
    part = file.read(PART_BYTES)
    if found := next((name for mark, name in PACKED.items() if re.match(mark, part)), None):
        raise ValueError(f"packed by {found}, and has to be unpacked first")
    encoding = "utf-16" if part.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    while True:
        try:
            text = decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            line += error.object.count(b"\n", 0, error.start)
            raise ValueError(f"not a text file in UTF-8 (line {line})") from None
        if "\0" in text:
            raise ValueError("not a text file (it holds zero bytes)")
        if not part:
            return encoding
        line += text.count("\n")
        part = file.read(PART_BYTES)


def tab_cells(line: str) -> list[str]:
    """The cells of a line between tabs, without blanks around them, and without the quotes that R puts around text."""
    cells = [cell.strip() for cell in line.split("\t")]
    return [cell[1:-1].replace('""', '"').strip() if _is_quoted(cell) else cell for cell in cells]


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


def open_quote(line: str) -> bool:
    """Whether a cell of a line between tabs begins with a quote that is not closed."""
    return any(cell.startswith('"') and not _is_quoted(cell) for cell in map(str.strip, line.split("\t")))


def read_sheet(path: str | Path, required: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """The rows of a sheet of cells between commas, semicolons or tabs, as (line, cells), the column names first.

    Cells are bare or in double quotes, without blanks around them. Rows and columns at the end in which nothing is are left
    out. required: names of the first line, which show the delimiter. Raises InputError for a quote that is not closed.
    """
    text = re.sub(r"^sep=.\n", "\n", read_text(path), flags=re.IGNORECASE)  # Excel's own first line
    first = next((line for line in text.split("\n") if line.strip()), "")
    delimiter = max(DELIMITERS, key=lambda mark: len({cell.strip(' "') for cell in first.split(mark)} & set(required)))
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, begun = [], 1
    try:
        for cells in reader:
            rows.append((begun, [cell.strip() for cell in cells]))
            begun = reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            raise InputError(f"{path}: a cell from line {begun} on is longer than a cell can be. Shorten it.") from None
        raise InputError(f'{path}: line {begun} has a quote (") that is not closed or stands within a cell ({error}).') from None
    rows = [(line, cells) for line, cells in rows if any(cells)]
    width = max((max(place for place, cell in enumerate(cells, 1) if cell) for _, cells in rows), default=0)
    return [(line, cells[:width]) for line, cells in rows]
