#!/usr/bin/env python3
"""Selects a reference's gene panel and brings its cells onto it."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--reference", type=_cli.FILE, required=True, help="Labelled reference, .h5ad.")
@click.option("--label_key", required=True, help="Column of obs with the labels.")
@click.option("--batch_key", help="Column of obs with the batch (donor, run); genes are selected within batches.")
@click.option("--counts_layer", help="Layer with the values; found by itself if not given.")
@click.option("--gene_column", help="Column of var with the gene names; the index if not given.")
@click.option("--query_genes", type=_cli.FILE, help="TSV of the genes that the queries measured (by check_inputs.py).")
@click.option("--n_genes", type=click.IntRange(min=2), default=2000, help="Genes of the panel, at most.")
@click.option("--output", type=_cli.Output("reference"), required=True, help="Reference over the panel, .h5ad.")
@click.option("--panel", type=_cli.Output("panel"), required=True, help="The panel, .tsv.")
def main(reference: Path, label_key, batch_key, counts_layer, gene_column, query_genes, n_genes, output, panel):
    """Selects a reference's gene panel (its highly variable genes) and brings its cells onto it."""
    from cellmemory.genes.preprocess import preprocess_reference
    from cellmemory.io.samplesheet import Origin

    origin = Origin(counts_layer, gene_column, batch_key)
    for line in preprocess_reference(reference, label_key, origin, query_genes, n_genes, output, panel):
        _cli.say(line)


if __name__ == "__main__":
    main()
