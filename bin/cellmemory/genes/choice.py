"""Which genes of a reference become its panel: the most variable ones among those that have a name and that queries measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.errors import InputError, first_ids
from cellmemory.genes.names import expression_rows, id_type, name_columns, undecorated
from cellmemory.genes.panel import COLUMNS, is_name
from cellmemory.genes.variability import MIN_VARYING, Moments, Pass, by_dispersion, by_trend, by_variance
from cellmemory.io.checked import read_tsv


def reference_genes(var: pd.DataFrame, gene_column: str | None, where: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Names of a reference's genes, one row a feature of var: `gene` (symbols where there are some) and `source_id`; and
    which of them are gene expression (bool).

    They are in the index, or in a usual column where the index holds only numbers. Where they are Ensembl ids and another
    column holds symbols, symbols name the genes, as gene sets do; a symbol that several ids share gives way to the ids.
    Raises InputError where no gene has a name.
    """
    expression = expression_rows(var, where)
    genes = pd.DataFrame({"gene": "", "source_id": ""}, index=range(len(var)))
    candidates = name_columns(var[expression], gene_column, where)
    names = candidates.pop(next(iter(candidates)))
    bare = [undecorated(name) for name in names]
    if sum(symbol != name for (symbol, _), name in zip(bare, names, strict=True)) > len(names) / 2:
        names = [symbol for symbol, _ in bare]
        if any(ident for _, ident in bare):
            candidates = {"ids": [ident for _, ident in bare]}
    other = next((v for v in candidates.values() if id_type(v) != id_type(names)), [""] * len(names))
    if id_type(names) == "ensembl" and any(other):
        names, other = _prefer_symbols(names, other)
    genes.loc[expression, "gene"], genes.loc[expression, "source_id"] = names, other
    # A panel is a table with a line for each gene: a gene without a name cannot be identified there.
    named = expression & genes["gene"].map(is_name).to_numpy(bool)
    if len(var) and not named.any():
        raise InputError(f"{where}: no gene has a name in var. Name the column that holds the genes' names (--gene_column).")
    return genes, named


def _prefer_symbols(ids: list[str], symbols: list[str]) -> tuple[list[str], list[str]]:
    shared = {s for s, n in pd.Series(symbols).value_counts().items() if n > 1} | {"", "nan"}
    return [i if s in shared else s for i, s in zip(ids, symbols, strict=True)], ids


def queried(genes: pd.DataFrame, query_genes: str | Path | None) -> np.ndarray:
    """Which genes of the reference (bool) at least one query measured; all of them where no query is given.

    query_genes: TSV `sample`, `gene` in the reference's own names, as CHECK_INPUTS writes it. Raises InputError for another
    file, and if no gene is shared.
    """
    if query_genes is None:
        return np.ones(len(genes), bool)
    try:
        names = read_tsv(query_genes, ["sample", "gene"])["gene"].unique()
    except ValueError as error:
        raise InputError(f"{query_genes} is not a list of genes ({error}). Give what check_inputs.py wrote.") from None
    if not len(names):
        raise InputError(f"{query_genes} names no gene. Give what check_inputs.py wrote of queries that share genes.")
    shared = genes["gene"].isin(names).to_numpy()
    if not shared.any():
        raise InputError(
            f"{query_genes} names no gene of the reference. Queries: {first_ids(names)}; reference: {first_ids(genes['gene'])}."
        )
    return shared


def select_panel(
    moments: Moments, cells: Pass, genes: pd.DataFrame, *, batches: Sequence[str], n_genes: int, logged: bool
) -> tuple[pd.DataFrame, list[str]]:
    """The n_genes most variable genes of a reference, most variable first, and a line of log where batches are given up.

    moments: of all that `cells` gives, by batch and gene; genes: unique `gene` and `source_id`, in the same order; batches: their
    names. By the trend of variances in counts, batch by batch; by dispersions in log values (`logged`), whose counts are not
    known. Genes that no cell expresses are never part of a panel. Raises InputError where fewer than two are left.
    """
    expressed = np.flatnonzero(moments.sums.sum(axis=0) > 0)
    if len(expressed) < 2:
        raise InputError("Fewer than two genes can be chosen: all others are zero in every cell.")
    moments, n_top = moments.of_genes(expressed), min(n_genes, len(expressed))
    into, notes = _into_batches(moments, batches)

    def over(into: np.ndarray) -> Pass:
        return lambda: ((into[batch], values[:, expressed]) for batch, values in cells())

    found: pd.DataFrame | None = None
    if logged:
        found = by_dispersion(moments.merged(into))
    elif into.max() > 0:
        try:
            found = by_trend(moments.merged(into), over(into), n_top)
        except ValueError as error:
            into = np.minimum(into, 0)
            notes.append(
                f"The variance of genes cannot be modelled within batches ({error}); genes are chosen in all cells as one batch."
            )
    if found is None:
        found, more = _in_one_batch(moments.merged(into), over(into), n_top)
        notes += more
    panel = genes.iloc[expressed].assign(**{name: found[name].to_numpy() for name in found})
    panel = panel.sort_values("order", kind="stable").head(n_top).reset_index(drop=True)
    return panel.assign(rank=np.arange(1, len(panel) + 1))[COLUMNS], notes


def _into_batches(moments: Moments, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """A new number for each batch (B,) that genes are chosen in, -1 for one that is too small, and a line of log for these: a
    variance needs cells, and a trend of variances needs genes that vary. One number for all where all are too small."""
    present = moments.cells > 0
    if present.sum() < 2:
        return np.zeros(len(names), int), []
    large = moments.large_enough()
    into = np.where(large, np.cumsum(large) - 1, -1) if large.any() else np.zeros(len(names), int)
    small = np.flatnonzero(present & ~large)
    if not len(small):
        return into, []
    listed = ", ".join(f"{names[b]}: {moments.cells[b]:,}" for b in small[:5]) + (", ..." if len(small) > 5 else "")
    rest = "genes are chosen in the others" if large.any() else "genes are chosen in all cells as one batch"
    have = "has" if len(small) == 1 else "have"
    note = (
        f"{len(small)} of {present.sum()} batches {have} too few cells to choose genes in ({listed}); the cells are kept, {rest}."
    )
    return into, [note]


def _in_one_batch(moments: Moments, cells: Pass, n_top: int) -> tuple[pd.DataFrame, list[str]]:
    if not moments.large_enough()[0]:
        note = f"Fewer than {MIN_VARYING} genes vary between cells; genes are ordered by their variance."
        return by_variance(moments), [note]
    try:
        return by_trend(moments, cells, n_top), []
    except ValueError as error:
        raise InputError(f"The variance of the reference's genes cannot be modelled ({error}). Give more cells.") from None
