"""docs/accuracy.md and its figures, from the summaries: nothing on the page is typed by hand but its text."""

import json
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path

import jinja2
import numpy as np

from scoring import KEPT_SHARES, RESAMPLES

#: The summaries, by the names of their files, and what they are of.
KINDS = {
    "accuracy": "the splits",
    "unseen": "splits of other data",
    "crossval": "folds",
    "curves": "parts of references",
    "novelty": "types left out",
    "integration": "embeddings",
}
#: As methods are called on the page. Variants of ours that are not named here go by their own names.
NAMES = {
    "cellmemory": "CellMemory",
    "cellmemory_standard": "CellMemory, standard",
    "cellmemory_full": "CellMemory, all genes",
    "cellmemory_adapt": "CellMemory, adapted",
    "logistic_regression": "logistic regression, C = 1",
    "logistic_regression_c001": "logistic regression, C = 0.01",
    "linear_svm": "linear SVM",
    "knn": "k-NN, z-scores",
    "knn_unscaled": "k-NN",
    "knn_cosine": "k-NN, cosine",
    "mlp": "MLP",
    "celltypist": "CellTypist",
    "celltypist_fs": "CellTypist, selected genes",
    "scanvi": "scANVI, surgery",
    "pca": "PCA",
    "harmony": "Harmony",
    "scvi": "scVI",
}
#: Lines of peers, where many cross.
SHADES = ("#4c78a8", "#72b7b2", "#54a24b", "#b279a2", "#9d755d", "#8a8a8a", "#5b5b9d", "#c9a227", "#e377c2", "#17415f")
INK, OURS, BLIND, SEEING = "#333333", "#d55e00", "#4c78a8", "#8a8a8a"


def write_page(found: dict[str, dict], results: Path, docs: Path) -> None:
    """Writes the summaries as JSON, the figures, and accuracy.md. found: as `summary.summaries` gives it.

    What was run elsewhere and is not found here stays as it is in `results`, and on the page.
    """
    from cellmemory.io.atomic import replacing, write_json

    for name, value in found.items():
        write_json(results / f"{name}.json", value)
    kept = (results / f"{name}.json" for name in KINDS)
    found = {path.stem: json.loads(path.read_text()) for path in kept if path.exists()}
    images = docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    drawn = {"splits": ("accuracy", _draw_splits), "curves": ("curves", _draw_curves), "novelty": ("novelty", _draw_novelty)}
    if _has_actions(found.get("accuracy")):
        drawn["kept"] = ("accuracy", _draw_kept)
    for figure_name, (name, draw) in drawn.items():
        if name in found:
            figure = draw(found[name])
            with replacing(images / f"accuracy_{figure_name}.svg") as path:
                # Without a date, the same results make the same file.
                figure.savefig(path, metadata={"Date": None})
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"methods": name_of, "figure": figure_text, "signed": signed_text}
    text = environment.get_template("accuracy.md.j2").render(
        tables=_tables(found), resamples=RESAMPLES, ours=_versions(found), **found
    )
    with replacing(docs / "accuracy.md") as path:
        path.write_text(text)


def _versions(found: dict[str, dict]) -> dict[str, list[str]]:
    """What was run -> digests of our code that ran it, in all its variants."""
    return {
        KINDS[name]: sorted({version for about in one["methods"].values() if about["ours"] for version in about["versions"]})
        for name, one in found.items()
    }


def name_of(method: str) -> str:
    """A method as the page calls it."""
    return NAMES.get(method, method.replace("cellmemory_", "CellMemory, ").replace("_", " "))


def figure_text(value: float | None, digits: int = 3) -> str:
    """A number of a table; empty where there is none."""
    return "" if value is None else f"{value:,.{digits}f}"


def signed_text(value: float) -> str:
    return f"{value:+.3f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table, numbers to the right."""
    head, rows = list(head), [list(row) for row in rows]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _tables(found: dict[str, dict]) -> dict[str, str]:
    """All tables of the page by their names."""
    made = {}
    if "accuracy" in found:
        made |= _accuracy_tables(found["accuracy"])
    if _has_actions(found.get("accuracy")):
        made |= _action_tables(found["accuracy"])
    if "unseen" in found:
        made |= {f"unseen_{name}": one for name, one in _accuracy_tables(found["unseen"]).items()}
    if "crossval" in found:
        made["crossval"] = _means_table(
            found["crossval"],
            {"macro F1": "macro_f1", "accuracy": "accuracy", "rare F1": "rare_f1", "ECE": "ece", "coverage": "set_coverage",
             "set size": "set_size", "unassigned": "unassigned_shared"},
            found["crossval"]["mean_macro_f1"],
        )  # fmt: skip
        references = found["crossval"]["references"]
        made["crossval_references"] = _by_split(
            found["crossval"], references, lambda one: one["macro_f1"]["mean"], found["crossval"]["mean_macro_f1"]
        )
        made["crossval_doubt"] = _doubt_table(found["crossval"])
    if "curves" in found:
        curves = found["curves"]
        at = curves["mean_macro_f1_at"]
        made["curves"] = table(
            ["cells (splits)", *map(name_of, at)],
            [
                [f"{size} ({count})", *(figure_text(at[method][size]) for method in at)]
                for size, count in curves["splits_at"].items()
            ],
        )
    if "novelty" in found:
        references = {split: {"methods": one} for split, one in found["novelty"]["references"].items()}
        made["novelty"] = _by_split(found["novelty"], references, lambda one: one["mean"], found["novelty"]["mean_novelty_auroc"])
    if "integration" in found:
        integration = found["integration"]
        columns = {name: name for name in ("Total", "Bio conservation", "Batch correction")}
        made["integration"] = _means_table(integration, columns, integration["mean_total"])
        made["integration_splits"] = _by_split(
            integration, integration["splits"], lambda one: one["scores"]["Total"], integration["mean_total"]
        )
    return made


def _our_default(summary: dict) -> str | None:
    """The first of our variants; None where none was run."""
    return next((method for method, about in summary["methods"].items() if about["ours"]), None)


def _doubt_table(crossval: dict) -> str:
    """Confidence and label sets of our default on every reference; nothing where it was not run."""
    ours = _our_default(crossval)
    columns = {"accuracy": "accuracy", "coverage": "set_coverage", "set size": "set_size", "ECE": "ece"}
    rows = [(name, one["methods"][ours]) for name, one in crossval["references"].items() if ours in one["methods"]]
    return table(["", *columns], [[name, *(figure_text(one[key]["mean"]) for key in columns.values())] for name, one in rows])


#: What becomes of cells when doubt is acted on: title of a column -> metric.
ACTIONS = {
    "assigned": "assigned",
    "accuracy of these": "assigned_accuracy",
    "accuracy of the others": "rejected_accuracy",
    "known, unassigned": "unassigned_shared",
    "unknown, unassigned": "unassigned_novel",
    "wrong above 0.9": "surely_wrong",
    "ECE": "ece",
    "coverage": "set_coverage",
    "lowest coverage": "set_coverage_worst",
    "set size": "set_size",
}


def _has_actions(accuracy: dict | None) -> bool:
    """Whether results have what becomes of cells; older ones have not."""
    return bool(accuracy) and any("assigned" in one for split in accuracy["splits"].values() for one in split["methods"].values())


def _action_tables(accuracy: dict) -> dict[str, str]:
    """What becomes of cells by method, and of ours on every split."""
    ours = _our_default(accuracy)
    rows = [(name, split["methods"].get(ours, {})) for name, split in accuracy["splits"].items()]
    return {
        "actions": _means_table(accuracy, ACTIONS, accuracy["mean_macro_f1"]),
        "actions_splits": table(
            ["", *ACTIONS],
            [[name, *(figure_text(one.get(key, {}).get("mean")) for key in ACTIONS.values())] for name, one in rows],
        ),
    }


def _accuracy_tables(accuracy: dict) -> dict[str, str]:
    columns = {
        "accuracy": "accuracy", "macro F1, all cells": "macro_f1_all", "accuracy, all cells": "accuracy_all",
        "rare F1": "rare_f1", "ECE": "ece", "novelty AUROC": "novelty_auroc",
    }  # fmt: skip
    costs = {
        "train, s": ("train_s", 1),
        "predict, s": ("predict_s", 1),
        "processor, s": ("cpu_s", 1),
        "memory, MiB": ("peak_mib", 0),
    }
    means = accuracy["means"]
    blind = [m for m in _ordered(accuracy["mean_macro_f1"]) if not accuracy["methods"][m]["sees_query"]]
    seeing = [m for m in _ordered(accuracy["mean_macro_f1"]) if accuracy["methods"][m]["sees_query"]]

    def rows(methods: list[str]) -> list[list[str]]:
        return [
            [
                _emphasised(method, accuracy),
                "{:.3f} ({:.3f} to {:.3f})".format(
                    accuracy["mean_macro_f1"][method], *accuracy["mean_macro_f1_interval"][method]
                ),
                figure_text(accuracy["mean_macro_f1_sd"][method]),
                *(figure_text(means[method][metric]) for metric in columns.values()),
                str(accuracy["methods"][method]["seeds"]),
            ]
            for method in methods
        ]

    head = ["method", "macro F1 (interval)", "sd of seeds", *columns, "seeds"]
    splits = accuracy["splits"]
    about = [
        [name, *(f"{split[key]:,}" for key in ("reference_cells", "query_cells", "genes")), str(len(split["types"])),
         str(split["batches"])]
        for name, split in splits.items()
    ]  # fmt: skip
    return {
        "means": table(head, rows(blind)),
        "means_seeing": table(head, rows(seeing)) if seeing else "",
        "splits": _by_split(accuracy, splits, lambda one: one["macro_f1"]["mean"], accuracy["mean_macro_f1"]),
        "ece": _by_split(accuracy, splits, lambda one: one["ece"]["mean"], best=min),
        "costs": table(
            ["method", *costs],
            [[name_of(m), *(figure_text(means[m][key], digits) for key, digits in costs.values())] for m in blind + seeing],
        ),
        "about": table(["split", "reference cells", "query cells", "genes", "types", "batches"], about),
    }


def _means_table(summary: dict, columns: dict[str, str], by: dict[str, float]) -> str:
    """A row a method, the best first by the means `by`. columns: title -> metric."""
    means = summary["means"]
    order = _ordered(by)
    rows = [[_emphasised(m, summary), *(figure_text(means[m][metric]) for metric in columns.values())] for m in order]
    return table(["method", *columns], rows)


def _by_split(summary: dict, splits: dict, value: Callable, means: dict | None = None, best: Callable = max) -> str:
    """A row a split, a column a method; the best of each row is bold. value: what is taken of a method's results."""
    order = [method for method in summary["methods"] if any(method in split["methods"] for split in splits.values())]
    lines = {split: {m: value(one) for m, one in about["methods"].items()} for split, about in splits.items()}
    if means:
        lines["mean"] = means
    rows = []
    for name, found in lines.items():
        top = best(figure_text(one) for one in found.values() if one is not None)
        texts = [figure_text(found.get(method)) for method in order]
        rows.append([name, *(f"**{text}**" if text == top else text for text in texts)])
    return table(["", *map(name_of, order)], rows)


def _ordered(means: dict[str, float]) -> list[str]:
    return sorted(means, key=lambda method: -means[method])


def _emphasised(method: str, summary: dict) -> str:
    return f"**{name_of(method)}**" if summary["methods"][method]["ours"] else name_of(method)


def _colour(method: str, methods: dict) -> str:
    about = methods[method]
    return OURS if about["ours"] else SEEING if about["sees_query"] else BLIND


def _panels(n: int, columns: int, width: float, height: float, **shared):
    """A grid of n axes, a frame of two sides each; returns the figure and its axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # Text stays text: the files are small, and every reader has a sans-serif.
    style = {"svg.fonttype": "none", "svg.hashsalt": "accuracy", "font.size": 8, "axes.titlesize": 8.5, "axes.edgecolor": INK,
             "font.family": "sans-serif", "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
             "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white"}  # fmt: skip
    matplotlib.rcParams.update(style)
    n_rows = int(np.ceil(n / columns))
    figure, axes = plt.subplots(
        n_rows, columns, figsize=(width * columns, height * n_rows), layout="constrained", squeeze=False, **shared
    )
    for empty in axes.flat[n:]:
        empty.set_visible(False)
    return figure, list(axes.flat[:n])


def _draw_splits(accuracy: dict):
    """Macro F1 with its interval: first the mean over the splits, then every split."""
    order = _ordered(accuracy["mean_macro_f1"])[::-1]
    splits = accuracy["splits"]
    figure, axes = _panels(len(splits) + 1, 4, 2.7, 0.45 + 0.17 * len(order), sharey=True)
    values = {"mean": {m: (accuracy["mean_macro_f1"][m], accuracy["mean_macro_f1_interval"][m]) for m in order}}
    for name, split in splits.items():
        found = {m: split["methods"][m]["macro_f1"] for m in order}
        values[name] = {m: (one["mean"], one["interval"]) for m, one in found.items()}
    for axis, (name, found) in zip(axes, values.items(), strict=True):
        for row, method in enumerate(order):
            value, (low, high) = found[method]
            colour = _colour(method, accuracy["methods"])
            axis.plot([low, high], [row, row], color=colour, linewidth=1.2, solid_capstyle="butt")
            axis.plot(value, row, "o", color=colour, markersize=4.5 if accuracy["methods"][method]["ours"] else 3.5)
        axis.set_title("mean of all splits" if name == "mean" else name, fontweight="bold" if name == "mean" else "normal")
        axis.set_yticks(range(len(order)), [name_of(method) for method in order])
        axis.grid(axis="x", color="#e5e5e5", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_ylim(-0.7, len(order) - 0.3)
    return figure


def _draw_kept(accuracy: dict):
    """The mean accuracy of the most confident cells, by the share of cells that are kept."""
    figure, (axis,) = _panels(1, 1, 6.4, 3.6)
    order = _ordered(accuracy["mean_macro_f1"])
    shades = dict(zip([m for m in order if not accuracy["methods"][m]["ours"]], cycle(SHADES), strict=False))
    for method in order:
        values, ours = [accuracy["means"][method][f"kept_{share:g}"] for share in KEPT_SHARES], method not in shades
        axis.plot(KEPT_SHARES, values, color=shades.get(method, OURS), linewidth=1.8 if ours else 0.9, label=name_of(method),
                  linestyle="-" if method == order[0] or not ours else "--", zorder=3 if ours else 2)  # fmt: skip
    axis.set_xlabel("share of the cells that are kept, the most confident first")
    axis.set_ylabel("accuracy of these")
    axis.grid(color="#e5e5e5", linewidth=0.6)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def _draw_curves(curves: dict):
    """Macro F1 by the number of reference cells, a panel a split."""
    figure, axes = _panels(len(curves["splits"]), 4, 2.5, 1.9)
    peers = [method for method, about in curves["methods"].items() if not about["ours"]]
    shades = dict(zip(peers, cycle(SHADES), strict=False))
    for axis, (split, by_method) in zip(axes, curves["splits"].items(), strict=True):
        for method, points in by_method.items():
            ours = curves["methods"][method]["ours"]
            x, y = [p["cells"] for p in points], np.array([p["mean"] for p in points])
            colour = OURS if ours else shades[method]
            axis.plot(x, y, "o-", color=colour, label=name_of(method), linewidth=1.8 if ours else 0.9,
                      markersize=3.2 if ours else 2, zorder=3 if ours else 2)  # fmt: skip
            if ours:
                sd = np.array([p["sd"] for p in points])
                axis.fill_between(x, y - sd, y + sd, color=colour, alpha=0.15, linewidth=0)
        axis.set_xscale("log")
        sizes = [p["cells"] for p in next(iter(by_method.values()))]
        # The whole reference may be hardly larger than the part before it: one number must not cover the other.
        ticks = [size for size, larger in zip(sizes, [*sizes[1:], np.inf], strict=True) if larger > 1.35 * size]
        axis.set_xticks(ticks, [str(tick) for tick in ticks], rotation=45)
        axis.minorticks_off()
        axis.set_title(split)
        axis.grid(color="#e5e5e5", linewidth=0.6)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.supylabel("macro F1")
    for axis in axes[-4:]:
        axis.set_xlabel("reference cells")
    return figure


def _draw_novelty(novelty: dict):
    """AUROC of novelty, a row a method: a small dot a reference, a large one for their mean."""
    means = novelty["mean_novelty_auroc"]
    order = _ordered(means)[::-1]
    figure, (axis,) = _panels(1, 1, 5.5, 0.7 + 0.2 * len(order))
    for row, method in enumerate(order):
        colour = _colour(method, novelty["methods"])
        found = [one[method]["mean"] for one in novelty["references"].values()]
        axis.plot(found, [row] * len(found), "o", color=colour, markersize=3, alpha=0.45, markeredgewidth=0)
        axis.plot(means[method], row, "D", color=colour, markersize=6)
    axis.set_yticks(range(len(order)), [name_of(method) for method in order])
    axis.set_ylim(-0.6, len(order) - 0.4)
    axis.set_xlabel("AUROC of novelty, types left out in turn")
    axis.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axis.set_axisbelow(True)
    return figure
