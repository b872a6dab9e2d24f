"""Values and numbers of things as the page writes them."""

from collections.abc import Sequence

from cellmemory.report.blocks import plain


def shown(value: object) -> str:
    """A parameter or a figure: four digits at most, lists with commas, None as `none`."""
    value = plain(value)
    if isinstance(value, bool):
        return yes(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def percent(share: float) -> str:
    """A threshold in percent, with all of its digits: `2.5 %` is not `2 %`."""
    return f"{100 * share:.6g}%"


def yes(value: object) -> str:
    """`yes` or `no`, also of a flag that was read as text."""
    return "yes" if str(value).lower() in ("true", "1", "yes") else "no"


def count(n: int, noun: str) -> str:
    """`1 sample`, `2 samples`."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


#: What headings of tables mean, for whoever points at one (docs/glossary.md has the words at length).
EXPLAINED = {
    "Verdict": "Whether this label may be used in this query, by the share of its cells that are assigned and not perhaps new.",
    "To be used": "Cells that are assigned, and not in a cluster that may be a new type.",
    "Best guess of": "All cells whose most probable label this is, whatever their status.",
    "Confidence": "Median of the calibrated probability of the label.",
    "Median confidence": "Median of the calibrated probability of the label.",
    "Assigned": "Like the reference, and confident enough: the label may be used.",
    "Ambiguous": "Like the reference, but between labels.",
    "Unassigned": "Unlike the reference, or of too low quality to be judged.",
    "Unlike the reference": "Cells whose novelty p is below the threshold.",
    "Panel measured": "The share of the model's genes that the query's file has.",
    "Novelty AUROC": "How well novelty separates types that the reference lacks from others: 0.5 is chance, 1 perfect.",
    "Mean novelty p": "Mean share of held-out reference cells that are at least as far from the reference.",
    "In the label set": "Cells whose true label is among those that were not ruled out.",
    "Markers kept": "The share of the label's markers in the reference that this cluster has as well.",
    "Perhaps new": "Whether the cluster may be a type, or a state, that the reference lacks.",
    "Odds ratio": "Odds of the label under the second condition, divided by those under the first: above 1 it is commoner there.",
    "Adjusted p": "p corrected for the number of tests (Benjamini and Hochberg).",
    "Macro F1": "Mean F1 of all types: each counts alike, however rare.",
    "F1": "Harmonic mean of precision and recall.",
    "Precision": "Of the cells that got this label, the share that are of it.",
    "Recall": "Of the cells of this label, the share that got it.",
}
