"""Labels as terms of the Cell Ontology: by a table of the user's, as their reference has them, or by names and synonyms.

`cell_ontology.tsv` holds a term in each line: its id, its name and its exact synonyms (Diehl et al. 2016,
10.1186/s13326-016-0088-7, CC BY 4.0; scripts/make_cell_ontology makes it).
"""

import re
import string
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path

from cellmemory import TERM_COLUMN
from cellmemory.cells.labels import TERM
from cellmemory.errors import InputError, first_ids
from cellmemory.io.checked import shown
from cellmemory.io.text import cleaned, open_quote, read_text, tab_cells

TABLE = Path(__file__).parent / "cell_ontology.tsv"
#: What stands for a cell without a term, as in CELLxGENE's schema.
UNKNOWN = "unknown"
TERM_MAP_COLUMNS = ["label", TERM_COLUMN]
_WRITE_LABELS = (
    f"Write {' and '.join(TERM_MAP_COLUMNS)} in its first line, and then one label to a line, with its id after a tab."
)
#: Labels that are no terms, though the ontology has such a name: what clusters are called, but for the two lymphocytes.
PLACEHOLDERS = {"cell", *string.ascii_lowercase} - {"b", "t"}


def term_ids(labels: Iterable[str]) -> dict[str, str]:
    """The id of the term that each label is the name or a synonym of; labels without one, or with several, are left out.

    Case, hyphens and a plural's s make no difference, and `B` is `B cell`; other single letters are no names. A wrong id is
    worse than none: a synonym of several terms counts for none of them, nor do those of terms that a word in brackets makes
    special, such as a species.
    """
    known = _terms()
    plain = {label: name for label in labels if (name := _plain(label)) not in PLACEHOLDERS}
    found = {label: known.get(name) or known.get(f"{name} cell") for label, name in plain.items()}
    return {label: term for label, term in found.items() if term}


def names_no_label(path: Path, terms: Mapping[str, str], labels: Collection[str]) -> list[str]:
    """A sentence where the user's table of terms (see read_ontology_map) names none of a reference's labels."""
    if not terms or terms.keys() & set(labels):
        return []
    return [f"{path} names no label of the reference, which has {first_ids(sorted(labels))}: it changes nothing."]


def read_ontology_map(path: Path) -> dict[str, str]:
    """A TSV with the columns label and ontology_term_id, as {label: id}; an empty id, or UNKNOWN, is kept as an empty text: the
    label has no term.

    Raises InputError with all problems: the header, lines of other lengths, what is not an id, labels named twice.
    """
    texts = read_text(path).split("\n")
    if not any(map(str.strip, texts)):
        raise InputError(f"{path} is empty. {_WRITE_LABELS}")
    if [cell.lower() for cell in tab_cells(texts[0].rstrip())] != TERM_MAP_COLUMNS:
        raise InputError(
            f"{path}: the first line must be the column names {' and '.join(TERM_MAP_COLUMNS)}, with a tab between them."
        )
    found: dict[str, str] = {}
    problems = []
    for number, line in enumerate(texts[1:], 2):
        if not line.strip():
            continue
        label, *terms = [cleaned(cell) or "" for cell in tab_cells(line)]
        while len(terms) > 1 and not terms[-1]:  # empty columns of a spreadsheet
            terms.pop()
        term = terms[0] if terms and terms[0].lower() != UNKNOWN else ""
        if open_quote(line):
            problems.append(f'{path}: line {number} has a quote (") that is not closed.')
        elif len(terms) != 1 or not label:
            problems.append(f"{path}: line {number} does not have two tab-separated texts ({' and '.join(TERM_MAP_COLUMNS)}).")
        elif term and not TERM.fullmatch(term):
            problems.append(f"{path}: line {number} has {shown(term)}, which is not the id of a term. Write it as CL:0000236.")
        elif found.setdefault(label, term) != term:
            problems.append(f"{path}: line {number} gives the label '{label}' a second term.")
    if not found and not problems:
        problems.append(f"{path} holds no labels. {_WRITE_LABELS}")
    if problems:
        raise InputError(problems)
    return found


@cache
def _terms() -> dict[str, str]:
    """Ids by plain names, and by plain synonyms that belong to a single term; a name comes before another term's synonym."""
    lines = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()]
    of_synonym: dict[str, set[str]] = {}
    for term, name, *synonyms in lines:
        for synonym in synonyms if "(" not in name else ():
            of_synonym.setdefault(_plain(synonym), set()).add(term)
    single = {synonym: next(iter(terms)) for synonym, terms in of_synonym.items() if len(terms) == 1}
    return single | {_plain(name): term for term, name, *_ in lines}


def _plain(name: str) -> str:
    """A name in small letters, words apart by blanks, without the s of plurals; `+` and Greek letters stay."""
    words = re.sub(r"[^\w+]|_", " ", name.casefold()).split()
    return " ".join(word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words)
