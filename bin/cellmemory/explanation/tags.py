"""Type-associated genes (TAGs): the genes that the cells of a group attend to, and those of each memory slot.

Letters: N cells, M panel genes, G groups, H memory slots.

Level 1, per group of cells: `score` is the mean, over the group's cells, of the attention that the CLS token pays to a
gene through the memory; a gene that a cell does not express counts as 0 in that cell. `specificity` is
log2((score + e) / (score over the cells of all other groups + e)) with e = 1 / (10 M), a tenth of what attention spread
evenly over the panel would give a gene, so that genes that nobody attends to stay near 0. `effect` is the same difference
in standard deviations (Cohen's d), `p_value` comes from shuffling the groups of the cells.

Level 2, per memory slot of a predicted label: `score` is the write side (the share of the slot's attention that goes to
the gene), `read` is the read side (the share of the gene's attention that goes to the slot; empty for the light variant,
where genes read nothing), `specificity` is the write score against the mean write score of the label's other slots, in
the same form, `usage` is how much the label's cells read from the slot.

`mean_expression` (of log1p CP10k) and `fraction_expressing` are over the group. A gene without any attention in a group
is not listed there: it has no rank.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellmemory.columns import (
    CONTRIBUTION_RANKS,
    CONTRIBUTIONS,
    LABEL,
    SLOT_READ,
    SLOT_TAG_COLUMNS,
    SLOT_USE,
    SLOT_WRITE,
    TAG_COLUMNS,
)
from cellmemory.errors import InputError
from cellmemory.explanation.gene_tests import GeneTests, benjamini_hochberg, is_differential, more_attended, wilcoxon
from cellmemory.explanation.grouping import CellSample, GroupSums
from cellmemory.explanation.rankings import concatenated, log_ratio, ranked, ranks, top_genes
from cellmemory.mapping.mapped import MappedFile

if TYPE_CHECKING:  # its module imports torch, which few tables need
    from cellmemory.explanation.attribution import Contributions


def tests_of_groups(sample: CellSample, n_groups: int, permutations: int, seed: int) -> GeneTests:
    """GeneTests each group of the sample against all its other cells; p-values are adjusted over the genes of a group."""
    p_value = more_attended(sample.attention, sample.codes, n_groups, permutations=permutations, seed=seed)
    expression = wilcoxon(sample.values, sample.codes, n_groups)
    return GeneTests(p_value, benjamini_hochberg(p_value), expression.change, expression.adjusted)


def group_tags(
    sums: GroupSums,
    genes: list[str],
    top: int,
    *,
    tests: GeneTests | None = None,
    contributions: "Contributions | None" = None,
) -> pd.DataFrame:
    """Level 1: the `top` genes (0: all with attention) of each group with cells, columns TAG_COLUMNS, by falling score.

    Equal scores keep the panel's order. With contributions, the `top` genes by their sum and by either of them are also
    listed, at the rank that their score gives them. `specificity` is NaN where there is no other group to compare with; what
    comes from tests and contributions is where there are none.
    """
    tests = tests or GeneTests.none(*sums.attention.shape)
    score = sums.means(sums.attention)
    parts = np.array((contributions.cls, contributions.linear)) if contributions else np.full((2, *score.shape), np.nan)
    brought = (parts.sum(0), *parts)
    per_gene = {
        "rank": ranks(score),
        "score": score,
        "specificity": log_ratio(score, sums.means_of_others(sums.attention)),
        "effect": sums.effect(),
        "p_value": tests.p_value,
        "adjusted_p_value": tests.adjusted,
        **dict(zip(CONTRIBUTIONS, brought, strict=True)),
        **{name: ranks(values) for name, values in zip(CONTRIBUTION_RANKS, brought, strict=True)},
        "mean_expression": sums.means(sums.expression),
        "fraction_expressing": sums.means(sums.expressing),
        "expression_log2_change": tests.change,
        "expression_adjusted_p_value": tests.expression_adjusted,
        "differential": is_differential(tests.change, tests.expression_adjusted),
    }
    tables = []
    for g in np.flatnonzero(sums.n_cells):
        chosen = top_genes(score[g], top)
        if contributions and top:
            more = [top_genes(values[g], top) for values in brought]
            listed = np.unique(np.concatenate([chosen, *more]))
            chosen = listed[np.argsort(per_gene["rank"][g][listed], kind="stable")]
        same = {"group": sums.groups[g], "n_cells": sums.n_cells[g]}
        tables.append(ranked(genes, chosen, same, {name: values[g] for name, values in per_gene.items()}))
    table = concatenated(tables, TAG_COLUMNS)
    return table.astype({"rank": int, **dict.fromkeys(CONTRIBUTION_RANKS, "Int64")})


@dataclass(frozen=True)
class Slots:
    """Both sides of the memory slots of each label: write and read (labels, H, M), read all NaN where genes read nothing;
    usage (labels, H): what the label's cells read from each slot, NaN for a label without cells."""

    labels: list[str]
    write: np.ndarray
    read: np.ndarray
    usage: np.ndarray

    @property
    def specificity(self) -> np.ndarray:
        """(labels, H, M) the write side against the mean of the label's other slots; NaN where there is one slot only."""
        n_slots = self.write.shape[1]
        others = self.write.sum(axis=1, keepdims=True) - self.write
        return log_ratio(self.write, others / (n_slots - 1) if n_slots > 1 else np.full_like(others, np.nan))


def read_slots(file: MappedFile) -> Slots:
    """The slot means of a mapped query. Raises InputError where the file holds none."""
    write, read = (file.per_gene(key) for key in (SLOT_WRITE, SLOT_READ))
    if write is None:
        raise InputError(f"{file.path} holds no slot attention: map it again with map_query.py --attention.")
    labels, n_slots = file.run.slot_groups, file.run.n_slots
    read = np.full_like(write, np.nan) if read is None else read
    write, read = (side.T.reshape(len(labels), n_slots, -1) for side in (write, read))
    usage = np.full((len(labels), n_slots), np.nan)
    if SLOT_USE in file.obsm:
        of_cells, label = file.embedding(SLOT_USE).astype(np.float64), file.obs[LABEL].astype(str)
        for place, name in enumerate(labels):
            mine = (label == name).to_numpy()
            if mine.any():
                usage[place] = of_cells[mine].mean(axis=0)
    return Slots(labels, write, read, usage)


def slot_tags(slots: Slots, sums: GroupSums, genes: list[str], top: int) -> pd.DataFrame:
    """Level 2: the `top` genes (0: all written) of each slot of each predicted label, columns SLOT_TAG_COLUMNS.

    `sums` must be by predicted label, as the slot means in the file are.
    """
    expression, expressing = sums.means(sums.expression), sums.means(sums.expressing)
    specificity, tables = slots.specificity, []
    for g in np.flatnonzero(sums.n_cells):
        label = slots.labels.index(sums.groups[g])
        for slot in range(slots.write.shape[1]):
            per_gene = {
                "score": slots.write[label, slot],
                "read": slots.read[label, slot],
                "specificity": specificity[label, slot],
                "mean_expression": expression[g],
                "fraction_expressing": expressing[g],
            }
            same = {"group": sums.groups[g], "slot": slot + 1, "usage": slots.usage[label, slot]}
            tables.append(ranked(genes, top_genes(slots.write[label, slot], top), same, per_gene))
    return concatenated(tables, SLOT_TAG_COLUMNS)
