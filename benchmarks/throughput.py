#!/usr/bin/env python3
"""Speed of the engine against a plain implementation of the same equations, side by side in one run, as ratios.

Ours runs in the number formats that this processor, or GPU, multiplies well: fp32, and bf16 where it multiplies that
itself. Also the share of the machine's own matrix-product peak that a training step reaches, measured in the same rounds. Cells
are synthetic: random genes at 15 % non-zero; speed does not depend on what they are.
"""

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bin"), str(ROOT / "benchmarks")]

NON_ZERO = 0.15
LABELS = 15
#: Cells that are mapped in a round: a batch's worth on a CPU, several on a GPU.
CELLS = {"cpu": 128, "cuda": 4096}
#: Cells that are trained on, and those of a step, as train.py has them.
TRAINING_CELLS, STEP = 128, 32
#: In full mode the plain implementation keeps some 40 numbers a token and layer for the gradient: on a CPU few cells at a
#: time, or memory ends; on a GPU as many as keep it busy.
PLAIN_CELLS = {"cpu": 4, "cuda": 32}
#: Rows and columns of the square matrices whose product is the peak.
PEAK_SIZE = {"cpu": 2048, "cuda": 8192}


def synthetic(n_cells: int, n_genes: int, seed: int):
    """Aligned cells, CSR, log-normalised, with NON_ZERO of the genes expressed."""
    import numpy as np
    import scipy.sparse as sp

    rng = np.random.default_rng(seed)
    cells = sp.random(n_cells, n_genes, NON_ZERO, "csr", np.float32, rng, lambda n: rng.gamma(2, 1, n).astype(np.float32) + 0.1)
    cells.sort_indices()
    return cells


class Contest:
    """The contestants at one number of genes: what each does, with how many cells."""

    def __init__(self, n_genes: int, threads: int, device: str):
        import numpy as np

        from cellmemory.network.runtime import configure
        from cellmemory.network.tokens import tokenize

        automatic = {v: configure(device, "auto", threads, seed=0, variant=v).precision for v in ("standard", "light")}
        self.n_genes, self.automatic, self.device = n_genes, automatic, device
        cells = synthetic(CELLS[device], n_genes, 0)
        self.labels = np.random.default_rng(0).integers(0, LABELS, cells.shape[0])
        self.expressed = tokenize(cells, np.ones(n_genes, bool), mode="fast", binning="quantile", n_bins=50)
        self.every = tokenize(cells[: PLAIN_CELLS[device]], np.ones(n_genes, bool), mode="full", binning="quantile", n_bins=50)
        self.reference = self._reference()

    def runs(self) -> dict[str, tuple[Callable[[], object], int]]:
        """Name -> (one round of work, its cells)."""
        full, same = self._plain(self.every, len(self.every)), self._plain(self.expressed, STEP)
        found = {
            "plain_full_train": (full[0], len(self.every)),
            "plain_full_map": (full[1], len(self.every)),
            "plain_expressed_train": (same[0], STEP),
        }
        for variant, precision in self.contestants():
            name = f"{variant}_{precision}"
            found[f"{name}_train"] = (self._train(variant, precision, None), STEP)
            found[f"{name}_map"] = (self._map(variant, precision), len(self.expressed))
            if variant == "standard":
                found[f"{name}_expressed_train"] = (self._train(variant, precision, 0), STEP)
        return found

    def contestants(self) -> list[tuple[str, str]]:
        """Variants of ours and the number formats that they run in; the last one of a variant is `--precision auto`."""
        return [(v, p) for v, auto in self.automatic.items() for p in dict.fromkeys(("fp32", auto))]

    def network(self, variant: str, precision: str = "fp32"):
        """A network of the shipped size, with random weights."""
        from cellmemory.network.model import CellMemory
        from cellmemory.network.runtime import Runtime
        from cellmemory.training.settings import ModelSize

        network = CellMemory(ModelSize(variant).config(self.n_genes, LABELS))
        network.dtype = Runtime(self.device, precision, 0).dtype
        return network.to(self.device)

    def _plain(self, tokens, n: int) -> tuple[Callable, Callable]:
        import numpy as np
        import torch
        import torch.nn.functional as F

        from cellmemory.network.batching import as_tensors
        from plain import Plain

        network = self.network("standard")
        optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
        plain = Plain(network)
        gene, bins, _, valid, _ = (t.to(self.device) for t in as_tensors(tokens, np.arange(n)))
        label = torch.from_numpy(self.labels[:n]).to(self.device)

        def train() -> None:
            loss = F.cross_entropy(plain(gene, bins, valid, False)[0], label)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        @torch.inference_mode()
        def run() -> None:
            plain(gene, bins, valid, True)

        return train, run

    def _reference(self) -> tuple:
        """The cells that are trained on, and their warm start."""
        import numpy as np

        from cellmemory.training.batches import TrainingCells
        from cellmemory.training.split import split_reference
        from cellmemory.training.warm_start import fit_warm_start

        cells, labels = self.expressed.select(np.arange(TRAINING_CELLS)), self.labels[:TRAINING_CELLS]
        split = split_reference(labels, None, 0)
        warm_start = fit_warm_start(cells, labels, split.warm_start, n_bins=50, seed=0)
        return TrainingCells(cells, labels, split), warm_start

    def _train(self, variant: str, precision: str, tokens_per_cell: int | None) -> Callable:
        """A step as training/step.py makes it: the batch drawn and padded, forward, backward, clipping, optimiser, average.

        tokens_per_cell: None for what training takes, 0 for all of a cell's tokens.
        """
        from cellmemory.training.batches import TrainingBatches
        from cellmemory.training.settings import Sampling, Schedule
        from cellmemory.training.step import TrainingStep

        sampling = Sampling(STEP) if tokens_per_cell is None else Sampling(STEP, tokens_per_cell, panel_dropout=0.0)
        batches = TrainingBatches(*self.reference, sampling, seed=0)
        training_step = TrainingStep(self.network(variant, precision), Schedule(), 1000, longest=batches.longest).to(self.device)
        optimiser = training_step.configure_optimizers()
        steps = itertools.count()
        return lambda: training_step.take_step(tuple(part.to(self.device) for part in batches.batch(next(steps))), optimiser)

    def _map(self, variant: str, precision: str) -> Callable:
        """Mapping as map_query.py does it, with attention, without the files."""
        from cellmemory.network.inference import Inference
        from cellmemory.network.runtime import Runtime

        inference = Inference(self.network(variant, precision).eval(), Runtime(self.device, precision, 0))
        return lambda: inference.run(self.expressed, attention=True)


def peak(precision: str, device: str) -> Callable[[], float]:
    """Measures GFLOP/s of a square matrix product in a number format."""
    import torch

    from cellmemory.network.runtime import Runtime

    size = PEAK_SIZE[device]
    a, b = (torch.randn(size, size, device=device).to(Runtime(device, precision, 0).dtype) for _ in range(2))
    return lambda: 2 * size**3 / seconds(lambda: a @ b, device) / 1e9


def training_flops(config, tokens: float) -> float:
    """Multiplications and additions of the matrix products of one cell's training step in the standard variant: three times
    the forward ones. Those of single rows (CLS token, labels) are left out."""
    width, side = config.d_model, config.n_heads * config.n_slots
    attended = 2 * 2 * width * side  # of a token: scores and averages, of a write or of a broadcast
    rewritten = attended + 2 * 2 * width * config.d_feedforward
    of_tokens = tokens * (attended * config.n_layers + rewritten * (config.n_layers - 1))
    folded = 2 * 2 * 2 * width * side * (config.d_key + config.d_value)  # of the slots, at a write and at a broadcast
    return 3.0 * (of_tokens + folded * config.n_layers)


def seconds(work: Callable[[], object], device: str) -> float:
    """Mean seconds of a call, over half a second of them, after one to forget what ran before."""
    import torch

    finish = torch.cuda.synchronize if device == "cuda" else lambda: None
    work()
    finish()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < 0.5:
        work()
        calls += 1
    finish()
    return (time.perf_counter() - start) / calls


def measure(n_genes: int, rounds: int, threads: int, device: str) -> dict:
    """Cells a second of every contestant and the ratios, medians over interleaved rounds."""
    contest = Contest(n_genes, threads, device)
    runs = contest.runs()
    formats = [precision for variant, precision in contest.contestants() if variant == "standard"]
    gauges = {precision: peak(precision, device) for precision in formats}
    speed: dict[str, list[float]] = {name: [] for name in runs}
    peaks: dict[str, list[float]] = {precision: [] for precision in formats}
    for number in range(rounds):
        for name, (work, cells) in runs.items():
            speed[name].append(cells / seconds(work, device))
        for precision, gauge in gauges.items():
            peaks[precision].append(gauge())
        print(f"{n_genes} genes: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    pair = lambda ours, plain: median(a / b for a, b in zip(speed[ours], speed[plain], strict=True))  # noqa: E731
    by_precision = {}
    for variant, precision in contest.contestants():
        name, ratios = f"{variant}_{precision}", by_precision.setdefault(precision, {})
        ratios[f"train_{variant}"] = pair(f"{name}_train", "plain_full_train")
        ratios[f"map_{variant}"] = pair(f"{name}_map", "plain_full_map")
        if variant == "standard":
            ratios["train_standard_same_tokens"] = pair(f"{name}_expressed_train", "plain_expressed_train")
    flops = training_flops(contest.network("standard").config, contest.expressed.lengths.mean()) / 1e9
    reached = {p: flops * median(speed[f"standard_{p}_expressed_train"]) for p in formats}
    return {
        "genes": n_genes,
        "precision": contest.automatic,
        "ratios": {key: value for p in by_precision for key, value in by_precision[p].items()
                   if p == contest.automatic["light" if "light" in key else "standard"]},
        "ratios_by_precision": by_precision,
        "cells_per_second": {name: median(values) for name, values in speed.items()},
        "standard_train_gflops": reached,
        "peak_gflops": {p: median(values) for p, values in peaks.items()},
        "share_of_peak": {p: reached[p] / median(peaks[p]) for p in formats},
    }  # fmt: skip


@click.command(help=__doc__)
@click.option("--genes", multiple=True, type=int, default=(500, 1000, 2000, 4000), help="Genes of the panel.")
@click.option("--rounds", default=5, help="Interleaved rounds; the median counts.")
@click.option("--threads", default=2, help="CPU threads.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where all of them run.")
@click.option("--output", type=click.Path(path_type=Path), help="[default: benchmarks/results/throughput.json, or "
              "throughput_cuda.json]")  # fmt: skip
def main(genes: tuple[int, ...], rounds: int, threads: int, device: str, output: Path | None) -> None:
    import torch

    from cellmemory.io.atomic import write_json

    name = "throughput" if device == "cpu" else f"throughput_{device}"
    output = output or ROOT / "benchmarks/results" / f"{name}.json"
    processor = torch.cpu.get_capabilities().get("cpu_name", "of an unknown processor")
    found = [measure(n, rounds, threads, device) for n in genes]
    central = next((f for f in found if f["genes"] == 2000), found[0])
    write_json(output, {
        "ratios": central["ratios"],
        "non_zero": NON_ZERO,
        "threads": threads,
        "processor": processor if device == "cpu" else torch.cuda.get_device_name(),
        "by_genes": found,
    })  # fmt: skip
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
