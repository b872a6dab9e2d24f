"""From single runs to benchmarks/results: means, spread over seeds, intervals over cells, and ours against the peers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.errors import InputError
from ours import VARIANTS
from running import Store, methods
from scoring import KEPT_SHARES, interval, resampled_macro_f1, score

METRICS = (
    "macro_f1", "accuracy", "macro_f1_all", "accuracy_all", "rare_f1", "ece", "ece_all", "mean_confidence", "novelty_auroc",
    "set_coverage", "set_coverage_worst", "set_size", "assigned", "assigned_accuracy", "rejected_accuracy", "unassigned_shared",
    "unassigned_novel", "surely_wrong", *(f"kept_{share:g}" for share in KEPT_SHARES), "train_s", "predict_s", "cpu_s",
    "peak_mib",
)  # fmt: skip
#: Peers that take in the query's cells before they label them; ours say so themselves.
SEES_QUERY = {"scanvi"} | {name for name, variant in VARIANTS.items() if variant.sees_query}


@dataclass(frozen=True)
class Runs:
    """What is kept of one kind of task, whole: every method that was run at all has all tasks, with the same seeds."""

    store: Store
    tasks: dict[str, dict]
    runs: dict[str, dict]

    @classmethod
    def read(cls, work: Path, kind: str) -> "Runs | None":
        """None where nothing of this kind was run. Raises InputError where runs are missing: means would be over other tasks than
        their neighbours'."""
        store = Store(work, kind)
        kept = store.read()
        found = cls(store, kept["tasks"], kept["runs"])
        missing = [
            f"{task} {method} seed {seed}"
            for method in found.methods
            for task in found.tasks
            for seed in found.seeds(method)
            if str(seed) not in found.runs.get(task, {}).get(method, {})
        ]
        if missing:
            first = "; ".join(missing[:5]) + ("; ..." if len(missing) > 5 else "")
            raise InputError(f"{len(missing)} of the runs of '{kind}' are missing: {first}. Run `accuracy.py {kind}` to its end.")
        return found if found.methods else None

    @cached_property
    def methods(self) -> list[str]:
        """The methods with a run, ours first."""
        used = {method for by_method in self.runs.values() for method in by_method}
        return [method for method in methods() if method in used]

    def seeds(self, method: str) -> list[int]:
        return sorted({int(seed) for by_method in self.runs.values() for seed in by_method.get(method, {})})

    def of(self, task: str, method: str) -> list[dict]:
        """The runs of a method on a task, by seed."""
        return [self.runs[task][method][str(seed)] for seed in self.seeds(method)]

    def failed(self, method: str) -> list[str]:
        """The tasks on which a run of the method ended with an error."""
        return [task for task in self.tasks if any("error" in run for run in self.of(task, method))]

    def about(self, task: str) -> dict:
        """What a task is, as drawn with the first seed."""
        return self.tasks[task]["seeds"]["0"]

    def predictions(self, task: str, method: str) -> list[pd.DataFrame]:
        """The predictions of a method on a task, a table a seed."""
        read = {"keep_default_na": False, "dtype": {"cell": str, "truth": str, "label": str}}
        return [pd.read_csv(self.store.predictions(task, method, seed), **read) for seed in self.seeds(method)]

    def by_split(self) -> dict[str, list[str]]:
        """The tasks of each split."""
        found: dict[str, list[str]] = {}
        for task, about in self.tasks.items():
            found.setdefault(about["split"], []).append(task)
        return found


def summaries(work: Path) -> dict[str, dict]:
    """The results of every kind that was run, by the name of its file. Raises InputError."""
    makers: dict[str, Callable[[Runs], dict]] = {"splits": _splits, "crossval": _crossval, "novelty": _novelty}
    runs = {kind: Runs.read(work, kind) for kind in (*makers, "curves")}
    found = {kind: make(runs[kind]) for kind, make in makers.items() if runs[kind]}
    if runs["curves"] and runs["splits"]:
        found["curves"] = _curves(runs["curves"], runs["splits"])
    if "splits" in found:
        found = {"accuracy": found.pop("splits"), **found}
    return found


def _methods(runs: Runs) -> dict[str, dict]:
    """Of every method: whose it is, seeds, version, and where it failed."""
    found = {}
    for method in runs.methods:
        ran = [run for task in runs.tasks for run in runs.of(task, method)]
        versions = {run["version"] for run in ran if "version" in run}
        found[method] = {
            "ours": method in VARIANTS,
            "sees_query": method in SEES_QUERY,
            "seeds": len(runs.seeds(method)),
            "threads": max(run["threads"] for run in ran),
            "versions": sorted(versions),
            "failed_on": runs.failed(method),
        }
    return found


def _spread(values: Iterable[float | None]) -> dict | None:
    """Mean and standard deviation (0 of a single value); None without values."""
    found = [value for value in values if value is not None]
    return {"mean": float(np.mean(found)), "sd": float(np.std(found, ddof=1)) if len(found) > 1 else 0.0} if found else None


def _mean(values: Iterable[float | None]) -> float | None:
    spread = _spread(values)
    return spread and spread["mean"]


def _splits(runs: Runs) -> dict:
    """accuracy.json: per split and method all metrics, their means over the splits, and ours beside the best peers.

    A method that failed on a split has no mean.
    """
    splits, resampled = {}, {}
    for split in runs.tasks:
        about = runs.about(split)
        whole = [method for method in runs.methods if split not in runs.failed(method)]
        results = {}
        for method in whole:
            found = {metric: _spread(run.get(metric) for run in runs.of(split, method)) for metric in METRICS}
            values = resampled_macro_f1(runs.predictions(split, method), list(about["types"]))
            resampled[method, split] = values
            found["macro_f1"]["interval"] = interval(values)
            results[method] = {metric: value for metric, value in found.items() if value is not None}
        splits[split] = {**about, "methods": results}
    complete = [method for method in runs.methods if not runs.failed(method)]
    draws = {method: np.mean([resampled[method, split] for split in runs.tasks], 0) for method in complete}
    means = {
        method: {metric: _mean(_value(splits[split], method, metric) for split in splits) for metric in METRICS}
        for method in complete
    }
    per_seed = {
        method: _spread(np.mean([[run["macro_f1"] for run in runs.of(split, method)] for split in splits], 0))
        for method in complete
    }
    return {
        "mean_macro_f1": {method: means[method]["macro_f1"] for method in complete},
        "mean_macro_f1_sd": {method: per_seed[method]["sd"] for method in complete},
        "mean_macro_f1_interval": {method: interval(draws[method]) for method in complete},
        "means": means,
        "against_peers": {
            method: {
                "blind": _against(method, [m for m in complete if m not in SEES_QUERY], means, splits, draws),
                "all": _against(method, complete, means, splits, draws),
            }
            for method in complete
            if method in VARIANTS
        },
        "methods": _methods(runs),
        "splits": splits,
    }


def _value(split: dict, method: str, metric: str) -> float | None:
    return split["methods"][method].get(metric, {}).get("mean")


def _against(method: str, among: list[str], means: dict, splits: dict, draws: dict) -> dict | None:
    """Ours less the best peer: in the mean over the splits, with an interval over cells, and on every split."""
    peers = [name for name in among if name not in VARIANTS]
    if not peers:
        return None
    best = max(peers, key=lambda name: means[name]["macro_f1"])
    gaps = {}
    for name, split in splits.items():
        rival = max(peers, key=lambda peer: _value(split, peer, "macro_f1"))
        gap = _value(split, method, "macro_f1") - _value(split, rival, "macro_f1")
        gaps[name] = {"peer": rival, "difference": gap}
    return {
        "best_peer": best,
        "difference": means[method]["macro_f1"] - means[best]["macro_f1"],
        "interval": interval(draws[method] - draws[best]),
        "splits": gaps,
        "worst": min(gap["difference"] for gap in gaps.values()),
    }


def _crossval(runs: Runs) -> dict:
    """crossval.json: every fold's cells together make one table of predictions, which is scored per reference and seed."""
    references = {}
    for split, folds in runs.by_split().items():
        types: dict[str, int] = {}
        for task in folds:
            for name, count in runs.about(task)["types"].items():
                types[name] = max(types.get(name, 0), count)
        references[split] = {"types": types, "methods": {}}
        for method in runs.methods:
            if set(folds) & set(runs.failed(method)):
                continue
            by_fold = [runs.predictions(task, method) for task in folds]
            scores = [score(pd.concat(tables), types) for tables in zip(*by_fold, strict=True)]
            found = {metric: _spread(one.get(metric) for one in scores) for metric in METRICS}
            references[split]["methods"][method] = {metric: value for metric, value in found.items() if value is not None}
    complete = [method for method in runs.methods if not runs.failed(method)]
    means = {
        method: {metric: _mean(_value(references[split], method, metric) for split in references) for metric in METRICS}
        for method in complete
    }
    return {
        "mean_macro_f1": {method: means[method]["macro_f1"] for method in complete},
        "means": means,
        "methods": _methods(runs),
        "references": references,
    }


def _curves(runs: Runs, whole: Runs) -> dict:
    """curves.json: macro F1 by the number of reference cells; the last point of each split is that of the whole reference."""
    splits = {}
    for split, tasks in runs.by_split().items():
        points = [(int(runs.tasks[task]["part"]), runs, task) for task in tasks]
        points.append((whole.about(split)["reference_cells"], whole, split))
        splits[split] = {
            method: [
                {"cells": cells, **_spread(run.get("macro_f1") for run in source.of(task, method))}
                for cells, source, task in sorted(points, key=lambda point: point[0])
                if method in source.methods and task not in source.failed(method)
            ]
            for method in runs.methods
        }
    sizes = sorted({int(task["part"]) for task in runs.tasks.values()})
    at_size = {
        method: {
            str(size): _mean(point["mean"] for points in splits.values() for point in points[method] if point["cells"] == size)
            for size in sizes
        }
        for method in runs.methods
        if not runs.failed(method)
    }
    n_splits = {str(size): sum(task["part"] == str(size) for task in runs.tasks.values()) for size in sizes}
    return {"mean_macro_f1_at": at_size, "splits_at": n_splits, "methods": _methods(runs), "splits": splits}


def _novelty(runs: Runs) -> dict:
    """novelty.json: how well the cells of a type that was left out are told from held-out cells of the others (AUROC)."""
    references = {}
    for split, tasks in runs.by_split().items():
        references[split] = {}
        for method in runs.methods:
            if set(tasks) & set(runs.failed(method)):
                continue
            found = {runs.tasks[task]["part"]: _mean(run["novelty_auroc"] for run in runs.of(task, method)) for task in tasks}
            references[split][method] = {"mean": _mean(found.values()), "types": found}
    complete = [method for method in runs.methods if not runs.failed(method)]
    return {
        "mean_novelty_auroc": {method: _mean(references[split][method]["mean"] for split in references) for method in complete},
        "methods": _methods(runs),
        "references": references,
    }
