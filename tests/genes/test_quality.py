"""The quality of cells: what is counted, of which genes, and what cannot be told."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellmemory.genes.matching import match_genes
from cellmemory.genes.quality import QUALITY, quality_of
from tests.conftest import succeed
from tests.genes.test_alignment import GENES, IDS, OTHERS, panel_table

MITO_ID = "ENSG00000198804"
COUNTS = np.array([[1, 0, 3, 4], [0, 0, 0, 0], [2, 2, 0, 0]], np.float32)


def measured(names: list[str], values: np.ndarray = COUNTS, scale: str = "counts", **columns: list[str]) -> np.ndarray:
    var = pd.DataFrame(columns, index=pd.Index(names, dtype=object))
    match = match_genes(var, panel_table(), None, {}, where="query")
    return quality_of(var, match, scale, where="query")(sp.csr_matrix(values))


@pytest.mark.parametrize("name", ["MT-CO1", "mt-Co1", "MT.CO1", MITO_ID, f"{MITO_ID}.2", "GRCh38_MT-CO1", f"MT-CO1_{MITO_ID}"])
def test_counts_genes_and_mitochondrial_share(name: str):
    found = measured(["CD3E", "CD19", "MALAT1", name])
    np.testing.assert_allclose(found, [[8, 3, 0.5], [0, 0, np.nan], [4, 2, 0]])


def test_a_second_column_of_names_tells_mitochondrial_genes():
    found = measured([*IDS[:3], "ENSG99999999999"], gene_name=["CD3E", "CD19", "LYZ", "MT-CO1"])
    assert found[0].tolist() == [8, 3, 0.5]


def test_genes_whose_names_only_begin_alike_are_not_mitochondrial():
    assert np.isnan(measured(["CD3E", "CD19", "MTOR", "MT1G"])[:, 2]).all()


def test_antibodies_do_not_count():
    types = ["Gene Expression", "Gene Expression", "Antibody Capture", "Gene Expression"]
    assert measured(["CD3E", "CD19", "CD4", "MT-CO1"], feature_types=types)[0].tolist() == [5, 2, np.float32(0.8)]


@pytest.mark.parametrize(("scale", "base"), [("log1p", np.e), ("log2", 2)])
def test_logarithms_tell_shares_and_no_counts(scale: str, base: float):
    found = measured(["CD3E", "CD19", "LYZ", "MT-CO1"], np.log1p(COUNTS) / np.log(base), scale)
    np.testing.assert_allclose(found, [[np.nan, 3, 0.5], [np.nan, 0, np.nan], [np.nan, 2, 0]], rtol=1e-6)


def test_which_genes_are_expressed_tells_no_share():
    assert np.isnan(measured(["CD3E", "CD19", "LYZ", "MT-CO1"], COUNTS > 0, "binary")[:, [0, 2]]).all()


@pytest.mark.parametrize("twice", [False, True])
def test_a_query_keeps_the_quality_of_its_cells(twice: bool, tmp_path):
    """Of all genes of its file, not of the panel's. twice: each value in two halves, which both count for its gene."""
    values = np.random.default_rng(0).poisson(2, (7, 13)).astype(np.float32)
    names = [*GENES, *OTHERS, "MT-CO1"]
    stored = sp.csr_matrix(values)
    if twice:
        parts = (np.repeat(stored.data / 2, 2), np.repeat(stored.indices, 2), stored.indptr * 2)
        stored = sp.csr_matrix(parts, values.shape)
    ad.AnnData(stored, var=pd.DataFrame(index=names)).write_h5ad(tmp_path / "query.h5ad")
    panel_table().to_csv(tmp_path / "panel.tsv", sep="\t", index=False)
    outputs = ("--output", tmp_path / "aligned.h5ad", "--alignment", tmp_path / "alignment.json")
    succeed("preprocess_query", "--query", tmp_path / "query.h5ad", "--panel", tmp_path / "panel.tsv", *outputs)
    found = ad.read_h5ad(tmp_path / "aligned.h5ad").obsm[QUALITY]
    total = values.sum(1)
    np.testing.assert_allclose(found, np.column_stack([total, (values > 0).sum(1), values[:, -1] / total]), rtol=1e-6)
