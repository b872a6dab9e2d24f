"""Gene sets in rankings of TAGs, offline: over-representation among the first genes, and pre-ranked tests of all.

Over-representation is gseapy's test (hypergeometric, one-sided). Its kernel is called, not `gseapy.enrich`: that turns
query and background to upper case under conditions of its own, after which human genes like C1orf56 match nothing, and
corrects over the sets with a hit only. Pre-ranked tests are those of `gsea`.

A family of tests is all sets of one library that one method tested for one ranking (of a label, a slot or a contrast): a
set that is not listed counts in it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from gseapy.stats import calc_pvalues, multiple_testing_correction

from cellmemory.columns import ENRICHMENT_COLUMNS
from cellmemory.errors import InputError, Problems, first_ids
from cellmemory.explanation import gsea
from cellmemory.genes.gene_sets import Library, match_library, read_libraries
from cellmemory.io.checked import read_json, sequence, text

if TYPE_CHECKING:
    import anndata as ad

MAX_LISTED = 0.25  # adjusted p-value of a pre-ranked test; all sets get one, and most say nothing
KEYS = ["level", "contrast", "group", "slot"]  # of a ranking


def read_missing(path: str | Path) -> tuple[list[str], str]:
    """The panel genes that a query did not measure, and the digest of its values, of its alignment.json. Raises InputError where
    it is none."""
    try:
        alignment = read_json(path)
    except InputError:
        alignment = {}
    missing, digest = alignment.get("missing_genes"), alignment.get("values_digest")
    if missing is None or not sequence(text(empty=True)).holds(missing) or not isinstance(digest, str):
        raise InputError(f"{path} is not the alignment of a query; give the .alignment.json of preprocess_query.py.")
    return missing, digest


def one_mapping(mappings: Mapping[str, str], values: Mapping[str, str]) -> str:
    """The mapped query that all of a step's tables were made of, as MappedFile.mapping calls it; an empty text without tables.

    mappings, and values, digests of values: by the files' paths and options. Raises InputError where they are of several.
    """
    first, found = next(iter(mappings.items()), ("", ""))
    others = [name for name, mapping in mappings.items() if mapping != found]
    others += [name for name, digest in values.items() if not digest.startswith(found.split(".")[0])]
    if others:
        raise InputError(f"{others[0]} and {first} are not of one mapped query. Give those that are.")
    return found


def find_libraries(
    paths: Iterable[str | Path], panel: pd.DataFrame, background: set[str], enrichr: Iterable[str] = ()
) -> list[Library]:
    """GMT files, and libraries of Enrichr by name, matched to the panel.

    Raises InputError, for all at once: as `read_libraries`, and for a library of Enrichr that cannot be downloaded.
    """
    libraries: list[Library] = []
    problems = Problems()
    with problems.collect():
        libraries += read_libraries(paths, panel, background)
    for name in enrichr:
        with problems.collect():
            libraries.append(match_library(Path(name), enrichr_library(name), panel, background))
    problems.raise_any()
    return libraries


def over_representation(genes: list[str], library: Library, background: set[str]) -> pd.DataFrame:
    """Tests each set of the library for more of `genes` than chance gives, with `background` as the genes to draw from.

    Columns term, overlap (k/K), p_value, adjusted_p_value (Benjamini-Hochberg over all tested sets), odds_ratio (of the
    2 x 2 table, 0.5 added to each cell so that it is finite) and genes (in the order given, joined by ';'), by rising
    p_value. Sets without a hit are tested, not listed.
    """
    results = list(calc_pvalues(query=genes, gene_sets=library.sets, background=background))
    if not results:
        return pd.DataFrame(columns=["term", "overlap", "p_value", "adjusted_p_value", "odds_ratio", "genes"])
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


def over_represented(rankings: pd.DataFrame, libraries: list[Library], background: set[str], top: int) -> pd.DataFrame:
    """Tests the `top` genes of every ranking against every library; ENRICHMENT_COLUMNS, method `ora`.

    rankings: level, contrast, group, slot, rank, gene, as `rankings_of` joins the tables of extract_tags.py. Raises
    InputError where they rank genes that no panel gene is.
    """
    strange = sorted(set(rankings["gene"]) - background)
    if strange:
        raise InputError(
            f"The tables of TAGs rank {len(strange)} genes that the panel lacks ({first_ids(strange)}), or that --alignment "
            "calls missing. Give the panel.tsv of the model that the query was mapped with, and the query's own alignment."
        )
    chosen = rankings[rankings["rank"] <= top].sort_values("rank", kind="stable")
    genes_of = {key: list(block["gene"]) for key, block in chosen.groupby(KEYS)}
    blocks = []
    for key in rankings[KEYS].drop_duplicates().itertuples(index=False, name=None):
        for library in libraries:
            found = over_representation(genes_of.get(key, []), library, background)
            blocks.append(found.assign(**dict(zip(KEYS, key, strict=True)), library=library.name, background=len(background)))
    return _joined(blocks, "ora")


def preranked(
    profiles: "ad.AnnData", libraries: list[Library], background: set[str], *, permutations: int, seed: int
) -> pd.DataFrame:
    """Tests every set against the whole of every ranking in `profiles` (see `profiles`); ENRICHMENT_COLUMNS, method `gsea`.

    Rankings hold the genes of the background. Sets with an adjusted p-value of at most MAX_LISTED are listed. Raises
    InputError where the profiles have other genes.
    """
    kept = [gene for gene in profiles.var_names if gene in background]
    if not kept:
        raise InputError(
            f"The profiles (--profiles) hold no gene of the panel: they have {first_ids(profiles.var_names) or 'no gene'}. Give "
            "those of a query that was mapped with the panel's model."
        )
    matrix = np.asarray(profiles[:, kept].layers["ranking"], np.float64)
    blocks = []
    for key, values in zip(profiles.obs[KEYS].itertuples(index=False, name=None), matrix, strict=True):
        if not np.isfinite(values).any():
            continue  # a lone group has nothing that it could differ from
        ranking = pd.Series(np.nan_to_num(values), index=kept)
        for library in libraries:
            found = gsea.prerank(ranking, library.sets, permutations, seed)
            if len(found):
                found["adjusted_p_value"] = multiple_testing_correction(found["p_value"].to_numpy())[0]
                found = found[found["adjusted_p_value"] <= MAX_LISTED]
            blocks.append(found.assign(**dict(zip(KEYS, key, strict=True)), library=library.name, background=len(kept)))
    return _joined(blocks, "gsea")


def rankings_of(tags: pd.DataFrame, slot_tags: pd.DataFrame, contrasts: pd.DataFrame | None = None) -> pd.DataFrame:
    """The rankings of the tables of extract_tags.py as one: KEYS, rank and gene. Of contrasts, what side A attends to more."""
    parts = [tags.assign(level="label", contrast="", slot=""), slot_tags.assign(level="slot", contrast="")]
    if contrasts is not None:
        parts.append(contrasts[contrasts["direction"] == "more"].assign(level="contrast", slot=""))
    columns = [*KEYS, "rank", "gene"]
    joined = pd.concat([part[columns].astype({"slot": str}) for part in parts if len(part)] or [parts[0][columns]])
    return joined.reset_index(drop=True)


def enrichr_library(name: str, organism: str = "human") -> dict[str, list[str]]:
    """A library of Enrichr by its name, from the network. Raises InputError where there is no such library or no network."""
    import gseapy

    try:
        sets = gseapy.get_library(name, organism)
    except Exception as error:  # requests, JSON and gseapy raise anything here
        raise InputError(
            f"--enrichr {name}: the library could not be downloaded from Enrichr ({str(error)[:200]}); "
            "without a network give a GMT file with --gmt."
        ) from None
    if not sets:
        raise InputError(f"--enrichr {name}: Enrichr has no such library; `gseapy.get_library_name()` lists them.")
    return {term: [gene.split(",")[0] for gene in genes] for term, genes in sets.items()}


def _joined(blocks: list[pd.DataFrame], method: str) -> pd.DataFrame:
    blocks = [block for block in blocks if len(block)]
    if not blocks:
        return pd.DataFrame(columns=ENRICHMENT_COLUMNS)
    return pd.concat(blocks, ignore_index=True).assign(method=method).reindex(columns=ENRICHMENT_COLUMNS)
