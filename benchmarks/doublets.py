#!/usr/bin/env python3
"""Doublets that are planted among real cells, and how well their scores find them: the table of docs/decisions.md on doublets.

    benchmarks/doublets.py --data FOLDER

In each batch, SHARE of the cells' number is added as sums of the counts of two cells, which are taken away themselves. The
batch may hold doublets of its own, which count as false. Scrublet is scanpy's, as it comes.
"""

import json
import sys
from pathlib import Path

import anndata as ad
import click
import numpy as np
import pandas as pd
import scipy.sparse as sp

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "bin"))
#: File, label, column of the batch, and which of them.
BATCHES = (
    ("pbmc_kang_ifnb", "cell_type_l1", "condition", ("CTRL", "STIM")),
    ("pbmc_crosstech_10x", "cell_type_l1", "batch", ("3pv1", "3pv2", "5p")),
    ("pancreas_baron_full_human", "cell_type", "batch", ("human1", "human2", "human3")),
    ("pancreas_baron_full_mouse_as_human", "cell_type", "batch", ("mouse1", "mouse2")),
    ("brain_zeisel_200genes", "cell_type_l1", "batch", ("sscortex", "ca1hippocampus")),
    ("cortex_starmap_mpfc", "cell_type_l1", "batch", ("BZ5", "BZ9", "BZ14")),
    ("hypothalamus_merfish_2animals", "cell_type", "animal", ("1",)),
)
SHARE, PANEL = 0.08, 2000


def planted(cells: ad.AnnData, label: str, seed: int = 0) -> tuple[sp.csr_matrix, np.ndarray]:
    """Counts (n, genes) of the cells that are left and of the sums, and what each is: a cell, a sum of two `types`, or of one
    `type`."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(cells.n_obs)[: 2 * round(SHARE * cells.n_obs)].reshape(-1, 2)
    counts, labels = sp.csr_matrix(cells.X), cells.obs[label].to_numpy(str)
    left = np.setdiff1d(np.arange(cells.n_obs), pairs)
    kinds = np.where(labels[pairs[:, 0]] == labels[pairs[:, 1]], "type", "types")
    sums = counts[pairs[:, 0]] + counts[pairs[:, 1]]
    return sp.csr_matrix(sp.vstack([counts[left], sums])), np.r_[np.full(len(left), "cell", object), kinds]


def our_scores(counts: sp.csr_matrix) -> np.ndarray:
    """Scores (n,) as cluster.py gives them, over a panel of the most variable genes."""
    import scanpy as sc

    from cellmemory.clusters.doublets import find_doublets

    cells = ad.AnnData(counts.copy())
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    if cells.n_vars > PANEL:
        sc.pp.highly_variable_genes(cells, n_top_genes=PANEL)
        cells = cells[:, cells.var["highly_variable"]]
    values = sp.csr_matrix(cells.X)
    finder = find_doublets(values, np.asarray(counts.sum(1)).ravel(), np.zeros(len(values.indptr) - 1, int), 0)
    if finder is None:
        raise SystemExit("Too few cells for doublets.")
    return finder.scores(values)


def scrublet_scores(counts: sp.csr_matrix) -> np.ndarray | None:
    """Scores (n,) by scanpy's Scrublet; None where it fails: scanpy 1.11.5 cannot read its own graph of many cells."""
    import scanpy as sc

    cells = ad.AnnData(counts.copy())
    try:
        sc.pp.scrublet(cells, threshold=0.25, random_state=0, verbose=False)  # the threshold is not used
    except AttributeError:
        return None
    return cells.obs["doublet_score"].to_numpy()


def figures(scores: np.ndarray, kinds: np.ndarray) -> dict[str, float]:
    """How well scores tell sums of two types from cells, and whom the threshold finds."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from cellmemory.columns import LIKELY_DOUBLET

    asked = kinds != "type"
    likely = pd.Series(scores >= LIKELY_DOUBLET).groupby(kinds).mean()
    return {
        "auroc": roc_auc_score(kinds[asked] == "types", scores[asked]),
        "precision": average_precision_score(kinds[asked] == "types", scores[asked]),
        **{f"likely_{kind}": float(likely.get(kind, np.nan)) for kind in ("cell", "types", "type")},
    }


def page_figures(rows: list[dict]) -> dict:
    """What the page tells of the table."""
    both = [(row["ours"]["auroc"], row["scrublet"]["auroc"]) for row in rows if row["scrublet"]]
    return {
        "share": SHARE,
        "rows": rows,
        "compared": len(both),
        "better": sum(ours > scrublet for ours, scrublet in both),
        "gain": float(np.mean([ours - scrublet for ours, scrublet in both])),
        "cells": float(np.mean([row["ours"]["likely_cell"] for row in rows])),
        "types": float(np.mean([row["ours"]["likely_types"] for row in rows])),
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--data", type=click.Path(path_type=Path), envvar="CELLMEMORY_BENCH_DATA", required=True, help="Folder of the files."
)
@click.option(
    "--results", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "results" / "doublets.json", help="The table."
)
def main(data: Path, results: Path) -> None:
    """Doublets that are planted among real cells, and how well their scores find them."""
    rows = []
    for name, label, column, batches in BATCHES:
        file = ad.read_h5ad(data / f"{name}.h5ad")
        for batch in batches:
            counts, kinds = planted(file[file.obs[column].astype(str) == batch], label)
            row: dict[str, object] = {"file": name, "batch": batch, "cells": len(kinds), "sums": int((kinds == "types").sum())}
            for method, scores in (("ours", our_scores(counts)), ("scrublet", scrublet_scores(counts))):
                row[method] = None if scores is None else figures(scores, kinds)
            rows.append(row)
            click.echo(f"{name}, {batch}: {row}")
    results.write_text(json.dumps(rows, indent=1) + "\n")
    click.echo(f"Wrote {results}.")


if __name__ == "__main__":
    main()
