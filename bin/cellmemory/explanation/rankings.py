"""Genes by score, and the blocks of tables that list them."""

import numpy as np
import pandas as pd


def top_genes(scores: np.ndarray, top: int) -> np.ndarray:
    """Numbers of the `top` (0: all) genes with a positive score, highest first; equal scores keep the panel's order."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > 0]
    return order[:top] if top else order


def ranks(scores: np.ndarray) -> np.ndarray:
    """(G, M) the place of each gene in its row, 1 for the highest score; equal scores keep the panel's order, NaN stays."""
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.empty(scores.shape)
    np.put_along_axis(places, order, np.arange(1, scores.shape[1] + 1)[None], axis=1)
    return np.where(np.isnan(scores), np.nan, places)


def log_ratio(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """log2 of scores (..., M) over others, both raised by a tenth of what even attention over M genes would give."""
    pseudo = 1 / (10 * scores.shape[-1])
    return np.log2((scores + pseudo) / (others + pseudo))


def ranked(genes: list[str], chosen: np.ndarray, same: dict, per_gene: dict[str, np.ndarray]) -> pd.DataFrame:
    """One block of a table: the chosen genes in their order, with what is the same for all and what each gene has."""
    head = {**same, "rank": np.arange(1, len(chosen) + 1), "gene": np.asarray(genes, dtype=object)[chosen]}
    return pd.DataFrame({**head, **{name: values[chosen] for name, values in per_gene.items()}})


def concatenated(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """The blocks as one table; without any, an empty one of these columns."""
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
