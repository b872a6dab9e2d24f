#!/usr/bin/env python3
"""A large synthetic query through the whole pipeline on this machine: scattered, mapped, gathered and reported.

Every figure is from Nextflow's own trace, and from the sizes of the published files.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import click

from scale import CHUNK, LABELS, REFERENCE_CELLS, ROOT

#: Expressed genes of 2,000: about 300, as in the tables of docs/scaling.md.
GENES, NON_ZERO = 2000, 0.15
FIELDS = ("name", "status", "realtime", "%cpu", "peak_rss", "rchar", "wchar")


def counts(n_cells: int, seed: int):
    """Synthetic cells with counts, CSR; each of LABELS types has five genes of its own."""
    import numpy as np
    import scipy.sparse as sp

    rng = np.random.default_rng(seed)
    noise = sp.random(n_cells, GENES, NON_ZERO, "csr", np.float32, rng, lambda n: rng.poisson(2, n) + 1.0)
    label = np.arange(n_cells) % LABELS
    own = (label[:, None] * 5 + np.arange(5)).ravel()
    marks = sp.csr_matrix((np.full(len(own), 8, np.float32), own, np.arange(n_cells + 1) * 5), shape=noise.shape)
    return noise + marks


def write(path: Path, n_cells: int, seed: int) -> None:
    """An h5ad file of such cells with their types, a chunk at a time."""
    import numpy as np
    import pandas as pd

    from cellmemory.cells.writing import GrowingTable, H5adWriter

    with H5adWriter(path, GENES) as writer:
        types = [f"type {code}" for code in range(LABELS)]
        obs = GrowingTable(writer.group("obs"), "_index", {"cell_type": types})
        for start in range(0, n_cells, CHUNK):
            n = min(CHUNK, n_cells - start)
            writer.append("X", counts(n, seed + start))
            kind = pd.Categorical.from_codes(np.arange(n) % LABELS, types)
            names = np.array([f"cell{i}" for i in range(start, start + n)], object)
            obs.append(names, pd.DataFrame({"cell_type": kind}))
        obs.finish()
        writer.write("var", pd.DataFrame(index=[f"gene{i}" for i in range(GENES)]))


def trace(path: Path) -> list[dict]:
    """The tasks of Nextflow's trace: what FIELDS name, as it is written there."""
    header, *lines = (line.split("\t") for line in path.read_text().splitlines())
    return [{name: row[header.index(name)] for name in FIELDS if name in header} for row in lines]


@click.command(help=__doc__)
@click.option("--cells", default=1_000_000, help="Cells of the query.")
@click.option("--cpus", default=2, help="Processors of this machine that tasks may use.")
@click.option("--work", type=click.Path(path_type=Path), help="Where all files go: 25 GB for a million cells.")
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "benchmarks/results/scattered.json")
def main(cells: int, cpus: int, work: Path | None, output: Path) -> None:
    from cellmemory.io.atomic import write_json

    with tempfile.TemporaryDirectory(prefix="cellmemory-scattered-", dir=work) as name:
        folder = Path(name)
        write(folder / "reference.h5ad", REFERENCE_CELLS, 0)
        write(folder / "query.h5ad", cells, 1)
        (folder / "queries.csv").write_text("sample,h5ad,truth_key\nmillion,query.h5ad,cell_type\n")
        (folder / "machine.config").write_text(f"process.resourceLimits = [cpus: {cpus}, memory: 20.GB, time: 24.h]\n")
        click.echo(f"wrote {cells:,} cells, {(folder / 'query.h5ad').stat().st_size / 1e9:.2f} GB", err=True)
        subprocess.run(
            [ROOT / "scripts" / "nextflow", "run", ROOT, "-c", "machine.config", "--reference", "reference.h5ad",
             "--label_key", "cell_type", "--input", "queries.csv", "--publish_dir_mode", "link"],
            cwd=folder, check=True,
        )  # fmt: skip
        results = folder / "results"
        write_json(output, {
            "cells": cells,
            "cpus": cpus,
            "query_bytes": (folder / "query.h5ad").stat().st_size,
            "tasks": trace(results / "pipeline_info" / "execution_trace.tsv"),
            "files": {path.name: path.stat().st_size for path in sorted((results / "samples" / "million").iterdir())
                      if path.is_file()},
            "metrics": json.loads((results / "samples/million/million.metrics.json").read_text())["accuracy"],
        })  # fmt: skip
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
