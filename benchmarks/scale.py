#!/usr/bin/env python3
"""Time and memory of whole commands: mapping against cells, training against genes, and how soon a real reference is learned.

Every figure is that of a script as a user runs it, with its start, its reading and its writing. Cells are synthetic but for
the last part, which is left out where the folder of data is not there.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bin"), str(ROOT / "benchmarks")]

LABELS = 15
#: Cells that a synthetic reference has, and that are written to a synthetic query at a time.
REFERENCE_CELLS, CHUNK = 600, 50_000
REAL_SPLIT = "kang_ctrl_to_stim"
#: Accuracies of the held-out cells whose times are told.
GOALS = ("0.80", "0.85", "0.90")


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of the wall and of the processors, and its largest memory in MiB."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    log: str


def run(script: str, *arguments: object) -> Cost:
    """Runs bin/<script>.py. Raises RuntimeError with its last words if it fails."""
    command = [sys.executable, ROOT / "bin" / f"{script}.py", *map(str, arguments)]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        log.seek(0)
        words = log.read()
    if status:
        raise RuntimeError(f"{script}.py ended with {os.waitstatus_to_exitcode(status)}: {words[-400:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, words)


def write_reference(folder: Path, n_genes: int, n_cells: int = REFERENCE_CELLS) -> None:
    """reference.h5ad and panel.tsv of synthetic cells, each label with genes of its own, by the step's own script."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    from throughput import NON_ZERO

    rng = np.random.default_rng(0)
    codes = np.arange(n_cells) % LABELS
    counts = sp.random(n_cells, n_genes, NON_ZERO, "csr", np.float32, rng, lambda n: rng.poisson(2, n) + 1.0).tolil()
    for code in range(LABELS):
        counts[np.ix_(codes == code, range(code * 5, code * 5 + 5))] = 8
    obs = pd.DataFrame({"label": [f"type {code}" for code in codes]}, index=[f"r{i}" for i in range(n_cells)])
    cells = ad.AnnData(counts.tocsr(), obs, pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]))
    cells.write_h5ad(folder / "cells.h5ad")
    run("preprocess_reference", "--reference", folder / "cells.h5ad", "--label_key", "label", "--n_genes", n_genes,
        "--output", folder / "reference.h5ad", "--panel", folder / "panel.tsv")  # fmt: skip


def train(folder: Path, *options: object) -> Cost:
    """Trains folder/model on the folder's reference."""
    return run("train", "--reference", folder / "reference.h5ad", "--panel", folder / "panel.tsv", "--label_key", "label",
               "--output", folder / "model", *options)  # fmt: skip


def write_query(path: Path, genes: list[str], n_cells: int) -> None:
    """An aligned query of synthetic cells, chunk by chunk."""
    import numpy as np
    import pandas as pd

    from cellmemory.cells.writing import GrowingTable, H5adWriter
    from throughput import synthetic

    with H5adWriter(path, len(genes)) as writer:
        obs = GrowingTable(writer.group("obs"), "_index", {})
        for start in range(0, n_cells, CHUNK):
            n = min(CHUNK, n_cells - start)
            writer.append("X", synthetic(n, len(genes), start))
            obs.append(np.array([f"q{i}" for i in range(start, start + n)], object), pd.DataFrame(index=range(n)))
        obs.finish()
        writer.write("var", pd.DataFrame({"measured": True}, index=genes))


def mapping(folder: Path, sizes: tuple[int, ...], n_genes: int, threads: int) -> Iterator[dict]:
    """map_query.py with attention on queries of these sizes, with the light variant."""
    write_reference(folder, n_genes)
    train(folder, "--max_epochs", 2, "--threads", threads)
    genes = [line.split("\t")[0] for line in (folder / "model/panel.tsv").read_text().splitlines()[1:]]
    for n_cells in sizes:
        query, mapped = folder / "query.h5ad", folder / "query.mapped.h5ad"
        write_query(query, genes, n_cells)
        cost = run("map_query", "--query", query, "--model", folder / "model", "--output", mapped,
                   "--labels", folder / "query.labels.csv", "--threads", threads)  # fmt: skip
        yield {"cells": n_cells, "genes": n_genes, "gigabytes": mapped.stat().st_size / 1e9, **figures(cost)}
        query.unlink()
        mapped.unlink()


def training(folder: Path, genes: tuple[int, ...], threads: int) -> Iterator[dict]:
    """train.py for one epoch, 128 cells a step, both variants."""
    for n_genes in genes:
        write_reference(folder, n_genes)
        for variant in ("standard", "light"):
            cost = train(folder, "--variant", variant, "--batch_size", 128, "--max_epochs", 1, "--threads", threads)
            yield {"genes": n_genes, "variant": variant, "batch_size": 128, **figures(cost)}


def learning(folder: Path, data: Path, threads: int) -> Iterator[dict]:
    """train.py on a real reference to its early stop, both variants: seconds to each validation accuracy, and in all."""
    from splits import read_split, read_splits

    split = read_split(REAL_SPLIT, read_splits(data)[REAL_SPLIT], data)
    split.reference.write_h5ad(folder / "cells.h5ad")
    run("preprocess_reference", "--reference", folder / "cells.h5ad", "--label_key", "label", "--n_genes", 2000,
        "--output", folder / "reference.h5ad", "--panel", folder / "panel.tsv")  # fmt: skip
    for variant in ("standard", "light"):
        cost = train(folder, "--variant", variant, "--threads", threads)
        epochs = re.findall(r"accuracy ([\d.]+) \((\d+) s\)", cost.log)
        reached = {goal: next((int(s) for accuracy, s in epochs if float(accuracy) >= float(goal)), None) for goal in GOALS}
        about = {"split": REAL_SPLIT, "variant": variant, "cells": split.reference.n_obs, "genes": 2000}
        best = max(float(accuracy) for accuracy, _ in epochs)
        yield about | {"epochs": len(epochs), "best_accuracy": best, "reached": reached} | figures(cost)


def figures(cost: Cost) -> dict:
    """A cost without its log."""
    return {name: round(value, 1) for name, value in asdict(cost).items() if name != "log"}


@click.command(help=__doc__)
@click.option("--cells", multiple=True, type=int, default=(10_000, 100_000, 1_000_000), help="Cells of a mapped query.")
@click.option("--genes", multiple=True, type=int, default=(500, 1000, 2000, 4000), help="Genes of a training panel.")
@click.option("--data", type=click.Path(path_type=Path), envvar="CELLMEMORY_BENCH_DATA",
              help="Folder with splits.json and the files that it names.")  # fmt: skip
@click.option("--threads", default=2, help="CPU threads.")
@click.option("--work", type=click.Path(path_type=Path), help="Where the synthetic files go: 8 GB for a million cells.")
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "benchmarks/results/scale.json")
def main(
    cells: tuple[int, ...], genes: tuple[int, ...], data: Path | None, threads: int, work: Path | None, output: Path
) -> None:
    from cellmemory.io.atomic import write_json

    results: dict[str, object] = {"threads": threads}
    with tempfile.TemporaryDirectory(prefix="cellmemory-scale-", dir=work) as name:
        folder = Path(name)
        parts = {"training": training(folder, genes, threads), "mapping": mapping(folder, cells, 2000, threads)}
        if data and (data / "splits.json").exists():
            parts = {"learning": learning(folder, data, threads)} | parts
        else:
            click.echo("time to a score: skipped, --data names no folder with splits.json", err=True)
        for part, rows in parts.items():
            results[part] = []
            for row in rows:
                results[part].append(row)
                click.echo(f"{part}: {json.dumps(row)}", err=True)
    write_json(output, results)
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
