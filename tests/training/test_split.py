"""The split of a reference: which cells train and validate, which of them each of several devices reads, and how."""

import anndata as ad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmemory.cells.reading import CellFile
from cellmemory.training.aligned_reference import ReferenceFiles
from cellmemory.training.settings import Devices, TrainingSettings
from cellmemory.training.split import split_reference

references = st.lists(st.integers(2, 40), min_size=1, max_size=6).map(lambda sizes: np.repeat(np.arange(len(sizes)), sizes))


@given(references, st.integers(1, 5), st.integers(0, 99))
def test_devices_divide_the_training_cells_and_nothing_else(labels, devices, seed):
    labels = np.random.default_rng(seed).permutation(labels)
    of_each = [split_reference(labels, None, seed, rank=rank, devices=devices) for rank in range(devices)]
    own = [split.rows[split.training] for split in of_each]
    training, validation = of_each[0].all_training, of_each[0].all_validation
    assert (np.unique(np.concatenate(own)) == training).all()
    assert (np.union1d(training, validation) == np.arange(len(labels))).all()
    assert not np.intersect1d(training, validation).size
    for split, cells in zip(of_each, own, strict=True):
        assert (split.rows[split.validation] == validation).all()
        assert (split.rows[split.warm_start] == of_each[0].rows[of_each[0].warm_start]).all()
        counts = np.bincount(labels[training])
        expected = np.where(counts < devices, counts, counts / devices)
        assert (np.abs(np.bincount(labels[cells], minlength=len(counts)) - expected) < 1).all(), "every label in equal parts"


@given(references, st.integers(0, 99))
def test_one_device_reads_everything(labels, seed):
    split = split_reference(labels, None, seed)
    assert (split.rows == np.arange(len(labels))).all()
    assert (split.rows[split.training] == split.all_training).all()
    assert (split.kept == split.training).all(), "few cells are all kept"


def test_a_split_grows_with_the_reference_by_its_part_alone(monkeypatch):
    """What all devices read, for the warm start and to validate, is bounded."""
    monkeypatch.setattr("cellmemory.training.split.LINEAR_CELLS", 100)
    monkeypatch.setattr("cellmemory.training.split.MAX_VALIDATION", 50)
    labels = np.arange(6_000) % 3
    rows = [len(split_reference(labels[:n], None, 0, rank=1, devices=4).rows) for n in (2_000, 4_000, 6_000)]
    assert np.abs(np.diff(rows) - 500).max() < 30
    assert rows[0] < 2_000 / 4 + 150


@pytest.mark.parametrize("mode", ["fast", "full"])
def test_a_reference_is_read_alike_in_chunks_of_any_size(aligned, monkeypatch, mode):
    source = ReferenceFiles(aligned / "reference.h5ad", aligned / "panel.tsv")
    settings = TrainingSettings("cell_type", mode=mode)
    whole = source.read(settings, Devices())
    stored = ad.read_h5ad(aligned / "reference.h5ad").X
    assert (whole.expressed == np.diff(stored.indptr)).all()
    assert (whole.kept_values != stored[whole.split.kept]).nnz == 0
    assert (whole.validation_values != stored[whole.split.validation]).nnz == 0
    monkeypatch.setattr(CellFile.chunks, "__defaults__", (7,))
    parts = source.read(settings, Devices())
    for name in ("start", "gene", "bin", "sqrt_share"):
        np.testing.assert_array_equal(getattr(parts.cells.tokens, name), getattr(whole.cells.tokens, name), strict=True)
    assert (parts.kept_values != whole.kept_values).nnz == 0
    assert (parts.validation_values != whole.validation_values).nnz == 0
