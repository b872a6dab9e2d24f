#!/usr/bin/env python3
"""Writes the report: one self-contained HTML page of a sample, or of a run, its figures, and content for MultiQC."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

import _cli

if TYPE_CHECKING:
    from cellmemory.reference.trained_model import TrainedModel
    from cellmemory.report.data import Sample


@_cli.command
@click.option("--model", type=_cli.FILE_OR_FOLDER, required=True, help="Trained model: its folder or archive.")
@click.option("--mapped", type=_cli.FILE, required=True, multiple=True, help="Mapped query; several make the page of a run.")
@click.option("--inputs", type=_cli.FILE, help="What check_inputs.py found.")
@click.option("--alignment", type=_cli.FILE, multiple=True, help="<sample>.alignment.json of preprocess_query.py.")
@click.option("--tags", type=_cli.FILE, multiple=True, help="<sample>.tags.tsv of extract_tags.py.")
@click.option("--slot_tags", type=_cli.FILE, multiple=True, help="<sample>.slot_tags.tsv of extract_tags.py.")
@click.option("--contrasts", type=_cli.FILE, multiple=True, help="<sample>.contrasts.tsv of extract_tags.py.")
@click.option("--faithfulness", type=_cli.FILE, multiple=True, help="<sample>.faithfulness.tsv of faithfulness.py.")
@click.option("--enrichment", type=_cli.FILE, multiple=True, help="<sample>.enrichment.tsv of enrich.py.")
@click.option("--clusters", type=_cli.FILE, multiple=True, help="<sample>.clusters.tsv of cluster.py.")
@click.option("--cluster_markers", type=_cli.FILE, multiple=True, help="<sample>.cluster_markers.tsv of cluster.py.")
@click.option("--cell_clusters", type=_cli.FILE, multiple=True, help="<sample>.cell_clusters.csv of cluster.py.")
@click.option("--metrics", type=_cli.FILE, multiple=True, help="<sample>.metrics.json of evaluate.py.")
@click.option("--consensus", type=_cli.FILE, multiple=True, help="<sample>.consensus.json of consensus.py.")
@click.option("--gmt", "gmts", type=_cli.FILE, multiple=True, help="Gene sets, such as markers of cell types, to show by label.")
@click.option("--provenance", type=_cli.FILE, help="JSON object with parameters and versions of the run.")
@click.option("--output", type=_cli.Output("page"), required=True, help="The HTML page.")
@click.option("--mqc_dir", type=_cli.Output("multiqc_folder"), help="Folder for MultiQC's *_mqc.json.")
@click.option("--figures_dir", type=_cli.Output("figures"), help="Folder for the page's figures as SVG, PDF and PNG.")
def main(
    model: Path,
    mapped: tuple[Path, ...],
    inputs: Path | None,
    alignment: tuple[Path, ...],
    tags: tuple[Path, ...],
    slot_tags: tuple[Path, ...],
    contrasts: tuple[Path, ...],
    faithfulness: tuple[Path, ...],
    enrichment: tuple[Path, ...],
    clusters: tuple[Path, ...],
    cluster_markers: tuple[Path, ...],
    cell_clusters: tuple[Path, ...],
    metrics: tuple[Path, ...],
    consensus: tuple[Path, ...],
    gmts: tuple[Path, ...],
    provenance: Path | None,
    output: Path,
    mqc_dir: Path | None,
    figures_dir: Path | None,
) -> None:
    """Writes the report of a sample (one --mapped) or of a run (several) as one HTML file that needs no network.

    Tables belong to the sample whose name their file name starts with, or to the mapped file that is named alike (a.mapped.h5ad,
    a.tags.tsv). What is not given is left out; the page says so.
    """
    from cellmemory.io.atomic import replacing
    from cellmemory.reference import trained_model
    from cellmemory.report import multiqc, page, still
    from cellmemory.report.data import RunFacts, read_samples
    from cellmemory.report.tables import read_json

    tables = {
        "alignment": alignment,
        "metrics": metrics,
        "tags": tags,
        "slot_tags": slot_tags,
        "contrasts": contrasts,
        "faithfulness": faithfulness,
        "enrichment": enrichment,
        "clusters": clusters,
        "cluster_markers": cluster_markers,
        "cell_clusters": cell_clusters,
    }
    trained = trained_model.load(model)
    samples = read_samples(mapped, trained, tables)
    for sample in samples:
        _cli.say(
            f"Read {sample.name}: {len(sample.cells):,} cells, {len(sample.drawn):,} of them drawn; "
            f"tables: {', '.join(sample.tables) or 'none'}."
        )
    if mqc_dir:
        multiqc.check_folder(samples, mqc_dir, output)
    facts = RunFacts(
        inputs=read_json(inputs, "inputs") if inputs else None,
        provenance=read_json(provenance, "provenance") if provenance else None,
        consensus=[read_json(path, "consensus") for path in consensus],
        gene_sets=_gene_sets(gmts, trained, samples),
    )
    text, parts = page.build(samples, trained, facts)
    colours = page.label_colours(samples, trained)
    with replacing(output) as partial:
        partial.write_text(text, encoding="utf-8")
    _cli.say(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB).")
    if mqc_dir:
        _cli.say(f"Wrote {len(multiqc.write(samples, trained, colours, mqc_dir))} files for MultiQC to {mqc_dir}.")
    if figures_dir:
        _cli.say(f"Wrote {len(still.write(samples, parts, colours, figures_dir))} files of figures to {figures_dir}.")


def _gene_sets(gmts: tuple[Path, ...], trained: "TrainedModel", samples: "list[Sample]") -> dict[str, dict[str, list[str]]]:
    """The genes of each list of markers, by the name of its file; those that some sample measured."""
    from cellmemory.genes.gene_sets import marker_lists

    measured = {gene for sample in samples for gene, there in zip(sample.genes, sample.measured, strict=True) if there}
    return marker_lists(gmts, trained.panel, measured)


if __name__ == "__main__":
    main()
