"""Whatever a query's file looks like, the same cells give the same aligned matrix."""

import json
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmemory.errors import InputError
from cellmemory.genes.align import make_aligner
from cellmemory.genes.matching import match_genes
from cellmemory.genes.names import expression_rows, normalise, read_gene_map
from cellmemory.genes.values import value_scale
from tests.conftest import refused, succeed

GENES = ["CD3E", "CD19", "LYZ", "NKG7", "MS4A1", "GNLY", "PPBP", "CST3", "IL7R", "CD14"]
IDS = [f"ENSG{n:011d}" for n in range(1, len(GENES) + 1)]
OTHERS = ["XIST", "MALAT1"]


def panel_table() -> pd.DataFrame:
    n = len(GENES)
    return pd.DataFrame({"gene": GENES, "rank": range(1, n + 1), "mean": 1.0, "dispersion": 1.0, "source_id": IDS})


@pytest.fixture
def panel(tmp_path: Path) -> Path:
    panel_table().to_csv(tmp_path / "panel.tsv", sep="\t", index=False)
    return tmp_path / "panel.tsv"


def counts(seed: int = 0) -> sp.csr_matrix:
    return sp.csr_matrix(np.random.default_rng(seed).poisson(2, (7, len(GENES) + len(OTHERS))).astype(np.float32))


def write(path: Path, values, names, layers=None, raw=None, var=None, **kwargs) -> Path:
    table = pd.DataFrame(index=pd.Index(names, dtype=object)) if var is None else var.set_axis(names)
    data = ad.AnnData(values, var=table, layers=layers, **kwargs)
    data.obs_names = [f"cell{i}" for i in range(data.n_obs)]
    data.raw = raw
    data.write_h5ad(path)
    return path


def align(query: Path, panel: Path, *options: object) -> tuple[np.ndarray, dict]:
    out = query.with_suffix("")
    aligned, summary = f"{out}.aligned.h5ad", f"{out}.alignment.json"
    succeed("preprocess_query", "--query", query, "--panel", panel, "--output", aligned, "--alignment", summary, *options)
    data = ad.read_h5ad(aligned)
    assert data.var_names.tolist() == GENES
    return data.X.toarray(), json.loads(Path(summary).read_text())


def expected(values: sp.csr_matrix) -> np.ndarray:
    """log1p of counts per 10,000 of all genes, over the panel's genes."""
    dense = values.toarray().astype(float)
    return np.log1p(dense / dense.sum(1, keepdims=True) * 1e4)[:, : len(GENES)]


def as_permuted(values, rng):
    order = rng.permutation(values.shape[1])
    return values[:, order], np.array(GENES + OTHERS)[order], []


def as_versioned_ids(values, rng):
    return values, [f"{i}.{rng.integers(1, 20)}" for i in IDS] + OTHERS, []


def as_mapped_aliases(values, rng):
    return values, [f"alias{i}" for i in range(len(GENES))] + OTHERS, ["map"]


def as_split_duplicates(values, rng):
    dense = values.toarray()
    part = np.floor(dense[:, :3] / 2)
    rest = dense.copy()
    rest[:, :3] -= part
    return sp.csr_matrix(np.hstack([rest, part])), [*GENES, *OTHERS, *GENES[:3]], []


def as_other_case(values, rng):
    return values, [g.capitalize() for g in GENES] + OTHERS, []


@pytest.mark.parametrize("form", [as_permuted, as_versioned_ids, as_mapped_aliases, as_split_duplicates, as_other_case])
def test_no_spelling_of_the_genes_changes_the_values(form, panel, tmp_path):
    values = counts()
    changed, names, options = form(values, np.random.default_rng(1))
    if options == ["map"]:
        lines = ["from\tto", *(f"alias{i}\t{g}" for i, g in enumerate(GENES))]
        (tmp_path / "map.tsv").write_text("\n".join(lines))
        options = ["--gene_map", tmp_path / "map.tsv"]
    found, summary = align(write(tmp_path / "query.h5ad", changed, names), panel, *options)
    np.testing.assert_allclose(found, expected(values), rtol=1e-5)
    assert summary["coverage"] == 1
    assert summary["summed"] == (3 if form is as_split_duplicates else 0)
    assert summary["unknown"] == len(OTHERS)


@pytest.mark.parametrize("column", ["feature_name", "Symbol", "Gene Symbol", "ID"])
def test_names_are_found_in_another_column(column, panel, tmp_path):
    var = pd.DataFrame({column: [*GENES, *OTHERS]})
    names = [f"row{i}" for i in range(len(var))]
    found, summary = align(write(tmp_path / "query.h5ad", counts(), names, var=var), panel)
    np.testing.assert_allclose(found, expected(counts()), rtol=1e-5)
    assert summary["gene_names_from"] == column


def test_row_numbers_do_not_name_a_reference_s_genes(tmp_path):
    names = [*GENES, *OTHERS]
    obs = pd.DataFrame({"type": ["a", "b"] * 3 + ["a"]}, index=[f"cell{i}" for i in range(7)])
    path = write(tmp_path / "r.h5ad", counts(), [str(i) for i in range(12)], var=pd.DataFrame({"Symbol": names}), obs=obs)
    succeed("preprocess_reference", "--reference", path, "--label_key", "type", "--output", tmp_path / "panelled.h5ad",
            "--panel", tmp_path / "panel.tsv")  # fmt: skip
    assert set(pd.read_csv(tmp_path / "panel.tsv", sep="\t")["gene"]) == set(names)


@pytest.mark.parametrize(
    ("genes", "others"),
    [
        (
            ["Gene Expression", "GEX", "rna", "gene_expression", "Genes", ""],
            ["Antibody Capture", "ADT", "Peaks", "Custom"],
        ),
        (["protein_coding", "lncRNA", "Mt_tRNA", "misc_RNA", "IG_C_gene", "TR_V_pseudogene", "TEC"], ["synthetic", "guide RNA"]),
    ],
    ids=["of assays", "of Ensembl"],
)
@pytest.mark.parametrize("column", ["feature_types", "feature_type"])
def test_types_of_features_in_their_spellings(column: str, genes: list[str], others: list[str]):
    found = expression_rows(pd.DataFrame({column: [*genes, *others]}), "a file")
    assert found.tolist() == [True] * len(genes) + [False] * len(others)
    with pytest.raises(InputError, match="no feature is gene expression"):
        expression_rows(pd.DataFrame({column: others}), "a file")


def test_antibodies_are_left_out_and_do_not_count_towards_the_total(panel, tmp_path):
    values = sp.csr_matrix(np.hstack([counts().toarray(), np.full((7, 1), 5000.0)]))
    var = pd.DataFrame({"feature_types": ["Gene Expression"] * 12 + ["Antibody Capture"]})
    found, summary = align(write(tmp_path / "query.h5ad", values, [*GENES, *OTHERS, "CD3_protein"], var=var), panel)
    np.testing.assert_allclose(found, expected(counts()), rtol=1e-5)
    assert summary["dropped_feature_types"] == 1


@pytest.mark.parametrize("kind", ["dense", "csc", "layer", "raw", "log1p", "log2", "linear", "per million"])
def test_values_are_found_wherever_they_are(kind, panel, tmp_path):
    values, names = counts(), [*GENES, *OTHERS]
    dense = values.toarray()
    scaled = (dense - dense.mean(0)).astype(np.float32)
    shares = (dense / dense.sum(1, keepdims=True)).astype(np.float32)
    path = tmp_path / "query.h5ad"
    if kind == "raw":
        write(path, scaled[:, :5], names[:5], raw=ad.AnnData(values, var=pd.DataFrame(index=names)))
    elif kind == "layer":
        write(path, scaled, names, layers={"counts": values})
    else:
        # No linear value is large: what they are is told by one count, two and three.
        of_kind = {"dense": dense, "csc": values.tocsc(), "log1p": np.log1p(1e4 * shares), "log2": np.log2(1 + 1e4 * shares)}
        write(path, (of_kind | {"linear": 10 * shares, "per million": 1e6 * shares})[kind], names)
    found, summary = align(path, panel)
    np.testing.assert_allclose(found, expected(values), rtol=1e-4)
    scales = {"log1p": "log1p", "log2": "log2", "linear": "linear", "per million": "linear"}
    assert summary["value_scale"] == scales.get(kind, "counts")
    assert summary["values_from"] == {"layer": "layers/counts", "raw": "raw"}.get(kind, "X")


def test_large_logarithms_are_of_base_2(panel, tmp_path):
    """Reads of genes of different lengths do not tell by their ratios; but no natural logarithm is that large."""
    lengths = np.random.default_rng(0).uniform(0.5, 5, 12)
    reads = counts().toarray() / lengths
    per_million = 1e6 * reads / reads.sum(1, keepdims=True)
    found, summary = align(write(tmp_path / "query.h5ad", np.log2(1 + per_million).astype(np.float32), [*GENES, *OTHERS]), panel)
    assert summary["value_scale"] == "log2"
    np.testing.assert_allclose(found, np.log1p(per_million)[:, : len(GENES)], rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 5), st.sampled_from(["log1p", "log2", "linear"]))
def test_scales_are_told(seed, scale, kind):
    """Of counts divided by any size factors, whatever genes a file keeps of them."""
    rng = np.random.default_rng(seed)
    values = rng.poisson(rng.gamma(0.5, 2, 60), (30, 60)) * scale / rng.lognormal(0, 0.3, (30, 1))
    written = {"log1p": np.log1p(values), "log2": np.log2(1 + values), "linear": values}[kind]
    cells = sp.csr_matrix(written.astype(np.float32))
    file = SimpleNamespace(n_cells=30, rows=lambda matrix, start, stop: cells[start:stop])
    assert value_scale(file, "X").name == kind


def test_a_log2_reference_has_the_panel_of_a_natural_one(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.poisson(rng.gamma(1, 2, (1, 40)) * rng.choice([0.3, 3], (60, 40)))
    shares = 1e4 * values / values.sum(1, keepdims=True)
    obs = pd.DataFrame({"type": np.repeat(["a", "b"], 30)}, index=[f"cell{i}" for i in range(60)])
    panels, matrices = [], []
    for name, logged in (("natural", np.log1p(shares)), ("two", np.log2(1 + shares))):
        path = write(tmp_path / f"{name}.h5ad", logged.astype(np.float32), [f"G{i}" for i in range(40)], obs=obs)
        succeed("preprocess_reference", "--reference", path, "--label_key", "type", "--n_genes", "20",
                "--output", tmp_path / f"{name}.panelled.h5ad", "--panel", tmp_path / f"{name}.tsv")  # fmt: skip
        panels.append(pd.read_csv(tmp_path / f"{name}.tsv", sep="\t", index_col="gene"))
        matrices.append(ad.read_h5ad(tmp_path / f"{name}.panelled.h5ad").to_df())
    # The variable genes are found in bins of the mean, whose edges rounding may move past a gene.
    genes = panels[0].index.intersection(panels[1].index)
    assert len(genes) >= 18
    np.testing.assert_allclose(panels[0]["mean"][genes], panels[1]["mean"][genes], rtol=1e-4)
    np.testing.assert_allclose(matrices[0][genes], matrices[1][genes], rtol=1e-4)


def test_rows_of_one_gene_are_summed_before_the_logarithm_when_the_panel_is_chosen(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.poisson(rng.gamma(1, 2, (1, 40)) * rng.choice([0.3, 3], (60, 40)))
    shares = 1e4 * values / values.sum(1, keepdims=True)
    obs = pd.DataFrame({"type": np.repeat(["a", "b"], 30)}, index=[f"cell{i}" for i in range(60)])
    names, panels = [f"G{i}" for i in range(40)], []
    parts = rng.uniform(0.2, 0.8, (1, 40))
    for name, linear, genes in (("once", shares, names), ("twice", np.hstack([parts * shares, (1 - parts) * shares]), names * 2)):
        path = write(tmp_path / f"{name}.h5ad", np.log1p(linear).astype(np.float32), genes, obs=obs)
        log = succeed("preprocess_reference", "--reference", path, "--label_key", "type", "--n_genes", "20",
                      "--output", tmp_path / f"{name}.panelled.h5ad", "--panel", tmp_path / f"{name}.tsv")  # fmt: skip
        assert ("40 genes were summed into another of their name." in log) == (name == "twice")
        panels.append(pd.read_csv(tmp_path / f"{name}.tsv", sep="\t", index_col="gene"))
    genes = panels[0].index.intersection(panels[1].index)
    assert len(genes) >= 18
    np.testing.assert_allclose(panels[0]["mean"][genes], panels[1]["mean"][genes], rtol=1e-4)


def test_scaled_values_are_refused(panel, tmp_path):
    dense = counts().toarray()
    query = write(tmp_path / "query.h5ad", (dense - dense.mean(0)).astype(np.float32), [*GENES, *OTHERS])
    sentence, = refused("preprocess_query", "--query", query, "--panel", panel, "--output", tmp_path / "o.h5ad",
                        "--alignment", tmp_path / "o.json")  # fmt: skip
    assert "negative values" in sentence
    assert str(query) in sentence
    assert not list(tmp_path.glob("*o.h5ad"))


def test_no_shared_gene_names_the_first_ids_of_both_sides(panel, tmp_path):
    names = [f"FBgn{i}" for i in range(12)]
    query = write(tmp_path / "query.h5ad", counts(), names)
    sentence, = refused("preprocess_query", "--query", query, "--panel", panel, "--output", tmp_path / "o.h5ad",
                        "--alignment", tmp_path / "o.json")  # fmt: skip
    for name in names[:5] + GENES[:5]:
        assert repr(name) in sentence


def test_a_sample_is_named_as_a_samplesheet_would(panel, tmp_path):
    """A given name is held to the rule; one that is made of a file's name fits it."""
    query = write(tmp_path / "my query (1).h5ad", counts(), [*GENES, *OTHERS])
    outputs = ("--output", tmp_path / "o.h5ad", "--alignment", tmp_path / "o.json")
    (sentence,) = refused("preprocess_query", "--query", query, "--sample", "a/b", "--panel", panel, *outputs)
    assert sentence.startswith("--sample is 'a/b'. A sample name may hold only letters, digits")
    succeed("preprocess_query", "--query", query, "--panel", panel, *outputs)
    assert json.loads((tmp_path / "o.json").read_text())["sample"] == "my_query__1_"


def test_missing_genes_are_not_measured(panel, tmp_path):
    query = write(tmp_path / "query.h5ad", counts()[:, 4:], [*GENES, *OTHERS][4:])
    _, summary = align(query, panel)
    data = ad.read_h5ad(tmp_path / "query.aligned.h5ad")
    assert data.var["measured"].tolist() == [False] * 4 + [True] * 6
    assert summary["missing_genes"] == GENES[:4]


def test_users_columns_and_coordinates_stay(panel, tmp_path):
    obs = pd.DataFrame({
        "text": ["a", "b", None, "c", "a", "b", "c"],
        "number": np.arange(7.0),
        "flag": [True] * 7,
        "mixed": [1, "two", 3, "four", 5, 6, 7],
    }, index=[f"cell{i}" for i in range(7)])  # fmt: skip
    obs["text"] = obs["text"].astype("category")
    obs["mixed"] = obs["mixed"].astype(str)
    spatial = np.arange(14.0).reshape(7, 2)
    align(write(tmp_path / "query.h5ad", counts(), [*GENES, *OTHERS], obs=obs, obsm={"spatial": spatial}), panel)
    data = ad.read_h5ad(tmp_path / "query.aligned.h5ad")
    pd.testing.assert_frame_equal(data.obs, obs, check_dtype=False, check_categorical=False, check_index_type=False)
    np.testing.assert_array_equal(data.obsm["spatial"], spatial)


def test_a_malformed_gene_map_names_its_lines(tmp_path):
    (tmp_path / "map.tsv").write_text("from\tto\nA\tB\nC\n\tD\n")
    with pytest.raises(InputError) as error:
        read_gene_map(tmp_path / "map.tsv")
    assert [p.split(": ")[1].split(" does not")[0] for p in error.value.problems] == ["line 3", "line 4"]


def test_a_name_that_leads_to_two_panel_genes_is_nobodys():
    var = pd.DataFrame(index=["both", "CD19"])
    match = match_genes(var, panel_table(), None, {"both": ("LYZ", "NKG7")}, where="query")
    assert match.target.tolist() == [-1, GENES.index("CD19")]


def test_versions_are_cut_from_ensembl_ids_alone():
    assert normalise(" ENSMUSG00000012345.7 ") == "ENSMUSG00000012345"
    assert normalise("RP11-206L10.2") == "RP11-206L10.2"


@settings(deadline=None)
@given(st.lists(st.sampled_from([*GENES, "nobody"]), min_size=1, max_size=20), st.integers(0, 9))
def test_sums_over_equal_names_whatever_the_order(names, seed):
    """Each panel column is log1p of the normalised sum of all rows of that name."""
    values = np.random.default_rng(seed).poisson(3, (4, len(names))).astype(np.float32)
    match = match_genes(pd.DataFrame(index=names), panel_table(), None, {}, where="query")
    aligner = make_aligner(match, len(GENES), "counts")
    found, empty = aligner(sp.csr_matrix(values))
    totals = values.sum(1)
    for column, gene in enumerate(GENES):
        summed = values[:, [n == gene for n in names]].sum(1)
        want = np.log1p(np.divide(summed, totals, out=np.zeros(4), where=totals > 0) * 1e4)
        np.testing.assert_allclose(found.toarray()[:, column], want, rtol=1e-5)
    assert empty.tolist() == (totals == 0).tolist()
