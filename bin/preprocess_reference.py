#!/usr/bin/env python3
"""Selects a reference's gene panel and brings its cells onto it."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--reference", type=_cli.FILE, required=True, help="Labelled reference, .h5ad.")
@click.option("--label_key", required=True, help="Column of obs with the labels.")
@click.option("--batch_key", help="Column of obs with the batch (donor, run); genes are selected within batches.")
@click.option("--counts_layer", help="Layer with the values; detected if not given.")
@click.option("--gene_column", help="Column of var with the gene names; the index if not given.")
@click.option("--query_genes", type=_cli.FILE, help="TSV of the genes that the queries measured (by check_inputs.py).")
@click.option("--n_genes", type=click.IntRange(min=2), default=2000, help="Genes of the panel, at most.")
@click.option("--output", type=_cli.Output("reference"), required=True, help="Reference over the panel, .h5ad.")
@click.option("--panel", type=_cli.Output("panel"), required=True, help="The panel, .tsv.")
def main(
    reference: Path,
    label_key: str,
    batch_key: str | None,
    counts_layer: str | None,
    gene_column: str | None,
    query_genes: Path | None,
    n_genes: int,
    output: Path,
    panel: Path,
) -> None:
    """Selects a reference's gene panel (its highly variable genes) and brings its cells onto it."""
    from cellmemory.genes.names import left_out
    from cellmemory.genes.reference_cells import preprocess_reference
    from cellmemory.io.samplesheet import Origin

    origin = Origin(counts_layer, gene_column, batch_key)
    found = preprocess_reference(
        reference, label_key, origin, query_genes=query_genes, n_genes=n_genes, output=output, panel_path=panel
    )
    _cli.say(
        f"Read {found.cells:,} cells x {found.genes:,} genes of {reference} ({found.scale} in {found.matrix}); "
        f"{found.labels} labels in '{label_key}'."
    )
    if found.no_expression:
        _cli.say(left_out(found.no_expression))
    if found.nameless:
        _cli.say(f"{found.nameless:,} genes without a name, or with one that no table can hold, were left out.")
    if found.summed:
        _cli.say(f"{found.summed:,} genes were summed into another of their name.")
    for what, number in (("a label", found.unlabelled), ("counts", found.empty)):
        if number:
            _cli.say(f"Dropped {number:,} cells without {what}.")
    for warning in found.warnings:
        _cli.warn(warning)
    if found.shared is None:
        _cli.say("No queries were given.")
    else:
        _cli.say(f"Matched {found.shared:,} of {found.genes:,} genes with the queries'.")
    for note in found.notes:
        _cli.say(note)
    _cli.say(f"Kept the {found.panel:,} most variable genes as the panel.")
    _cli.say(f"Wrote {output} and {panel}.")


if __name__ == "__main__":
    main()
