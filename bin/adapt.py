#!/usr/bin/env python3
"""Adapts a trained model to a query, without labels of the query."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--query", type=_cli.FILE, required=True, help="Query over the model's panel (by preprocess_query.py).")
@click.option("--model", type=_cli.FILE_OR_FOLDER, required=True, help="Trained model: its folder or archive.")
@click.option(
    "--output",
    type=_cli.Output("adapted"),
    required=True,
    help="Adapted model, for this query only: a folder, or an archive if the name ends with .zip.",
)
@click.option(
    "--adapt",
    "how",
    type=click.Choice(["auto", "true"]),
    default="true",
    show_default=True,
    help="true: in any case; auto: only where it is likelier to help than to harm, else the model stays as it is.",
)
@_cli.device
@_cli.threads
@_cli.seed
def main(query: Path, model: Path, output: Path, how: str, device: str, threads: int, seed: int) -> None:
    """Writes a model whose linear path has learned from the cells of a query that the model is sure of."""
    from cellmemory.mapping.adaptation import adapt
    from cellmemory.network.runtime import configure
    from cellmemory.reference import trained_model

    trained = trained_model.load(model)
    runtime = configure(device, "auto", threads, seed=seed, variant=trained.sizes.variant)
    adapt(query, trained, output, runtime, auto=how == "auto")


if __name__ == "__main__":
    main()
