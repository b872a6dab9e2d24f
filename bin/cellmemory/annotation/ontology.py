"""Labels as terms of the Cell Ontology, by their names and synonyms.

`cell_ontology.tsv` holds a term in each line: its id, its name and its exact synonyms (Diehl et al. 2016,
10.1186/s13326-016-0088-7, CC BY 4.0; scripts/make_cell_ontology makes it).
"""

import re
import string
from collections.abc import Iterable
from functools import cache
from pathlib import Path

TABLE = Path(__file__).parent / "cell_ontology.tsv"
#: What stands for a cell without a term, as in CELLxGENE's schema.
UNKNOWN = "unknown"
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
