"""Which cells train and which are asked: the splits of splits.json, and what is made of their references.

Four kinds of task, each a labelled reference and a query without labels:

- `splits`: the splits themselves.
- `crossval`: a fold of the reference is the query, the other folds are the reference.
- `curves`: a part of the reference, of a given size, and the split's query.
- `novelty`: the reference without one of its types; the query holds all cells of that type, and a fifth of the others.

`crossval` and `novelty` ask references alone, and of several that share most cells only the first.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

FOLDS = 5
#: Fewer cells teach no method a type; such types are left out of the reference.
MIN_REFERENCE_CELLS = 3
#: Sizes of the learning curves; the whole reference is the task of the kind `splits`.
SIZES = (50, 100, 200, 400, 800, 1600, 3200)
#: Types with fewer cells are not left out in turn: an AUROC over so few says nothing.
MIN_NOVEL_CELLS = 10
#: Share of the other types that is held out beside a type that is left out.
HELD_OUT = 0.2


@dataclass(frozen=True)
class Split:
    """A reference (obs: label, batch), its query (obs: label, batch), and what was left out of them."""

    name: str
    reference: ad.AnnData
    query: ad.AnnData
    left_out: dict


@dataclass(frozen=True)
class Task:
    """What a method is given. part: the fold, the size or the type that is left out; empty for a whole split."""

    kind: str
    split: str
    part: str = ""

    @property
    def name(self) -> str:
        return f"{self.split}/{self.part}" if self.part else self.split


def read_splits(data: Path) -> dict[str, dict]:
    """splits.json of a folder of data: name of the split -> which file, which label, which cells."""
    return json.loads((data / "splits.json").read_text())


def read_split(name: str, spec: dict, data: Path) -> Split:
    """The cells of a split over the genes that reference and query share, without empty ones."""
    file = ad.read_h5ad(data / spec["file"])
    query_file = ad.read_h5ad(data / spec["query_file"]) if spec.get("query_file") else file
    reference = chosen(file, spec["train"], spec)
    query = chosen(query_file, spec["query"], spec)
    if query_file is file and set(reference.obs_names) & set(query.obs_names):
        raise ValueError(f"split '{name}': the reference holds cells of the query.")
    shared = set(query.var_names)
    genes = [gene for gene in reference.var_names if gene in shared]
    (reference, empty_reference), (query, empty_query) = (plain(cells[:, genes], spec["label"]) for cells in (reference, query))
    counts = reference.obs["label"].value_counts()
    small = sorted(counts.index[counts < MIN_REFERENCE_CELLS])
    reference = reference[~reference.obs["label"].isin(small)].copy()
    left_out = {"types_of_too_few_cells": small, "empty_cells": empty_reference + empty_query}
    return Split(name, reference, query, left_out)


def chosen(cells: ad.AnnData, values: dict[str, list], spec: dict) -> ad.AnnData:
    """The cells whose columns of obs hold one of the values asked for, without the labels that the split drops."""
    keep = ~cells.obs[spec["label"]].astype(str).isin(spec.get("drop_labels", [])).to_numpy()
    for column, allowed in values.items():
        keep &= cells.obs[column].astype(str).isin([str(value) for value in allowed]).to_numpy()
    return cells[keep]


def plain(cells: ad.AnnData, label: str) -> tuple[ad.AnnData, int]:
    """Counts with label and batch alone, and the number of cells that had no counts and are left out."""
    batch = cells.obs["batch"].astype(str).to_numpy() if "batch" in cells.obs else "one"
    obs = pd.DataFrame({"label": cells.obs[label].astype(str).to_numpy(), "batch": batch}, index=cells.obs_names.astype(str))
    counts = sp.csr_matrix(cells.X, dtype=np.float32)
    found = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=cells.var_names.astype(str)))
    found.obs_names_make_unique()
    full = np.asarray(counts.sum(1)).ravel() > 0
    return found[full].copy(), int((~full).sum())


def distinct(splits: list[Split]) -> list[Split]:
    """Those whose reference is not for the most part that of an earlier one: what is asked of references is asked once."""
    found: list[Split] = []
    for split in splits:
        cells = set(split.reference.obs_names)
        if not any(len(cells & set(other.reference.obs_names)) > len(cells) / 2 for other in found):
            found.append(split)
    return found


def tasks(kind: str, split: Split) -> list[Task]:
    """The tasks of a kind that are made of a split, in a fixed order."""
    counts = split.reference.obs["label"].value_counts()
    parts = {
        "splits": [""],
        "crossval": [f"fold {i + 1}" for i in range(FOLDS)],
        "curves": [str(n) for n in SIZES if MIN_REFERENCE_CELLS * len(counts) <= n < split.reference.n_obs],
        "novelty": sorted(counts.index[counts >= MIN_NOVEL_CELLS]),
    }
    return [Task(kind, split.name, part) for part in parts[kind]]


def cells_of(task: Task, split: Split, seed: int) -> tuple[ad.AnnData, ad.AnnData]:
    """Reference and query of a task. The seed draws folds, subsets and held-out cells; a whole split has none."""
    if task.kind == "splits":
        return split.reference, split.query
    labels = split.reference.obs["label"].to_numpy()
    if task.kind == "curves":
        return split.reference[subset(labels, int(task.part), seed)], split.query
    if task.kind == "crossval":
        reference, query = fold(labels, int(task.part.removeprefix("fold ")) - 1, seed)
    else:
        reference, query = without(labels, task.part, seed)
    return split.reference[reference], split.reference[query]


def fold(labels: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the reference and of the query of a fold (from 0), types with fewer cells than folds left out."""
    from sklearn.model_selection import StratifiedKFold

    types, counts = np.unique(labels, return_counts=True)
    rows = np.flatnonzero(np.isin(labels, types[counts >= FOLDS]))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, labels[rows])
    reference, query = list(folds)[number]
    return rows[reference], rows[query]


def subset(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Rows of a random part of `size` cells that has at least three of each type; a larger part holds the smaller ones."""
    order = np.random.default_rng(seed).permutation(len(labels))
    of_type = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    first = of_type < MIN_REFERENCE_CELLS
    return np.sort(np.concatenate([order[first], order[~first]])[:size])


def without(labels: np.ndarray, left_out: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the reference without a type, and of the query: all cells of that type and a fifth of each other one."""
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels[order]
    of_type = pd.Series(shuffled).groupby(shuffled).cumcount().to_numpy()
    size = pd.Series(shuffled).groupby(shuffled).transform("size").to_numpy()
    asked = (shuffled == left_out) | (of_type < np.floor(HELD_OUT * size))
    return np.sort(order[~asked]), np.sort(order[asked])


def write_task(reference: ad.AnnData, query: ad.AnnData, folder: Path) -> dict:
    """Writes reference.h5ad, query.h5ad (no label: no method can see it) and truth.csv; returns what the task is.

    types: the cells of each of the reference's types.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reference.copy().write_h5ad(folder / "reference.h5ad")
    hidden = query.copy()
    hidden.obs = hidden.obs[["batch"]]
    hidden.write_h5ad(folder / "query.h5ad")
    query.obs[["label"]].rename(columns={"label": "truth"}).rename_axis("cell").to_csv(folder / "truth.csv")
    counts = reference.obs["label"].astype(str).value_counts()
    return {
        "reference_cells": reference.n_obs,
        "query_cells": query.n_obs,
        "genes": reference.n_vars,
        "batches": int(reference.obs["batch"].nunique()),
        "types": {str(name): int(count) for name, count in counts.sort_index().items()},
    }
