#!/usr/bin/env python3
"""The tables of docs/decisions.md: what parts of the method bring, and how far its explanations hold.

    benchmarks/ablations.py views genes faithfulness hormones slots page

Each command but the last writes its part of benchmarks/results/ablations.json; `page` writes docs/decisions.md of it.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from functools import cached_property
from itertools import combinations
from pathlib import Path

import click
import numpy as np
import pandas as pd

import doublets as of_doublets
from doubt import page_figures
from ours import VARIANTS, Scripts, map_cells
from splits import Split, read_split, read_splits, write_task

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "bin"))
FOLDER = click.Path(file_okay=False, path_type=Path)
#: As in training: what is added to the standard deviation of a view, and where it is clipped.
SMALLEST_SPREAD, CLIP, BINS = 0.02, 10.0, 50
#: A view of counts (n, genes), given each cell's sum over all genes (n, 1) -> numbers of the same shape.
VIEWS = {
    "log1p of counts per 10,000": lambda counts, total: np.log1p(1e4 * counts / total),
    "log1p, scaled over the panel": lambda counts, total: np.log1p(1e4 * counts / _sums(counts)),
    "rank in the cell": lambda counts, total: levels(counts),
    "square root of the share of the panel's counts": lambda counts, total: 10 * np.sqrt(counts / _sums(counts)),
}
RANK, ROOT_SHARE = "rank in the cell", "square root of the share of the panel's counts"
COMBINATIONS = [(name,) for name in VIEWS] + [(RANK, "log1p, scaled over the panel"), (RANK, ROOT_SHARE)]
GENES, PENALTIES, FOLDS = (100, 200, 500, 800, None), (0.01, 0.03, 0.1), 5
EXPLAINED = {"PBMC": "kang_ctrl_to_stim", "CEL-seq2": "panc8_to_celseq2", "inDrop": "panc8_to_indrop"}
HORMONES = (("SST", "delta"), ("ADCYAP1", "beta"), ("IAPP", "beta"))
SEEDS = (0, 1, 2)


def levels(counts: np.ndarray) -> np.ndarray:
    """Each gene's rank among the expressed genes of its cell, in bins, as a share of the highest; 0 where not expressed."""
    from scipy.stats import rankdata

    found = np.zeros_like(counts)
    for row, values in zip(found, counts, strict=True):
        expressed = values > 0
        row[expressed] = np.ceil(BINS * rankdata(values[expressed], "max") / expressed.sum()) / BINS
    return found


def _sums(counts: np.ndarray) -> np.ndarray:
    return np.maximum(counts.sum(1, keepdims=True), 1)


class Panelled:
    """A split over the panel that preprocess_reference.py chooses: views of reference and query, and their labels."""

    def __init__(self, split: Split, n_genes: int):
        with tempfile.TemporaryDirectory(prefix="cellmemory-ablations-") as name:
            write_task(split.reference, split.query, Path(name))
            Scripts(Path(name))("preprocess_reference", "--reference", "reference.h5ad", "--label_key", "label", "--n_genes",
                                str(n_genes), "--output", "panelled.h5ad", "--panel", "panel.tsv")  # fmt: skip
            panel = pd.read_csv(Path(name) / "panel.tsv", sep="\t", dtype=str, keep_default_na=False)["gene"]
        self.labels, self.truth = (cells.obs["label"].to_numpy(str) for cells in (split.reference, split.query))
        self.types = sorted(set(self.labels))
        both = []
        for cells in (split.reference, split.query):
            total = np.maximum(np.asarray(cells.X.sum(1)), 1)
            counts = cells[:, panel].X.toarray()
            both.append({name: view(counts, total).astype(np.float32) for name, view in VIEWS.items()})
        self.reference, self.query = both

    def views(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Views (n, views, genes) of reference and query, centred, scaled and clipped as in the reference."""
        reference, query = (np.stack([cells[name] for name in names], 1) for cells in (self.reference, self.query))
        mean, spread = reference.mean(0), reference.std(0) + SMALLEST_SPREAD
        return tuple(np.clip((cells - mean) / spread, -CLIP, CLIP) for cells in (reference, query))

    def score(self, reference: np.ndarray, query: np.ndarray, penalty: float) -> float:
        """Macro F1 of a logistic regression, over the query's cells of known types."""
        from scoring import macro_f1

        label = classifier(reference, self.labels, penalty).predict(query.reshape(len(query), -1))
        shared = np.isin(self.truth, self.types)
        return macro_f1(self.truth[shared], label[shared], self.types)


def classifier(cells: np.ndarray, labels: np.ndarray, penalty: float):
    """The regression of the linear path, on views (n, views, genes)."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(C=penalty, class_weight="balanced", max_iter=200, tol=1e-3)
        return found.fit(cells.reshape(len(cells), -1), labels)


def best_genes(cells: np.ndarray, labels: np.ndarray, n: int | None) -> np.ndarray:
    """The n genes whose views differ most between labels, by the better of the two (one-way ANOVA); all for None."""
    from sklearn.feature_selection import f_classif

    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(f_classif(cells.reshape(len(cells), -1), labels)[0]).reshape(cells.shape[1:]).max(0)
    return np.sort(np.argsort(-ratio, kind="stable")[:n])


def penalty_by_folds(cells: np.ndarray, labels: np.ndarray) -> float:
    """The penalty under which the folds' classifiers predict the cells that they did not see best."""
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    types, codes = np.unique(labels, return_inverse=True)
    losses = []
    for penalty in PENALTIES:
        found = np.zeros((len(labels), len(types)))
        for number in range(FOLDS):
            model = classifier(cells[fold != number], labels[fold != number], penalty)
            columns = np.searchsorted(types, model.classes_)
            rows = np.flatnonzero(fold == number)
            found[np.ix_(rows, columns)] = model.predict_proba(cells[rows].reshape(len(rows), -1))
        losses.append(-np.log(np.maximum(found[np.arange(len(codes)), codes], 1e-7)).mean())
    return PENALTIES[int(np.argmin(losses))]


@click.group(chain=True, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=FOLDER, envvar="CELLMEMORY_BENCH_DATA", help="Folder with splits.json and its files.")
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "results" / "ablations.json")
@click.option(
    "--work", type=FOLDER, default=ROOT / "benchmarks" / "work" / "ablations", help="Where models and mapped queries are kept."
)
@click.option("--threads", default=1, help="CPU threads.")
@click.pass_context
def main(context: click.Context, data: Path | None, results: Path, work: Path, threads: int) -> None:
    """What parts of the method bring, and how far its explanations hold, on splits of real data."""
    context.obj = Bench(data, results, work, threads)


class Bench:
    """The data, and where results go."""

    def __init__(self, data: Path | None, results: Path, work: Path, threads: int):
        self._data, self.results, self.work, self.threads = data, results, work, threads

    @property
    def data(self) -> Path:
        if self._data is None:
            raise click.UsageError("--data is missing. Give the folder with splits.json, or set CELLMEMORY_BENCH_DATA to it.")
        return self._data

    @cached_property
    def specs(self) -> dict[str, dict]:
        return read_splits(self.data)

    def split(self, name: str) -> Split:
        return read_split(name, self.specs[name], self.data)

    def panelled(self, n_genes: int) -> Iterator[Panelled]:
        for name in self.specs:
            yield Panelled(self.split(name), n_genes)

    def keep(self, name: str, rows: list[dict]) -> None:
        """Adds a table to the results."""
        found = json.loads(self.results.read_text()) if self.results.exists() else {}
        self.results.write_text(json.dumps(found | {name: rows}, indent=1) + "\n")
        click.echo(f"Wrote {name} to {self.results}.")

    def mapped(self, name: str, seed: int = 0) -> Path:
        """The folder of a split with model/, mapped.h5ad, tags.tsv of all genes and profiles.h5ad; made where it is not there."""
        folder = self.work / f"{name}-{seed}"
        if (folder / "profiles.h5ad").exists():
            return folder
        split = self.split(name)
        about = write_task(split.reference, split.query, folder)
        map_cells(folder, VARIANTS["cellmemory"], about["batches"] > 1, seed, self.threads, [])
        run = Scripts(folder)
        run("extract_tags", "--mapped", "mapped.h5ad", "--model", "model", "--tags", "tags.tsv", "--slot_tags", "slot_tags.tsv",
            "--profiles", "profiles.h5ad", "--top", "0", "--permutations", "0", "--threads", str(self.threads))  # fmt: skip
        return folder


@main.command("views", help="Views of a gene in the linear path.")
@click.pass_obj
def views_of_genes(bench: Bench) -> None:
    scores = [[split.score(*split.views(names), 0.01) for names in COMBINATIONS] for split in bench.panelled(2000)]
    means = np.mean(scores, 0)
    rows = [
        {"views": " and ".join(names), "macro_f1": float(mean), "splits": len(scores)}
        for names, mean in zip(COMBINATIONS, means, strict=True)
    ]
    bench.keep("views", rows)


@main.command(help="How many genes the linear path looks at.")
@click.pass_obj
def genes(bench: Bench) -> None:
    scores = []
    for split in bench.panelled(3000):
        reference, query = split.views((RANK, ROOT_SHARE))
        row = []
        for n in GENES:
            kept = best_genes(reference, split.labels, n)
            penalty = penalty_by_folds(reference[:, :, kept], split.labels)
            row.append(split.score(reference[:, :, kept], query[:, :, kept], penalty))
        scores.append(row)
    bench.keep("genes", [{"genes": n, "macro_f1": float(mean)} for n, mean in zip(GENES, np.mean(scores, 0), strict=True)])


@main.command(help="How faithful attention and contributions are.")
@click.pass_obj
def faithfulness(bench: Bench) -> None:
    rows = []
    for query, name in EXPLAINED.items():
        folder = bench.mapped(name)
        Scripts(folder)("faithfulness", "--mapped", "mapped.h5ad", "--model", "model", "--output", "faithfulness.tsv",
                        "--threads", str(bench.threads))  # fmt: skip
        table = pd.read_csv(folder / "faithfulness.tsv", sep="\t")
        table = table[(table["group"] == "(all labels)") & (table["ranking"] != "random")]
        for (part, curve), block in table.groupby(["part", "curve"], sort=False):
            gains = dict(zip(block["ranking"], block["gain"], strict=True))
            largest = float(block["gain_error"].max())
            rows.append({"query": query, "part": part, "curve": curve, "cells": int(block["n_cells"].iloc[0]), "gain": gains,
                         "error": largest})  # fmt: skip
    bench.keep("faithfulness", rows)


@main.command(help="Places of the hormones' genes in pancreas.")
@click.pass_obj
def hormones(bench: Bench) -> None:
    rows = []
    for name in [name for name in bench.specs if name.startswith("panc8_to_")]:
        tags = pd.read_csv(bench.mapped(name) / "tags.tsv", sep="\t", dtype={"gene": str, "group": str})
        places = {}
        for gene, group in HORMONES:
            found = tags[(tags["gene"] == gene) & (tags["group"] == group)]
            places[f"{gene} in {group}"] = [int(found[column].iloc[0]) for column in ("rank", "contribution_rank")]
        rows.append({"split": name, "genes": int(tags.groupby("group").size().max()), "places": places})
    bench.keep("hormones", rows)


@main.command(help="Slots of models that differ only in their seed.")
@click.pass_obj
def slots(bench: Bench) -> None:
    folders = {seed: bench.mapped(EXPLAINED["PBMC"], seed) for seed in SEEDS}
    paths = {seed: str((folder / "profiles.h5ad").resolve()) for seed, folder in folders.items()}
    given = [word for path in paths.values() for word in ("--profiles", path)]
    Scripts(bench.work)("compare_slots", *given, "--output", "stability.tsv")
    table = pd.read_csv(bench.work / "stability.tsv", sep="\t")
    columns = ["similarity", "other_similarity", "shared_top_genes", "other_shared_top_genes"]
    means = table.groupby(["first", "second"])[columns].mean()
    pairs = list(combinations(SEEDS, 2))
    rows = [{"seeds": list(pair), **means.loc[(paths[pair[0]], paths[pair[1]])].to_dict()} for pair in pairs]
    bench.keep("slots", rows)


@main.command(help="docs/decisions.md from the results.")
@click.option("--page", "path", type=click.Path(path_type=Path), default=ROOT / "docs/decisions.md")
@click.pass_obj
def page(bench: Bench, path: Path) -> None:
    others = [json.loads(bench.results.with_name(f"{name}.json").read_text()) for name in ("doubt", "doublets")]
    path.write_text(page_text(json.loads(bench.results.read_text()), *others))
    click.echo(f"Wrote {path}.")


def page_text(found: dict[str, list[dict]], doubt: dict, doublets: list[dict]) -> str:
    """The page, given the tables and the results of doubt.py and doublets.py."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    rows = found["faithfulness"]
    rankings = ("attention", "cls_contribution", "linear_contribution", "both_contributions", "expression")
    templates = Environment(loader=FileSystemLoader(ROOT / "benchmarks"), undefined=StrictUndefined, trim_blocks=True)
    return (
        templates.get_template("decisions.md.j2").render(
            **found,
            doubt=page_figures(doubt),
            doublets=of_doublets.page_figures(doublets),
            rankings=rankings,
            cells={row["query"]: row["cells"] for row in rows},
            errors={curve: max(row["error"] for row in rows if row["curve"] == curve) for curve in ("deletion", "insertion")},
            beats={
                "random": sum(row["gain"]["attention"] > 0 for row in rows),
                "expression": sum(row["gain"]["attention"] > row["gain"]["expression"] for row in rows),
                "both": sum(row["gain"]["both_contributions"] > row["gain"]["attention"] for row in rows),
                "linear": sum(row["gain"]["linear_contribution"] > row["gain"]["attention"] for row in rows),
                "cls": sum(row["gain"]["cls_contribution"] > row["gain"]["attention"] for row in rows),
            },
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
