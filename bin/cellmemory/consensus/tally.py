"""What the references' votes on each cell come to, and how often each outcome is met."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd

from cellmemory.columns import CONSENSUS_STATUSES


def decide(votes: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The outcome of the votes (cells, references) on each cell: codes of labels, -1 for no vote; confidence alike.

    Returns the label with most votes (cells,), -1 where there is none; the share of the votes that it has (cells,), NaN
    where there is none; and the place of its status in CONSENSUS_STATUSES (cells,). A label with more than half of several votes
    is agreed on; a single vote agrees with nobody. Of labels with as many votes the one of the higher mean confidence is
    taken, then that of the first reference.
    """
    winner = np.full(len(votes), -1, votes.dtype)
    most, surest = np.zeros(len(votes), int), np.zeros(len(votes))
    for vote in votes.T:
        same = votes == vote[:, None]
        count = np.where(vote >= 0, same.sum(axis=1), 0)
        mean_confidence = np.where(same, confidence, 0).sum(axis=1) / np.maximum(count, 1)
        better = (count > most) | ((count == most) & (count > 0) & (mean_confidence > surest))
        winner, most, surest = (np.where(better, *pair) for pair in ((vote, winner), (count, most), (mean_confidence, surest)))
    voters = (votes >= 0).sum(axis=1)
    share = np.where(voters > 0, most / np.maximum(voters, 1), np.nan)
    rules = {"unassigned": voters == 0, "single": voters == 1, "agreed": 2 * most > voters}
    status = np.select(
        list(rules.values()), [CONSENSUS_STATUSES.index(name) for name in rules], CONSENSUS_STATUSES.index("split")
    )
    return winner, share, status


@dataclass
class Tally:
    """Counts of cells over all chunks; labels are codes."""

    references: list[str]
    cells: int = 0
    status: Counter = field(default_factory=Counter)
    unanimous: int = 0
    outcomes: Counter = field(default_factory=Counter)  # (label, status)
    votes: dict[str, Counter] = field(default_factory=dict)  # of each reference: label
    pairs: dict[tuple[str, str], Counter] = field(default_factory=dict)  # of two references: (label of one, label of other)

    def add(self, votes: np.ndarray, winner: np.ndarray, share: np.ndarray, status: np.ndarray) -> None:
        """Counts a chunk of cells: their votes and what `decide` made of them."""
        self.cells += len(votes)
        self.status += _counted(status)
        self.unanimous += int(((share == 1) & (votes >= 0).all(axis=1)).sum())
        self.outcomes += _counted(winner, status)
        for name, vote in zip(self.references, votes.T, strict=True):
            self.votes[name] = self.votes.get(name, Counter()) + _counted(vote[vote >= 0])
        for (i, one), (j, other) in combinations(enumerate(self.references), 2):
            both = (votes[:, i] >= 0) & (votes[:, j] >= 0)
            self.pairs[one, other] = self.pairs.get((one, other), Counter()) + _counted(votes[both, i], votes[both, j])


def _counted(*codes: np.ndarray) -> Counter:
    """How often each code occurs, or each combination of codes that stand side by side."""
    values, counts = np.unique(np.stack(codes, axis=1), axis=0, return_counts=True)
    keys = values.ravel().tolist() if len(codes) == 1 else map(tuple, values.tolist())
    return Counter(dict(zip(keys, counts.tolist(), strict=True)))


class Vocabulary:
    """Codes of the common labels, in the order in which they are met."""

    def __init__(self, label_map: Mapping[tuple[str, str], str]):
        self._map = label_map
        self._codes: dict[str, int] = {}
        self.met: dict[str, set[str]] = {}  # of each reference: its own labels

    def codes(self, reference: str, labels: pd.Series) -> np.ndarray:
        """The code of each cell's label (cells,), once the map has made it a common one; -1 for an empty label."""
        given = labels.cat.categories
        self.met.setdefault(reference, set()).update(filter(None, given))
        common = [self.common(reference, label) for label in given]
        codes = [self._codes.setdefault(label, len(self._codes)) if label else -1 for label in common]
        return np.array(codes, int)[labels.cat.codes]

    def common(self, reference: str, label: str) -> str:
        return self._map.get((reference, label), label)

    @property
    def labels(self) -> list[str]:
        return list(self._codes)

    def unused(self) -> list[tuple[str, str]]:
        """References and labels of the map that no cell has."""
        return [(reference, label) for reference, label in self._map if label not in self.met.get(reference, ())]
