#!/usr/bin/env python3
"""How well embeddings bring reference and query together, and keep types apart: ours beside PCA, Harmony and scVI.

    benchmarks/integration.py [--only SPLIT,...]

Reference and query of every split are embedded together; the scores are those that EVALUATE gives (scib-metrics: 0.4
batch correction + 0.6 conservation of types, the paper's weights). Writes benchmarks/results/integration.json, which
`accuracy.py summarise` puts on its page. Runs split by split; what was run before of the same code is not run again.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import anndata as ad
import click
import numpy as np
import pandas as pd

from accuracy import FOLDER, ROOT, read_all, say
from ours import VARIANTS, Scripts, map_cells
from running import code_digest
from splits import Split, write_task

#: Ours whose embeddings differ: adapting to a query leaves them as they are.
METHODS = ("cellmemory", "cellmemory_standard")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=FOLDER, envvar="CELLMEMORY_BENCH_DATA", default=ROOT.parent / "shared" / "data",
              show_default="../shared/data", help="Folder with splits.json and the files that it names.")  # fmt: skip
@click.option("--results", type=FOLDER, default=ROOT / "benchmarks" / "results", show_default="benchmarks/results",
              help="Folder of the summaries.")  # fmt: skip
@click.option("--peers_python", type=click.Path(path_type=Path), default=ROOT / ".venv-bench" / "bin" / "python",
              show_default=".venv-bench/bin/python", help="The Python that has the peers (scripts/setup.sh bench).")  # fmt: skip
@click.option("--only", help="Splits, with commas; all if not given.")
@click.option("--threads", type=click.IntRange(min=1), default=1, help="Threads of each method.")
def main(data: Path, results: Path, peers_python: Path, only: str | None, threads: int) -> None:
    """Integration scores of ours and of its peers, on the splits of the accuracy benchmark."""
    from cellmemory.files import write_json

    if not (data / "splits.json").exists():
        say(f"integration: skipped, {data} has no splits.json (--data or CELLMEMORY_BENCH_DATA names the folder)")
        return
    path, version = results / "integration.json", code_digest()
    kept = json.loads(path.read_text()) if path.exists() else {}
    found = kept["splits"] if version in kept.get("methods", {}).get(METHODS[0], {}).get("versions", []) else {}
    splits = read_all(data)
    for split in splits:
        if split.name in found or (only and split.name not in only.split(",")):
            continue
        with tempfile.TemporaryDirectory(prefix="cellmemory-bench-") as folder:
            found[split.name] = _run(split, Path(folder), peers_python, threads)
        totals = {method: one["scores"]["Total"] for method, one in found[split.name]["methods"].items()}
        say(f"integration {split.name}: " + ", ".join(f"{method} {total:.3f}" for method, total in totals.items()))
        write_json(path, summary({one.name: found[one.name] for one in splits if one.name in found}, version))


def _run(split: Split, folder: Path, peers_python: Path, threads: int) -> dict:
    """Embeddings and scores of one split, by method."""
    about = write_task(split.reference, split.query, folder)
    cells = pd.concat([split.reference.obs.assign(part="reference"), split.query.obs.assign(part="query")])
    groups = pd.DataFrame({"batch": cells["part"] + " " + cells["batch"].astype(str), "type": cells["label"].astype(str)})
    groups.to_csv(folder / "groups.csv", index=False)
    for method in METHODS:
        np.save(folder / f"{method}.npy", _ours(folder, method, about["batches"] > 1, threads))
    subprocess.run(
        [peers_python, Path(__file__).with_name("embeddings.py"), folder, "--threads", str(threads)],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return {**about, "methods": json.loads((folder / "scores.json").read_text())}


def _ours(folder: Path, method: str, batches: bool, threads: int) -> np.ndarray:
    """The CLS embedding of reference and query by a model of that reference: (cells, d)."""
    map_cells(folder, VARIANTS[method], batches, 0, threads, [])
    run = Scripts(folder)
    run(
        "preprocess_query", "--query", "reference.h5ad", "--panel", "model/panel.tsv",
        "--output", "aligned_reference.h5ad", "--alignment", "alignment.json",
    )  # fmt: skip
    run(
        "map_query", "--query", "aligned_reference.h5ad", "--model", "model", "--output", "mapped_reference.h5ad",
        "--labels", "labels.csv", "--no_attention", "--threads", str(threads), "--device", "cpu",
    )  # fmt: skip
    mapped = (ad.read_h5ad(folder / name) for name in ("mapped_reference.h5ad", "mapped.h5ad"))
    return np.concatenate([cells.obsm["X_cellmemory"] for cells in mapped])


def summary(splits: dict[str, dict], version: str) -> dict:
    """integration.json: the scores of every split, and their means over the splits."""
    first = next(iter(splits.values()))["methods"]
    mean = {
        method: {
            name: float(np.mean([split["methods"][method]["scores"][name] for split in splits.values()]))
            for name in ("Batch correction", "Bio conservation", "Total")
        }
        for method in first
    }
    return {
        "means": mean,
        "mean_total": {method: scores["Total"] for method, scores in mean.items()},
        "methods": {
            method: {"ours": method in VARIANTS, "sees_query": False, "versions": [about.get("version", version)]}
            for method, about in first.items()
        },
        "splits": splits,
    }


if __name__ == "__main__":
    main()
