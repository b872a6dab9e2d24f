"""Synthetic outputs of MAP_QUERY and TRAIN, so that the steps behind them are tested without a model."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.mapping.status import statuses
from tests.made.model_folders import write_placeholder

DATA = Path(__file__).parents[1] / "data"
N_SLOTS = 4


def mapped_cells(
    values: sp.spmatrix,
    attention: sp.spmatrix | None,
    predicted: list[str],
    labels: list[str],
    obs: pd.DataFrame | None = None,
    genes: list[str] | None = None,
    seed: int = 0,
) -> ad.AnnData:
    """A mapped query with these values and this attention; what is not given is drawn from `seed`.

    predicted: the label of each cell; labels: all labels of the model, in its order.
    """
    rng = np.random.default_rng(seed)
    n, m = values.shape
    table = pd.DataFrame(index=[f"cell{i}" for i in range(n)]) if obs is None else obs.copy()
    table["cellmemory_label"] = pd.Categorical(predicted, categories=labels)
    table["cellmemory_confidence"] = rng.uniform(0.3, 1, n).astype(np.float32)
    table["cellmemory_novelty"] = rng.uniform(0, 1, n).astype(np.float32)
    table["cellmemory_linear_share"] = rng.uniform(0, 1, n).astype(np.float32)
    table["cellmemory_novelty_p"] = rng.uniform(0, 1, n).astype(np.float32)
    strange, unsure = table["cellmemory_novelty_p"] < 0.05, table["cellmemory_confidence"] < 0.4
    table["cellmemory_status"] = statuses(strange.to_numpy(), table["cellmemory_confidence"].to_numpy(), 0.4)
    table["cellmemory_reason"] = np.select([strange, unsure], ["unlike the reference", "|".join(labels[:2])], "")
    table["cellmemory_label_set"] = [f"{label}|{labels[0]}" if label != labels[0] else label for label in predicted]
    names = genes or [f"GENE{j}" for j in range(m)]
    mapped = ad.AnnData(sp.csr_matrix(values, dtype=np.float32), obs=table, var=pd.DataFrame({"measured": True}, index=names))
    mapped.obsm["X_cellmemory"] = rng.normal(size=(n, 8)).astype(np.float32)
    mapped.obsm["X_cellmemory_slots"] = rng.dirichlet(np.ones(N_SLOTS), n).astype(np.float32)
    mapped.obsm["X_umap"] = rng.normal(size=(n, 2)).astype(np.float32)
    if attention is not None:
        mapped.layers["attention"] = sp.csr_matrix(attention, dtype=np.float32)
        width = len(labels) * N_SLOTS
        mapped.varm["cellmemory_slot_write"] = rng.dirichlet(np.ones(m), width).T.astype(np.float32)
        mapped.varm["cellmemory_slot_read"] = rng.uniform(0, 1, (m, width)).astype(np.float32)
    mapped.uns["cellmemory"] = {
        "sample": "synthetic",
        "version": "0.1.0",
        "model_digest": "d" * 64,
        "label_key": "cell_type",
        "truth_key": "",
        "batch_key": "",
        "spatial_key": "",
        "slot_groups": np.array(labels, dtype=object),
        "n_slots": N_SLOTS,
        "novelty_alpha": 0.05,
        "alpha": 0.1,
        "alignment": json.dumps({"sample": "synthetic"}),
    }
    return mapped


def attention_of(values: sp.csr_matrix, weights: np.ndarray) -> sp.csr_matrix:
    """Attention on the sparsity of `values`: each cell's row is `weights` (N, M) where it expresses a gene, sum 0.9."""
    mask = sp.csr_matrix(values, dtype=np.float32, copy=True)
    mask.data[:] = 1
    shares = sp.csr_matrix(mask.multiply(weights))
    return sp.csr_matrix(sp.diags(0.9 / np.maximum(np.asarray(shares.sum(axis=1)).ravel(), 1e-12)) @ shares)


def pbmc_query(name: str = "unseen_type", accuracy: float = 0.85, seed: int = 0) -> ad.AnnData:
    """The cells of a test query as if a model had mapped them that is right about as often as `accuracy` says."""
    rng = np.random.default_rng(seed)
    labels = sorted(ad.read_h5ad(DATA / "reference.h5ad", backed="r").obs["cell_type"].cat.categories)
    query = ad.read_h5ad(DATA / f"{name}.h5ad")
    query.var_names_make_unique()
    truth = query.obs["author_label"].astype(str).to_numpy()
    right = (rng.uniform(size=len(truth)) < accuracy) & np.isin(truth, labels)
    predicted = np.where(right, truth, rng.choice(labels, len(truth)))
    values = sp.csr_matrix(query.X)
    mapped = mapped_cells(
        values,
        attention_of(values, rng.uniform(size=values.shape)),
        list(predicted),
        labels,
        query.obs,
        list(query.var_names),
        seed,
    )
    unknown = ~np.isin(truth, labels)
    mapped.obs["cellmemory_novelty"] += (2 * unknown * rng.uniform(0.2, 1, len(truth))).astype(np.float32)
    return mapped


def write_model(folder: Path, labels: list[str], rare: list[str], genes: list[str]) -> str:
    """A model folder that is complete but for meaningful weights, at `folder`; returns its digest."""
    table = pd.DataFrame({"label": labels, "n_cells": 40, "n_train": 32, "n_validation": 8})
    table["rare"] = [label in rare for label in labels]
    panel = pd.DataFrame({"gene": genes, "rank": range(1, len(genes) + 1), "mean": 1.0, "dispersion": 1.0, "source_id": ""})
    history = pd.DataFrame({"epoch": [1], "train_loss": [1.0], "validation_loss": [1.0], "validation_macro_f1": [0.5]})
    return write_placeholder(folder, table, panel, history)
