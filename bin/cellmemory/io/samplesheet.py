"""The samplesheet of queries: a row each, with where things are in its file."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cellmemory.errors import InputError
from cellmemory.io.text import read_sheet

REQUIRED = ("sample", "h5ad")
#: Names become names of files.
SAMPLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
OPTIONAL = ("counts_layer", "gene_column", "batch_key", "spatial_key", "truth_key")


@dataclass(frozen=True)
class Origin:
    """Where a file keeps what is needed; None means: find it, or there is none."""

    counts_layer: str | None = None
    gene_column: str | None = None
    batch_key: str | None = None
    spatial_key: str | None = None
    truth_key: str | None = None


@dataclass(frozen=True)
class Query:
    """A row of the samplesheet; path is where the file really is."""

    sample: str
    path: Path
    origin: Origin


def read_samplesheet(path: Path, staged: list[Path]) -> list[Query]:
    """The rows of a samplesheet CSV. Paths are absolute or relative to its folder, unless `staged` gives them, row by row.

    Raises InputError with all problems: columns, empty cells, duplicate samples.
    """
    sheet = read_sheet(path, REQUIRED)
    columns, rows = (sheet[0][1], sheet[1:]) if sheet else ([], [])
    known = REQUIRED + OPTIONAL
    problems = [f"{path}: the samplesheet has no column '{c}'." for c in REQUIRED if c not in columns]
    problems += [
        f"{path}: the samplesheet's column '{c}' is not known; known are: {', '.join(known)}." for c in columns if c not in known
    ]
    problems += [f"{path}: the samplesheet has the column '{c}' {n} times." for c, n in Counter(columns).items() if n > 1]
    if not problems and not rows:
        problems.append(f"{path}: the samplesheet has no row.")
    if not problems and staged and len(staged) != len(rows):
        problems.append(f"{path}: {len(rows)} rows, but {len(staged)} --staged files.")
    if problems:
        raise InputError(problems)
    problems = [
        f"{path}: line {line} has {len(cells)} cells, but there are {len(columns)} columns."
        for line, cells in rows
        if len(cells) != len(columns)
    ]
    table = [(line, dict(zip(columns, cells, strict=False))) for line, cells in rows]
    problems += [f"{path}: line {line} has no {c}." for line, row in table for c in REQUIRED if not row.get(c)]
    problems += [
        f"{path}: line {line} has the sample name '{row['sample'][:100]}'; a name has at most 80 letters, digits, '.', '_' and "
        "'-', and begins with a letter or digit."
        for line, row in table
        if row.get("sample") and not SAMPLE_NAME.fullmatch(row["sample"])
    ]
    problems += [
        f"{path}: the sample name '{name}' is on {n} lines; every query needs a name of its own."
        for name, n in Counter(row.get("sample") for _, row in table).items()
        if n > 1 and name
    ]
    spelled: dict[str, list[str]] = {}
    for name in dict.fromkeys(row["sample"] for _, row in table if row.get("sample")):
        spelled.setdefault(name.casefold(), []).append(name)
    problems += [
        f"{path}: the sample names {', '.join(alike)} differ only in capital letters, so that their files would be the same on "
        "some disks. Rename all but one."
        for alike in spelled.values()
        if len(alike) > 1
    ]
    if problems:
        raise InputError(problems)
    origins = [Origin(**{c: row.get(c) or None for c in OPTIONAL}) for _, row in table]
    paths = staged or [path.parent / row["h5ad"] for _, row in table]
    return [Query(row["sample"], place, origin) for (_, row), place, origin in zip(table, paths, origins, strict=True)]
