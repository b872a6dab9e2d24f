#!/usr/bin/env python3
"""Joins the slices of a query that map_query.py --cells wrote into one mapped query."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--query", type=_cli.FILE, required=True, help="The aligned query that the slices are of.")
@click.option("--model", type=_cli.FILE_OR_FOLDER, required=True, help="The model that mapped them: its folder or archive.")
@click.option("--slice", "slices", type=_cli.FILE, required=True, multiple=True, metavar="H5AD",
              help="A slice; give all of them, in any order.")  # fmt: skip
@click.option("--output", type=_cli.Output("mapped"), required=True, help="Mapped query, .h5ad.")
@click.option("--labels", type=_cli.Output("labels"), required=True, help="The new columns as .csv.")
@_cli.threads
def main(query: Path, model: Path, slices: tuple[Path, ...], output: Path, labels: Path, threads: int) -> None:
    """Joins the slices of a query into one mapped query: the same files that map_query.py writes without --cells."""
    from cellmemory.mapping.gathering import gather
    from cellmemory.reference import trained_model

    gather(query, trained_model.load(model), slices, output=output, labels=labels, threads=threads)


if __name__ == "__main__":
    main()
