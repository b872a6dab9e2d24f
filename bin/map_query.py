#!/usr/bin/env python3
"""Maps an aligned query onto a trained model."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--query", type=_cli.FILE, required=True, help="Query over the model's panel (by preprocess_query.py).")
@click.option("--model", type=_cli.FILE_OR_FOLDER, required=True, help="Trained model: its folder or archive.")
@click.option("--output", type=_cli.Output("mapped"), required=True, help="Mapped query, .h5ad.")
@click.option("--labels", type=_cli.Output("labels"), help="The new columns as .csv. Needed without --cells.")
@click.option("--cells", metavar="START:STOP",
              help="Map only these cells (from 0, without STOP; either may be left out), for gather.py to join.")  # fmt: skip
@click.option("--novelty_alpha", type=_cli.Number(0, 1), default=0.05, help="Unassigned below this novelty p-value.")
@click.option("--alpha", type=_cli.Number(0, 1, min_open=True, max_open=True), default=0.05,
              help="Label sets miss the true label of at most this share of cells.")  # fmt: skip
@click.option("--min_confidence", type=_cli.Number(0.5, 1), default=0.7,
              help="Ambiguous below this probability of the label. With labels at several levels, the answer is the deepest one "
              "that reaches it.")  # fmt: skip
@click.option("--novelty_shift/--no_novelty_shift", default=True, help="Take what the query's cells have in common, whatever "
              "their labels, out of their novelty.")  # fmt: skip
@click.option("--attention/--no_attention", default=True, help="Write attention per cell and gene, for lists of genes (TAGs).")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", help="Number format of products.")
@_cli.device
@_cli.threads
@_cli.seed
def main(
    query: Path,
    model: Path,
    output: Path,
    labels: Path | None,
    cells: str | None,
    novelty_alpha: float,
    alpha: float,
    min_confidence: float,
    novelty_shift: bool,
    attention: bool,
    precision: str,
    device: str,
    threads: int,
    seed: int,
) -> None:
    """Maps a query onto a trained model: labels, confidence, novelty, embeddings and attention of every cell."""
    if cells is None and labels is None:
        raise click.UsageError("--labels is missing: where to write the new columns as .csv.")
    from cellmemory.mapping.mapper import MappingSettings, map_query
    from cellmemory.network.runtime import configure
    from cellmemory.reference import trained_model
    from cellmemory.reference.calibration import DoubtSettings

    trained = trained_model.load(model)
    runtime = configure(device, precision, threads, seed=seed, variant=trained.sizes.variant)
    settings = MappingSettings(DoubtSettings(novelty_alpha, alpha, min_confidence, novelty_shift), attention, cells)
    map_query(query, trained, settings, runtime, output=output, labels=labels)


if __name__ == "__main__":
    main()
