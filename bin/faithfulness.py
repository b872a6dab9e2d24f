#!/usr/bin/env python3
"""Tests whether attention is faithful: removes or keeps the genes that cells attend to most, and maps them again."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--mapped", "mapped_path", type=_cli.FILE, required=True, metavar="H5AD", help="Mapped query.")
@click.option("--model", type=_cli.FILE_OR_FOLDER, required=True, help="The model that mapped the query: its folder or archive.")
@click.option(
    "--cells_per_label",
    type=click.IntRange(min=1),
    default=30,
    help="Cells of each label, at most; of more than 20 labels fewer, as many in all as 20 would have.",
)
@click.option("--output", type=_cli.Output("faithfulness"), required=True, metavar="TSV", help="Output: curves and their areas.")
@_cli.device
@_cli.threads
@_cli.seed
def main(mapped_path: Path, model: Path, cells_per_label: int, output: Path, device: str, threads: int, seed: int) -> None:
    """Deletion and insertion curves of every label: what becomes of its probability as genes become absent.

    Genes go by attention, by two attributions (of the CLS token and of the linear path), by expression and at random. If
    attention is faithful, its first genes take the label's probability with them sooner than random ones.
    """
    import numpy as np

    from cellmemory.cells.labels import ALL_LABELS
    from cellmemory.columns import MAPPING
    from cellmemory.explanation import faithfulness
    from cellmemory.io.atomic import replacing
    from cellmemory.io.tables import write_table
    from cellmemory.mapping.mapped import MappedFile
    from cellmemory.mapping.mapper import Mapper
    from cellmemory.network.runtime import configure
    from cellmemory.reference import trained_model
    from cellmemory.sampling import sample_each

    trained = trained_model.load(model)
    mapper = Mapper(trained, configure(device, "fp32", threads, seed=seed))
    with MappedFile(mapped_path) as file:
        file.check_model(trained)
        labels = file.obs["cellmemory_label"].astype("category").cat.set_categories(trained.labels).cat.codes.to_numpy()
        of_each = faithfulness.cells_of_each(cells_per_label, len(np.unique(labels)))
        rows = sample_each(labels, of_each, seed)
        values = file.picked("X", rows)
        values = values[np.diff(values.indptr) > 0]  # nothing can be removed of an empty cell
        mapping = file.mapping
        tokens = mapper.tokenize(values, file.var()["measured"].to_numpy(bool))
    _cli.say(f"Read {mapped_path}: {len(tokens):,} of {len(labels):,} cells, at most {of_each} of each label.")
    table = faithfulness.summarise(*faithfulness.curves(tokens, mapper, seed), trained.labels)
    with replacing(output) as partial:
        write_table(table.assign(**{MAPPING: mapping}), partial)
    for row in table[(table["group"] == ALL_LABELS) & (table["ranking"] == "attention")].itertuples():
        _cli.say(
            f"All labels, {row.part} decision, {row.curve}: area {row.area:.3f} by attention, {abs(row.gain):.3f} "
            f"{'more' if row.gain > 0 else 'less'} faithful than random genes."
        )
    _cli.say(f"Wrote {output}: {len(table):,} curves.")


if __name__ == "__main__":
    main()
