"""Labels as users' tables hold them: the same rule for what is a label, wherever labels are read."""

import re
from collections.abc import Collection

import numpy as np
import pandas as pd

from cellmemory import TERM_COLUMN
from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import LARGEST_EXACT
from cellmemory.errors import InputError, first_ids
from cellmemory.io.text import cleaned

#: What programs write where there is no value; as a text it may also be a label.
LOOKS_MISSING = (
    "unknown",
    "unlabeled",
    "unlabelled",
    "unassigned",
    "nan",
    "na",
    "n/a",
    "none",
    "null",
    "<na>",
    "inf",
    "-inf",
    "-",
    "?",
    "#n/a",
    "#ref!",
    "#value!",
    "#name?",
)
#: What joins the labels of a set.
SEPARATOR = "|"
#: What tables and the report call the mean over all labels, the cells of other groups, and cells whose label is not to be used.
ALL_LABELS, OTHERS, PERHAPS_NEW = "(all labels)", "(all other cells)", "(perhaps new)"
#: No label can be called so.
RESERVED = frozenset([ALL_LABELS, OTHERS, PERHAPS_NEW, "(ambiguous)", "(unassigned)"])
#: One cell trains, one validates.
MIN_CELLS_PER_LABEL = 2
#: Letters of a label, at most.
MAX_LABEL = 1_000
#: A term's id: CL:0000236, and those of other animals' ontologies.
TERM = re.compile(r"[A-Za-z]{2,10}:[0-9]{4,10}")
#: What stands for no term in a column of them, in small letters, as in CELLxGENE's schema.
NO_TERM = {"unknown", "na"}


def clean_labels(column: pd.Series) -> pd.Series:
    """Labels as strings in an object array (see text.cleaned), missing ones as None; the column's index stays.

    A text that is empty then is not a label. Numbers without a fraction are written as integers, since tables make floats of
    integers where a value is missing.
    """
    values = column.astype("category").cat
    names = np.array([cleaned(name) for name in written_values(values.categories)] + [None], object)
    return pd.Series(names[values.codes], column.index, dtype=object)


def written_values(values: pd.Index) -> list[str]:
    """Values as text; floats as integers where none has a fraction."""
    is_whole = pd.api.types.is_float_dtype(values.dtype) and ((abs(values) < LARGEST_EXACT) & (values == np.round(values))).all()
    return [str(int(value) if is_whole else value) for value in values]


class LabelSets:
    """Reads the label sets of these labels, which may hold the SEPARATOR themselves."""

    def __init__(self, labels: Collection[str]):
        self._labels = set(labels)
        self._most = max((label.count(SEPARATOR) for label in labels), default=0) + 1

    def members(self, text: str) -> list[str] | None:
        """The labels that a set is made of; None where it is not made of these. Time grows with the parts of the text."""
        parts = text.split(SEPARATOR)
        starts: dict[int, int] = {0: 0}  # where the last label begins, by how many parts are read
        for stop in range(1, len(parts) + 1):
            places = range(max(0, stop - self._most), stop)
            fit = (start for start in places if start in starts and SEPARATOR.join(parts[start:stop]) in self._labels)
            if (start := next(fit, None)) is not None:
                starts[stop] = start
        if len(parts) not in starts:
            return None
        found, stop = [], len(parts)
        while stop:
            found.append(SEPARATOR.join(parts[starts[stop] : stop]))
            stop = starts[stop]
        return found[::-1]


def as_text(column: pd.Series) -> np.ndarray:
    """The values (n,) of any column as strings; a missing one is empty, and no name like others."""
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(object)


def label_notes(column: pd.Series, where: str) -> list[str]:
    """What a user should know of a column of labels, a sentence each; none for ordinary ones. where: file and column."""
    labels = clean_labels(column)
    written = pd.Series(column.astype(object).to_numpy(), dtype=object)
    notes = []
    spellings = pd.DataFrame({"label": labels.to_numpy(), "written": written.map(str)}).dropna().drop_duplicates()
    merged = spellings["label"].value_counts()
    if len(merged := sorted(merged.index[merged > 1])):
        notes.append(f"{where}: labels that differ only in blanks or invisible characters were merged: {first_ids(merged)}.")
    counts = labels.value_counts()
    for same in counts.groupby(counts.index.str.casefold()).groups.values():
        if len(same) > 1:
            found = ", ".join(f"'{label}' ({counts[label]:,} cells)" for label in sorted(same))
            notes.append(f"{where}: labels that differ only in case stay apart: {found}. Write them alike if they are one.")
    for label in counts.index[counts.index.str.lower().isin(LOOKS_MISSING)]:
        notes.append(f"{where}: '{label}' is used as a label ({counts[label]:,} cells). Empty it if it stands for no label.")
    if separated := sorted(label for label in counts.index if SEPARATOR in label):
        notes.append(
            f"{where}: labels hold '{SEPARATOR}', which separates labels in cellmemory_label_set ({first_ids(separated)}). Write "
            "them without it to tell sets apart."
        )
    return notes


def label_terms(file: CellFile, label_key: str, labels: pd.Series) -> tuple[dict[str, str], list[str]]:
    """The ontology's id of each label, where the file's own column of them (`cell_type_ontology_term_id` of `cell_type`) gives it
    one; and a sentence where it gives a label several, and for what is not an id. labels: of all cells, by check_labels."""
    name = f"{label_key}_{TERM_COLUMN}"
    if file.columns.count(name) != 1:
        return {}, []
    terms = clean_labels(file.column(name, "term", "label_key"))
    pairs = pd.DataFrame({"label": labels.to_numpy(), "term": terms.to_numpy()}).dropna().drop_duplicates()
    are_ids = np.array([TERM.fullmatch(term) is not None for term in pairs["term"]], bool)
    strange = sorted(set(pairs["term"][~are_ids & ~pairs["term"].str.lower().isin(NO_TERM)]))
    pairs = pairs[are_ids]
    several = pairs["label"].duplicated(keep=False)
    names = sorted(pairs["label"][several].unique())
    notes = [f"{file.path}: '{name}' gives several ids to {first_ids(names)}; none of them is used."] if names else []
    if strange:
        notes.append(
            f"{file.path}: '{name}' holds {first_ids(strange)}; ids of terms are written as CL:0000236. Their labels get the ids "
            "of other cells, or none."
        )
    return dict(pairs[~several].itertuples(index=False)), notes


def check_labels(file: CellFile, label_key: str, batch_key: str | None = None) -> pd.Series:
    """The labels of a reference as strings, missing ones as None (see labels.clean_labels).

    Raises InputError, one sentence a problem, for a missing column, one that is to be labels and batches at once, and what
    `label_problems` finds.
    """
    if label_key == batch_key:
        raise InputError(
            f"{file.path}: the column '{label_key}' is named as the labels and as the batches. Name another as --batch_key, "
            "or none, or else differences between labels would count as those between batches."
        )
    labels = clean_labels(file.column(label_key, "label", "label_key"))
    problems = label_problems(labels, str(file.path), label_key)
    if problems:
        raise InputError(problems)
    return labels


def label_problems(labels: pd.Series, where: str, label_key: str) -> list[str]:
    """A sentence for what keeps labels from being learned: fewer than two, some of a single cell, some without end, or names
    that results use."""
    counts = labels.value_counts()
    problems = []
    if reserved := sorted(set(counts.index) & RESERVED):
        problems.append(
            f"{where}: labels of '{label_key}' have names that results give to other things: {first_ids(reserved)}. Rename them."
        )
    if len(long := counts.index[counts.index.str.len() > MAX_LABEL]):
        problems.append(
            f"{where}: labels of '{label_key}' are longer than {MAX_LABEL:,} letters: {first_ids(long)}. Shorten them."
        )
    if len(single := counts.index[counts < MIN_CELLS_PER_LABEL]):
        problems.append(
            f"{where}: labels of '{label_key}' with a single cell: {first_ids(single, 20)} ({len(single):,} in all). "
            f"Each needs at least {MIN_CELLS_PER_LABEL}, one to train and one to validate. Remove such cells, or merge their "
            "labels into others."
        )
    if len(counts) < 2:
        found = f"only '{counts.index[0]}'" if len(counts) else "no label"
        problems.append(f"{where}: the label column '{label_key}' holds {found}. A reference needs at least two labels.")
    return problems
