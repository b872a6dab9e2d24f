#!/usr/bin/env python3
"""Extracts type-associated genes from a mapped query: per group of cells, per memory slot, and for two groups contrasted."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--mapped", "mapped_path", type=_cli.FILE, required=True, metavar="H5AD", help="Mapped query.")
@click.option("--group_key", default="cellmemory_label", help="Obs column that groups the cells.")
@click.option("--cell_list", type=_cli.FILE, metavar="TSV",
              help="Groups of your own instead: a cell's name a line, and after a tab its group.")  # fmt: skip
@click.option("--contrast", "contrasts", multiple=True, metavar="COLUMN:A:B",
              help="Contrast the cells of two values of an obs column within each group; may be given repeatedly.")  # fmt: skip
@click.option("--against", type=_cli.FILE, metavar="H5AD",
              help="Contrast with this mapped file within each group: the reference's cells, or another sample's.")  # fmt: skip
@click.option("--cell_clusters", type=_cli.FILE, metavar="CSV",
              help="Clusters of the cells: those that may be of new types are left out of labels.")  # fmt: skip
@click.option("--model", type=_cli.FILE_OR_FOLDER,
              help="The model that mapped the query (folder or archive): adds what genes contribute, in logits.")  # fmt: skip
@click.option("--top", type=click.IntRange(min=0), default=100, help="Genes to list per ranking; 0: all.")
@click.option("--permutations", type=click.IntRange(0, 1_000_000), default=1000,
              help="Shuffles of the groups behind every p-value; 0: no tests, and none of expression.")  # fmt: skip
@click.option("--test_cells", type=click.IntRange(min=10), default=10_000,
              help="Cells that are tested, at most, small groups whole; means and effects use all cells.")  # fmt: skip
@click.option("--tags", "tags_path", type=_cli.Output("tags"), required=True, metavar="TSV", help="Output: genes per group.")
@click.option(
    "--slot_tags", "slots_path", type=_cli.Output("slot_tags"), required=True, metavar="TSV", help="Output: genes per slot."
)
@click.option("--contrasts", "contrasts_path", type=_cli.Output("contrasts"), metavar="TSV",
              help="Output: genes per contrast and group. Needed with --contrast and --against.")  # fmt: skip
@click.option("--profiles", "profiles_path", type=_cli.Output("profiles"), metavar="H5AD",
              help="Output: every gene of every ranking, for enrich.py and compare_slots.py.")  # fmt: skip
@_cli.device
@_cli.threads
@_cli.seed
def main(mapped_path: Path, group_key: str, cell_list: Path | None, contrasts: tuple[str, ...], against: Path | None,
         cell_clusters: Path | None, model: Path | None, top: int, permutations: int, test_cells: int, tags_path: Path,
         slots_path: Path, contrasts_path: Path | None, profiles_path: Path | None, device: str, threads: int,
         seed: int) -> None:  # fmt: skip
    """Extract type-associated genes (TAGs) from the attention of a mapped query.

    Genes are ranked by the mean attention that the cells of a group pay to them; the tables also hold what sets the
    group apart from the others (log2 ratio, effect size, permutation p-value), expression, and whether a test of expression would
    have found the gene. Slots are by predicted label.
    """
    if (contrasts or against) and not contrasts_path:
        raise click.UsageError("--contrasts is missing: where to write what --contrast and --against find.")
    if cell_list and group_key != "cellmemory_label":
        raise click.UsageError("--cell_list and --group_key exclude each other. Give one of them.")
    if cell_list and against:
        raise click.UsageError(
            "--cell_list and --against exclude each other: a list is of the cells of one file. Give one of them."
        )
    from contextlib import ExitStack

    from cellmemory.cells.writing import write_signed
    from cellmemory.explanation.extraction import TagSettings, extract
    from cellmemory.io.atomic import replacing
    from cellmemory.io.tables import write_table

    mapper = None
    if model:
        from cellmemory.mapping.mapper import Mapper
        from cellmemory.network.runtime import configure
        from cellmemory.reference import trained_model

        mapper = Mapper(trained_model.load(model), configure(device, "fp32", threads, seed=seed))
    settings = TagSettings(group_key, cell_list, contrasts, against, top, permutations, test_cells, seed, cell_clusters)
    found = extract(mapped_path, settings, mapper)
    written = [(tags_path, found.tags), (slots_path, found.slot_tags)]
    if contrasts_path:
        written.append((contrasts_path, found.contrasts))
    with ExitStack() as outputs:
        for path, table in written:
            write_table(table, outputs.enter_context(replacing(path)))
        if profiles_path:
            write_signed(found.profiles(), outputs.enter_context(replacing(profiles_path)))
    for path, table in written:
        keys = [key for key in ("contrast", "group", "slot") if key in table]
        _cli.say(f"Wrote {path}: {len(table):,} rows for {table.groupby(keys).ngroups} rankings by {' and '.join(keys)}.")


if __name__ == "__main__":
    main()
