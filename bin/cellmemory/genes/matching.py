"""Which gene of a panel each gene of a file is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.errors import first_ids
from cellmemory.genes.names import alternatives, expression_rows, folded, id_type, left_out, name_columns, normalise

#: Names are taken for another species' if a smaller share than this matches as written, and more than this many times as many
#: match without regard to case.
FOLD_BELOW, FOLD_GAIN = 0.1, 2


@dataclass(frozen=True)
class Match:
    """Which panel gene each gene of a file is.

    target: (file genes,) column of the panel, -1 for none. expression: (file genes,) bool, what is gene expression, and so
    counts towards a cell's total. column: where the names were found (`index` or a var column).
    """

    target: np.ndarray
    expression: np.ndarray
    column: str
    id_type: str
    renamed: int
    messages: list[str] = field(default_factory=list)

    @property
    def n_left_out(self) -> int:
        """Features that are not gene expression."""
        return int(np.sum(~self.expression))

    @property
    def measured(self) -> np.ndarray:
        """Panel columns that some gene of the file matches, sorted."""
        return np.unique(self.target[self.target >= 0])

    @property
    def summed(self) -> np.ndarray:
        """Panel columns that several genes of the file match, sorted."""
        columns, n = np.unique(self.target[self.target >= 0], return_counts=True)
        return columns[n > 1]


def match_genes(
    var: pd.DataFrame, panel: pd.DataFrame, gene_column: str | None, gene_map: dict[str, tuple[str, ...]], *, where: str
) -> Match:
    """Finds the panel gene (`gene` or `source_id`) of each gene of a file.

    The column of names that matches most is used. Names that match directly are kept; others are looked up in
    `gene_map`; a name that maps to several panel genes is left unmatched. Case is ignored only if nearly nothing matches
    otherwise (another species' spelling). where: the file, for messages.
    """
    known = panel_index(panel)
    spellings = _by_variant(known)
    keep = expression_rows(var, where)
    candidates = name_columns(var, gene_column, where)
    found = {column: _lookup(names, known, gene_map, spellings) for column, names in candidates.items()}
    column = max(found, key=lambda c: len(np.unique(found[c][(found[c] >= 0) & keep])))
    names, target, messages = candidates[column], found[column], []
    if (target >= 0).sum() < FOLD_BELOW * len(panel):
        known_folded = {folded(n): i for n, i in known.items()}
        without_case = _lookup([folded(n) for n in names], known_folded, gene_map, _by_variant(known_folded))
        if case_hides((target >= 0).sum(), (without_case >= 0).sum(), len(panel)):
            messages.append("Gene names matched only with upper and lower case ignored, as between human and mouse symbols.")
            target = without_case
    target = np.where(keep, target, -1)
    if gene_map and not any(_mapped(name, known, gene_map) for name in names):
        messages.append("No line of the gene map leads from a name in this file to one in the panel. Are its columns exchanged?")
    respelt = [n for n, t in zip(names, target, strict=True) if t >= 0 and n not in known and not _mapped(n, known, gene_map)]
    if respelt and not messages:
        found_by = f"a part or another spelling of their names ({first_ids(respelt, 3)})"
        messages.append(f"{len(respelt):,} genes were recognised by {found_by}.")
    renamed = sum(t >= 0 and n != panel["gene"].iat[t] for n, t in zip(names, target, strict=True))
    if column != "index":
        messages.append(f"Gene names were taken from var['{column}'].")
    if not keep.all():
        messages.append(left_out(np.sum(~keep)))
    return Match(target, keep, column, id_type(names), int(renamed), messages)


def match_own_genes(names: pd.Series, expression: np.ndarray, panel: pd.DataFrame) -> Match:
    """The match of a reference's own genes to a panel that was made of them: by equal names only."""
    column = pd.Series(np.arange(len(panel)), index=panel["gene"])
    target = column.reindex(names).fillna(-1).astype(np.int64).to_numpy()
    return Match(np.where(expression, target, -1), expression, "index", "symbol", 0)


def case_hides(exact: int, without_case: int, n: int) -> bool:
    """Whether names are spelled as another species': of n that could match, how many do as written, and without their case."""
    return exact < FOLD_BELOW * n and without_case > FOLD_GAIN * exact


def panel_index(panel: pd.DataFrame) -> dict[str, int]:
    """Every name of a panel gene, by `source_id` and `gene`, to its column; names of two genes are left out."""
    names: dict[str, int] = {}
    for column in ("source_id", "gene"):
        values = [normalise(n) for n in panel[column].fillna("").astype(str)]
        twice = {n for n, c in pd.Series(values).value_counts().items() if c > 1}
        names |= {n: i for i, n in enumerate(values) if n and n not in twice}
    return names


def _by_variant(known: dict[str, int]) -> dict[str, int]:
    """Every other spelling of the known names to its column; spellings of two genes are left out."""
    found: dict[str, set[int]] = {}
    for name, column in known.items():
        for variant in alternatives(name):
            found.setdefault(variant, set()).add(column)
    return {variant: columns.pop() for variant, columns in found.items() if len(columns) == 1}


def _mapped(name: str, known: dict[str, int], gene_map: dict[str, tuple[str, ...]]) -> set[int]:
    return {known[target] for target in gene_map.get(name, ()) if target in known}


def _lookup(
    names: Sequence[str], known: dict[str, int], gene_map: dict[str, tuple[str, ...]], spellings: dict[str, int]
) -> np.ndarray:
    def find(name: str) -> int:
        if name in known:
            return known[name]
        targets = _mapped(name, known, gene_map) or {spellings[v] for v in alternatives(name) if v in spellings}
        return targets.pop() if len(targets) == 1 else -1

    return np.array([find(n) for n in names], np.int64)


def no_shared_gene(path: Path, named: Collection[str], genes: Sequence[str]) -> str:
    """The sentence for gene sets none of whose genes is in the panel, with the first names of both sides."""
    names = sorted(named)
    return (
        f"{path} shares no gene with the panel: it has {first_ids(names)} ({id_type(names)} ids); the panel has "
        f"{first_ids(genes)} ({id_type(genes)} ids). Give gene sets with ids of the same kind and species."
    )


def no_overlap(where: str, names: Sequence[str], panel: Sequence[str], share: float, *, floor: float) -> str:
    """The sentence for a query that shares too few genes with the reference, with the first ids of both sides."""
    names = [str(name) for name in names]
    around = _common(names)
    found = f"only {share:.1%} of the reference's genes are in this query (--min_coverage {floor:g})"
    if not share:
        found = "none of the reference's genes is in this query"
    return (
        f"{where}: {found}. "
        f"Query: {first_ids(names)}{around}; reference: {first_ids(panel)}. Name the column that holds matching names with "
        f"--gene_column, or convert them with --gene_map."
    )


def _common(names: Sequence[str]) -> str:
    """What all names begin or end with, for a sentence about them."""
    start, end = _shared_start(names), _shared_start([name[::-1] for name in names])[::-1]
    found = [f"begin with {start!r}"] * (len(start) > 1) + [f"end with {end!r}"] * (len(end) > 1)
    return f" (all {' and '.join(found)})" if found and len(names) > 1 else ""


def _shared_start(names: Sequence[str]) -> str:
    first, last = min(names, default=""), max(names, default="")
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]
