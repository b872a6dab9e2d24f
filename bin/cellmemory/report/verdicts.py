"""Which labels of a query may be used: a verdict on each label, with its reason."""

from dataclasses import dataclass

import pandas as pd

from cellmemory.cells.labels import LabelSets
from cellmemory.columns import AMBIGUOUS, ASSIGNED, UNASSIGNED
from cellmemory.mapping.status import LOW_QUALITY
from cellmemory.report.wording import count

VERDICTS = USE, CHECK, DO_NOT_USE = "use", "check", "don't use"
#: The share of a label's cells that is to be used: from here on the label is used, below HALF it is not.
MOST, HALF = 0.8, 0.5
#: A share of cells of another kind that is worth a look, and a number of cells that is too small to say much.
SOME, FEW_CELLS = 0.1, 10


@dataclass(frozen=True)
class Verdict:
    """What is to be done with a label, and why; used: how many of its cells count under it."""

    verdict: str
    reason: str
    used: int


def is_used(cells: pd.DataFrame) -> pd.Series:
    """Whether each cell (n,) counts under its label: it is assigned, and not in a cluster that may be a new type."""
    assigned = cells["status"] == ASSIGNED
    return assigned & ~cells["candidate"] if "candidate" in cells else assigned


def judge(cells: pd.DataFrame, labels: list[str], in_reference: int) -> Verdict:
    """The verdict on one label: cells are those that got it, in_reference how many the reference has; labels: all labels."""
    used, causes = is_used(cells), _causes(cells, labels)
    n, share = int(used.sum()), used.mean()
    largest, (of_cells, reason) = max(causes.items(), key=lambda each: each[1][0])
    in_state = cells["new_state"].mean() if "new_state" in cells else 0.0
    if share < HALF:
        return Verdict(DO_NOT_USE, reason, n)
    if share < MOST or (largest == "new" and of_cells >= SOME):
        return Verdict(CHECK, reason, n)
    if in_state >= SOME:
        return Verdict(CHECK, f"{in_state:.0%} may be in a state that the reference lacks", n)
    if n < FEW_CELLS:
        return Verdict(CHECK, f"only {count(n, 'cell')}", n)
    if in_reference < FEW_CELLS:
        return Verdict(CHECK, f"the reference has only {count(in_reference, 'cell')} of it", n)
    return Verdict(USE, f"{share:.0%} of its cells are assigned", n)


def _causes(cells: pd.DataFrame, labels: list[str]) -> dict[str, tuple[float, str]]:
    """Shares of cells that do not count under their label, by what keeps them from it, and that in words."""
    new = cells["candidate"] if "candidate" in cells else pd.Series(False, cells.index)
    unassigned, between = (~new & (cells["status"] == status) for status in (UNASSIGNED, AMBIGUOUS))
    poor = unassigned & (cells["reason"] == LOW_QUALITY)
    unlike = unassigned & ~poor
    others = _others(cells.loc[between, "reason"], labels)
    kept_from = f"between it and {others}" if others else "between labels"
    return {
        "new": (new.mean(), f"{new.mean():.0%} are in clusters that may be a new type"),
        "unlike": (unlike.mean(), f"{unlike.mean():.0%} are unlike the reference"),
        "poor": (poor.mean(), f"{poor.mean():.0%} are of low quality"),
        "between": (between.mean(), f"{between.mean():.0%} are {kept_from}"),
    }


def _others(reasons: pd.Series, labels: list[str]) -> str:
    """The label that ambiguous cells are most often between, beside their own; '' where none is named."""
    sets = LabelSets(labels)
    members = [sets.members(str(reason)) or [] for reason in reasons.astype("category").cat.categories]
    counts = reasons.astype("category").value_counts(sort=False).tolist()
    found: dict[str, int] = {}
    for names, cells in zip(members, counts, strict=True):
        for name in names[1:]:
            found[name] = found.get(name, 0) + cells
    return max(found, key=lambda name: found[name]) if found else ""
