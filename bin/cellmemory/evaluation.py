"""How well a query was mapped, where its true labels are known: the figures of `<sample>.metrics.json`.

A cell is known if its true type is one of the model's labels, unknown otherwise; cells without a true label take no
part. Accuracy, F1 and their kin, calibration and label sets are over known cells; macro averages are over the types
that occur among them, so that a type that the query lacks does not count as failed. `accuracy_all`, `assigned_fraction`
and `assigned_accuracy` are over all cells with a true label: giving an unknown cell any label is an error there. What
cannot be computed is null.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score, roc_auc_score

from cellmemory import PREFIX
from cellmemory.cells.labels import as_text, clean_labels
from cellmemory.columns import (
    AMBIGUOUS,
    ANSWER,
    ANSWER_LEVEL,
    ASSIGNED,
    CONFIDENCE,
    EMBEDDING,
    LABEL,
    LABEL_SET,
    NOVELTY,
    NOVELTY_P,
    STATUS,
    UNASSIGNED,
)
from cellmemory.errors import InputError, first_ids
from cellmemory.log import say, warn
from cellmemory.mapping.mapped import MappedFile
from cellmemory.reference.alarms import own_cells_sentence
from cellmemory.reference.calibration import ECE_BINS, expected_calibration_error
from cellmemory.reference.hierarchy import Hierarchy, column
from cellmemory.reference.trained_model import TrainedModel

#: A wrong label with a higher confidence is surely wrong.
SURE = 0.9
MIN_INTEGRATION_CELLS = 100  # scib-metrics asks for 90 neighbours of every cell


def evaluate_file(path: Path, trained: TrainedModel, truth_key: str, *, batch_key: str | None = None) -> dict:
    """What `<sample>.metrics.json` holds of a mapped query, by the columns of its obs with true labels and batches.

    Raises InputError where another model mapped it, a column is missing, or no cell has a true label.
    """
    if truth_key.startswith(PREFIX):
        raise InputError(f"--truth_key {truth_key}: this column was made by the mapping. Name the one with the true labels.")
    with MappedFile(path) as file:
        file.check_model(trained)
        truth = true_labels(file.column(truth_key, "truth", "truth_key"), trained.labels)
        if not truth.notna().any():
            raise InputError(f"{path}: the obs column '{truth_key}' holds no value. Give the one with true labels.")
        batch = file.column(batch_key, "batch", "batch_key") if batch_key else None
        table = trained.label_table
        found = evaluate(file.obs, truth, trained.labels, table.loc[table["rare"], "label"].tolist())
        say(
            f"Read {path}: {found['cells']:,} cells, {found['cells_with_truth']:,} of them with a true label in {truth_key}, "
            f"{found['known_cells']:,} of these of a type that the model knows."
        )
        own = file.run.reference_cells or 0
        _say_strange(found, truth_key, trained.labels, warning=own_cells_sentence(own, file.n_cells) if own else None)
        hierarchy = by_level(file.obs, truth, trained.hierarchy) if trained.hierarchy else None
        for row in hierarchy["levels"] if hierarchy else ():
            if row["accuracy"] is not None:
                say(f"Level {row['level']}: accuracy {row['accuracy']:.3f}, macro F1 {row['macro_f1']:.3f}.")
        scores = None
        if batch is not None:
            scores, message = integration(file.embedding(EMBEDDING), truth, batch)
            say(message)
        about = {"sample": file.run.sample, "mapping": file.mapping, "truth_key": truth_key, "reference_cells": own}
        return {**about, **found, "hierarchy": hierarchy, "integration": scores}


def _say_strange(found: dict, truth_key: str, labels: list[str], *, warning: str | None) -> None:
    """Says which true types the model does not know, and what else makes figures worth less."""
    types = [unknown["label"] for unknown in found["unknown_types"]]
    for unknown in found["unknown_types"]:
        say(f"Type that the model does not know: {unknown['label']}, {unknown['cells']:,} cells.")
    if not found["known_cells"]:
        warn(
            f"No true label is one of the model's: {truth_key} has {first_ids(types)}; the model has {first_ids(labels)}. "
            "Accuracy cannot be computed."
        )
    if warning:
        warn(warning)


def true_labels(column: pd.Series, known: list[str]) -> pd.Series:
    """The true labels by the rule of all labels (labels.clean_labels), missing where the column has no value.

    Whole numbers that became floating because some are missing (`3.0`) read as whole ones where the model knows those.
    """
    texts = clean_labels(column)
    if pd.api.types.is_float_dtype(column.dtype) and not set(texts.dropna()).intersection(known):
        texts = texts.str.removesuffix(".0")
    return texts


def evaluate(obs: pd.DataFrame, truth: pd.Series, labels: list[str], rare: list[str]) -> dict:
    """All metrics of one query but integration, as plain values for JSON.

    obs: the `cellmemory_` columns of a mapped query; truth: its true labels as `true_labels` gives them, in the same
    order; labels: the model's labels, in its order; rare: those of them that are rare in the reference.
    """
    has_truth = truth.notna().to_numpy()
    obs, y = obs[has_truth], truth[has_truth].to_numpy(str)
    predicted = obs[LABEL].astype(str).to_numpy()
    known = np.isin(y, labels)
    status, confidence = obs[STATUS].astype(str).to_numpy(), obs[CONFIDENCE].to_numpy(float)
    assigned, unassigned = status == ASSIGNED, status == UNASSIGNED
    correct = y == predicted
    types = [label for label in labels if label in set(y)]
    sets = obs[LABEL_SET].astype(str).to_numpy()[known]
    covered = _covered(sets, y[known])
    return {
        "cells": len(truth),
        "cells_with_truth": len(y),
        "known_cells": int(known.sum()),
        "unknown_cells": int((~known).sum()),
        "unknown_types": _unknown_types(obs[~known], y[~known]),
        **_classification(y[known], predicted[known], types),
        "accuracy_all": _mean(correct),
        "rare_types": (rare_types := [label for label in types if label in rare]),
        "rare_f1": _macro_f1(y[known], predicted[known], rare_types),
        **_calibration(confidence[known], correct[known]),
        "surely_wrong": _mean(((confidence > SURE) & ~correct)[known]),
        "novelty_auroc": _auroc(~known, obs[NOVELTY].to_numpy(float)),
        "unknown_flagged": _mean(unassigned[~known]),
        "known_flagged": _mean(unassigned[known]),
        "known_ambiguous": _mean((status == AMBIGUOUS)[known]),
        "assigned_fraction": _mean(assigned),
        "assigned_accuracy": _mean(correct[assigned]),
        **_label_sets(sets, covered, labels),
        "per_class": _per_class(y[known], predicted[known], types, covered),
        "confusion": _confusion(y, predicted, labels),
    }


def by_level(obs: pd.DataFrame, truth: pd.Series, hierarchy: Hierarchy) -> dict:
    """How well the labels of each level, and the answers, were given, over the cells of a type that the model knows.

    obs, truth: as `evaluate` takes them. A true label's ancestors are those that it has in the reference. answers: at each
    level the share of cells whose answer belongs to it, and how many of these are right; `none` has no level.
    """
    ancestors = hierarchy.ancestors.set_index(hierarchy.levels[-1], drop=False)
    known = truth.isin(ancestors.index).to_numpy()
    true, obs = ancestors.loc[truth[known]].reset_index(drop=True), obs[known].reset_index(drop=True)
    depth, answer = (obs[name].astype(str) for name in (ANSWER_LEVEL, ANSWER))
    levels, answers = [], [{"level": "none", "share": _mean((depth == "").to_numpy()), "accuracy": None}]
    for level in hierarchy.levels:
        y, predicted = true[level].to_numpy(str), obs[PREFIX + column(level)].to_numpy(str)
        here = (depth == level).to_numpy()
        levels.append({"level": level, **_classification(y, predicted, np.unique(y).tolist())})
        right = answer.to_numpy(str)[here] == y[here]
        answers.append({"level": level, "share": _mean(here), "accuracy": _mean(right)})
    return {"levels": levels, "answers": answers}


def integration(embedding: np.ndarray, truth: pd.Series, batch: pd.Series) -> tuple[dict | None, str]:
    """Integration scores of scib-metrics (0 to 1, 1 is best) for an embedding (N, d), and a sentence on them.

    None where they cannot be computed: scib-metrics is an extra that may be absent, and scores need two batches, two types
    and MIN_INTEGRATION_CELLS cells that have a batch and a true label.
    """
    if importlib.util.find_spec("scib_metrics") is None:
        return None, "No integration scores: scib-metrics is not installed (pip install scib-metrics)."
    keep = truth.notna().to_numpy() & batch.notna().to_numpy()
    groups = pd.DataFrame({"batch": as_text(batch[keep]), "type": truth[keep].to_numpy(str)})
    if len(groups) < MIN_INTEGRATION_CELLS or (groups.nunique() < 2).any():
        return None, (
            f"No integration scores: they need two batches, two types and {MIN_INTEGRATION_CELLS} cells with both; "
            f"here are {groups['batch'].nunique()}, {groups['type'].nunique()} and {len(groups)}."
        )
    return _scib(embedding[keep], groups), f"Integration scores of scib-metrics over {len(groups):,} cells."


def _scib(embedding: np.ndarray, groups: pd.DataFrame) -> dict:
    import anndata as ad
    from scib_metrics.benchmark import BatchCorrection, Benchmarker

    groups = groups.astype("category").set_axis([str(i) for i in range(len(groups))])
    cells = ad.AnnData(embedding.astype(np.float32), obs=groups, obsm={"embedding": embedding.astype(np.float32)})
    benchmark = Benchmarker(
        cells,
        "batch",
        "type",
        ["embedding"],
        # Principal component regression compares with the data before integration, of which nothing is at hand here.
        batch_correction_metrics=BatchCorrection(pcr_comparison=False),
        pre_integrated_embedding_obsm_key="embedding",
        progress_bar=False,
    )
    benchmark.benchmark()
    scores = benchmark.get_results(min_max_scale=False).loc["embedding"]
    return {str(name): _number(score) for name, score in scores.items()}


def _classification(y: np.ndarray, predicted: np.ndarray, types: list[str]) -> dict:
    if not len(y):
        return dict.fromkeys(("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy"))
    return {
        "accuracy": _mean(y == predicted),
        "macro_f1": _macro_f1(y, predicted, types),
        "weighted_f1": float(f1_score(y, predicted, labels=types, average="weighted", zero_division=0)),
        "balanced_accuracy": float(recall_score(y, predicted, labels=types, average="macro", zero_division=0)),
    }


def _macro_f1(y: np.ndarray, predicted: np.ndarray, types: list[str]) -> float | None:
    return float(f1_score(y, predicted, labels=types, average="macro", zero_division=0)) if types else None


def _unknown_types(obs: pd.DataFrame, y: np.ndarray) -> list[dict]:
    return [
        {
            "label": label,
            "cells": int((y == label).sum()),
            "mean_novelty_p": _mean(obs[NOVELTY_P].to_numpy(float)[y == label]),
            "flagged_fraction": _mean((obs[STATUS] == UNASSIGNED).to_numpy()[y == label]),
        }
        for label in np.unique(y).tolist()
    ]


def _calibration(confidence: np.ndarray, correct: np.ndarray) -> dict:
    """The expected calibration error and the bins, (low, high], that hold a cell."""
    if not len(confidence):
        return {"ece": None, "calibration": []}
    which = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    bins = [
        {
            "low": b / ECE_BINS,
            "high": (b + 1) / ECE_BINS,
            "confidence": _mean(confidence[which == b]),
            "accuracy": _mean(correct[which == b]),
            "cells": int((which == b).sum()),
        }
        for b in np.unique(which).tolist()
    ]
    return {"ece": expected_calibration_error(confidence, correct), "calibration": bins}


def _label_sets(sets: np.ndarray, covered: np.ndarray, labels: list[str]) -> dict:
    sizes = {one: sum(f"|{label}|" in f"|{one}|" for label in labels) for one in set(sets)}
    return {
        "label_set_coverage": _mean(covered),
        "label_set_mean_size": _mean(np.array([sizes[one] for one in sets], dtype=float)),
    }


def _covered(sets: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether each label set holds the true label."""
    # A label may itself hold the '|' that joins labels: whole labels are looked for, nothing is split.
    return np.array([f"|{label}|" in f"|{one}|" for label, one in zip(y, sets, strict=True)], dtype=bool)


def _per_class(y: np.ndarray, predicted: np.ndarray, types: list[str], covered: np.ndarray) -> list[dict]:
    if not types:
        return []
    scores = precision_recall_fscore_support(y, predicted, labels=types, zero_division=0)
    return [
        {
            "label": label,
            "precision": float(p),
            "recall": float(r),
            "f1": float(f),
            "cells": int(n),
            "label_set_coverage": _mean(covered[y == label]),
        }
        for label, p, r, f, n in zip(types, *scores, strict=True)
    ]


def _confusion(y: np.ndarray, predicted: np.ndarray, labels: list[str]) -> dict:
    """True types (rows: the model's order, unknown ones last) against predicted labels that occur in either."""
    occurring = set(y).union(predicted)
    columns = [label for label in labels if label in occurring]
    unknown = sorted(set(y).difference(labels))
    rows = [label for label in columns if label in set(y)] + unknown
    counts = pd.crosstab(y, predicted).reindex(index=rows, columns=columns, fill_value=0)
    return {"true": rows, "predicted": columns, "counts": counts.to_numpy().tolist()}


def _auroc(positive: np.ndarray, score: np.ndarray) -> float | None:
    finite = np.isfinite(score)
    positive, score = positive[finite], score[finite]
    return float(roc_auc_score(positive, score)) if positive.any() and not positive.all() else None


def _mean(values: np.ndarray) -> float | None:
    return _number(values.mean()) if len(values) else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
