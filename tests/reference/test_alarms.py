"""A query that differs as a whole is told so, one like the reference is not."""

from pathlib import Path

import anndata as ad
import numpy as np
import scipy.sparse as sp

from cellmemory.reference.alarms import alarms, silent_genes, usual_share
from tests.conftest import succeed

RNG = np.random.default_rng(0)
UNIFORM = (np.arange(1000) + 1) / 1000
NONE = np.zeros(200, bool)
EVERY, HALF = np.ones(200, bool), np.arange(200) < 90


def test_a_query_like_the_reference_raises_no_alarm():
    expressed = RNG.integers(20, 60, 1000)
    assert alarms(UNIFORM, 0.05, expressed=expressed, measured=EVERY, silent=NONE, usual=usual_share(expressed, 200)) == []


def test_each_difference_is_told_with_its_figures():
    expressed = np.full(1000, 40)
    usual = (0.1, 0.3)
    (far,) = alarms(np.where(UNIFORM <= 0.4, 0.01, UNIFORM), 0.05, expressed=expressed, measured=EVERY, silent=NONE, usual=usual)
    assert far.startswith("40% of the cells are far from the reference (novelty p < 0.05;")
    (few,) = alarms(UNIFORM, 0.05, expressed=expressed // 3, measured=HALF, silent=NONE, usual=usual)
    assert few.startswith("Only 45% of the panel's 200 genes were measured")
    (shallow,) = alarms(UNIFORM, 0.05, expressed=expressed // 4, measured=EVERY, silent=NONE, usual=usual)
    assert "express fewer genes than the reference's: half of them 5% of the measured genes or less" in shallow
    (deep,) = alarms(UNIFORM, 0.05, expressed=expressed * 4, measured=EVERY, silent=NONE, usual=usual)
    assert "express more genes than the reference's: half of them 80%" in deep


def test_genes_that_are_zero_everywhere_are_told():
    """Two labels: the first expresses all genes, the second those from 50 on."""
    levels = np.array([np.full(200, 0.5), np.where(np.arange(200) < 50, 0, 0.5)])
    expressing = np.where(np.arange(200) % 4 == 0, 0, 500)
    assert silent_genes(np.array([1000, 0]), expressing, levels).sum() == 50
    assert silent_genes(np.array([0, 1000]), expressing, levels).sum() == 37
    # Few cells, or a hundredth of the depth, say nothing of a gene.
    assert not silent_genes(np.array([30, 0]), expressing // 50, levels).any()
    assert not silent_genes(np.array([1000, 0]), expressing // 100, levels).any()
    silent = silent_genes(np.array([1000, 0]), expressing, levels)
    (found,) = alarms(UNIFORM, 0.05, expressed=np.full(1000, 40), measured=EVERY, silent=silent, usual=(0.1, 0.3))
    assert found.startswith("50 of the 200 measured genes are 0 in every cell, though cells of these labels express them")


def test_a_file_that_was_filled_up_with_zeros_is_told_so(model: Path, aligned: Path, tmp_path: Path):
    cells = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")
    keep = np.arange(cells.n_vars) % 4 > 0
    cells.X = sp.csr_matrix(cells.X.multiply(keep))
    cells.write_h5ad(tmp_path / "q.h5ad")
    told = {
        path: "measured genes are 0 in every cell" in succeed(
            "map_query", "--query", path, "--model", model, "--output", tmp_path / "m.h5ad", "--labels", tmp_path / "m.csv",
            "--threads", 1)
        for path in (tmp_path / "q.h5ad", aligned / "unseen_type.aligned.h5ad")
    }  # fmt: skip
    assert list(told.values()) == [True, False]


def test_the_usual_share_holds_nine_tenths_of_the_cells():
    low, high = usual_share(np.arange(1000), 1000)
    assert np.isclose((low, high), (0.05, 0.95), atol=0.001).all()
