#!/usr/bin/env python3
"""Tests gene sets in the rankings of type-associated genes: of groups, of memory slots and of contrasts."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

import _cli

if TYPE_CHECKING:
    import pandas as pd

    from cellmemory.genes.gene_sets import Library


@_cli.command
@click.option("--tags", "tags_path", type=_cli.FILE, required=True, metavar="TSV", help="Genes per group.")
@click.option("--slot_tags", "slots_path", type=_cli.FILE, required=True, metavar="TSV", help="Genes per memory slot.")
@click.option("--panel", "panel_path", type=_cli.FILE, required=True, metavar="TSV", help="The model's panel.tsv.")
@click.option("--contrasts", "contrasts_path", type=_cli.FILE, metavar="TSV", help="Genes per contrast.")
@click.option("--profiles", "profiles_path", type=_cli.FILE, metavar="H5AD",
              help="Every gene of every ranking: adds pre-ranked tests of these.")  # fmt: skip
@click.option("--gmt", "gmts", type=_cli.FILE, multiple=True, help="Gene sets; may be given repeatedly.")
@click.option("--enrichr", multiple=True, metavar="NAME", help="A library of Enrichr, by its name; needs a network.")
@click.option("--alignment", type=_cli.FILE, metavar="JSON", help="The query's alignment: genes that it did not measure.")
@click.option("--top", type=click.IntRange(min=1), default=50, help="How many genes of each ranking are tested.")
@click.option("--gsea_permutations", type=click.IntRange(1, 100_000), default=10_000,
              help="Random sets behind a small p-value of a pre-ranked test, at most.")  # fmt: skip
@click.option("--output", type=_cli.Output("enrichment"), required=True, metavar="TSV", help="Output: one row per set.")
@_cli.seed
def main(
    tags_path: Path,
    slots_path: Path,
    panel_path: Path,
    contrasts_path: Path | None,
    profiles_path: Path | None,
    gmts: tuple[Path, ...],
    enrichr: tuple[str, ...],
    alignment: Path | None,
    top: int,
    gsea_permutations: int,
    output: Path,
    seed: int,
) -> None:
    """Over-representation of gene sets among the first genes of every TAG ranking, and pre-ranked tests of all genes.

    The background is the panel, without the genes that the query did not measure where --alignment gives them.
    P-values are adjusted by Benjamini-Hochberg within each ranking, library and method.
    """
    if not gmts and not enrichr:
        raise click.UsageError("--gmt is missing: a file with gene sets (or, where there is a network, --enrichr).")
    import pandas as pd

    from cellmemory.columns import MAPPING
    from cellmemory.explanation import enrichment, gsea, profiles
    from cellmemory.genes import gene_sets
    from cellmemory.genes.panel import read_panel
    from cellmemory.io.atomic import replacing
    from cellmemory.io.tables import mapping_of, read_table, write_table

    panel = read_panel(panel_path)
    missing, values_digest = enrichment.read_missing(alignment) if alignment else ([], "")
    background = set(panel["gene"]).difference(missing)
    _cli.say(f"Background: {len(background):,} of the {len(panel):,} panel genes.")
    of_groups = read_table(tags_path, ["group", "rank", "gene", MAPPING], never=("slot", "contrast"))
    of_slots = read_table(slots_path, ["group", "slot", "rank", "gene", MAPPING], never=("contrast",))
    contrasts = (
        read_table(contrasts_path, ["contrast", "direction", "group", "rank", "gene", MAPPING]) if contrasts_path else None
    )
    ranked = profiles.load(profiles_path) if profiles_path else None
    tables = {"tags": (tags_path, of_groups), "slot_tags": (slots_path, of_slots), "contrasts": (contrasts_path, contrasts)}
    mappings = {
        f"{path} (--{option})": mapping_of(table, path) for option, (path, table) in tables.items() if path and len(table)
    }
    if ranked is not None and profiles_path:
        mappings[f"{profiles_path} (--profiles)"] = ranked.uns[MAPPING]
        profiles.check_cells(ranked, of_groups, profiles_path)
    mapping = enrichment.one_mapping(mappings, {f"{alignment} (--alignment)": values_digest} if alignment else {})
    rankings = enrichment.rankings_of(of_groups, of_slots, contrasts)
    _say_rankings(rankings, top)
    if 2 * top > len(background):
        _cli.warn(f"The first {top} genes are over half of the background; choose a lower --top to see a difference.")
    libraries = enrichment.find_libraries(gmts, panel, background, enrichr)
    for library in libraries:
        _say_library(library, gene_sets.LEAST_MEASURED)
    found = [enrichment.over_represented(rankings, libraries, background, top)]
    if ranked is not None:
        sizes = [len(genes) for library in libraries for genes in library.sets.values()]
        fit = sum(gsea.MIN_SET <= size <= gsea.MAX_SET for size in sizes)
        _cli.say(f"Pre-ranked tests take {fit:,} sets of {gsea.MIN_SET} to {gsea.MAX_SET} genes in the background.")
        found.append(enrichment.preranked(ranked, libraries, background, permutations=gsea_permutations, seed=seed))
    table = pd.concat([part for part in found if len(part)] or found[:1], ignore_index=True)
    with replacing(output) as partial:
        write_table(table.assign(**{MAPPING: mapping}), partial)
    for method, part in table.groupby("method"):
        significant = int((part["adjusted_p_value"] < 0.05).sum())
        _cli.say(f"{method}: {len(part):,} sets listed, {significant:,} of them with an adjusted p-value below 0.05.")
    _cli.say(f"Wrote {output}: {len(table):,} rows.")


def _say_rankings(rankings: "pd.DataFrame", top: int) -> None:
    """Says how many rankings there are, and how many of them are shorter than asked for."""
    for level, part in rankings.groupby("level", sort=False):
        lengths = part.groupby(["contrast", "group", "slot"]).size()
        short = int((lengths < top).sum())
        few = f"; {short} of them list fewer than {top} genes and are tested with what they list" if short else ""
        _cli.say(f"Read {len(lengths)} rankings by {level}{few}.")


def _say_library(library: "Library", min_genes: int) -> None:
    """Says what a GMT file holds, what of it the panel measures and what was dropped."""
    how = ", upper and lower case ignored (the two differ in species or spelling)" if library.case_folded else ""
    _cli.say(
        f"Read {library.name}: {library.n_sets:,} sets of {library.n_genes:,} genes; "
        f"{library.n_matched:,} are in the background{how}."
    )
    dropped = library.n_sets - len(library.sets)
    if dropped:
        _cli.say(f"Dropped {dropped:,} sets of {library.name} with fewer than {min_genes} genes in the background.")


if __name__ == "__main__":
    main()
