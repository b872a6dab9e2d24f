"""The reference's own cells in a query: counted, and said to be worth nothing."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from cellmemory.reference import trained_model
from cellmemory.reference.alarms import unlearned
from cellmemory.reference.fingerprints import count_known, fingerprints
from tests.conftest import DATA, succeed


@given(st.integers(0, 1000), st.permutations(range(6)))
def test_a_cell_is_told_wherever_it_stands(seed, order):
    rng = np.random.default_rng(seed)
    rows = sp.random(6, 9, 0.5, "csr", np.float32, rng=rng)
    rows.sort_indices()
    names = np.array([f"c{i}" for i in range(6)], object)
    found = fingerprints(names, rows)
    np.testing.assert_array_equal(fingerprints(names[order], rows[order]), found[order])
    held = np.diff(rows.indptr) > 0
    assert (found[~held] == 0).all()
    assert count_known(found, np.sort(found)) == held.sum()
    assert count_known(fingerprints(names + "x", rows), np.sort(found)) == 0
    rows.data += 1
    assert count_known(fingerprints(names, rows), np.sort(found)) == 0


def test_the_references_own_cells_are_counted(model, aligned, tmp_path):
    reference, query = ad.read_h5ad(DATA / "reference.h5ad"), ad.read_h5ad(DATA / "unseen_type.h5ad")
    own = reference[:30].copy()
    own.obs = own.obs.rename(columns={"cell_type": "author_label"})
    ad.concat([query, own]).write_h5ad(tmp_path / "q.h5ad")
    panel = ("--panel", aligned / "panel.tsv", "--truth_key", "author_label")
    succeed("preprocess_query", "--query", "q.h5ad", *panel, "--output", "a.h5ad", "--alignment", "a.json", folder=tmp_path)
    said = succeed("map_query", "--query", "a.h5ad", "--model", model, "--output", "m.h5ad", "--labels", "l.csv", folder=tmp_path)
    sentence = f"30 of the {len(query) + 30} cells are the reference's own (same name, same values)"
    assert f"Warning: {sentence}" in said
    assert any(sentence in alarm for alarm in ad.read_h5ad(tmp_path / "m.h5ad").uns["cellmemory"]["alarms"])
    said = succeed("evaluate", "--mapped", "m.h5ad", "--model", model, "--truth_key", "author_label", "--output", "e.json",
                   folder=tmp_path)  # fmt: skip
    assert f"Warning: {sentence}" in said


def test_a_reference_whose_labels_are_shuffled_cannot_be_learned(tmp_path):
    """Log and model card say so; the report's first section reads the same sentence."""
    cells = ad.read_h5ad(DATA / "reference.h5ad")
    rng = np.random.default_rng(0)
    cells.obs["cell_type"] = rng.choice(["A", "B"], cells.n_obs, p=[0.7, 0.3])
    cells.write_h5ad(tmp_path / "r.h5ad")
    succeed("preprocess_reference", "--reference", "r.h5ad", "--label_key", "cell_type", "--n_genes", 100, "--output", "a.h5ad",
            "--panel", "p.tsv", folder=tmp_path)  # fmt: skip
    said = succeed("train", "--reference", "a.h5ad", "--panel", "p.tsv", "--label_key", "cell_type", "--output", "m",
                   "--max_epochs", 2, "--threads", 1, folder=tmp_path)  # fmt: skip
    assert "Warning: This reference cannot be learned" in said
    assert "This reference cannot be learned" in (tmp_path / "m" / "model_card.md").read_text()


@pytest.mark.parametrize(("accuracy", "commonest", "n"), [(0.4, 0.4, 1), (0.3, 0.4, 1), (0.41, 0.4, 0)])
def test_what_cannot_be_learned(model, accuracy, commonest, n):
    calibration = replace(trained_model.load(model).calibration, validation_accuracy=accuracy, commonest_share=commonest)
    assert len(unlearned(calibration, "type")) == n
