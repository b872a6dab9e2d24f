"""Values that come in any order are read by rows, whatever the number of blocks that they lie in on disk meanwhile."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmemory.cells import matrices
from cellmemory.cells.matrices import SpooledRows
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError
from tests.conftest import DATA
from tests.io.test_disk_full import limited


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 120), st.integers(1, 40), st.data())
def test_rows_are_those_of_the_whole_matrix(n_cells, n_genes, n_values, per_block, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    entries = rng.integers(0, n_cells, n_values), rng.integers(0, n_genes, n_values), rng.random(n_values).astype(np.float32)
    cut = data.draw(st.integers(0, n_values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "BLOCK_VALUES", per_block)
        patch.setattr(matrices, "MOST_BLOCKS", data.draw(st.integers(1, 8)))
        parts = ([each[:cut] for each in entries], [each[cut:] for each in entries])
        found = SpooledRows(parts, n_values, "X", shape=(n_cells, n_genes))
    whole = sp.csr_matrix((entries[2], entries[:2]), (n_cells, n_genes))
    assert found.count() == whole.nnz
    start = data.draw(st.integers(0, n_cells - 1))
    stop = data.draw(st.integers(start, n_cells))
    for first, last in ((start, stop), (0, n_cells), (0, start)):
        rows = found.rows(first, last)
        assert rows.shape == (last - first, n_genes)
        assert rows.has_canonical_format
        np.testing.assert_allclose(rows.toarray(), whole[first:last].toarray(), rtol=1e-6)
    found.close()


@pytest.fixture
def by_genes(tmp_path):
    """A file of 400 cells with CSC, and its values."""
    values = sp.random(400, 50, 0.3, "csc", np.float32, np.random.default_rng(0))
    ad.AnnData(values).write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad", values.tocsr()


@pytest.mark.parametrize("per_block", [1, 100, 3_000, 8_000_000])
def test_a_matrix_stored_by_genes_is_read_by_cells(by_genes, per_block, monkeypatch):
    path, values = by_genes
    monkeypatch.setattr(matrices, "BLOCK_VALUES", per_block)
    with CellFile(path) as file:
        read = sp.vstack([rows for _, rows in file.chunks("X", 70)], format="csr")
    assert (read != values).nnz == 0
    assert read.nnz == values.nnz


def test_where_no_temporary_file_can_be_written_a_sentence_says_so(by_genes, monkeypatch):
    path, _ = by_genes
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/nowhere"])
    with CellFile(path) as file, pytest.raises(InputError, match=r"no room for the values of X, .*\. Set TMPDIR to a folder"):
        file.rows("X", 0, 10)


def test_a_full_disk_is_named_and_not_the_file(aligned, tmp_path):
    query = ad.read_h5ad(DATA / "unseen_type.h5ad")
    query.X = query.X.tocsc()
    query.write_h5ad(tmp_path / "by_genes.h5ad")
    run = limited(40, "preprocess_query", "--query", tmp_path / "by_genes.h5ad", "--panel", aligned / "panel.tsv",
                  "--output", tmp_path / "a.h5ad", "--alignment", tmp_path / "a.json")  # fmt: skip
    assert run.returncode == 1, run.stderr
    (sentence,) = [line for line in run.stderr.splitlines() if line.startswith("Error")]
    assert "has no room for the values of X, which have to be put in order (0.0 GB). Set TMPDIR" in sentence
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "a.h5ad").exists()
