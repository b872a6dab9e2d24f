#!/usr/bin/env python3
"""Extracts type-associated genes from a mapped query: per group of cells, and per memory slot of each label."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--mapped", "mapped_path", type=_cli.FILE, required=True, metavar="H5AD", help="Mapped query.")
@click.option("--group_key", default="cellmemory_label", help="Obs column that groups the cells.")
@click.option("--top", type=click.IntRange(min=0), default=100, help="Genes to list per group and slot; 0: all.")
@click.option("--tags", "tags_path", type=_cli.OUTPUT, required=True, metavar="TSV", help="Output: genes per group.")
@click.option("--slot_tags", "slots_path", type=_cli.OUTPUT, required=True, metavar="TSV", help="Output: genes per slot.")
def main(mapped_path: Path, group_key: str, top: int, tags_path: Path, slots_path: Path) -> None:
    """Extract type-associated genes (TAGs) from the attention of a mapped query.

    Genes are ranked by the mean attention that the cells of a group pay to them; beside it stand a log2 ratio against
    the other groups, mean expression and the fraction of cells that express the gene. Slots are by predicted label.
    """
    import pandas as pd

    from cellmemory import tags
    from cellmemory.files import replacing
    from cellmemory.mapped import MappedFile

    with MappedFile(mapped_path) as file:
        genes = file.genes
        codes, groups = tags.group_of_cells(file, group_key)
        _cli.say(f"Read {mapped_path}: {len(codes):,} cells x {len(genes):,} genes, grouped by {group_key}.")
        sums = tags.sum_by_group(file, codes, groups)
        _say_groups(groups, sums.n_cells, int((codes < 0).sum()), group_key)
        of_groups = tags.group_tags(sums, genes, top)
        if group_key == "cellmemory_label":
            of_slots = tags.slot_tags(file, sums, genes, top)
        else:
            of_slots = pd.DataFrame(columns=tags.SLOT_TAG_COLUMNS)
            _cli.say(f"No slot genes: slot attention is kept by predicted label, not by {group_key}.")
    with replacing(tags_path) as partial, replacing(slots_path) as slot_partial:
        tags.write_table(of_groups, partial)
        tags.write_table(of_slots, slot_partial)
    _cli.say(f"Wrote {tags_path}: {len(of_groups):,} rows for {of_groups['group'].nunique()} groups.")
    _cli.say(f"Wrote {slots_path}: {len(of_slots):,} rows for {of_slots.groupby(['group', 'slot']).ngroups} slots.")


def _say_groups(groups: list[str], n_cells, ungrouped: int, group_key: str) -> None:
    """Says which groups are empty, which have a single cell, and how many cells have no group."""
    empty = [group for group, cells in zip(groups, n_cells, strict=True) if cells == 0]
    single = [group for group, cells in zip(groups, n_cells, strict=True) if cells == 1]
    if empty:
        _cli.say(f"Skipped {len(empty)} groups without a cell: {', '.join(empty)}.")
    if single:
        _cli.say(f"Warning: read the genes of these groups with care, each is a single cell: {', '.join(single)}.")
    if ungrouped:
        _cli.say(f"Left out {ungrouped:,} cells that have no value in {group_key}.")


if __name__ == "__main__":
    main()
