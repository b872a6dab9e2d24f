#!/usr/bin/env python3
"""Checks all inputs of a run before anything heavy starts."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--samplesheet", type=_cli.FILE, required=True, help="CSV of queries: sample, h5ad and where things are.")
@click.option("--staged", type=_cli.FILE_OR_FOLDER, multiple=True, help="Where the files of the rows really are, in their order.")
@click.option("--reference", type=_cli.FILE, help="Labelled reference to train on.")
@click.option("--label_key", help="Column of the reference's obs with the labels.")
@click.option("--label_levels", help="Columns of the reference's obs with labels at several levels, coarse to fine, with commas.")
@click.option("--batch_key", help="Column of the reference's obs with the batch.")
@click.option("--counts_layer", help="Layer of the reference with the values; detected if not given.")
@click.option("--gene_column", help="Column of the reference's var with the gene names; the index if not given.")
@click.option("--model", type=_cli.ANY_PATH, help="Folder or archive of a trained model, instead of a reference.")
@click.option("--gene_map", type=_cli.FILE, help="TSV of gene names, from and to: aliases, orthologs.")
@click.option("--ontology_map", type=_cli.FILE, help="TSV of labels and their ids in the Cell Ontology.")
@click.option("--gmt", type=_cli.FILE, multiple=True, help="Gene sets for the enrichment.")
@click.option("--contrast", multiple=True, metavar="COLUMN:A:B", help="Contrast that each query must be able to answer.")
@click.option("--min_coverage", type=_cli.Number(0, 1), default=0.2, help="Share of the panel that must be measured.")
@click.option("--n_genes", type=click.IntRange(min=2), default=2000, help="Genes of the panel, at most.")
@click.option("--output", type=_cli.Output("inputs"), required=True, help="What was found, .json.")
@click.option(
    "--query_genes", type=_cli.Output("query_genes"), required=True, help="Genes of the reference that each query measured, .tsv."
)
def main(
    samplesheet: Path,
    staged: tuple[Path, ...],
    reference: Path | None,
    label_key: str | None,
    label_levels: str | None,
    batch_key: str | None,
    counts_layer: str | None,
    gene_column: str | None,
    model: Path | None,
    gene_map: Path | None,
    ontology_map: Path | None,
    gmt: tuple[Path, ...],
    contrast: tuple[str, ...],
    min_coverage: float,
    n_genes: int,
    output: Path,
    query_genes: Path,
) -> None:
    """Checks samplesheet, queries, reference or model, and gene sets; names every problem of all of them at once."""
    from cellmemory.checks import RunInputs, check_inputs
    from cellmemory.io.atomic import replacing, write_json
    from cellmemory.io.samplesheet import Origin
    from cellmemory.io.tables import write_table

    given = RunInputs(
        samplesheet=samplesheet,
        staged=staged,
        reference=reference,
        label_key=label_key,
        label_levels=label_levels,
        origin=Origin(counts_layer, gene_column, batch_key),
        model=model,
        gene_map=gene_map,
        ontology_map=ontology_map,
        gmt=gmt,
        contrasts=contrast,
    )
    inputs, genes = check_inputs(given, min_coverage=min_coverage, n_genes=n_genes)
    write_json(output, inputs)
    with replacing(query_genes) as partial:
        write_table(genes, partial)
    for query in inputs["queries"]:
        _cli.say(
            f"{query['sample']}: {query['cells']:,} cells, {query['shared_genes']:,} of {query['genes']:,} genes shared "
            f"({query['value_scale']} in {query['values_from']}, {query['id_type']} ids)."
        )
    for warning in [*inputs["warnings"], *(inputs["reference"] or {}).get("warnings", ())]:
        _cli.warn(warning)
    _cli.say(f"Wrote {output} and {query_genes}.")


if __name__ == "__main__":
    main()
