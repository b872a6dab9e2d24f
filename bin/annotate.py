#!/usr/bin/env python3
"""Gives the query's own file back, with the labels in it."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option(
    "--query", type=_cli.FILE_OR_FOLDER, required=True, help="The cells that were mapped: .h5ad, 10x .h5 or mtx folder."
)
@click.option("--mapped", "mapped_path", type=_cli.FILE, required=True, metavar="H5AD", help="Mapped query.")
@click.option("--cell_clusters", type=_cli.FILE, metavar="CSV", help="<sample>.cell_clusters.csv of cluster.py.")
@click.option(
    "--ontology_map", type=_cli.FILE, help="TSV of labels and their ids in the Cell Ontology, label and ontology_term_id."
)
@click.option("--output", type=_cli.Output("annotated"), required=True, help="The query with the new columns, .h5ad.")
def main(query: Path, mapped_path: Path, cell_clusters: Path | None, ontology_map: Path | None, output: Path) -> None:
    """Write the query's own file with labels, embeddings and clusters of its cells in it.

    All that the file holds stays as it is: every gene, counts, layers, raw, other columns and embeddings.
    """
    from cellmemory.annotation.annotated import annotate

    annotate(query, mapped_path, cell_clusters, ontology_map=ontology_map, output=output)


if __name__ == "__main__":
    main()
