#!/usr/bin/env python3
"""Clusters the cells of a mapped query, and says which clusters may be types that the reference lacks."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--mapped", "mapped_path", type=_cli.FILE, required=True, metavar="H5AD", help="Mapped query.")
@click.option("--model", type=_cli.FILE_OR_FOLDER, required=True, help="The model that mapped the query: its folder or archive.")
@click.option("--cluster_key", help="Column of obs with clusters of your own, to be used instead of new ones.")
@click.option("--resolution", type=_cli.Number(min=0.01, max=100), default=1.0, help="A higher one gives more clusters.")
@click.option("--top", type=click.IntRange(min=0), default=20, help="Marker genes to list of each comparison; 0: all.")
@click.option("--gmt", "gmts", type=_cli.FILE, multiple=True,
              help="Gene sets, such as markers of cell types, to look up genes of clusters in that may be new.")  # fmt: skip
@click.option("--cell_clusters", "cells_path", type=_cli.Output("cell_clusters"), required=True, metavar="CSV",
              help="Output: the cluster of each cell, and the label of most of its cells.")  # fmt: skip
@click.option(
    "--clusters", "clusters_path", type=_cli.Output("clusters"), required=True, metavar="TSV", help="Output: a row a cluster."
)
@click.option("--cluster_markers", "markers_path", type=_cli.Output("cluster_markers"), required=True, metavar="TSV",
              help="Output: marker genes of each cluster.")  # fmt: skip
@_cli.threads
@_cli.seed
def main(mapped_path: Path, model: Path, cluster_key: str | None, resolution: float, top: int, gmts: tuple[Path, ...],
         cells_path: Path, clusters_path: Path, markers_path: Path, threads: int, seed: int) -> None:  # fmt: skip
    """Cluster a mapped query by expression (Leiden), or take its own clusters, with the labels, doubt and marker genes of each.

    A cluster may be of a new type if a quarter of its cells or more, and at least five, are unlike the reference; or if it
    expresses genes far beyond the reference's cells of its labels. If it has the markers of its label, it is a state rather than
    a type. Its cells are then also compared with the assigned ones of the label that most of them got, and its genes beyond the
    reference are looked up among the markers of the reference's labels and in the gene sets.
    """
    from contextlib import ExitStack

    from cellmemory.clusters.clustering import ClusterSettings, cluster_query
    from cellmemory.columns import STATE, TYPE
    from cellmemory.io.atomic import replacing
    from cellmemory.io.spreadsheet import write_csv
    from cellmemory.io.tables import write_table
    from cellmemory.reference import trained_model

    settings = ClusterSettings(resolution, top, seed, cluster_key)
    found = cluster_query(mapped_path, trained_model.load(model), settings, gmts)
    with ExitStack() as outputs:
        for path, table in ((clusters_path, found.clusters), (markers_path, found.markers)):
            write_table(table, outputs.enter_context(replacing(path)))
        partial = outputs.enter_context(replacing(cells_path))
        with partial.open("w", newline="", encoding="utf-8") as file:
            write_csv(found.cells, file, header=True)
    which = ""
    for kind, one, several in ((TYPE, "of a type", "of types"), (STATE, "in a state", "in states")):
        new = found.clusters["cluster"][found.clusters["candidate"] == kind].tolist()
        named = f"cluster {new[0]} may be {one}" if len(new) == 1 else f"clusters {', '.join(new)} may be {several}"
        which += f"; {named} that the reference lacks" if new else ""
    n = len(found.clusters)
    _cli.say(f"Wrote {clusters_path}: {n} cluster{'' if n == 1 else 's'}{which}.")


if __name__ == "__main__":
    main()
