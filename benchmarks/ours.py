#!/usr/bin/env python3
"""Ours on one task, through the scripts that a user calls: preprocess_reference, train, preprocess_query, map_query.

Writes predictions.csv (cell, label, confidence, novelty, status, label_set) and run.json (seconds, peak memory) into
the task's folder. Seconds are those of whole processes: two scripts to train and two to map, with their start, their
reading and their writing. Only the standard library is imported before they have run: the memory of a process is
counted from the one that started it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BIN = Path(__file__).resolve().parent.parent / "bin"


@dataclass(frozen=True)
class Variant:
    """What is added to training's command line, and whether the model is adapted to the query before it maps it."""

    train: tuple[str, ...] = ()
    sees_query: bool = False


#: Ours, by the name in the results: the first is what a user gets without an option.
VARIANTS = {
    "cellmemory": Variant(),
    "cellmemory_standard": Variant(train=("--variant", "standard")),
    "cellmemory_full": Variant(train=("--mode", "full")),
    "cellmemory_adapt": Variant(sees_query=True),
}


class Scripts:
    """Runs scripts one after the other; keeps their processor seconds, and the largest memory that one of them took (MiB)."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.cpu_s = self.peak_mib = 0.0

    def __call__(self, name: str, *arguments: str) -> float:
        """Runs bin/<name>.py in the folder; returns its seconds. Raises RuntimeError with its last words if it fails."""
        start = time.perf_counter()
        with open(self.folder / f"{name}.log", "w") as log:
            process = subprocess.Popen([sys.executable, BIN / f"{name}.py", *arguments], cwd=self.folder, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            words = (self.folder / f"{name}.log").read_text().strip().splitlines()[-3:]
            raise RuntimeError(f"{name}.py ended with {os.waitstatus_to_exitcode(status)}: {' '.join(words)}")
        self.cpu_s += usage.ru_utime + usage.ru_stime
        self.peak_mib = max(self.peak_mib, usage.ru_maxrss / 1024)
        return time.perf_counter() - start


def map_cells(folder: Path, variant: Variant, batches: bool, seed: int, threads: int, extra: list[str]) -> dict:
    """Trains on reference.h5ad and maps query.h5ad; the result is mapped.h5ad. Returns seconds and memory.

    extra: options that every training gets on top of the variant's.
    """
    run = Scripts(folder)
    label = ("--label_key", "label", *(("--batch_key", "batch") if batches else ()))
    common = _common(seed, threads)
    train_s = run(
        "preprocess_reference", "--reference", "reference.h5ad", *label, "--output", "panelled.h5ad", "--panel", "panel.tsv"
    )
    options = (*variant.train, *extra)
    train_s += run(
        "train", "--reference", "panelled.h5ad", "--panel", "panel.tsv", *label, "--output", "model", *options, *common
    )
    predict_s = align(run, "query.h5ad", "aligned.h5ad")
    model = "model"
    if variant.sees_query:
        model = "adapted"
        predict_s += run("adapt", "--query", "aligned.h5ad", "--model", "model", "--output", model, *common)
    predict_s += map_aligned(run, "aligned.h5ad", model, "mapped.h5ad", seed, threads)
    return {"train_s": train_s, "predict_s": predict_s, "cpu_s": run.cpu_s, "peak_mib": run.peak_mib}


def align(run: Scripts, query: str, aligned: str) -> float:
    """Aligns a file to the panel of the model; returns the seconds, as map_aligned does."""
    return run(
        "preprocess_query", "--query", query, "--panel", "model/panel.tsv", "--output", aligned, "--alignment", "alignment.json"
    )


def map_aligned(run: Scripts, aligned: str, model: str, mapped: str, seed: int, threads: int, *extra: str) -> float:
    """Maps an aligned file with a model. extra: further options of map_query.py."""
    options = (*extra, *_common(seed, threads))
    return run("map_query", "--query", aligned, "--model", model, "--output", mapped, "--labels", "labels.csv", *options)


def _common(seed: int, threads: int) -> tuple[str, ...]:
    return ("--seed", str(seed), "--threads", str(threads), "--device", "cpu")


def predictions(mapped: Path):
    """A row a cell of a mapped query: label, confidence, novelty, status, label_set."""
    import h5py
    from anndata.io import read_elem

    with h5py.File(mapped) as file:
        obs = read_elem(file["obs"])
    columns = ("label", "confidence", "novelty", "status", "label_set")
    return obs[[f"cellmemory_{name}" for name in columns]].set_axis(list(columns), axis=1).rename_axis("cell")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=list(VARIANTS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batches", action="store_true", help="The reference has several batches.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments, extra = parser.parse_known_args()
    variant = VARIANTS[arguments.variant]
    run = map_cells(arguments.folder, variant, arguments.batches, arguments.seed, arguments.threads, extra)
    predictions(arguments.folder / "mapped.h5ad").to_csv(arguments.folder / "predictions.csv")
    (arguments.folder / "run.json").write_text(json.dumps(run))


if __name__ == "__main__":
    main()
