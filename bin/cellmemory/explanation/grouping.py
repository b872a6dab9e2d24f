"""Groups of mapped cells: which cell is in which, what each group sums up to, and a sample of cells for tests.

Letters: N cells, n cells of the sample, M panel genes, G groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.cells.groups import group_codes
from cellmemory.cells.labels import OTHERS, RESERVED
from cellmemory.columns import ASSIGNED, ATTENTION, LABEL, STATUS
from cellmemory.errors import InputError, first_ids
from cellmemory.io.text import cleaned, file_name, read_text, tab_cells
from cellmemory.mapping.mapped import MappedFile
from cellmemory.sampling import sample_cells

MAX_GROUPS = 1000


@dataclass(frozen=True)
class GroupSums:
    """Sums over the cells of each group, all cells: what means, ratios and effect sizes are made of."""

    groups: list[str]
    n_cells: np.ndarray  # (G,)
    attention: np.ndarray  # (G, M)
    squares: np.ndarray  # (G, M), of attention
    expression: np.ndarray  # (G, M)
    expressing: np.ndarray  # (G, M), cells with a value above 0

    def means(self, sums: np.ndarray) -> np.ndarray:
        """(G, M) means over each group; 0 for a group without cells."""
        return sums / np.maximum(self.n_cells, 1)[:, None]

    def means_of_others(self, sums: np.ndarray) -> np.ndarray:
        """(G, M) means over the cells of all other groups; NaN where there are none."""
        others = self.n_cells.sum() - self.n_cells
        return np.where(others[:, None] > 0, (sums.sum(axis=0) - sums) / np.maximum(others, 1)[:, None], np.nan)

    def effect(self, other: np.ndarray | None = None) -> np.ndarray:
        """(G, M) standardised difference of attention (Cohen's d) of each group from all cells of the other groups, or
        with `other` (G,) from the cells of that group. NaN where there is nothing to compare or nothing varies.
        """
        if other is None:
            n, sums, squares = (v.sum(axis=0) - v for v in (self.n_cells, self.attention, self.squares))
        else:
            n, sums, squares = self.n_cells[other], self.attention[other], self.squares[other]
        return cohens_d((self.n_cells, self.attention, self.squares), (n, sums, squares))


@dataclass(frozen=True)
class CellSample:
    """The cells that are tested: group (n,), values and attention (n, M each), and of how many cells they are."""

    codes: np.ndarray
    values: sp.csr_matrix
    attention: sp.csr_matrix
    of_cells: int

    def only(self, kept: np.ndarray) -> "CellSample":
        """The cells where `kept` (n,) is True."""
        return CellSample(self.codes[kept], self.values[kept], self.attention[kept], self.of_cells)


def cohens_d(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> np.ndarray:
    """The difference of two means over the pooled standard deviation, from (cells, sums, sums of squares) of each side.

    Sums are (G, M), cells (G,). NaN where a side has no cells, both have one, or nothing varies.
    """
    means, within = [], []
    for n, sums, squares in (first, second):
        n = np.maximum(n, 1)[:, None]
        means.append(sums / n)
        within.append(np.maximum(squares - sums**2 / n, 0))
    freedom = (first[0] + second[0] - 2)[:, None]
    valid = ((first[0] > 0) & (second[0] > 0))[:, None] & (freedom > 0)
    spread = np.sqrt((within[0] + within[1]) / np.maximum(freedom, 1))
    # Rounding leaves a trace of a spread where all cells are alike.
    valid = valid & (spread > 1e-9 * (means[0] + means[1] + 1e-30))
    return np.where(valid, (means[0] - means[1]) / np.where(valid, spread, 1), np.nan)


def group_of_cells(file: MappedFile, key: str) -> tuple[np.ndarray, list[str]]:
    """Group number of every cell (-1: none) and the group names, by the obs column `key`; of labels only those of assigned cells.

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
    return only_assigned(file, key, codes), groups


def only_assigned(file: MappedFile, key: str, codes: np.ndarray) -> np.ndarray:
    """Group numbers (N,) by the obs column `key`; where it holds labels, -1 for cells that are not assigned.

    The genes of a type that the reference lacks would be listed as those of its best guess.
    """
    return codes if key != LABEL else np.where(file.obs[STATUS].astype(str) == ASSIGNED, codes, -1)


def listed_cells(file: MappedFile, path: str | Path) -> tuple[np.ndarray, list[str]]:
    """Groups by a user's list: a cell's name a line, and after a tab the name of its group (else the file's stem).

    Cells that are not listed are the group OTHERS, so that there is something to compare with. Raises InputError for a
    list without cells, for cells that are not in the file, names of several cells, and cells in two groups, all at once.
    """
    chosen: dict[str, str] = {}
    problems = []
    stem = cleaned(Path(file_name(Path(path))).stem) or "listed"
    names = pd.Index(file.names(0, file.n_cells).astype(str))
    place = dict(zip(names, range(len(names)), strict=True))
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        written, (cell, *rest) = line.split("\t")[0], tab_cells(line)
        cell = written if written in place else cell  # quotes and blanks may be of the name itself
        group = cleaned("".join(rest[:1])) or stem
        if chosen.setdefault(cell, group) != group:
            problems.append(f"{path}, line {number}: the cell {cell!r} is in {chosen[cell]!r} already; leave it in one group.")
    groups = {group: number for number, group in enumerate(dict.fromkeys(chosen.values()))}
    for group in sorted(RESERVED & groups.keys()):
        problems.append(f"{path}: no group can be called {group!r}: results give this name to other cells. Rename it.")
    if len(groups) > MAX_GROUPS:
        problems.append(f"{path} lists {len(groups):,} groups; a list can have {MAX_GROUPS:,}.")
    if not chosen:
        raise InputError(f"{path} lists no cell; write a cell's name on each line, and after a tab its group.")
    strange = [cell for cell in chosen if cell not in place]
    if strange:
        problems.append(
            f"{path}: {len(strange):,} of {len(chosen):,} cells are not in {file.path} ({first_ids(strange)}); "
            f"it has {first_ids(place)}."
        )
    shared = names[names.duplicated()].intersection(list(chosen))
    if len(shared):
        problems.append(
            f"{path}: {len(shared):,} of its names are those of several cells of {file.path} ({first_ids(shared)}). Make the "
            "names of the query's cells unique, and map it again."
        )
    if problems:
        raise InputError(problems)
    codes = np.full(file.n_cells, len(groups))
    codes[[place[cell] for cell in chosen]] = [groups[group] for group in chosen.values()]
    return codes, [*groups, OTHERS]


def accumulate(
    files: Sequence[MappedFile],
    codes: np.ndarray,
    groups: list[str],
    *,
    budget: int = 0,
    seed: int = 0,
    measured: np.ndarray | None = None,
) -> tuple[GroupSums, CellSample]:
    """Streams mapped files (one after the other) once: sums over each group, and a sample of at most `budget` cells.

    codes: (N,) group of each cell of all files, -1 for cells that take no part. measured: (M,) bool, genes that all files
    measured; a cell's attention is then shared out among these. Memory grows with one chunk, with G x M
    and with the sample, not with N. Raises InputError where a file holds no attention.
    """
    missing = [file for file in files if ATTENTION not in file.matrices]
    if missing:
        raise InputError(f"{file.path} holds no attention: map it again with map_query.py --attention." for file in missing)
    shape = (len(groups), len(files[0].genes))
    sums = {name: np.zeros(shape) for name in ("attention", "squares", "expression", "expressing")}
    rows, first = sample_cells(codes, budget, seed), 0
    kept: dict[str, list[sp.csr_matrix]] = {"X": [], ATTENTION: []}
    for file in files:
        for matrix, (value, derived) in (("X", ("expression", "expressing")), (ATTENTION, ("attention", "squares"))):
            for start, chunk in file.chunks(matrix):
                if measured is not None and not measured.all():
                    chunk = _restricted(chunk, measured, rescale=matrix == ATTENTION)
                low, high = np.searchsorted(rows, [first + start, first + start + chunk.shape[0]])
                kept[matrix].append(chunk[rows[low:high] - first - start])
                chooser = _indicator(codes[first + start : first + start + chunk.shape[0]], len(groups))
                sums[value] += (chooser @ chunk).toarray()
                chunk.data = chunk.data.astype(np.float64) ** 2 if derived == "squares" else (chunk.data > 0).astype(np.float64)
                sums[derived] += (chooser @ chunk).toarray()
        first += file.n_cells
    values, attention = (sp.vstack(parts, format="csr") for parts in kept.values())
    n_cells = np.bincount(codes[codes >= 0], minlength=len(groups))
    return GroupSums(groups, n_cells, **sums), CellSample(codes[rows], values, attention, int(n_cells.sum()))


def _restricted(rows: sp.csr_matrix, genes: np.ndarray, *, rescale: bool) -> sp.csr_matrix:
    """Rows (n, M) without the values of other genes than these (M,) bool; rescale: each row to its former sum."""
    kept = sp.csr_matrix(rows @ sp.diags(genes.astype(rows.dtype)))
    kept.eliminate_zeros()
    if rescale:
        whole, left = (np.asarray(each.sum(1, dtype=np.float64)).ravel() for each in (rows, kept))
        kept = sp.csr_matrix(sp.diags(np.divide(whole, left, out=np.zeros_like(left), where=left > 0)) @ kept, dtype=rows.dtype)
    return kept


def _indicator(codes: np.ndarray, n_groups: int) -> sp.csr_matrix:
    """(G, rows) matrix with a 1 where a row belongs to a group; float64, so that sums over many cells stay exact."""
    rows = np.flatnonzero(codes >= 0)
    return sp.csr_matrix((np.ones(len(rows)), (codes[rows], rows)), shape=(n_groups, len(codes)))
