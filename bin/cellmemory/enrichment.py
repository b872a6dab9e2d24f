"""Over-representation of gene sets among the first genes of each ranking of TAGs, offline.

The test is gseapy's (hypergeometric, one-sided). Its kernel is called, not `gseapy.enrich`: that turns query and
background to upper case under conditions of its own, after which human genes like C1orf56 match nothing, and corrects
over the sets with a hit only. Here a family of tests is all sets of one library that were tested for one group (and
slot): a set without a hit counts with p = 1, and is not listed.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from gseapy.stats import calc_pvalues, multiple_testing_correction

from cellmemory.errors import InputError, first_ids
from cellmemory.genes import normalise, panel_index
from cellmemory.gmt import read_gmt

COLUMNS = ["level", "group", "slot", "library", "term", "overlap", "p_value", "adjusted_p_value", "odds_ratio", "genes"]
COLUMNS += ["background"]
MIN_GENES = 3  # of a set that are in the background: what is smaller cannot reach a small p-value
FOLD_GAIN = 10  # human and mouse share a few symbols (C3, F5): case is ignored where that matches ten times as many genes


@dataclass(frozen=True)
class Library:
    """The gene sets of one GMT file, in the panel's own gene names and cut to the background."""

    name: str
    sets: dict[str, list[str]]
    n_sets: int  # in the file
    n_genes: int  # in the file, different ones
    n_matched: int  # genes of the background that the file names
    case_folded: bool


def read_missing(path: str | Path) -> list[str]:
    """The panel genes that a query did not measure, from its alignment.json. Raises InputError where it is none."""
    try:
        return list(json.loads(Path(path).read_text())["missing_genes"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not the alignment of a query; give the .alignment.json of preprocess_query.py.") from None


def read_libraries(paths: Iterable[str | Path], panel: pd.DataFrame, background: set[str]) -> list[Library]:
    """Reads GMT files and matches them to the panel; a library is named by its file's stem.

    Raises InputError, for all files at once: malformed lines, two files of one name, a file that shares no gene with
    the panel.
    """
    libraries: list[Library] = []
    problems = []
    for path in map(Path, paths):
        if path.stem in [library.name for library in libraries]:
            problems.append(f"{path}: another GMT file is named {path.stem!r} too; rename one, results go by that name.")
            continue
        try:
            libraries.append(match_library(path, read_gmt(path), panel, background))
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    return libraries


def match_library(path: Path, sets: Mapping[str, list[str]], panel: pd.DataFrame, background: set[str]) -> Library:
    """Finds which panel gene each gene of a GMT is, by `gene` or `source_id`, and cuts the sets to the background.

    Case is ignored where that matches FOLD_GAIN times as many genes (sets of human genes, a panel of mouse genes).
    Sets with fewer than MIN_GENES genes in the background are left out. Raises InputError where nothing matches.
    """
    named = {gene for genes in sets.values() for gene in genes}
    genes = panel["gene"].tolist()
    known = {name: genes[i] for name, i in panel_index(panel).items()}
    exact = {gene: known[normalise(gene)] for gene in named if normalise(gene) in known}
    # Of names that differ in case alone the first of the panel counts.
    folded_names = {name.casefold(): gene for name, gene in reversed(known.items())}
    folded = {g: folded_names[normalise(g).casefold()] for g in named if normalise(g).casefold() in folded_names}
    case_folded = bool(folded) and len(folded) >= FOLD_GAIN * len(exact)
    translation = folded if case_folded else exact
    if not translation:
        raise InputError(
            f"{path} shares no gene with the panel: it has {first_ids(sorted(named))}; the panel has "
            f"{first_ids(genes)}. Give a GMT file with ids of the same kind and species."
        )
    cut = {
        term: [gene for gene in dict.fromkeys(map(translation.get, members)) if gene in background]
        for term, members in sets.items()
    }
    return Library(
        name=path.stem,
        sets={term: members for term, members in cut.items() if len(members) >= MIN_GENES},
        n_sets=len(sets),
        n_genes=len(named),
        n_matched=len(background.intersection(translation.values())),
        case_folded=case_folded,
    )


def over_representation(genes: list[str], library: Library, background: set[str]) -> pd.DataFrame:
    """Tests each set of the library for more of `genes` than chance gives, with `background` as the genes to draw from.

    Columns term, overlap (k/K), p_value, adjusted_p_value (Benjamini-Hochberg over all tested sets), odds_ratio (of the
    2 x 2 table, 0.5 added to each cell so that it is finite) and genes (in the order given, joined by ';'), by rising
    p_value. Sets without a hit are tested, not listed.
    """
    results = list(calc_pvalues(query=genes, gene_sets=library.sets, background=background))
    if not results:
        return pd.DataFrame(columns=COLUMNS[4:-1])
    terms, p_values, odds_ratios, hits, sizes, members = results
    without_hit = np.ones(len(library.sets) - len(terms))
    adjusted, _ = multiple_testing_correction(np.concatenate([p_values, without_hit]))
    table = pd.DataFrame(
        {
            "term": terms,
            "overlap": [f"{k}/{size}" for k, size in zip(hits, sizes, strict=True)],
            "p_value": p_values,
            "adjusted_p_value": adjusted[: len(terms)],
            "odds_ratio": odds_ratios,
            "genes": [";".join(gene for gene in genes if gene in found) for found in members],
        }
    )
    return table.sort_values(["p_value", "term"], kind="stable", ignore_index=True)


def enrich(tags: pd.DataFrame, slot_tags: pd.DataFrame, libraries: list[Library], background: set[str], top: int) -> pd.DataFrame:
    """Tests the `top` genes of every group and of every slot against every library; columns COLUMNS.

    tags, slot_tags: as extract_tags.py writes them. Raises InputError where they rank genes that no panel gene is.
    """
    strange = sorted(set(tags["gene"]).union(slot_tags["gene"]) - background)
    if strange:
        raise InputError(
            f"The tables of TAGs rank {len(strange)} genes that the panel lacks ({first_ids(strange)}); "
            "give the panel.tsv of the model that the query was mapped with."
        )
    blocks = []
    for level, table in (("label", tags.assign(slot="")), ("slot", slot_tags)):
        chosen = table[table["rank"] <= top].sort_values("rank", kind="stable")
        genes_of = {key: list(block["gene"]) for key, block in chosen.groupby(["group", "slot"])}
        for group, slot in table[["group", "slot"]].drop_duplicates().itertuples(index=False):
            for library in libraries:
                found = over_representation(genes_of[group, slot], library, background)
                same = {"level": level, "group": group, "slot": slot, "library": library.name}
                blocks.append(found.assign(**same, background=len(background)))
    blocks = [block for block in blocks if len(block)]
    return pd.concat(blocks, ignore_index=True)[COLUMNS] if blocks else pd.DataFrame(columns=COLUMNS)
