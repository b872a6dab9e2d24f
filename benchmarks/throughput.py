#!/usr/bin/env python3
"""Speed of the engine against a plain implementation of the same equations, side by side in one run, as ratios.

Also the share of the machine's own matrix-product peak that a training step reaches, measured in the same rounds. Cells
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
CELLS = 128
#: The plain implementation keeps some 40 numbers a token and layer for the gradient: few cells at a time, or memory ends.
PLAIN_CELLS = 4


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

    def __init__(self, n_genes: int, threads: int):
        import numpy as np

        from cellmemory import device
        from cellmemory.tokens import tokenize

        device.start("cpu", "fp32", threads, seed=0)
        self.n_genes = n_genes
        cells = synthetic(CELLS, n_genes, 0)
        self.labels = np.random.default_rng(0).integers(0, LABELS, CELLS)
        self.expressed = tokenize(cells, np.ones(n_genes, bool), "fast", "quantile", 50)
        self.every = tokenize(cells[:PLAIN_CELLS], np.ones(n_genes, bool), "full", "quantile", 50)

    def runs(self) -> dict[str, tuple[Callable[[], object], int]]:
        """Name -> (one round of work, its cells)."""
        plain_few = self._plain(self.every, PLAIN_CELLS)
        plain_same = self._plain(self.expressed, PLAIN_CELLS * 4)
        found = {
            "plain_full_train": (plain_few[0], PLAIN_CELLS),
            "plain_full_map": (plain_few[1], PLAIN_CELLS),
            "plain_expressed_train": (plain_same[0], PLAIN_CELLS * 4),
            "standard_expressed_train": (self._train("standard", 0, PLAIN_CELLS * 4), PLAIN_CELLS * 4),
        }
        for variant in ("standard", "light"):
            found[f"{variant}_train"] = (self._train(variant, None, 32), 32)
            found[f"{variant}_map"] = (self._map(variant), CELLS)
        return found

    def network(self, variant: str):
        """A network of the shipped size, with random weights."""
        from cellmemory.model import CellMemory
        from cellmemory.reference import ModelSize

        return CellMemory(ModelSize(variant).config(self.n_genes, LABELS))

    def _plain(self, tokens, n: int) -> tuple[Callable, Callable]:
        import numpy as np
        import torch
        import torch.nn.functional as F

        from cellmemory.batches import as_tensors
        from plain import Plain

        network = self.network("standard")
        optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
        plain = Plain(network)
        gene, bins, _, valid, _ = as_tensors(tokens, np.arange(n))
        label = torch.from_numpy(self.labels[:n])

        def train() -> None:
            loss = F.cross_entropy(plain(gene, bins, valid, False)[0], label)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        @torch.inference_mode()
        def run() -> None:
            plain(gene, bins, valid, True)

        return train, run

    def _train(self, variant: str, tokens_per_cell: int | None, n: int) -> Callable:
        """A step as training.py makes it: the batch drawn and padded, forward, backward, clipping, optimiser, average."""
        import numpy as np

        from cellmemory.batches import Sampling, TrainingBatches
        from cellmemory.initialise import learn_start
        from cellmemory.training import Plan, Schedule

        sampling = Sampling(n) if tokens_per_cell is None else Sampling(n, tokens_per_cell, panel_dropout=0.0)
        training = np.arange(CELLS)
        start = learn_start(self.expressed, self.labels, training, 50, 0)
        batches = TrainingBatches(self.expressed, self.labels, start, training, sampling, 50, 0)
        plan = Plan(self.network(variant), Schedule(), 1000)
        optimiser = plan.configure_optimizers()
        steps = itertools.count()
        return lambda: plan.take_step(batches.batch(next(steps)), optimiser)

    def _map(self, variant: str) -> Callable:
        """Mapping as map_query.py does it, with attention, without the files."""
        import torch

        from cellmemory.batches import as_tensors, token_batches

        network = self.network(variant).eval()

        @torch.inference_mode()
        def run() -> None:
            for cells in token_batches(self.expressed):
                network.decide(*as_tensors(self.expressed, cells), attention=True)

        return run


def peak(size: int = 2048) -> Callable[[], float]:
    """Measures GFLOP/s of a square fp32 matrix product."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)

    def run() -> float:
        start = time.perf_counter()
        a @ b
        return 2 * size**3 / (time.perf_counter() - start) / 1e9

    return run


def training_flops(config, tokens: int) -> float:
    """Multiplications and additions of the matrix products of one cell's training step (three times the forward ones)."""
    width, side = config.d_model, config.n_heads * config.n_slots
    narrow = 2 * 2 * width * side * config.n_layers  # write: scores and averages
    if config.variant == "light":
        return 3.0 * tokens * narrow
    rewritten = (2 * 2 * width * side + 2 * 2 * width * config.d_feedforward) * (config.n_layers - 1)
    return 3.0 * tokens * (narrow + rewritten)


def seconds(work: Callable[[], object]) -> float:
    """Mean seconds of a call, over half a second of them, after one to forget what ran before."""
    work()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < 0.5:
        work()
        calls += 1
    return (time.perf_counter() - start) / calls


def measure(n_genes: int, rounds: int, threads: int) -> dict:
    """Cells a second of every contestant and the ratios, medians over interleaved rounds."""
    contest = Contest(n_genes, threads)
    runs, gauge = contest.runs(), peak()
    speed: dict[str, list[float]] = {name: [] for name in runs}
    peaks = []
    for number in range(rounds):
        for name, (work, cells) in runs.items():
            speed[name].append(cells / seconds(work))
        peaks.append(gauge())
        print(f"{n_genes} genes: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    rate = {name: median(values) for name, values in speed.items()}
    pair = lambda ours, plain: median(a / b for a, b in zip(speed[ours], speed[plain], strict=True))  # noqa: E731
    ratios = {
        "train_standard": pair("standard_train", "plain_full_train"),
        "map_standard": pair("standard_map", "plain_full_map"),
        "train_standard_same_tokens": pair("standard_expressed_train", "plain_expressed_train"),
        "train_light": pair("light_train", "plain_full_train"),
        "map_light": pair("light_map", "plain_full_map"),
    }
    config = contest.network("standard").config
    tokens = int(NON_ZERO * n_genes)
    flops = rate["standard_expressed_train"] * training_flops(config, tokens) / 1e9
    return {"genes": n_genes, "ratios": ratios, "cells_per_second": rate, "gflops_standard_train": flops,
            "gflops_peak": median(peaks), "share_of_peak": flops / median(peaks)}  # fmt: skip


@click.command(help=__doc__)
@click.option("--genes", multiple=True, type=int, default=(500, 1000, 2000, 4000), help="Genes of the panel.")
@click.option("--rounds", default=5, help="Interleaved rounds; the median counts.")
@click.option("--threads", default=2, help="CPU threads.")
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "benchmarks/results/throughput.json")
@click.option("--page", type=click.Path(path_type=Path), default=ROOT / "docs/performance.md")
def main(genes: tuple[int, ...], rounds: int, threads: int, output: Path, page: Path) -> None:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from cellmemory.files import replacing, write_json

    found = [measure(n, rounds, threads) for n in genes]
    central = next((f for f in found if f["genes"] == 2000), found[0])
    results = {"ratios": central["ratios"], "non_zero": NON_ZERO, "threads": threads, "by_genes": found}
    write_json(output, results)
    templates = Environment(loader=FileSystemLoader(ROOT / "benchmarks"), undefined=StrictUndefined, trim_blocks=True)
    with replacing(page) as partial:
        partial.write_text(templates.get_template("performance.md.j2").render(central=central, **results) + "\n")
    click.echo(f"wrote {output} and {page}")


if __name__ == "__main__":
    main()
