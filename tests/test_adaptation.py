"""Adapting a model to a query: what the query as a whole differs by is taken off, and nothing else changes."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellmemory import bundle, device
from cellmemory.adaptation import find_shift
from cellmemory.mapping import Mapper
from tests.conftest import refused, succeed

RUNTIME = ("--threads", 1, "--device", "cpu")


def mapped(folder: Path, query: Path, model: Path, name: str) -> ad.AnnData:
    succeed("map_query", "--query", query, "--model", model, "--output", folder / f"{name}.h5ad",
            "--labels", folder / f"{name}.csv", *RUNTIME)  # fmt: skip
    return ad.read_h5ad(folder / f"{name}.h5ad")


def tokens_of(mapper: Mapper, query: Path, factor: np.ndarray | None = None, measured: np.ndarray | None = None):
    """Tokens of a query's cells, the counts of each gene multiplied by a factor, where only some genes were measured."""
    cells = ad.read_h5ad(query)
    counts = np.expm1(cells.X.toarray()) * (1 if factor is None else factor)
    measured = np.ones(cells.n_vars, bool) if measured is None else measured
    return mapper.tokenize(sp.csr_matrix(np.log1p(counts * measured).astype(np.float32)), measured)


@pytest.fixture(scope="module")
def mapper(model: Path) -> Mapper:
    return Mapper(bundle.load(model), device.start("cpu", "fp32", 1, 0))


@pytest.fixture(scope="module")
def reference_cells(aligned: Path) -> Path:
    return aligned / "reference.h5ad"


def test_cells_of_the_reference_hardly_move_and_those_of_another_protocol_move_back(mapper, reference_cells):
    """A protocol that counts each gene more or less often: the shift that is found is the one that was made."""
    rng = np.random.default_rng(0)
    factor = np.exp(rng.normal(0, 1.0, mapper.network.config.n_genes))
    plain, other = tokens_of(mapper, reference_cells), tokens_of(mapper, reference_cells, factor)
    path = mapper.network.linear
    spread = path.spread.numpy()
    at_home = find_shift(plain, mapper).mean / spread
    assert np.abs(at_home).mean() < 0.1
    made = tokens_mean(other, mapper) - tokens_mean(plain, mapper)
    looked_at = (path.weight.numpy() != 0).any((0, 2))
    found = find_shift(other, mapper).mean
    assert np.corrcoef((found / spread)[:, looked_at].ravel(), (made / spread)[:, looked_at].ravel())[0, 1] > 0.8
    assert (found[:, ~looked_at] == 0).all()


def tokens_mean(tokens, mapper: Mapper) -> np.ndarray:
    from cellmemory.tokens import views

    return views(tokens, np.arange(len(tokens)), mapper.network.config.n_bins).mean(0)


def test_genes_that_were_not_measured_are_not_shifted(mapper, reference_cells):
    measured = np.arange(mapper.network.config.n_genes) % 2 > 0
    shift = find_shift(tokens_of(mapper, reference_cells, measured=measured), mapper).mean
    assert (shift[:, ~measured] == 0).all()
    assert np.abs(shift).max() > 0


def test_only_what_the_linear_path_says_changes(model, aligned, tmp_path):
    query, adapted = aligned / "unseen_type.aligned.h5ad", tmp_path / "adapted"
    log = succeed("adapt", "--query", query, "--model", model, "--output", adapted, *RUNTIME)
    assert "cells of 'unseen_type'" in log
    before, after = mapped(tmp_path, query, model, "before"), mapped(tmp_path, query, adapted, "after")
    assert (before.obsm["X_cellmemory"] == after.obsm["X_cellmemory"]).all()
    assert (before.layers["attention"] != after.layers["attention"]).nnz == 0
    assert (before.obs["cellmemory_confidence"] != after.obs["cellmemory_confidence"]).any()
    assert "--adapt" in after.uns["cellmemory"]["alarms"][0]
    assert not any("--adapt" in alarm for alarm in before.uns["cellmemory"]["alarms"])
    assert (before.uns["cellmemory"]["adapted_to"], after.uns["cellmemory"]["adapted_to"]) == ("", "unseen_type")
    assert before.uns["cellmemory"]["model_digest"] == after.uns["cellmemory"]["model_digest"]
    assert "adapted to the cells of 'unseen_type'" in (adapted / "model_card.md").read_text()
    for name in ("labels.tsv", "panel.tsv", "history.tsv", "calibration.json"):
        assert (adapted / name).read_bytes() == (model / name).read_bytes(), name
    assert json.loads((adapted / "config.json").read_text())["adapted_from"] == bundle.load(model).config["digest"]
    # Contributions are those of the model that mapped the cells: the trained one is refused.
    tags = ("--tags", tmp_path / "tags.tsv", "--slot_tags", tmp_path / "slots.tsv")
    (sentence,) = refused("extract_tags", "--mapped", tmp_path / "after.h5ad", "--model", model, *tags)
    assert "another model" in sentence
    (sentence,) = refused("adapt", "--query", query, "--model", adapted, "--output", tmp_path / "twice", *RUNTIME)
    assert "is adapted to 'unseen_type' already" in sentence
    assert not (tmp_path / "twice").exists()


def test_a_query_without_counts_is_refused(model, aligned, tmp_path):
    cells = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[:3].copy()
    cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
    cells.obs = pd.DataFrame(index=cells.obs_names)
    cells.write_h5ad(tmp_path / "empty.h5ad")
    (sentence,) = refused("adapt", "--query", tmp_path / "empty.h5ad", "--model", model, "--output", tmp_path / "out", *RUNTIME)
    assert "no cell expresses a gene" in sentence
