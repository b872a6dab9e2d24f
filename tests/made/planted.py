"""Cells whose labels are decided by known genes, and a model trained on them by the project's own scripts."""

from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from click.testing import CliRunner

import map_query
import preprocess_query
import preprocess_reference
import train

GENES, PER_LABEL, PLANTED = 200, 10, ("a", "b", "c", "d")
#: A label without genes of its own: else one of the four could be told by what is not there.
LABELS = (*PLANTED, "rest")


@dataclass(frozen=True)
class Planted:
    """A folder with model/, q.mapped.h5ad, and which genes decide each label."""

    folder: Path
    genes: dict[str, list[str]]


def cells(n: int, seed: int) -> ad.AnnData:
    """n cells: most genes are expressed at random in all of them, a label's own genes hardly anywhere else."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % len(LABELS)
    rate = np.full((n, GENES), 0.8)
    rate[:, : PER_LABEL * len(PLANTED)] = 0.1
    for k in range(len(PLANTED)):
        rate[label == k, k * PER_LABEL : (k + 1) * PER_LABEL] = 2.0
    counts = sp.csr_matrix(rng.poisson(rate).astype(np.float32))
    obs = pd.DataFrame({"label": np.array(LABELS)[label]}, index=[f"cell{seed}_{i}" for i in range(n)])
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"GENE{i}" for i in range(GENES)]))


def plant(folder: Path) -> Planted:
    """Trains a small model on such cells and maps others."""
    cells(400, 0).write_h5ad(folder / "reference.h5ad")
    cells(200, 1).write_h5ad(folder / "query.h5ad")
    panel, model = folder / "panel.tsv", folder / "model"
    _run(preprocess_reference, "--reference", folder / "reference.h5ad", "--label_key", "label",
         "--output", folder / "aligned.h5ad", "--panel", panel)  # fmt: skip
    _run(train, "--reference", folder / "aligned.h5ad", "--panel", panel, "--label_key", "label",
         "--max_epochs", 8, "--d_model", 32, "--n_layers", 2,
         "--threads", 1, "--output", model)  # fmt: skip
    _run(preprocess_query, "--query", folder / "query.h5ad", "--panel", panel, "--sample", "q",
         "--output", folder / "q.aligned.h5ad", "--alignment", folder / "q.alignment.json")  # fmt: skip
    _run(map_query, "--query", folder / "q.aligned.h5ad", "--model", model, "--threads", 1,
         "--output", folder / "q.mapped.h5ad", "--labels", folder / "q.labels.csv")  # fmt: skip
    own = {label: [f"GENE{i}" for i in range(k * PER_LABEL, (k + 1) * PER_LABEL)] for k, label in enumerate(PLANTED)}
    return Planted(folder, own)


def _run(script, *arguments: object) -> None:
    result = CliRunner().invoke(script.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
