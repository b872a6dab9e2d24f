"""Verdicts on labels: by which shares of their cells they are used, and which reason comes first."""

import pandas as pd
import pytest

from cellmemory.report.verdicts import judge

LABELS = ["A", "B|C", "D"]


def cells(assigned: int = 0, unlike: int = 0, poor: int = 0, between: tuple[str, ...] = (), new: int = 0) -> pd.DataFrame:
    """Cells of the label A; those that may be new are assigned ones."""
    reasons = ["unlike the reference"] * unlike + ["low quality"] * poor + list(between) + [""] * (assigned + new)
    status = ["unassigned"] * (unlike + poor) + ["ambiguous"] * len(between) + ["assigned"] * (assigned + new)
    candidate = [False] * (len(reasons) - new) + [True] * new
    return pd.DataFrame({"status": status, "reason": reasons, "candidate": candidate})


@pytest.mark.parametrize(
    ("found", "verdict", "reason"),
    [
        (cells(90, unlike=10), "use", "90% of its cells are assigned"),
        (cells(70, unlike=20, poor=10), "check", "20% are unlike the reference"),
        (cells(70, unlike=10, poor=20), "check", "20% are of low quality"),
        (cells(60, unlike=15, between=("A|B|C",) * 20 + ("A|D",) * 5), "check", "25% are between it and B|C"),
        (cells(40, between=("A|D",) * 60), "don't use", "60% are between it and D"),
        (cells(40, between=("something else",) * 60), "don't use", "60% are between labels"),
        (cells(20, unlike=30, new=50), "don't use", "50% are in clusters that may be a new type"),
        (cells(88, new=12), "check", "12% are in clusters that may be a new type"),
        (cells(95, new=5), "use", "95% of its cells are assigned"),
        (cells(9), "check", "only 9 cells"),
        (cells(1), "check", "only 1 cell"),
    ],
)
def test_a_verdict_follows_the_cells(found: pd.DataFrame, verdict: str, reason: str):
    judged = judge(found, LABELS, 100)
    assert (judged.verdict, judged.reason) == (verdict, reason)
    assert judged.used == ((found["status"] == "assigned") & ~found["candidate"]).sum()


def test_a_label_of_few_cells_in_the_reference_is_checked():
    assert judge(cells(90), LABELS, 4).reason == "the reference has only 4 cells of it"


def test_without_clusters_no_cell_may_be_new():
    found = cells(50, unlike=50).drop(columns="candidate")
    assert judge(found, LABELS, 100).verdict == "check"
