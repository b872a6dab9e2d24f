#!/usr/bin/env python3
"""Doubt on references of which a batch and one or two types were left out: the tables of docs/decisions.md on doubt.

    benchmarks/doubt.py --data FOLDER

`benchmarks/left_out.json` lists the references. A query is another batch, donor, protocol or half, and holds the types that its
reference lacks. No query of a split is among them, so choices of method can be made here. What was mapped is kept in
`benchmarks/work`; a stopped run goes on where it was. `benchmarks/ablations.py page` writes the page.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import click
import numpy as np
import pandas as pd

from ours import VARIANTS, Scripts, map_aligned, map_cells, predictions
from splits import MIN_REFERENCE_CELLS, Split, chosen, plain, write_task

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "bin"))
FOLDER = click.Path(file_okay=False, path_type=Path)
#: As shipped, and with `--novelty_shift false`: the names of the files of predictions.
WAYS = ("as_shipped", "no_shift")
METRICS = ("accuracy", "macro_f1", "ece", "novelty_auroc", "set_coverage", "set_coverage_worst", "set_size", "assigned",
           "unassigned_shared", "unassigned_novel", "surely_wrong")  # fmt: skip


def read_left_out(spec: dict, data: Path, seed: int = 0) -> Split:
    """The reference without its new types, and a query of other cells that holds them. The seed draws cells and halves.

    spec: file, label, reference and query (column -> values of the cells), new (types), and where wanted drop_labels and
    cells (how many of the file's cells are drawn). Equal cells for reference and query are halved at random.
    """
    rng = np.random.default_rng(seed)
    file = ad.read_h5ad(data / spec["file"])
    reference, query = (chosen(file, spec[side], spec) for side in ("reference", "query"))
    if spec["reference"] == spec["query"]:
        order = rng.permutation(reference.n_obs)[: spec.get("cells")]
        reference, query = (reference[np.sort(half)] for half in np.array_split(order, 2))
    (reference, _), (query, _) = (plain(cells, spec["label"]) for cells in (reference, query))
    counts = reference.obs["label"].value_counts()
    known = counts.index[counts >= MIN_REFERENCE_CELLS].difference(spec["new"])
    reference = reference[reference.obs["label"].isin(known)].copy()
    query = query[query.obs["label"].isin([*known, *spec["new"]])].copy()
    return Split(spec["name"], reference, query, {"types_left_out": spec["new"]})


def mapped(split: Split, folder: Path, threads: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each way of mapping and its predictions with the column truth; made where they are not kept."""
    about = write_task(split.reference, split.query, folder)
    if not (folder / "as_shipped.csv").exists():
        map_cells(folder, VARIANTS["cellmemory"], about["batches"] > 1, 0, threads, [])
        predictions(folder / "mapped.h5ad").to_csv(folder / "as_shipped.csv")
    if not (folder / "no_shift.csv").exists():
        map_aligned(Scripts(folder), "aligned.h5ad", "model", "no_shift.h5ad", 0, threads, "--no_novelty_shift")
        predictions(folder / "no_shift.h5ad").to_csv(folder / "no_shift.csv")
    for way in WAYS:
        table = pd.read_csv(folder / f"{way}.csv", keep_default_na=False, dtype={"cell": str, "label": str, "label_set": str})
        yield way, table.assign(truth=split.query.obs["label"].reindex(table["cell"]).to_numpy(str))


def figures(table: pd.DataFrame, types: dict[str, int]) -> dict[str, float | None]:
    """What the page tells of one query; types are the reference's and their cells."""
    from cellmemory.evaluation import SURE
    from scoring import score

    found = score(table, types)
    assigned = table[table["status"] == "assigned"]
    known = assigned[assigned["truth"].isin(types)]
    sure = (table["confidence"] > SURE) & (table["truth"] != table["label"])
    return {
        **{name: found[name] for name in METRICS},
        "assigned_known_accuracy": float((known["truth"] == known["label"]).mean()),
        "surely_wrong_all": float(sure.mean()),
    }


def clusters(split: Split, folder: Path, threads: int) -> dict:
    """What cluster.py finds of the types that were left out: all clusters, and the candidates one by one."""
    if not (folder / "clusters.tsv").exists():
        Scripts(folder)("cluster", "--mapped", "mapped.h5ad", "--model", "model", "--clusters", "clusters.tsv", "--cell_clusters",
                        "cell_clusters.csv", "--cluster_markers", "markers.tsv", "--threads", str(threads))  # fmt: skip
    table = pd.read_csv(folder / "clusters.tsv", sep="\t", dtype={"cluster": str, "label": str}).set_index("cluster")
    cells = pd.read_csv(folder / "cell_clusters.csv", index_col="cell", dtype=str)["cellmemory_cluster"]
    new = split.query.obs["label"].isin(split.left_out["types_left_out"]).reindex(cells.index)
    of_cluster = new.groupby(cells).agg(["size", "sum"])
    found = table[table["candidate"] == "yes"].join(of_cluster)
    rows = found[["label", "unlike", "excess", "size", "sum"]].rename(columns={"size": "cells", "sum": "new_cells"})
    mostly = of_cluster["sum"] > of_cluster["size"] / 2
    return {
        "clusters": len(table),
        "mostly_new": int(mostly.sum()),
        "new_cells": int(new.sum()),
        "known_cells": int((~new).sum()),
        "candidates": rows.astype(object).where(rows.notna(), None).to_dict("records"),
    }


#: The rows of the page's table: a figure, what is done with it over the references, its title, and whether it is a share.
ROWS = (
    ("unassigned_shared", "mean", "known cells unassigned", True),
    ("unassigned_shared", "max", "known cells unassigned, highest", True),
    ("unassigned_novel", "mean", "cells of new types unassigned", True),
    ("novelty_auroc", "mean", "novelty AUROC", False),
    ("accuracy", "mean", "accuracy on known cells", False),
    ("assigned_known_accuracy", "mean", "accuracy on known cells that are assigned", False),
    ("surely_wrong", "mean", "known cells wrong above a confidence of 0.9", True),
    ("surely_wrong_all", "mean", "the same, of all cells", True),
    ("ece", "mean", "calibration error", False),
    ("set_coverage", "mean", "label sets that hold the truth", False),
    ("set_coverage_worst", "min", "the same, the lowest of any label with 20 cells", False),
    ("set_size", "mean", "labels in a set", False),
)


def page_figures(results: dict) -> dict:
    """What docs/decisions.md tells of the results."""
    from cellmemory.clusters.summary import CANDIDATE_CELLS, CANDIDATE_SHARE

    by_way = dict(list(pd.DataFrame(results["doubt"]).groupby("way")))

    def told(way: str, name: str, of: str, share: bool) -> str:
        value = by_way[way][name].agg(of)
        return f"{value:.1%}".replace("%", " %") if share else f"{value:.3f}"

    rows = [
        {"title": title, "shipped": told("as_shipped", name, of, share), "no_shift": told("no_shift", name, of, share)}
        for name, of, title, share in ROWS
    ]
    groups = results["clusters"]
    found = pd.DataFrame([candidate for group in groups for candidate in group["candidates"]])
    new, known = (sum(group[name] for group in groups) for name in ("new_cells", "known_cells"))
    by_unlike = (found["unlike"] >= CANDIDATE_SHARE) & (found["unlike"] * found["cells"] >= CANDIDATE_CELLS - 0.5)
    parts = {"a quarter unlike the reference": by_unlike, "these, and by their excess": slice(None)}
    shipped = by_way["as_shipped"]
    return {
        "references": len(groups),
        "rows": rows,
        "n_clusters": sum(group["clusters"] for group in groups),
        "mostly_new": sum(group["mostly_new"] for group in groups),
        "candidates": [_candidates(title, found[chosen], new, known) for title, chosen in parts.items()],
        "single_new": _share((shipped["unassigned_novel"] * [g["new_cells"] for g in groups]).sum(), new),
        "single_known": _share((shipped["unassigned_shared"] * [g["known_cells"] for g in groups]).sum(), known),
    }


def _candidates(title: str, found: pd.DataFrame, new: int, known: int) -> dict:
    return {
        "title": title,
        "clusters": len(found),
        "mostly_new": int((found["new_cells"] > found["cells"] / 2).sum()),
        "new_cells": _share(found["new_cells"].sum(), new),
        "known_cells": _share((found["cells"] - found["new_cells"]).sum(), known),
    }


def _share(part: float, of: int) -> str:
    return f"{100 * part / of:.1f} %"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=FOLDER, envvar="CELLMEMORY_BENCH_DATA", required=True, help="Folder of the files of left_out.json.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "results" / "doubt.json", help="The table."
)
@click.option(
    "--work", type=FOLDER, default=ROOT / "benchmarks" / "work" / "doubt", help="Where models and mapped queries are kept."
)
@click.option("--threads", default=1, help="CPU threads.")
def main(data: Path, results: Path, work: Path, threads: int) -> None:
    """Doubt on references of which a batch and one or two types were left out."""
    rows, groups = [], []
    for number, spec in enumerate(json.loads((ROOT / "benchmarks" / "left_out.json").read_text())):
        split = read_left_out(spec, data)
        types = split.reference.obs["label"].value_counts().to_dict()
        for way, table in mapped(split, work / f"{number:02d}", threads):
            rows.append({"reference": split.name, "way": way, "cells": len(table), **figures(table, types)})
        groups.append({"reference": split.name, **clusters(split, work / f"{number:02d}", threads)})
        click.echo(f"{split.name}: {split.reference.n_obs:,} reference cells, {split.query.n_obs:,} of the query.")
    results.write_text(json.dumps({"doubt": rows, "clusters": groups}, indent=1) + "\n")
    click.echo(f"Wrote {results}.")


if __name__ == "__main__":
    main()
