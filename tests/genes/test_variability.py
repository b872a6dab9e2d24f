"""Genes are chosen in passes over chunks of cells as scanpy chooses them with all cells in memory."""

from collections.abc import Iterator

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

from cellmemory.genes import reference_cells
from cellmemory.genes.choice import select_panel
from cellmemory.genes.variability import Chunk, Moments, by_dispersion, by_trend

N_CELLS, N_GENES, N_TOP = 900, 400, 120
CHUNK = 128


def made(seed: int, n_batches: int) -> ad.AnnData:
    """Counts of genes that vary between three types, in batches of different sizes and depths."""
    rng = np.random.default_rng(seed)
    programme = rng.lognormal(0, 0.7, (3, N_GENES)) * rng.gamma(0.6, 1.5, N_GENES)
    batch = rng.choice(n_batches, N_CELLS, p=np.arange(1, n_batches + 1) / sum(range(1, n_batches + 1)))
    rates = programme[rng.integers(0, 3, N_CELLS)] * rng.lognormal(0, 0.3, (n_batches, N_GENES))[batch]
    counts = rng.poisson(rates * rng.gamma(4, 0.25, (N_CELLS, 1)))
    counts[batch == 0, :3] = 0  # genes that a batch does not express
    obs = pd.DataFrame({"batch": pd.Categorical([f"b{b}" for b in batch])}, index=[f"c{i}" for i in range(N_CELLS)])
    cells = ad.AnnData(
        sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    )
    return cells[:, np.asarray(cells.X.sum(0)).ravel() > 0].copy()


def passes(cells: ad.AnnData, size: int = CHUNK):
    """A pass over the cells in chunks, of which each has its cells' batches."""
    codes = cells.obs["batch"].cat.codes.to_numpy(int)

    def one_pass() -> Iterator[Chunk]:
        for start in range(0, cells.n_obs, size):
            yield codes[start : start + size], cells.X[start : start + size]

    return one_pass


def moments(cells: ad.AnnData, size: int = CHUNK) -> Moments:
    return Moments.of(passes(cells, size)(), cells.obs["batch"].nunique(), cells.n_vars)


@pytest.mark.parametrize("n_batches", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_trend_orders_genes_as_scanpy_does(seed, n_batches):
    cells = made(seed, n_batches)
    found = by_trend(moments(cells), passes(cells), N_TOP)
    key = {"batch_key": "batch"} if n_batches > 1 else {}
    theirs = sc.pp.highly_variable_genes(cells, n_top_genes=N_TOP, flavor="seurat_v3", inplace=False, **key)
    chosen = theirs["highly_variable_nbatches"] if n_batches > 1 else pd.Series(0, theirs.index)
    rank = theirs["highly_variable_rank"].fillna(np.inf)
    order = np.lexsort((-theirs["variances_norm"], rank, -chosen))
    assert np.argsort(found["order"]).tolist() == order.tolist()
    np.testing.assert_allclose(found["mean"], theirs["means"], rtol=1e-9)
    np.testing.assert_allclose(found["dispersion"], theirs["variances_norm"], rtol=1e-9)


@pytest.mark.parametrize("n_batches", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_dispersions_order_genes_as_scanpy_does(seed, n_batches):
    cells = made(seed, n_batches)
    cells.X = cells.X.astype(np.float64)
    logged = cells.copy()
    logged.X = np.log1p(cells.X)
    key = {"batch_key": "batch"} if n_batches > 1 else {}
    theirs = sc.pp.highly_variable_genes(logged, n_top_genes=N_TOP, flavor="seurat", inplace=False, **key)
    theirs = theirs.set_axis(cells.var_names) if n_batches == 1 else theirs.reindex(cells.var_names)
    found = by_dispersion(moments(cells))
    score = -theirs["dispersions_norm"].fillna(-np.inf).to_numpy()
    assert np.argsort(found["order"]).tolist()[:N_TOP] == np.argsort(score, kind="stable").tolist()[:N_TOP]
    np.testing.assert_allclose(found["mean"], theirs["means"], rtol=1e-6)
    np.testing.assert_allclose(found["dispersion"], theirs["dispersions"], rtol=1e-6)


def test_the_size_of_chunks_changes_nothing():
    cells = made(0, 3)
    whole, parts = (by_trend(moments(cells, size), passes(cells, size), N_TOP) for size in (N_CELLS, 7))
    pd.testing.assert_frame_equal(whole, parts, check_exact=True)


def chosen(cells: ad.AnnData, *, logged: bool = False) -> tuple[list[str], list[str]]:
    """Genes of the panel, and what is said."""
    names = cells.obs["batch"].cat.categories.tolist()
    genes = pd.DataFrame({"gene": cells.var_names, "source_id": ""})
    panel, notes = select_panel(moments(cells), passes(cells), genes, batches=names, n_genes=N_TOP, logged=logged)
    return panel["gene"].tolist(), notes


@pytest.mark.parametrize("logged", [False, True])
def test_small_batches_are_left_out_of_the_choice(logged):
    cells = made(0, 3)
    cells.obs["batch"] = cells.obs["batch"].cat.add_categories(["tiny"])
    large = cells[1:].copy()
    large.obs["batch"] = large.obs["batch"].cat.remove_unused_categories()
    cells.obs.iloc[0, 0] = "tiny"
    found, (note,) = chosen(cells, logged=logged)
    assert "1 of 4 batches has too few cells to choose genes in (tiny: 1)" in note
    assert (found, [note]) == (chosen(large, logged=logged)[0], [note])


def test_batches_that_are_all_small_are_one_batch():
    cells = made(0, 1)
    alone, _ = chosen(cells)
    cells.obs["batch"] = pd.Categorical([f"b{i:04d}" for i in range(cells.n_obs)])
    found, (note,) = chosen(cells)
    assert "900 of 900 batches have too few cells" in note
    assert "genes are chosen in all cells as one batch" in note
    assert found == alone


def test_genes_too_few_for_a_trend_go_by_their_variance():
    cells = made(0, 1)[:, :6].copy()
    found, (note,) = chosen(cells)
    assert "genes are ordered by their variance" in note
    variances = np.asarray(cells.X.todense()).var(axis=0)
    assert found == cells.var_names[np.argsort(-variances, kind="stable")].tolist()


def test_of_very_many_batches_the_largest_have_a_say_and_all_others_one(monkeypatch):
    """A batch for each pair of cells took a table of batches x genes, gigabytes of a small file."""
    monkeypatch.setattr(reference_cells, "MOST_BATCHES", 3)
    of_cell = np.repeat(["a", "b", "c", "d", "e", "f"], [5, 1, 7, 2, 6, 1]).astype(object)
    names, codes = reference_cells._batches(of_cell)
    assert names.tolist() == ["a", "c", "e", "all others"]
    assert pd.Series(codes).groupby(of_cell).unique().map(list).to_dict() == {
        "a": [0],
        "b": [3],
        "c": [1],
        "d": [3],
        "e": [2],
        "f": [3],
    }
    assert reference_cells._batches(of_cell[:15])[0].tolist() == ["a", "b", "c", "d"], "as many as one more are no reason"
