"""Gene sets in GMT files: one set a line, `name <tab> description <tab> gene <tab> gene ...`."""

from pathlib import Path

from cellmemory.errors import InputError
from cellmemory.io.text import open_quote, read_text, tab_cells

EXPECTED = "Write a name, a description and genes to a line, separated by tabs"


def read_gmt(path: str | Path) -> dict[str, list[str]]:
    """The gene sets of a GMT file: name to genes, in the file's order, each gene once.

    Empty lines are skipped; a weight behind a gene (`CD3E,1.0`, as Enrichr writes it) is left out.
    Raises InputError with the file and the number of every malformed line, or for a file without any set.
    """
    lines = read_text(path).split("\n")
    sets: dict[str, list[str]] = {}
    first_line: dict[str, int] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *rest = tab_cells(line)
        genes = [gene for gene in dict.fromkeys(field.split(",")[0].strip() for field in rest[1:]) if gene]
        place = f"{path}, line {number}:"
        if open_quote(line.split("\t")[0]):
            problems.append(f'{place} the name has a quote (") that is not closed.')
        elif not name:
            problems.append(f"{place} the set has no name. Put one before the first tab.")
        elif not genes:
            problems.append(f"{place} {name[:60]!r} has no genes. {EXPECTED}.")
        elif name in sets:
            problems.append(f"{place} {name[:60]!r} is already in line {first_line[name]}. Rename or remove one.")
        else:
            sets[name], first_line[name] = genes, number
    if not sets and not problems:
        problems.append(f"{path} holds no gene set. {EXPECTED}.")
    if problems:
        raise InputError(problems)
    return sets
