"""Type-associated genes (TAGs): the genes that the cells of a group attend to, and those of each memory slot.

Letters: N cells, M panel genes, G groups, H memory slots.

Level 1, per group of cells: `score` is the mean, over the group's cells, of the attention that the CLS token pays to a
gene through the memory; a gene that a cell does not express counts as 0 in that cell. `specificity` is
log2((score + e) / (score over the cells of all other groups + e)) with e = 1 / (10 M), a tenth of what attention spread
evenly over the panel would give a gene, so that genes that nobody attends to stay near 0.

Level 2, per memory slot of a predicted label: `score` is the write side (the share of the slot's attention that goes to
the gene), `read` is the read side (the share of the gene's attention that goes to the slot; empty for the light variant,
where genes read nothing), `specificity` is the write score against the mean write score of the label's other slots, in
the same form.

`mean_expression` (of log1p CP10k) and `fraction_expressing` are over the group. A gene without any attention in a group
is not listed there: it has no rank.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.errors import InputError
from cellmemory.mapped import MappedFile, group_codes

MAX_GROUPS = 1000
TAG_COLUMNS = ["group", "rank", "gene", "score", "specificity", "mean_expression", "fraction_expressing", "n_cells"]
SLOT_TAG_COLUMNS = [
    "group",
    "slot",
    "rank",
    "gene",
    "score",
    "read",
    "specificity",
    "mean_expression",
    "fraction_expressing",
]


@dataclass(frozen=True)
class GroupSums:
    """Sums over the cells of each group; all that TAGs of groups, and contrasts of two groups, are made of."""

    groups: list[str]
    n_cells: np.ndarray  # (G,)
    attention: np.ndarray  # (G, M)
    expression: np.ndarray  # (G, M)
    expressing: np.ndarray  # (G, M), cells with a value above 0

    def means(self, sums: np.ndarray) -> np.ndarray:
        """(G, M) means over each group; 0 for a group without cells."""
        return sums / np.maximum(self.n_cells, 1)[:, None]

    def means_of_others(self, sums: np.ndarray) -> np.ndarray:
        """(G, M) means over the cells of all other groups; NaN where there are none."""
        others = self.n_cells.sum() - self.n_cells
        return np.where(others[:, None] > 0, (sums.sum(axis=0) - sums) / np.maximum(others, 1)[:, None], np.nan)


def group_of_cells(file: MappedFile, key: str) -> tuple[np.ndarray, list[str]]:
    """Group number of every cell (-1: none) and the group names, by the obs column `key`.

    Raises InputError for a column that is missing, that has no value, or whose values are a measure and no groups.
    """
    codes, groups = group_codes(file.column(key, "group", "group_key"))
    present = len(np.unique(codes[codes >= 0]))
    if not present:
        raise InputError(f"{file.path}: the obs column {key!r} holds no value; choose a column that groups the cells.")
    if present > MAX_GROUPS:
        raise InputError(
            f"{file.path}: the obs column {key!r} has {present:,} different values; "
            f"choose a column that groups the cells (at most {MAX_GROUPS:,} groups)."
        )
    return codes, groups


def sum_by_group(file: MappedFile, codes: np.ndarray, groups: list[str]) -> GroupSums:
    """Sums attention, expression and expressing cells over each group, streaming the file in row chunks.

    codes: (N,) group of each cell, -1 for cells that take no part. Memory grows with one chunk and with G x M, not
    with N. Raises InputError where the file holds no attention.
    """
    if "layers/attention" not in file.matrices:
        raise InputError(f"{file.path} holds no attention: map it again with map_query.py --attention.")
    shape = (len(groups), len(file.genes))
    attention, expression, expressing = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for start, values in file.chunks("X"):
        chooser = _indicator(codes[start : start + values.shape[0]], len(groups))
        expression += (chooser @ values).toarray()
        values.data = (values.data > 0).astype(values.dtype)
        expressing += (chooser @ values).toarray()
    for start, values in file.chunks("layers/attention"):
        attention += (_indicator(codes[start : start + values.shape[0]], len(groups)) @ values).toarray()
    return GroupSums(groups, np.bincount(codes[codes >= 0], minlength=len(groups)), attention, expression, expressing)


def group_tags(sums: GroupSums, genes: list[str], top: int) -> pd.DataFrame:
    """Level 1: the `top` genes (0: all with attention) of each group with cells, columns TAG_COLUMNS, by falling score.

    Equal scores keep the panel's order. `specificity` is NaN where there is no other group to compare with.
    """
    score = sums.means(sums.attention)
    specificity = log_ratio(score, sums.means_of_others(sums.attention))
    expression, expressing = sums.means(sums.expression), sums.means(sums.expressing)
    tables = [
        _ranked(
            genes,
            top_genes(score[g], top),
            {"group": sums.groups[g], "n_cells": sums.n_cells[g]},
            {
                "score": score[g],
                "specificity": specificity[g],
                "mean_expression": expression[g],
                "fraction_expressing": expressing[g],
            },
        )
        for g in np.flatnonzero(sums.n_cells)
    ]
    return _concatenated(tables, TAG_COLUMNS)


def slot_tags(file: MappedFile, sums: GroupSums, genes: list[str], top: int) -> pd.DataFrame:
    """Level 2: the `top` genes (0: all written) of each slot of each predicted label, columns SLOT_TAG_COLUMNS.

    `sums` must be by predicted label, as the slot means in the file are. Raises InputError where the file holds none.
    """
    write, read = (file.per_gene(f"cellmemory_slot_{side}") for side in ("write", "read"))
    if write is None:
        raise InputError(f"{file.path} holds no slot attention: map it again with map_query.py --attention.")
    labels, n_slots = [str(label) for label in np.atleast_1d(file.run["slot_groups"])], int(file.run["n_slots"])
    read = np.full_like(write, np.nan) if read is None else read
    write, read = (side.T.reshape(len(labels), n_slots, len(genes)) for side in (write, read))  # (labels, H, M) each
    expression, expressing = sums.means(sums.expression), sums.means(sums.expressing)
    tables = []
    for g in np.flatnonzero(sums.n_cells):
        label = labels.index(sums.groups[g])
        others = write[label].sum(axis=0) - write[label]
        specificity = log_ratio(write[label], others / (n_slots - 1) if n_slots > 1 else np.full_like(others, np.nan))
        for slot in range(n_slots):
            per_gene = {
                "score": write[label, slot],
                "read": read[label, slot],
                "specificity": specificity[slot],
                "mean_expression": expression[g],
                "fraction_expressing": expressing[g],
            }
            chosen = top_genes(write[label, slot], top)
            tables.append(_ranked(genes, chosen, {"group": sums.groups[g], "slot": slot + 1}, per_gene))
    return _concatenated(tables, SLOT_TAG_COLUMNS)


def top_genes(scores: np.ndarray, top: int) -> np.ndarray:
    """Numbers of the `top` (0: all) genes with a positive score, highest first; equal scores keep the panel's order."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > 0]
    return order[:top] if top else order


def log_ratio(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """log2 of scores (..., M) over others, both raised by a tenth of what even attention over M genes would give."""
    pseudo = 1 / (10 * scores.shape[-1])
    return np.log2((scores + pseudo) / (others + pseudo))


def read_table(path: str | Path, columns: Iterable[str]) -> pd.DataFrame:
    """Reads a TAG table as it was written: groups and genes are text (a gene may be called NA), empty numbers are NaN.

    Raises InputError for a file that lacks one of `columns`.
    """
    text = {"group": str, "gene": str}
    try:
        table = pd.read_csv(path, sep="\t", dtype=text, keep_default_na=False, na_values={"specificity": [""]})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a table of TAGs ({error}); give the output of extract_tags.py.") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}; give the output of extract_tags.py.")
    return table


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Writes a table of results as tab-separated text, six significant digits, NaN as an empty field."""
    table.to_csv(path, sep="\t", index=False, float_format="%.6g", lineterminator="\n")


def _indicator(codes: np.ndarray, n_groups: int) -> sp.csr_matrix:
    """(G, rows) matrix with a 1 where a row belongs to a group; float64, so that sums over many cells stay exact."""
    rows = np.flatnonzero(codes >= 0)
    return sp.csr_matrix((np.ones(len(rows)), (codes[rows], rows)), shape=(n_groups, len(codes)))


def _ranked(genes: list[str], chosen: np.ndarray, same: dict, per_gene: dict[str, np.ndarray]) -> pd.DataFrame:
    """One block of a table: the chosen genes in their order, with what is the same for all and what each gene has."""
    head = {**same, "rank": np.arange(1, len(chosen) + 1), "gene": np.asarray(genes, dtype=object)[chosen]}
    return pd.DataFrame({**head, **{name: values[chosen] for name, values in per_gene.items()}})


def _concatenated(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
