"""Two groups of cells contrasted label by label: what the cells of one attend to more than those of the other.

A contrast is `COLUMN:A:B` (two values of a column of obs, such as condition:STIM:CTRL), or the query against the cells of
a second mapped file, such as the mapped reference. Within each group of cells (by default a predicted label) side A is
compared only with side B; `effect` is Cohen's d of the attention, positive where A attends more, and it ranks the genes.

Letters: N cells, M panel genes, G groups; the sums of a contrast are over 2 G groups, A's first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cellmemory.cells.groups import MIN_CELLS, group_codes, sides
from cellmemory.columns import CONTRAST_COLUMNS
from cellmemory.errors import InputError
from cellmemory.explanation.gene_tests import GeneTests, benjamini_hochberg, differently_attended, is_differential, wilcoxon
from cellmemory.explanation.grouping import CellSample, GroupSums, accumulate, only_assigned
from cellmemory.explanation.rankings import concatenated, log_ratio, ranked
from cellmemory.io.text import cleaned
from cellmemory.mapping.mapped import MappedFile


@dataclass(frozen=True)
class Contrast:
    """A named question: the files that hold its cells, and (N,) side of each cell: 0 is A, 1 is B, -1 neither."""

    name: str
    files: list[MappedFile]
    side: np.ndarray

    @property
    def measured(self) -> np.ndarray:
        """(M,) bool: the genes that all files measured. What one lacks is absent there, not 0."""
        return np.logical_and.reduce([file.var()["measured"].to_numpy(bool) for file in self.files])


@dataclass(frozen=True)
class Contrasted:
    """The answer, for those groups that have MIN_CELLS cells or more on either side: sums of A's cells of each, then B's
    (2 G groups), effect (G, M) and tests (G, M); skipped: the groups that have too few cells."""

    name: str
    groups: list[str]
    sums: GroupSums
    effect: np.ndarray
    tests: GeneTests
    skipped: list[str]


def by_column(file: MappedFile, text: str) -> Contrast:
    """A contrast of two values of an obs column, written COLUMN:A:B. Raises InputError as `sides` does."""
    key, names, side = sides(file, text)
    return Contrast(f"{cleaned(key) or key}: {' / '.join(names)}", [file], side)


def between_files(file: MappedFile, other: MappedFile) -> Contrast:
    """All cells of a mapped file against all cells of another that the same model mapped, such as the reference's.

    Raises InputError where both are one file, or another model mapped the other: its attention belongs to other genes and
    another network. Whether the model was adapted to either query does not matter: that leaves attention as it is.
    """
    if file.path.samefile(other.path):
        raise InputError(f"{other.path} is compared with itself (--against). Give another mapped file.")
    if file.genes != other.genes or not file.run.same_model(other.run):
        raise InputError(
            f"{other.path} was mapped with another model than {file.path}; attention can be compared within one model only."
        )
    side = np.repeat([0, 1], [file.n_cells, other.n_cells])
    names = [f.run.sample for f in (file, other)]
    return Contrast(f"sample: {names[0]} / {names[1]}", [file, other], side)


def groups_of(contrast: Contrast, key: str) -> tuple[np.ndarray, list[str]]:
    """Group number (N,) of the cells of all files of a contrast (-1: none), and the groups, by the obs column `key`.

    Labels are those of assigned cells only.
    """
    found = [group_codes(file.column(key, "group", "group_key")) for file in contrast.files]
    groups = list(dict.fromkeys(name for _, names in found for name in names))
    # Behind the groups of a file stands -1, which its cells without a group take.
    places = [np.array([*map(groups.index, names), -1], np.int64)[codes] for codes, names in found]
    return np.concatenate([only_assigned(file, key, own) for file, own in zip(contrast.files, places, strict=True)]), groups


def contrast_groups(
    contrast: Contrast, codes: np.ndarray, groups: list[str], *, budget: int, permutations: int, seed: int
) -> Contrasted:
    """Compares the sides of a contrast within each group, over all cells; tests take at most `budget` of them (0: no tests).

    codes: (N,) group of each cell, -1 for none.
    """
    n = len(groups)
    paired = np.where((codes >= 0) & (contrast.side >= 0), codes + n * contrast.side, -1)
    size = np.bincount(paired[paired >= 0], minlength=2 * n)
    kept = np.flatnonzero((size[:n] >= MIN_CELLS) & (size[n:] >= MIN_CELLS))
    place = np.full(2 * n + 1, -1)
    place[np.r_[kept, n + kept]] = np.arange(2 * len(kept))
    names = [groups[g] for g in kept]
    measured = contrast.measured
    shared = measured if len(contrast.files) > 1 else None  # one file holds nothing of what it did not measure
    sums, sample = accumulate(contrast.files, place[paired], [*names, *names], budget=budget, seed=seed, measured=shared)
    first, second = np.arange(len(kept)), len(kept) + np.arange(len(kept))
    effect = sums.effect(np.r_[second, first])[: len(kept)]
    effect[:, ~measured] = np.nan
    tests = _test(sample, len(kept), permutations, seed, measured=measured) if budget else GeneTests.none(*effect.shape)
    skipped = [groups[g] for g in np.flatnonzero(size[:n] + size[n:]) if g not in kept]
    return Contrasted(contrast.name, names, sums, effect, tests, skipped)


def _test(sample: CellSample, n: int, permutations: int, seed: int, *, measured: np.ndarray) -> GeneTests:
    """GeneTests of each group's sides (codes g and n + g); p-values are adjusted over the `measured` genes (M,) of a group."""
    found = [np.full((n, sample.values.shape[1]), np.nan) for _ in range(3)]
    for g in range(n):
        cells = sample.only(sample.codes % n == g)
        first = cells.codes < n
        found[0][g] = differently_attended(cells.attention, first, permutations, seed)
        found[0][g, ~measured] = np.nan
        expression = wilcoxon(cells.values[:, measured], np.where(first, 0, 1), 2)
        found[1][g, measured], found[2][g, measured] = expression.change[0], expression.adjusted[0]
    return GeneTests(found[0], benjamini_hochberg(found[0]), found[1], found[2])


def table(results: Sequence[Contrasted], genes: list[str], top: int) -> pd.DataFrame:
    """CONTRAST_COLUMNS of the `top` genes (0: all) of each group that A attends to `more`, then of those it attends to `less`."""
    blocks = []
    for result in results:
        n, sums = len(result.groups), result.sums
        score, expression, expressing = (sums.means(v) for v in (sums.attention, sums.expression, sums.expressing))
        ratio = log_ratio(score[:n], score[n:])
        differential = is_differential(result.tests.change, result.tests.expression_adjusted)
        for g, group in enumerate(result.groups):
            per_gene = {
                "score": score[g],
                "score_other": score[n + g],
                "log2_ratio": ratio[g],
                "effect": result.effect[g],
                "p_value": result.tests.p_value[g],
                "adjusted_p_value": result.tests.adjusted[g],
                "mean_expression": expression[g],
                "mean_expression_other": expression[n + g],
                "fraction_expressing": expressing[g],
                "fraction_expressing_other": expressing[n + g],
                "expression_log2_change": result.tests.change[g],
                "expression_adjusted_p_value": result.tests.expression_adjusted[g],
                "differential": differential[g],
            }
            same = {"contrast": result.name, "group": group}
            same |= {"n_cells": sums.n_cells[g], "n_cells_other": sums.n_cells[n + g]}
            for direction, sign in (("more", 1), ("less", -1)):
                effect = np.nan_to_num(sign * result.effect[g])
                order = np.argsort(-effect, kind="stable")
                order = order[effect[order] > 0][: top or None]
                blocks.append(ranked(genes, order, {**same, "direction": direction}, per_gene))
    return concatenated(blocks, CONTRAST_COLUMNS)
