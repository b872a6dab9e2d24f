"""Gene sets of GMT files as a panel writes their genes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cellmemory.errors import InputError, Problems
from cellmemory.genes.matching import case_hides, no_shared_gene, panel_index
from cellmemory.genes.names import folded, normalise
from cellmemory.io.gmt import read_gmt
from cellmemory.io.text import file_name

#: Genes of a set that are in the background: no test of fewer can reach a small p-value.
LEAST_MEASURED = 3
#: Genes of a list of markers, and such lists in a file, at most.
MARKER_SET, MARKER_LISTS = 30, 100


@dataclass(frozen=True)
class Library:
    """The gene sets of one GMT file, in the panel's own gene names and cut to the background."""

    name: str
    sets: dict[str, list[str]]
    n_sets: int  # in the file
    n_genes: int  # in the file, different ones
    n_matched: int  # genes of the background that the file names
    case_folded: bool
    sizes: dict[str, int] = field(default_factory=dict)  # genes of each set in the file


def read_libraries(paths: Iterable[str | Path], panel: pd.DataFrame, background: set[str]) -> list[Library]:
    """Reads GMT files and matches them to the panel; a library is named by the stem of its file's name.

    Raises InputError, for all at once: malformed lines, two of one name, one that shares no gene with the panel.
    """
    libraries: list[Library] = []
    problems = Problems()
    for path in map(Path, paths):
        if (name := _library_name(path)) in [library.name for library in libraries]:
            problems.append(f"{path}: another GMT file is also named {name!r}. Rename one: results go by that name.")
            continue
        with problems.collect():
            libraries.append(match_library(path, read_gmt(path), panel, background))
    problems.raise_any()
    return libraries


def marker_lists(paths: Iterable[str | Path], panel: pd.DataFrame, measured: set[str]) -> dict[str, dict[str, list[str]]]:
    """The sets of GMT files that are lists of markers, by the names of the files: the measured genes of each, as the panel writes
    them. Sets of more than MARKER_SET genes are pathways, and files of more than MARKER_LISTS sets are collections of such.

    Raises InputError as `read_libraries`.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for library in read_libraries(paths, panel, measured):
        kept = {name: genes for name, genes in library.sets.items() if library.sizes[name] <= MARKER_SET}
        if kept and library.n_sets <= MARKER_LISTS:
            found[library.name] = kept
    return found


def match_library(path: Path, sets: Mapping[str, list[str]], panel: pd.DataFrame, background: set[str]) -> Library:
    """Finds which panel gene each gene of a GMT is, by `gene` or `source_id`, and cuts the sets to the background.

    Case is ignored only if nearly nothing matches otherwise (sets of human genes, a panel of mouse genes).
    Sets with fewer than LEAST_MEASURED genes in the background are left out. Raises InputError where nothing matches.
    """
    named = {gene for genes in sets.values() for gene in genes}
    genes = panel["gene"].tolist()
    known = {name: genes[i] for name, i in panel_index(panel).items()}
    exact = {gene: known[normalise(gene)] for gene in named if normalise(gene) in known}
    # Of names that differ only in case the first of the panel counts.
    known_folded = {folded(name): gene for name, gene in reversed(known.items())}
    without_case = {g: known_folded[folded(normalise(g))] for g in named if folded(normalise(g)) in known_folded}
    case_folded = case_hides(len(exact), len(without_case), min(len(named), len(genes)))
    translation = without_case if case_folded else exact
    if not translation:
        raise InputError(no_shared_gene(path, named, genes))
    cut = {
        term: [gene for gene in dict.fromkeys(map(translation.get, members)) if gene in background]
        for term, members in sets.items()
    }
    return Library(
        name=_library_name(path),
        sets={term: members for term, members in cut.items() if len(members) >= LEAST_MEASURED},
        n_sets=len(sets),
        n_genes=len(named),
        n_matched=len(background.intersection(translation.values())),
        case_folded=case_folded,
        sizes={term: len(members) for term, members in sets.items()},
    )


def _library_name(path: Path) -> str:
    return Path(file_name(path)).stem
