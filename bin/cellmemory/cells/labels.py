"""Labels as users' tables hold them: the same rule for what is a label, wherever labels are read."""

import re
import unicodedata

import numpy as np
import pandas as pd

from cellmemory.errors import first_ids

#: What programs write where there is no value; as a text it may be a label or none.
LOOKS_MISSING = ("nan", "na", "n/a", "none", "null", "<na>")


def clean_labels(column: pd.Series) -> pd.Series:
    """Labels as strings in an object array, missing ones as None; the column's index stays.

    Control characters, line ends among them, become blanks, and letters without width go; blanks at the ends are dropped and
    those inside are made one. Composed and decomposed letters are the same.
    What is left of nothing is no label.
    """
    values = column.astype("category").cat
    names = np.array([cleaned(str(name)) for name in values.categories] + [None], object)
    return pd.Series(names[values.codes], column.index, dtype=object)


def cleaned(text: str) -> str | None:
    """One label by the rule of clean_labels."""
    kinds = ((letter, unicodedata.category(letter)) for letter in unicodedata.normalize("NFC", text))
    blank = "".join(" " if kind in ("Cc", "Zl", "Zp") else letter for letter, kind in kinds if kind != "Cf")
    return re.sub(r"\s+", " ", blank).strip() or None


def as_text(column: pd.Series) -> np.ndarray:
    """The values (n,) of any column as strings; a missing one is `nan`, a name like others, as of a batch."""
    return column.astype(object).where(column.notna(), "nan").astype(str).to_numpy(object)


def label_notes(column: pd.Series, where: str) -> list[str]:
    """What a user should know of a column of labels, a sentence each; none for ordinary ones. where: file and column."""
    labels = clean_labels(column)
    written = pd.Series(column.astype(object).to_numpy(), dtype=object)
    notes = []
    spellings = pd.DataFrame({"label": labels.to_numpy(), "written": written.map(str)}).dropna().drop_duplicates()
    merged = spellings["label"].value_counts()
    if len(merged := sorted(merged.index[merged > 1])):
        notes.append(f"{where}: labels that differ in blanks or invisible characters alone were merged: {first_ids(merged)}.")
    counts = labels.value_counts()
    for same in counts.groupby(counts.index.str.casefold()).groups.values():
        if len(same) > 1:
            found = ", ".join(f"'{label}' ({counts[label]:,} cells)" for label in sorted(same))
            notes.append(f"{where}: labels that differ in case alone stay apart: {found}; write them alike if they are one.")
    for label in counts.index[counts.index.str.lower().isin(LOOKS_MISSING)]:
        notes.append(f"{where}: '{label}' is taken for a label ({counts[label]:,} cells); empty it if it stands for no label.")
    return notes
