#!/usr/bin/env python3
"""Brings a query's cells onto the gene panel of a reference."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--query", type=_cli.FILE_OR_FOLDER, required=True, help="Query: .h5ad, 10x .h5 or 10x mtx folder.")
@click.option("--sample", help="Name of the query; made of the file's name if not given.")
@click.option("--panel", type=_cli.FILE, required=True, help="panel.tsv of the reference, or of a trained model.")
@click.option("--counts_layer", help="Layer with the values; detected if not given.")
@click.option("--gene_column", help="Column of var with the gene names; detected if not given.")
@click.option("--gene_map", type=_cli.FILE, help="TSV of gene names, from and to: aliases, orthologs.")
@click.option("--batch_key", help="Column of obs with the batch, for an evaluation.")
@click.option("--spatial_key", help="Key of obsm with the coordinates; 'spatial' is detected.")
@click.option("--truth_key", help="Column of obs with the true labels, for an evaluation.")
@click.option("--min_coverage", type=_cli.Number(0, 1), default=0.2, help="Share of the panel that must be measured.")
@click.option("--output", type=_cli.Output("aligned"), required=True, help="Query over the panel, .h5ad.")
@click.option("--alignment", type=_cli.Output("alignment"), required=True, help="What was matched, summed and missing, .json.")
def main(
    query: Path,
    sample: str | None,
    panel: Path,
    counts_layer: str | None,
    gene_column: str | None,
    gene_map: Path | None,
    batch_key: str | None,
    spatial_key: str | None,
    truth_key: str | None,
    min_coverage: float,
    output: Path,
    alignment: Path,
) -> None:
    """Brings a query's cells onto a gene panel: genes matched, duplicates summed, values normalised."""
    from cellmemory.genes.align import describe
    from cellmemory.genes.query_cells import preprocess_query
    from cellmemory.io.samplesheet import Origin, Query, check_sample, sample_named

    if sample:
        check_sample(sample)
    origin = Origin(counts_layer, gene_column, batch_key, spatial_key, truth_key)
    row = Query(sample or sample_named(query), query, origin)
    found = preprocess_query(row, panel, gene_map=gene_map, min_coverage=min_coverage, output=output, alignment=alignment)
    for sentence in describe(found):
        _cli.say(sentence)
    _cli.say(f"Wrote {output} and {alignment}.")


if __name__ == "__main__":
    main()
