"""How well embeddings bring reference and query together, and keep types apart: ours beside PCA, Harmony and scVI.

Reference and query of every split are embedded together; the scores are those that EVALUATE gives (scib-metrics: 0.4
batch correction + 0.6 conservation of types, the paper's weights). What was run before of the same code is not run again.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from ours import VARIANTS, Scripts, align, map_aligned, map_cells
from running import code_digest
from splits import Split, write_task

#: Ours whose embeddings differ: adapting to a query leaves them as they are.
METHODS = ("cellmemory", "cellmemory_standard")


def run_integration(splits: list[Split], wanted: list[str], path: Path, peers_python: Path, threads: int) -> Iterator[str]:
    """Runs what is missing of the wanted splits (all if none is named), writes integration.json, yields a line for each."""
    from cellmemory.io.atomic import write_json

    version = code_digest()
    kept = json.loads(path.read_text()) if path.exists() else {}
    found = kept["splits"] if version in kept.get("methods", {}).get(METHODS[0], {}).get("versions", []) else {}
    for split in splits:
        if split.name in found or (wanted and split.name not in wanted):
            continue
        with tempfile.TemporaryDirectory(prefix="cellmemory-bench-") as folder:
            found[split.name] = _run(split, Path(folder), peers_python, threads)
        totals = {method: one["scores"]["Total"] for method, one in found[split.name]["methods"].items()}
        write_json(path, summary({one.name: found[one.name] for one in splits if one.name in found}, version))
        yield f"integration {split.name}: " + ", ".join(f"{method} {total:.3f}" for method, total in totals.items())


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
    align(run, "reference.h5ad", "aligned_reference.h5ad")
    map_aligned(run, "aligned_reference.h5ad", "model", "mapped_reference.h5ad", 0, threads)
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
            method: {"ours": method in VARIANTS, "versions": [about.get("version", version)]} for method, about in first.items()
        },
        "splits": splits,
    }
