"""What predictions are worth: the metrics of every task, and intervals by resampling the query's cells."""

import numpy as np
import pandas as pd

from cellmemory.evaluation import SURE
from cellmemory.reference.calibration import expected_calibration_error

#: A type with fewer cells in the reference, or a smaller share of them, is rare (as in bin/cellmemory/training/train.py).
RARE_CELLS, RARE_SHARE = 20, 0.01
RESAMPLES = 1000
#: The usual rejection of peers: a cell whose best label has less than this probability gets none (CellTypist's p_thres, the
#: uncertainty of scArches).
USUAL_REJECTION = 0.5
#: Types with fewer cells say little about the coverage of their label sets.
COVERED_CELLS = 20
#: Shares of a query's cells, the most confident first, of which the accuracy is taken.
KEPT_SHARES = tuple(share / 20 for share in range(1, 21))


def rare_types(types: dict[str, int]) -> list[str]:
    """The rare ones among the reference's types, given the cells of each."""
    total = sum(types.values())
    return [name for name, count in types.items() if count < RARE_CELLS or count < RARE_SHARE * total]


def macro_f1(truth: np.ndarray, label: np.ndarray, types: list[str]) -> float | None:
    """The mean F1 of `types`, those of them that occur in the truth; None if none does."""
    from sklearn.metrics import f1_score

    occurring = [name for name in types if (truth == name).any()]
    return float(f1_score(truth, label, labels=occurring, average="macro", zero_division=0)) if occurring else None


def score(predictions: pd.DataFrame, types: dict[str, int]) -> dict[str, float | None]:
    """The metrics of one run; what cannot be computed is None.

    predictions: a row a query cell with truth, label, confidence and novelty (larger is stranger), and from ours also
    status and label_set. types: the reference's types and their cells. A cell is shared if its true type is one of
    them; where nothing else is said, a metric is over the shared cells.
    """
    truth, label = (predictions[name].to_numpy(str) for name in ("truth", "label"))
    confidence = predictions["confidence"].to_numpy(float)
    shared = np.isin(truth, list(types))
    right = truth == label
    found = {
        "accuracy": _mean(right[shared]),
        "macro_f1": macro_f1(truth[shared], label[shared], list(types)),
        "accuracy_all": _mean(right),
        "macro_f1_all": macro_f1(truth, label, np.unique(truth).tolist()),
        "rare_f1": macro_f1(truth[shared], label[shared], rare_types(types)),
        "ece": expected_calibration_error(confidence[shared], right[shared]) if shared.any() else None,
        "ece_all": expected_calibration_error(confidence, right),
        "mean_confidence": _mean(confidence[shared]),
        "novelty_auroc": auroc(~shared, predictions["novelty"].to_numpy(float)),
    }
    if "label_set" in predictions:
        sets = predictions["label_set"].to_numpy(str)
        # A label may itself hold the '|' that joins labels: whole labels are looked for, nothing is split.
        covered = np.array([f"|{name}|" in f"|{one}|" for name, one in zip(truth, sets, strict=True)], bool)
        sizes = {one: sum(f"|{name}|" in f"|{one}|" for name in types) for one in set(sets)}
        by_type = [covered[truth == name].mean() for name in types if (truth == name).sum() >= COVERED_CELLS]
        found |= {"set_coverage": _mean(covered[shared]), "set_size": _mean(np.array([sizes[one] for one in sets])[shared])}
        found |= {"set_coverage_worst": float(min(by_type)) if by_type else None}
    return found | _actionable(predictions, right, shared)


def _actionable(predictions: pd.DataFrame, right: np.ndarray, shared: np.ndarray) -> dict[str, float | None]:
    """What becomes of cells when doubt is acted on. Ours says so by its status, which peers have not: their usual rejection.

    `unassigned` are cells that are said to be of no type of the reference; `assigned` those whose label is to be used. A
    cell of a type that the reference lacks has no right label.
    """
    confidence = predictions["confidence"].to_numpy(float)
    unassigned = confidence < USUAL_REJECTION
    assigned = ~unassigned
    if "status" in predictions:
        status = predictions["status"].to_numpy(str)
        unassigned, assigned = status == "unassigned", status == "assigned"
    order = np.argsort(-confidence[shared], kind="stable")
    kept = np.cumsum(right[shared][order]) / np.arange(1, shared.sum() + 1)
    return {
        "assigned": _mean(assigned),
        "assigned_accuracy": _mean(right[assigned]),
        "rejected_accuracy": _mean(right[~assigned]),
        "unassigned_shared": _mean(unassigned[shared]),
        "unassigned_novel": _mean(unassigned[~shared]),
        "surely_wrong": _mean((confidence > SURE)[shared] & ~right[shared]),
        **{f"kept_{share:g}": float(kept[max(0, round(share * len(kept)) - 1)]) if len(kept) else None for share in KEPT_SHARES},
    }


def auroc(positive: np.ndarray, strangeness: np.ndarray) -> float | None:
    """How well a score tells the positive cells from the others: 0.5 is chance; None without cells of both kinds."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, strangeness)) if positive.any() and not positive.all() else None


def resampled_macro_f1(runs: list[pd.DataFrame], types: list[str], seed: int = 0) -> np.ndarray:
    """Macro F1 over the shared cells in RESAMPLES bootstrap samples of the query: the mean over the runs (R,).

    runs: predictions of the same cells, one table a seed of a method. The draws depend on the number of cells and the
    seed alone, so that two methods can be compared sample by sample.
    """
    truth = runs[0].sort_values("cell")["truth"].to_numpy(str)
    shared = np.isin(truth, types)
    names = np.unique(truth[shared])
    weights = np.random.default_rng(seed).multinomial(shared.sum(), np.full(shared.sum(), 1 / shared.sum()), RESAMPLES)
    true = truth[shared, None] == names
    support = weights @ true
    values = []
    for run in runs:
        label = run.sort_values("cell")["label"].to_numpy(str)
        said = label[shared, None] == names
        hits, told = weights @ (true & said), weights @ said
        f1 = 2 * hits / np.maximum(support + told, 1)
        # A type that a sample happens to lack takes no part in its mean.
        values.append(np.where(support > 0, f1, 0).sum(1) / (support > 0).sum(1))
    return np.mean(values, 0)


def interval(values: np.ndarray) -> list[float]:
    """The middle 95 % of resampled values."""
    return [float(value) for value in np.quantile(values, (0.025, 0.975))]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
