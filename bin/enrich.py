#!/usr/bin/env python3
"""Tests which gene sets are over-represented among the type-associated genes of each group and each memory slot."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--tags", "tags_path", type=_cli.FILE, required=True, metavar="TSV", help="Genes per group.")
@click.option("--slot_tags", "slots_path", type=_cli.FILE, required=True, metavar="TSV", help="Genes per memory slot.")
@click.option("--panel", "panel_path", type=_cli.FILE, required=True, metavar="TSV", help="The model's panel.tsv.")
@click.option("--gmt", "gmts", type=_cli.FILE, required=True, multiple=True, help="Gene sets; may be given repeatedly.")
@click.option("--alignment", type=_cli.FILE, metavar="JSON", help="The query's alignment: genes that it did not measure.")
@click.option("--top", type=click.IntRange(min=1), default=50, help="How many genes of each ranking are tested.")
@click.option("--output", type=_cli.OUTPUT, required=True, metavar="TSV", help="Output: one row per set with a hit.")
def main(
    tags_path: Path,
    slots_path: Path,
    panel_path: Path,
    gmts: tuple[Path, ...],
    alignment: Path | None,
    top: int,
    output: Path,
) -> None:
    """Over-representation of gene sets among the first genes of every TAG ranking.

    The background is the panel, without the genes that the query did not measure where --alignment tells them.
    P-values are hypergeometric, adjusted by Benjamini-Hochberg within each group (and slot) and GMT file.
    """
    from cellmemory import enrichment, tags
    from cellmemory.files import replacing
    from cellmemory.panel import read_panel

    panel = read_panel(panel_path)
    background = set(panel["gene"]).difference(enrichment.read_missing(alignment) if alignment else [])
    _cli.say(f"Background: {len(background):,} of the {len(panel):,} panel genes.")
    of_groups = tags.read_table(tags_path, ["group", "rank", "gene"])
    of_slots = tags.read_table(slots_path, ["group", "slot", "rank", "gene"])
    _say_read(tags_path, of_groups, ["group"], top)
    _say_read(slots_path, of_slots, ["group", "slot"], top)
    if 2 * top > len(background):
        _cli.say(f"Warning: the first {top} genes are over half of the background; choose a lower --top to see a difference.")
    libraries = enrichment.read_libraries(gmts, panel, background)
    for library in libraries:
        _say_library(library, enrichment.MIN_GENES)
    table = enrichment.enrich(of_groups, of_slots, libraries, background, top)
    with replacing(output) as partial:
        tags.write_table(table, partial)
    significant = int((table["adjusted_p_value"] < 0.05).sum())
    _cli.say(f"Wrote {output}: {len(table):,} sets with a hit, {significant:,} of them with an adjusted p-value below 0.05.")


def _say_read(path: Path, table, keys: list[str], top: int) -> None:
    """Says how many rankings a table holds, and how many of them are shorter than asked for."""
    lengths = table.groupby(keys).size()
    _cli.say(f"Read {path}: {len(lengths)} rankings by {' and '.join(keys)}.")
    short = int((lengths < top).sum())
    if short:
        _cli.say(f"{short} of them list fewer than {top} genes and are tested with what they list.")


def _say_library(library, min_genes: int) -> None:
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
