#!/usr/bin/env python3
"""Embeddings of all cells of a task by PCA, Harmony and scVI, and the integration scores of these and of those at hand.

In the folder: reference.h5ad and query.h5ad (obs: batch), groups.csv (batch and type of each cell, the reference's first)
and an embedding of the cells in that order for each of ours, <method>.npy. Writes scores.json: the scores that EVALUATE
gives, and the seconds that an embedding took, by method. Nothing but ours sees a label.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import click
import numpy as np
import pandas as pd

from peers import batch_size, countable, epochs, log_normalised, variable_genes

sys.path.append(str(Path(__file__).resolve().parent.parent / "bin"))


def principal_components(cells: ad.AnnData, seed: int) -> np.ndarray:
    """50 principal components of the most variable genes, log-normalised."""
    import scanpy as sc

    normalised = log_normalised(cells)
    normalised = normalised[:, variable_genes(normalised)].copy()
    sc.pp.pca(normalised, n_comps=min(50, *(side - 1 for side in normalised.shape)), random_state=seed)
    return normalised.obsm["X_pca"]


def harmony(cells: ad.AnnData, seed: int) -> np.ndarray:
    """Harmony on these components."""
    import harmonypy

    components = principal_components(cells, seed)
    return np.asarray(harmonypy.run_harmony(components, cells.obs, "batch", random_state=seed, verbose=False).Z_corr)


def scvi(cells: ad.AnnData, seed: int) -> np.ndarray:
    """scVI on the counts of the most variable genes, with epochs for about 1,200 steps."""
    from scvi import settings
    from scvi.model import SCVI

    settings.seed = seed
    cells = countable(cells[:, variable_genes(log_normalised(cells))].copy())
    SCVI.setup_anndata(cells, batch_key="batch")
    network = SCVI(cells, n_latent=20)
    size = batch_size(cells.n_obs)
    network.train(epochs(cells.n_obs, 1200, (25, 150)), accelerator="cpu", devices=1, batch_size=size, enable_progress_bar=False)
    return network.get_latent_representation()


EMBEDDINGS: dict[str, Callable[[ad.AnnData, int], np.ndarray]] = {"pca": principal_components, "harmony": harmony, "scvi": scvi}
PACKAGES = {"pca": "scanpy", "harmony": "harmonypy", "scvi": "scvi-tools"}


@click.command
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
def main(folder: Path, seed: int, threads: int) -> None:
    """Embeds and scores the task in FOLDER."""
    import torch

    from cellmemory.evaluation import integration

    torch.set_num_threads(threads)
    groups = pd.read_csv(folder / "groups.csv", dtype=str, keep_default_na=False)
    cells = ad.concat([ad.read_h5ad(folder / f"{part}.h5ad") for part in ("reference", "query")], index_unique="-")
    cells.obs = groups[["batch"]].astype("category").set_axis(cells.obs_names)
    found: dict[str, dict] = {path.stem: {"embedding": np.load(path)} for path in sorted(folder.glob("*.npy"))}
    for method, embed in EMBEDDINGS.items():
        start = time.perf_counter()
        found[method] = {"embedding": embed(cells, seed), "seconds": time.perf_counter() - start}
        found[method]["version"] = f"{PACKAGES[method]} {version(PACKAGES[method])}"
    for method, about in found.items():
        about["scores"], sentence = integration(about.pop("embedding"), groups["type"], groups["batch"])
        if about["scores"] is None:
            raise click.ClickException(f"{method}: {sentence}")
    (folder / "scores.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
