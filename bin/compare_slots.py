#!/usr/bin/env python3
"""Compares the memory slots of models that were trained with other seeds, by what they make of the same query."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--profiles", "paths", type=_cli.FILE, required=True, multiple=True, metavar="H5AD",
              help="Two or more .tag_profiles.h5ad of one query, each mapped with another model.")  # fmt: skip
@click.option("--top", type=click.IntRange(min=1), default=20, help="Genes of a slot that are looked for in its partner.")
@click.option(
    "--output", type=_cli.Output("stability"), required=True, metavar="TSV", help="Output: a row for each slot and pair."
)
def main(paths: tuple[Path, ...], top: int, output: Path) -> None:
    """How stable memory slots are: matches the slots of every two models and says how alike the matched ones are.

    Slots have no order of their own, so that they are matched by the genes that write into them.
    """
    if len(set(paths)) < 2:
        raise click.UsageError("--profiles has to be given at least twice, for two models.")
    from cellmemory.explanation import profiles, stability
    from cellmemory.io.atomic import replacing
    from cellmemory.io.tables import write_table

    table = stability.compare({str(path): profiles.load(path) for path in dict.fromkeys(paths)}, top)
    with replacing(output) as partial:
        write_table(table, partial)
    for (first, second), block in table.groupby(["first", "second"], sort=False):
        mean = block.drop(columns=["first", "second", "slot", "matched_slot"]).mean()
        _cli.say(
            f"{first} and {second}: matched slots are correlated by {mean['similarity']:.2f} (others by "
            f"{mean['other_similarity']:.2f}) and share {mean['shared_top_genes']:.0%} of their top {top} genes "
            f"(others {mean['other_shared_top_genes']:.0%})."
        )
    _cli.say(f"Wrote {output}: {len(table):,} rows.")


if __name__ == "__main__":
    main()
