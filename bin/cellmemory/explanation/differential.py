"""Which genes are differential by expression: scanpy's Wilcoxon test, to be read beside what attention says."""

import numpy as np
import scipy.sparse as sp

#: A gene is called differential from this adjusted p-value down and from this log2 fold change (either way) up.
MAX_ADJUSTED_P, MIN_LOG2_CHANGE = 0.05, 0.5


def wilcoxon(values: sp.csr_matrix, codes: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """log2 fold changes and adjusted p-values (G, M each) of every group against all other cells, by scanpy.

    values: (n, M) log1p-normalised; codes: (n,) group of each cell. The p-values are two-sided, ties corrected,
    adjusted by Benjamini-Hochberg over the genes. NaN for a group with fewer than two cells, inside or outside of it.
    """
    change, adjusted = np.full((2, n_groups, values.shape[1]), np.nan)
    size = np.bincount(codes, minlength=n_groups)
    groups = [g for g in range(n_groups) if 2 <= size[g] <= len(codes) - 2]
    if groups:
        found = _rank_genes(values, codes, groups)
        for g in groups:
            order = found["names"][str(g)].astype(int)
            change[g, order] = found["logfoldchanges"][str(g)]
            adjusted[g, order] = found["pvals_adj"][str(g)]
    return change, adjusted


def is_differential(change: np.ndarray, adjusted: np.ndarray) -> np.ndarray:
    """`yes`, `no`, or empty where it was not tested."""
    yes = (adjusted <= MAX_ADJUSTED_P) & (np.abs(change) >= MIN_LOG2_CHANGE)
    return np.where(np.isnan(adjusted), "", np.where(yes, "yes", "no"))


def _rank_genes(values: sp.csr_matrix, codes: np.ndarray, groups: list[int]) -> dict:
    import warnings

    import anndata as ad
    import pandas as pd
    import scanpy as sc

    cells = ad.AnnData(sp.csr_matrix(values, dtype=np.float32))
    cells.obs_names, cells.var_names = (list(map(str, range(n))) for n in cells.shape)
    cells.obs["group"] = pd.Categorical(codes.astype(str))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # divisions by zero where neither side expresses a gene
        sc.tl.rank_genes_groups(cells, "group", groups=list(map(str, groups)), method="wilcoxon", tie_correct=True, use_raw=False)
    return cells.uns["rank_genes_groups"]
