"""The gene panel of a reference: its highly variable genes among those that the queries measured."""

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.cells.labels import as_text
from cellmemory.errors import InputError, first_ids
from cellmemory.genes.names import expression_rows, id_type, name_columns, undecorated
from cellmemory.io.atomic import replacing
from cellmemory.io.checked import as_numbers, read_tsv, shown
from cellmemory.io.text import Source

#: Fewer cells have no variance, and fewer genes that vary no trend: the compiled code of loess ends the process there.
MIN_BATCH_CELLS, MIN_VARYING_GENES = 2, 10
#: Letters of a name of a gene, at most.
MAX_NAME = 500
COLUMNS = ["gene", "rank", "mean", "dispersion", "source_id"]


def read_panel(path: Source) -> pd.DataFrame:
    """panel.tsv, one gene a row in model order. Raises InputError where it is not a panel, with all that is wrong."""
    try:
        panel = read_tsv(path, COLUMNS)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a panel ({error}). Give the panel.tsv that preprocess_reference.py wrote.") from None
    genes, rank = panel["gene"], as_numbers(panel["rank"], whole=True)
    numbers = {name: as_numbers(panel[name]) for name in ("mean", "dispersion")}
    problems = [f"{name} is not numbers" for name, found in numbers.items() if found is None]
    if (means := numbers["mean"]) is not None and not (means >= 0).all():
        problems.append(f"the mean of {shown(genes[~(means >= 0)].iloc[0])} is not 0 or more")
    if any(np.isinf(found).any() for found in numbers.values() if found is not None):
        problems.append("a mean or a dispersion is infinite")
    if rank is None or (rank != np.arange(1, len(panel) + 1)).any():
        problems.append("rank does not count up from 1")
    if not (fine := genes.map(_is_name)).all():
        problems.append(f"a gene's name is empty, too long or not plain text ({shown(genes[~fine].iloc[0])})")
    if genes.duplicated().any():
        problems.append(f"the same gene is there twice ({first_ids(genes[genes.duplicated()].unique())})")
    if not len(panel):
        problems.append("there is no gene")
    if problems:
        remedy = "Give the panel.tsv that preprocess_reference.py wrote, unchanged."
        raise InputError(f"{path}: {problem}. {remedy}" for problem in problems)
    return panel.assign(**numbers, rank=rank)


def panel_text(panel: pd.DataFrame) -> str:
    """What panel.tsv holds."""
    return panel[COLUMNS].to_csv(sep="\t", index=False, float_format="%.6g")


def write_panel(panel: pd.DataFrame, path: str | Path) -> None:
    """Writes panel.tsv."""
    with replacing(path) as partial:
        partial.write_text(panel_text(panel), encoding="utf-8")


def reference_genes(var: pd.DataFrame, gene_column: str | None, where: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Names of a reference's genes, one row a feature of var: `gene` (symbols where there are some) and `source_id`; and
    which of them are gene expression (bool).

    They are in the index, or in a usual column where the index is but numbers. Where they are Ensembl ids and another
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
    # A panel is a table, a gene a line: what has no name there cannot be told from others.
    named = expression & genes["gene"].map(_is_name).to_numpy(bool)
    if len(var) and not named.any():
        raise InputError(f"{where}: no gene has a name in var. Name the column that holds the genes' names (--gene_column).")
    return genes, named


def _is_name(text: str) -> bool:
    """Whether a text can be the name of a gene in a panel: printable, no blanks around it, no text of a whole page."""
    return text == text.strip() != "" and text.isprintable() and len(text) <= MAX_NAME


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
    cells: sp.csr_matrix, genes: pd.DataFrame, batch: pd.Series | None, n_genes: int, *, logged: bool
) -> tuple[pd.DataFrame, list[str]]:
    """The n_genes most variable genes of a reference, most variable first, and a line of log where batches are given up.

    cells: (cells, genes) counts, or log1p values if `logged`; genes: unique `gene` and `source_id`, one a column.
    seurat_v3 on counts, batch-aware; the dispersion-based flavour for log values, from which variance cannot be
    modelled. Genes that no cell expresses are never part of a panel. Raises InputError where fewer than two are left.
    """
    expressed = np.flatnonzero(np.asarray((cells > 0).sum(0)).ravel())
    if len(expressed) < 2:
        raise InputError("Fewer than two genes can be chosen: no cell of the reference has counts of the others.")
    data = ad.AnnData(cells[:, expressed], var=pd.DataFrame(index=genes["gene"].to_numpy()[expressed]))
    n_top = min(n_genes, len(expressed))
    data, notes = _with_batches(data, batch)
    found, given_up = _highly_variable(data, n_top, logged=logged)
    panel = genes.iloc[expressed].assign(**{c: found[c].to_numpy() for c in ("mean", "dispersion", "order")})
    panel = panel.sort_values("order", kind="stable").head(n_top).reset_index(drop=True)
    return panel.assign(rank=np.arange(1, len(panel) + 1))[COLUMNS], notes + given_up


def _with_batches(data: ad.AnnData, batch: pd.Series | None) -> tuple[ad.AnnData, list[str]]:
    """The cells that genes are chosen in, with obs['batch'] where there are several batches, and a line of log where some
    are too small: a variance needs cells, and a trend of variances needs genes that vary."""
    if batch is None or batch.nunique(dropna=False) < 2:
        return data, []
    names = as_text(batch)
    small = {name: int((names == name).sum()) for name in np.unique(names) if not _is_large_enough(data.X[names == name])}
    kept = ~np.isin(names, list(small))
    notes = []
    if small:
        listed = ", ".join(f"{name}: {n:,}" for name, n in list(small.items())[:5]) + (", ..." if len(small) > 5 else "")
        rest = "genes are chosen in the others" if kept.any() else "genes are chosen in all cells as one batch"
        have = "has" if len(small) == 1 else "have"
        notes = [
            f"{len(small)} of {len(np.unique(names))} batches {have} too few cells to choose genes in ({listed}); "
            f"the cells are kept, {rest}."
        ]
    if not kept.any():
        return data, notes
    data, names = data[kept].copy(), names[kept]
    if len(np.unique(names)) > 1:
        data.obs["batch"] = pd.Categorical(names)
    return data, notes


def _is_large_enough(cells: sp.csr_matrix) -> bool:
    if cells.shape[0] < MIN_BATCH_CELLS:
        return False
    highest, lowest = cells.max(axis=0).toarray().ravel(), cells.min(axis=0).toarray().ravel()
    return int((highest > lowest).sum()) >= MIN_VARYING_GENES


def _highly_variable(data: ad.AnnData, n_top: int, *, logged: bool) -> tuple[pd.DataFrame, list[str]]:
    """mean, dispersion and order (0 first) of each gene; a line of log where batches are given up."""
    import scanpy

    key = "batch" if "batch" in data.obs else None
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if logged:
            table = scanpy.pp.highly_variable_genes(data, n_top_genes=n_top, flavor="seurat", batch_key=key, inplace=False)
            table = table.set_axis(data.var_names) if len(table) == data.n_vars else table.reindex(data.var_names)
            score, spread = -table["dispersions_norm"].fillna(-np.inf), table["dispersions"]
        else:
            table, notes = _seurat_v3(data, n_top, key)
            nbatches = table.get("highly_variable_nbatches", pd.Series(0, table.index))
            rank = table["highly_variable_rank"].fillna(np.inf)
            order = np.lexsort((-table["variances_norm"], rank, -nbatches))
            score, spread = pd.Series(np.argsort(order), table.index), table["variances_norm"]
    order = np.argsort(np.argsort(score.to_numpy(), kind="stable"), kind="stable")
    return pd.DataFrame({"mean": table["means"].to_numpy(), "dispersion": spread.to_numpy(), "order": order}), notes


def _by_variance(data: ad.AnnData) -> pd.DataFrame:
    """The columns of seurat_v3 for genes that are too few for a trend of variances."""
    means = np.asarray(data.X.mean(axis=0)).ravel()
    variances = np.asarray(data.X.multiply(data.X).mean(axis=0)).ravel() - means**2
    ranks = np.argsort(np.argsort(-variances, kind="stable"), kind="stable")
    columns = {"means": means, "variances_norm": variances, "highly_variable_rank": ranks.astype(float)}
    return pd.DataFrame(columns, index=data.var_names)


def _seurat_v3(data: ad.AnnData, n_top: int, key: str | None) -> tuple[pd.DataFrame, list[str]]:
    """seurat_v3, with a wider loess span where a small batch makes the narrow one singular; without batches where none does."""
    import scanpy

    if not _is_large_enough(data.X):
        return _by_variance(data), [f"Fewer than {MIN_VARYING_GENES} genes vary between cells; genes go by their variance alone."]
    for span in (0.3, 0.6, 1.0):
        try:
            table = scanpy.pp.highly_variable_genes(
                data, n_top_genes=n_top, flavor="seurat_v3", batch_key=key, span=span, inplace=False, check_values=False
            )
            return table, []
        except ValueError as error:
            problem = error
    if key is None:
        raise InputError(f"The variance of the reference's genes cannot be modelled ({problem}). Give more cells.")
    table, _ = _seurat_v3(data, n_top, None)
    return table, [
        f"The variance of genes cannot be modelled within batches ({problem}); genes are chosen in all cells as one batch."
    ]
