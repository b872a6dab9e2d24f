"""What labels lose where a part of the panel was measured: the held-out cells are asked with fewer and fewer genes."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from cellmemory.reference.coverage import SHARES, accuracy_by_coverage, expected_accuracy


def test_cells_are_right_as_long_as_the_gene_that_decides_is_measured():
    """One gene of ten tells the second label; without it every cell is taken for the first, which half of them are."""
    truth = np.arange(40) % 2
    cells = np.ones((40, 10), np.float32)
    cells[:, 3] = truth
    asked = []

    def logits(seen: sp.csr_matrix, measured: np.ndarray) -> np.ndarray:
        assert (seen.toarray()[:, ~measured] == 0).all()
        asked.append(measured)
        return np.stack([np.full(40, 0.5), seen.toarray()[:, 3]], 1)

    found = accuracy_by_coverage(logits, sp.csr_matrix(cells), truth, 0)
    assert [share for share, _ in found] == list(SHARES)
    assert [accuracy for _, accuracy in found] == [1.0 if measured[3] else 0.5 for measured in asked]
    assert [measured.sum() for measured in asked] == [10, 9, 8, 5, 2, 1]
    for larger, smaller in itertools.pairwise(asked):
        assert (larger | ~smaller).all(), "a smaller panel is a part of the larger one"


def test_between_the_shares_that_were_tried_it_is_interpolated():
    tried = [(1.0, 0.9), (0.5, 0.8), (0.1, 0.4)]
    assert expected_accuracy(tried, 0.75) == pytest.approx(0.85)
    assert expected_accuracy(tried, 0.01) == 0.4


def test_a_trained_model_knows_what_fewer_genes_cost(model: Path):
    calibration = json.loads((model / "calibration.json").read_text())
    share, accuracy = np.array(calibration["panel_accuracy"]).T
    assert share.tolist() == list(SHARES)
    assert accuracy[0] == pytest.approx(calibration["validation_accuracy"], abs=1e-4)
    assert accuracy[0] > accuracy[-1] + 0.1
