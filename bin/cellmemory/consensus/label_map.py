"""Labels that references write differently, made equal by a table of the user."""

from collections.abc import Sequence
from pathlib import Path

from cellmemory.errors import InputError, first_ids
from cellmemory.io.text import cleaned, open_quote, read_text, tab_cells

MAP_COLUMNS = ["reference", "label", "common_label"]


def read_label_map(path: Path, references: Sequence[str]) -> dict[tuple[str, str], str]:
    """A TSV with the columns reference, label and common_label, as {(reference, label): common label}.

    Raises InputError with all problems: the header, lines of other lengths, references that are none, labels named twice.
    """
    texts = read_text(path).split("\n")
    lines = [[cleaned(cell) or "" for cell in tab_cells(text.rstrip())] for text in texts]
    if lines[0] != MAP_COLUMNS:
        raise InputError(f"{path}: the first line must be the column names {', '.join(MAP_COLUMNS)}, with tabs between them.")
    found: dict[tuple[str, str], str] = {}
    problems = []
    for number, cells in enumerate(lines[1:], 2):
        if not any(cells):
            continue
        if open_quote(texts[number - 1]):
            problems.append(f'{path}: line {number} has a quote (") that is not closed.')
        elif len(cells) != len(MAP_COLUMNS) or not all(cells):
            problems.append(f"{path}: line {number} does not have three tab-separated texts ({', '.join(MAP_COLUMNS)}).")
        elif cells[0] not in references:
            problems.append(f"{path}: line {number} names the reference '{cells[0]}'; there are {first_ids(references, 20)}.")
        elif found.setdefault((cells[0], cells[1]), cells[2]) != cells[2]:
            problems.append(f"{path}: line {number} gives the label '{cells[1]}' of {cells[0]} a second common label.")
    if problems:
        raise InputError(problems)
    return found
