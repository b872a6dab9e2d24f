"""A query that differs as a whole is told so, one like the reference is not."""

from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from cellmemory.reference.alarms import QueryFigures, alarms, silent_genes, usual_share
from tests.conftest import succeed

RNG = np.random.default_rng(0)
UNIFORM = (np.arange(1000) + 1) / 1000
NONE = np.zeros(200, bool)
EVERY, HALF = np.ones(200, bool), np.arange(200) < 90
LIKE = QueryFigures(UNIFORM, np.full(1000, 40), EVERY, NONE, {"a": 600, "b": 400, "c": 0}, 0.4)


def told(usual: tuple[float, float] = (0.1, 0.3), **other) -> list[str]:
    """The alarms of a query that is like the reference but for this."""
    return alarms(replace(LIKE, **other), novelty_alpha=0.05, usual=usual)


def test_a_query_like_the_reference_raises_no_alarm():
    expressed = RNG.integers(20, 60, 1000)
    assert told(usual_share(expressed, 200), expressed=expressed) == []


def test_each_difference_is_told_with_its_figures():
    (far,) = told(novelty_p=np.where(UNIFORM <= 0.4, 0.01, UNIFORM))
    assert far.startswith("40% of the cells are far from the reference (novelty p < 0.05;")
    (few,) = told(expressed=LIKE.expressed // 3, measured=HALF)
    assert few.startswith("Only 45% of the panel's 200 genes were measured")
    (shallow,) = told(expressed=LIKE.expressed // 4)
    assert "express fewer genes than the reference's: half of them 5% of the measured genes or less" in shallow
    (deep,) = told(expressed=LIKE.expressed * 4)
    assert "express more genes than the reference's: half of them 80%" in deep


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"labelled": {"a": 960, "b": 40}}, "96% of the cells got one label, 'a': either they were sorted"),
        ({"labelled": {"a": 940, "b": 60}}, None),
        ({"labelled": {"a": 49, "b": 0}}, None),
        ({"labelled": {"a": 1000}}, None),
        ({"weaker": None}, None),
        ({"weaker": 1.2}, "(by 1.2 standard deviations): another technology, condition or species"),
        ({"weaker": 3.0}, "(by 3.0 standard deviations, more than batches of one tissue differ)"),
    ],
)
def test_a_query_of_one_label_or_with_less_evidence_is_told(other, words):
    assert [words in sentence for sentence in told(**other)] == ([True] if words else [])


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
    (found,) = told(silent=silent)
    assert found.startswith("50 of the 200 measured genes are 0 in every cell, though cells of these labels express them")


def test_a_file_that_was_filled_up_with_zeros_is_told_so(model: Path, aligned: Path, tmp_path: Path):
    cells = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")
    keep = np.arange(cells.n_vars) % 4 > 0
    cells.X = sp.csr_matrix(cells.X.multiply(keep))
    cells.write_h5ad(tmp_path / "q.h5ad")
    said = {
        path: "measured genes are 0 in every cell" in succeed(
            "map_query", "--query", path, "--model", model, "--output", tmp_path / "m.h5ad", "--labels", tmp_path / "m.csv",
            "--threads", 1)
        for path in (tmp_path / "q.h5ad", aligned / "unseen_type.aligned.h5ad")
    }  # fmt: skip
    assert list(said.values()) == [True, False]


def test_the_usual_share_holds_nine_tenths_of_the_cells():
    low, high = usual_share(np.arange(1000), 1000)
    assert np.isclose((low, high), (0.05, 0.95), atol=0.001).all()
