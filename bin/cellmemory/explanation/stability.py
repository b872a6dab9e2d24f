"""How alike the memory slots of models are that were trained with other seeds: slots are matched, then compared.

A slot has no name: slot 3 of one model may be slot 7 of another, or have no counterpart. What characterises it is which
genes write into it more than into the other slots of the same label (the `specificity` of slot_tags.tsv). Two slots are
as similar as these are correlated, over all genes and all labels that both models have; the pairs that together are the
most similar are matched (the Hungarian method).
"""

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from cellmemory.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

COLUMNS = ["first", "second", "slot", "matched_slot", "similarity", "other_similarity", "shared_top_genes"]
COLUMNS += ["other_shared_top_genes"]


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(H, K) correlations of slots of one model with those of another, from specificities (labels, H or K, M) each."""
    flat = [slots.transpose(1, 0, 2).reshape(slots.shape[1], -1) for slots in (first, second)]
    centred = [rows - rows.mean(axis=1, keepdims=True) for rows in flat]
    scaled = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in centred]
    return scaled[0] @ scaled[1].T


def match(similarities: np.ndarray) -> np.ndarray:
    """(H,) the slot of the second model that each slot of the first is matched with; -1 where it has fewer slots."""
    matched = np.full(len(similarities), -1)
    rows, columns = linear_sum_assignment(-similarities)
    matched[rows] = columns
    return matched


def compare(profiles: dict[str, "ad.AnnData"], top: int) -> pd.DataFrame:
    """Compares the slots of every two profiles (by name, from `profiles.load`), a row for each slot of the first; COLUMNS.

    similarity: correlation with the matched slot. other_similarity: the mean correlation with the slots that it was not
    matched with, what chance gives. shared_top_genes: the share of a slot's `top` written genes that the matched slot has
    among its own, averaged over labels; other_shared_top_genes: the same with the other slots, which have what all slots of a
    label have in common.

    Raises InputError for profiles that share no label or hardly any gene, or that hold no slots, or not the same for all labels.
    """
    problems = [
        f"{name} holds no memory slots; give profiles of cells that are grouped by label."
        for name, profile in profiles.items()
        if not (profile.obs["level"] == "slot").any()
    ]
    problems += [
        f"{name} does not hold the same slots, each once, for every label. Give the .tag_profiles.h5ad as it was written."
        for name, profile in profiles.items()
        if not _has_same_slots(profile)
    ]
    if problems:
        raise InputError(problems)
    return pd.concat([_compare(*pair, top) for pair in combinations(profiles.items(), 2)], ignore_index=True)[COLUMNS]


def _has_same_slots(profile: "ad.AnnData") -> bool:
    rows = profile.obs[profile.obs["level"] == "slot"]
    slots = [tuple(block["slot"]) for _, block in rows.groupby("group", observed=True)]
    return all(row == slots[0] and len(set(row)) == len(row) for row in slots)


def _compare(first: tuple[str, "ad.AnnData"], second: tuple[str, "ad.AnnData"], top: int) -> pd.DataFrame:
    (name, a), (other, b) = first, second
    genes = [gene for gene in a.var_names if gene in set(b.var_names)]
    labels = [label for label in dict.fromkeys(a.obs["group"]) if label in set(b.obs["group"])]
    if not labels or len(genes) < 2:
        raise InputError(f"{name} and {other} share {len(labels)} labels and {len(genes)} genes; give profiles of one query.")
    specificity, write = ([_slots(p, labels, genes, layer) for p in (a, b)] for layer in ("ranking", None))
    found = similarity(*specificity)
    matched = match(found)
    rows = []
    for slot, partner in enumerate(matched):
        others = np.delete(np.arange(found.shape[1]), partner) if partner >= 0 else np.arange(found.shape[1])
        row = {"first": name, "second": other, "slot": slot + 1}
        row["matched_slot"] = partner + 1 if partner >= 0 else np.nan
        row["similarity"] = found[slot, partner] if partner >= 0 else np.nan
        row["other_similarity"] = found[slot, others].mean() if len(others) else np.nan
        shared = [_shared(write[0][:, slot], write[1][:, k], top) for k in range(found.shape[1])]
        row["shared_top_genes"] = shared[partner] if partner >= 0 else np.nan
        row["other_shared_top_genes"] = np.mean([shared[k] for k in others]) if len(others) else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _slots(profile: "ad.AnnData", labels: list[str], genes: list[str], layer: str | None) -> np.ndarray:
    """(labels, H, M) of the slots' rows, in these orders."""
    rows = profile[(profile.obs["level"] == "slot").to_numpy()][:, genes]
    values = np.asarray(rows.X if layer is None else rows.layers[layer], np.float64)
    return np.stack([np.nan_to_num(values[(rows.obs["group"] == label).to_numpy()]) for label in labels])


def _shared(first: np.ndarray, second: np.ndarray, top: int) -> float:
    """Mean over labels of the share of the `top` genes that two slots, (labels, M) each, have in common."""
    best = [np.argsort(-rows, axis=1, kind="stable")[:, :top] for rows in (first, second)]
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(*best, strict=True)]))
