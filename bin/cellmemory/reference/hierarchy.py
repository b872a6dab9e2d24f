"""Labels at several levels, coarse to fine: which label is whose child, and what a cell is at each level.

A model is trained on the finest level. The probability of a coarser label is the sum of its children's, so that all
levels agree with each other.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from cellmemory.cells.labels import clean_labels
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError, Problems

#: What the columns of labels.tsv begin with that hold each label's ancestors.
COLUMN = "level:"


@dataclass(frozen=True)
class Hierarchy:
    """ancestors: one row a label in the model's order, one column a level, coarse to fine; the last is the label itself."""

    ancestors: pd.DataFrame

    @property
    def levels(self) -> list[str]:
        """The names of the levels, coarse to fine."""
        return self.ancestors.columns.tolist()

    def names(self, level: str) -> list[str]:
        """The labels of a level, in the order in which the model's labels meet them."""
        return self.ancestors[level].unique().tolist()

    def probabilities(self, finest: np.ndarray, level: str) -> np.ndarray:
        """Probabilities (n, labels of the level), summed over children. finest: (n, C)."""
        codes = pd.Categorical(self.ancestors[level], self.names(level)).codes
        return finest @ np.eye(len(self.names(level)), dtype=finest.dtype)[codes]

    def table(self, finest: np.ndarray, min_confidence: float) -> pd.DataFrame:
        """What each cell (n, C) is: of each level the label and its probability, and the answer, the label of the deepest
        level whose probability reaches min_confidence, with its level; both empty where none does."""
        columns, answer, depth = {}, np.full(len(finest), "", object), np.full(len(finest), "", object)
        for level in self.levels:
            found = self.probabilities(finest, level)
            best, sure = found.argmax(1), found.max(1) >= min_confidence
            label = np.array(self.names(level), object)[best]
            columns[column(level)] = pd.Categorical(label, self.names(level))
            columns[f"{column(level)}_confidence"] = found.max(1)
            answer[sure], depth[sure] = label[sure], level
        columns["answer"] = pd.Categorical(answer, self.answers)
        columns["answer_level"] = pd.Categorical(depth, ["", *self.levels])
        return pd.DataFrame(columns)

    @property
    def answers(self) -> list[str]:
        """All that an answer may be: none, or a label of any level."""
        return list(dict.fromkeys(["", *(name for level in self.levels for name in self.names(level))]))

    def categories(self) -> dict[str, list[str]]:
        """The columns of `table` that hold labels, and which labels they may hold."""
        by_level = {column(level): self.names(level) for level in self.levels}
        return by_level | {"answer": self.answers, "answer_level": ["", *self.levels]}


def column(level: str) -> str:
    """What a level's column is called: h5ad knows no '/' in names, and other tools dislike spaces."""
    return f"level_{re.sub(r'[^A-Za-z0-9_.-]+', '_', level)}"


def parse_levels(text: str | None, label_key: str) -> list[str]:
    """The levels of `--label_levels l1,l2,l3`, none where it is not given. Raises InputError as check_levels does."""
    return check_levels([level.strip() for level in text.split(",")], label_key) if text else []


def check_levels(levels: list[str], label_key: str) -> list[str]:
    """The levels. Raises InputError unless they are different, at least two, and end with label_key, which the model is trained
    on."""
    text = ",".join(levels)
    if len(levels) < 2 or len(set(levels)) < len(levels) or not all(levels):
        raise InputError(f"--label_levels '{text}' must name two or more different columns, coarse to fine, with commas between.")
    written = [name for level in levels for name in (column(level), f"{column(level)}_confidence")]
    if twice := next((name for name in written if written.count(name) > 1), None):
        raise InputError(
            f"--label_levels '{text}': two of these levels would both be written as the column cellmemory_{twice}. Rename one."
        )
    if levels[-1] != label_key:
        raise InputError(
            f"--label_levels '{text}' ends with '{levels[-1]}', but the labels to train on (--label_key) are '{label_key}'; "
            "the finest level stands last, and is the one that is trained on."
        )
    return levels


def read_hierarchy(file: CellFile, levels: list[str], labels: pd.Series) -> Hierarchy:
    """The hierarchy in the columns of a reference's obs. labels: the finest level, as check_labels gives it.

    Raises InputError, a sentence each, for a missing column, a label without a parent, and a label with two parents.
    """
    problems, table = Problems(), {levels[-1]: labels.to_numpy()}
    for level in levels[:-1]:
        with problems.collect():
            table[level] = clean_labels(file.column(level, "label level", "label_levels")).to_numpy()
    problems.raise_any()
    cells = pd.DataFrame(table, columns=levels)
    for coarse, fine in pairwise(levels):
        problems += [f"{file.path}: {problem}" for problem in _family_problems(cells, coarse, fine)]
    problems.raise_any()
    ancestors = pd.DataFrame({levels[-1]: np.unique(labels.dropna().to_numpy(str)).astype(object)})
    for coarse, fine in reversed(list(pairwise(levels))):
        ancestors.insert(0, coarse, ancestors[fine].map(cells.groupby(fine)[coarse].first()))
    return Hierarchy(ancestors)


def _family_problems(cells: pd.DataFrame, coarse: str, fine: str) -> list[str]:
    problems = []
    for child, parents in cells.dropna(subset=[fine]).groupby(fine)[coarse]:
        found = parents.value_counts()
        if len(found) > 1:
            first, second = found.index[:2]
            problems.append(
                f"the label '{child}' of '{fine}' has two parents in '{coarse}': '{first}' ({found.iloc[0]} cells) and "
                f"'{second}' ({found.iloc[1]} cells); give it one."
            )
        elif not len(found):
            problems.append(f"the label '{child}' of '{fine}' has no parent in '{coarse}'; give it one.")
    return problems


def to_label_table(hierarchy: Hierarchy) -> pd.DataFrame:
    """The columns of labels.tsv that hold the hierarchy."""
    return hierarchy.ancestors.add_prefix(COLUMN)


def from_label_table(table: pd.DataFrame) -> Hierarchy | None:
    """The hierarchy of a trained model, or None."""
    columns = [name for name in table if name.startswith(COLUMN)]
    return Hierarchy(table[columns].rename(columns=lambda name: name.removeprefix(COLUMN))) if columns else None
