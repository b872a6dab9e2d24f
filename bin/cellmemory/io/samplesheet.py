"""The samplesheet of queries: a row each, with where things are in its file.

Its columns, and the sentences for what is wrong with it, stand in schema_input.json, which the pipeline also reads.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cellmemory.errors import InputError
from cellmemory.io.checked import shown
from cellmemory.io.text import is_url, read_sheet, url_for_a_file

#: As assets/schema_input.json; here, since only bin/ goes along to the machines of clouds.
SCHEMA = json.loads(Path(__file__).with_name("schema_input.json").read_text())
MESSAGES = SCHEMA["messages"]
REQUIRED = tuple(SCHEMA["items"]["required"])
COLUMNS = SCHEMA["items"]["properties"]
OPTIONAL = tuple(column for column in COLUMNS if column not in REQUIRED)
#: What a name of a sample must match, whole.
SAMPLE_NAME = re.compile(COLUMNS["sample"]["pattern"])

#: What a name of a reference must match, whole, and that in words: as assets/schema_references.json, which is not in bin/.
REFERENCE_NAME = re.compile("^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")
REFERENCE_NAME_RULE = (
    "A reference name may hold only letters, digits, '_' and '-', begins with a letter or digit, and has at most 80 characters."
)


@dataclass(frozen=True)
class Origin:
    """Where a file keeps what is needed; None means: find it, or there is none."""

    counts_layer: str | None = None
    gene_column: str | None = None
    batch_key: str | None = None
    spatial_key: str | None = None
    truth_key: str | None = None
    cluster_key: str | None = None


@dataclass(frozen=True)
class Query:
    """A row of the samplesheet; path is where the file really is."""

    sample: str
    path: Path
    origin: Origin


def is_sample(name: object) -> bool:
    """Whether a sample may have this name: it becomes the name of files."""
    return isinstance(name, str) and SAMPLE_NAME.fullmatch(name) is not None


def check_sample(name: str) -> None:
    """Raises InputError where a sample's name, given by --sample, is not one that a samplesheet could hold."""
    if not is_sample(name):
        raise InputError(f"--sample is {name!r}. {COLUMNS['sample']['errorMessage']}")


def check_references(names: list[str]) -> None:
    """Raises InputError for names of references, given by --labels, that a sheet of references could not hold."""
    if wrong := [name for name in names if not REFERENCE_NAME.fullmatch(name)]:
        raise InputError(f"--labels names a reference {shown(name)}. {REFERENCE_NAME_RULE}" for name in wrong)


def sample_named(path: Path) -> str:
    """A name of a sample that is made of a file's name: up to its first dot, `_` for what a name may not hold."""
    return re.sub("[^A-Za-z0-9_-]", "_", path.name.split(".")[0]).lstrip("_-")[:80] or "query"


def read_samplesheet(path: Path, staged: list[Path]) -> list[Query]:
    """The rows of a samplesheet CSV. Paths are absolute or relative to its folder, unless `staged` gives them, row by row.

    Raises InputError with all problems: columns, empty cells, names that cannot be.
    """
    sheet = read_sheet(path, REQUIRED)
    columns, rows = (sheet[0][1], sheet[1:]) if sheet else ([], [])
    problems = _column_problems(path, columns)
    if not problems and not rows:
        problems.append(MESSAGES["no_rows"].format(sheet=path, subject="query"))
    if not problems and staged and len(staged) != len(rows):
        problems.append(f"{path}: {len(rows)} rows, but {len(staged)} --staged files.")
    if problems:
        raise InputError(problems)
    table = [(line, dict(zip(columns, cells, strict=False))) for line, cells in rows]
    problems = [
        MESSAGES["wrong_length"].format(sheet=path, line=line, found=len(cells), expected=len(columns))
        for line, cells in rows
        if len(cells) != len(columns)
    ]
    problems += [problem for line, row in table for problem in _cell_problems(path, line, row)]
    problems += _name_problems(path, table)
    if not staged:
        problems += [f"{path}, line {line}: {url_for_a_file(row['h5ad'])}" for line, row in table if is_url(row.get("h5ad", ""))]
    if problems:
        raise InputError(problems)
    origins = [Origin(**{c: row.get(c) or None for c in OPTIONAL}) for _, row in table]
    paths = staged or [path.parent / row["h5ad"] for _, row in table]
    return [Query(row["sample"], place, origin) for (_, row), place, origin in zip(table, paths, origins, strict=True)]


def _column_problems(path: Path, columns: list[str]) -> list[str]:
    problems = [
        MESSAGES["missing_column"].format(sheet=path, column=column, first=",".join(columns)[:200])
        for column in REQUIRED
        if column not in columns
    ]
    problems += [
        MESSAGES["unknown_column"].format(sheet=path, column=column[:200], columns=", ".join(COLUMNS))
        for column in columns
        if column not in COLUMNS
    ]
    return problems + [
        MESSAGES["repeated_column"].format(sheet=path, column=column, count=n) for column, n in Counter(columns).items() if n > 1
    ]


def _cell_problems(path: Path, line: int, row: dict[str, str]) -> list[str]:
    """What is wrong with the cells of a row: required ones that are empty, those that their column's pattern refuses."""
    problems = [MESSAGES["empty_cell"].format(sheet=path, line=line, column=c) for c in REQUIRED if not row.get(c)]
    return problems + [
        MESSAGES["wrong_value"].format(sheet=path, line=line, column=c, value=row[c][:100], remedy=rule["errorMessage"])
        for c, rule in COLUMNS.items()
        if row.get(c) and "pattern" in rule and not re.fullmatch(rule["pattern"], row[c])
    ]


def _name_problems(path: Path, table: list[tuple[int, dict[str, str]]]) -> list[str]:
    """What is wrong with names of samples that stand next to each other: several alike, or alike except for capital letters."""
    lines: dict[str, list[int]] = {}
    spelled: dict[str, list[str]] = {}
    for line, row in table:
        if name := row.get("sample"):
            lines.setdefault(name, []).append(line)
    for name in lines:
        spelled.setdefault(name.casefold(), []).append(name)
    about = {"sheet": path, "column": "sample", "subject": "query"}
    return [
        MESSAGES["repeated_name"].format(**about, value=name, lines=", ".join(map(str, found)))
        for name, found in lines.items()
        if len(found) > 1
    ] + [MESSAGES["similar_names"].format(**about, values=", ".join(alike)) for alike in spelled.values() if len(alike) > 1]
