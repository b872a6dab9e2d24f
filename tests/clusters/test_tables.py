"""The tables of clusters on cells whose clusters are given: shares counted by hand, markers that were planted."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellmemory.clusters.markers import marker_table, named_markers
from cellmemory.clusters.summary import cluster_table, labels_of_clusters
from cellmemory.columns import CLUSTER_MARKER_COLUMNS

UNLIKE, LOW = ("unassigned", "unlike the reference"), ("unassigned", "low quality")
KNOWN, BETWEEN = ("assigned", ""), ("ambiguous", "a|b")


def obs_of(*cells: tuple[str, tuple[str, str]], donors: str = "") -> pd.DataFrame:
    """Columns of obs of cells, each a label, and a status with its reason."""
    obs = pd.DataFrame([(label, *status) for label, status in cells], columns=["label", "status", "reason"])
    obs = obs.add_prefix("cellmemory_").astype("category").assign(cellmemory_confidence=0.5)
    return obs.assign(donor=pd.Categorical(list(donors))) if donors else obs


def test_shares_are_counted_by_hand():
    obs = obs_of(("a", KNOWN), ("a", BETWEEN), ("b", UNLIKE), ("a", LOW), ("b", KNOWN), donors="xyxxy")
    places = np.array([[0, 0], [1, 5], [2, 1], [9, 2], [7, 7]])
    table = cluster_table(
        obs,
        np.array([0, 0, 0, 0, 1]),
        ["1", "2"],
        excess=np.full(2, np.nan),
        kept=np.full(2, np.nan),
        batch_key="donor",
        places=places,
    )
    assert table["cluster"].tolist() == ["1", "2"]
    assert table["n_cells"].tolist() == [4, 1]
    assert table["label"].tolist() == ["a", "b"]
    shares = table[["label_share", "confidence", "assigned", "ambiguous", "unlike", "low_quality"]].to_numpy()
    assert shares.tolist() == [[0.75, 0.5, 0.25, 0.25, 0.25, 0.25], [1, 0.5, 1, 0, 0, 0]]
    assert [json.loads(text) for text in table["batches"]] == [{"x": 3, "y": 1}, {"y": 1}]
    assert table[["umap_1", "umap_2"]].to_numpy().tolist() == [[1.5, 1.5], [7, 7]]
    assert table["candidate"].tolist() == ["no", "no"]


def test_without_batches_and_a_map_these_are_empty():
    table = cluster_table(
        obs_of(("a", KNOWN)), np.array([0]), ["1"], excess=np.array([np.nan]), kept=np.array([np.nan]), batch_key="", places=None
    )
    assert table["batches"].tolist() == [""]
    assert table[["umap_1", "umap_2"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("unlike", "low", "known", "found"),
    [(5, 0, 15, "yes"), (5, 0, 16, "no"), (4, 0, 0, "no"), (4, 9, 3, "no"), (30, 0, 0, "yes")],
)
def test_a_candidate_has_a_quarter_and_five_cells_that_are_unlike_the_reference(unlike, low, known, found):
    obs = obs_of(*[("a", UNLIKE)] * unlike, *[("a", LOW)] * low, *[("a", KNOWN)] * known)
    table = cluster_table(
        obs, np.zeros(len(obs), int), ["1"], excess=np.array([np.nan]), kept=np.array([np.nan]), batch_key="", places=None
    )
    assert table["candidate"].tolist() == [found]
    assert labels_of_clusters(table) == ["(perhaps new)" if found == "yes" else "a"]


@pytest.mark.parametrize(("excess", "n", "found"), [(2.5, 10, "yes"), (2.4, 10, "no"), (9, 9, "no"), (np.nan, 10, "no")])
def test_so_has_one_whose_genes_are_in_excess(excess, n, found):
    table = cluster_table(
        obs_of(*[("a", KNOWN)] * n),
        np.zeros(n, int),
        ["1"],
        excess=np.array([excess]),
        kept=np.array([0.7]),
        batch_key="",
        places=None,
    )
    assert table["candidate"].tolist() == [found]


@pytest.mark.parametrize(("unlike", "kept", "found"), [(0, 0.8, "state"), (0, 0.75, "yes"), (0, np.nan, "yes"), (5, 1, "yes")])
def test_with_the_markers_of_its_label_it_is_a_state(unlike, kept, found):
    obs = obs_of(*[("a", UNLIKE)] * unlike, *[("a", KNOWN)] * (20 - unlike))
    table = cluster_table(obs, np.zeros(20, int), ["1"], excess=np.array([5]), kept=np.array([kept]), batch_key="", places=None)
    assert table["candidate"].tolist() == [found]
    assert labels_of_clusters(table) == ["(perhaps new)" if found == "yes" else "a"]


@pytest.fixture
def cells() -> tuple[sp.csr_matrix, np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Three clusters of 40 cells; gene 0 is high in the first, 1 in the second, 2 in first and second, 3 nowhere. The first was
    called b, as the second was, and is unlike the reference."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 40)
    rates = np.array([[9, 0.5, 9, 0.5, 1], [0.5, 9, 9, 0.5, 1], [0.5, 0.5, 0.5, 0.5, 1]])
    values = sp.csr_matrix(np.log1p(rng.poisson(rates[codes])).astype(np.float32))
    obs = obs_of(*[("b", UNLIKE)] * 40, *[("b", KNOWN)] * 40, *[("c", KNOWN)] * 40)
    return (
        values,
        codes,
        obs,
        cluster_table(obs, codes, ["1", "2", "3"], excess=np.full(3, np.nan), kept=np.full(3, np.nan), batch_key="", places=None),
    )


def test_markers_are_what_sets_clusters_apart(cells):
    values, codes, obs, clusters = cells
    found = marker_table(values, codes, obs, clusters, genes=list("ABCDE"), top=20)
    assert found.columns.tolist() == CLUSTER_MARKER_COLUMNS
    general = found[found["against"] == "(all other cells)"]
    assert {name: set(part["gene"]) for name, part in general.groupby("cluster")} == {"1": {"A", "C"}, "2": {"B", "C"}}
    first = found.set_index(["cluster", "against", "gene"]).loc["1", "(all other cells)", "A"]
    counts = np.expm1(values.toarray()[:, 0])
    assert first["expression_log2_change"] == pytest.approx(np.log2((counts[:40].mean() + 1) / (counts[40:].mean() + 1)), 1e-5)
    assert first["fraction_expressing"] == pytest.approx((counts[:40] > 0).mean())
    assert first["fraction_expressing_other"] == pytest.approx((counts[40:] > 0).mean())
    assert (first["n_cells"], first["n_cells_other"]) == (40, 80)


def test_a_candidate_is_compared_with_the_assigned_cells_of_its_label(cells):
    values, codes, obs, clusters = cells
    found = marker_table(values, codes, obs, clusters, genes=list("ABCDE"), top=20)
    special = found[found["against"] == "b"]
    assert set(special["cluster"]) == {"1"}
    assert special["gene"].tolist() == ["A"]
    assert special["n_cells_other"].tolist() == [40]
    names = named_markers(clusters, found)
    assert names[1] == ["A", "", ""]
    assert [set(text.split(";")) for text in names[0]] == [{"A", "C"}, {"B", "C"}, {""}]


def test_fewer_than_ten_cells_of_a_label_are_not_compared_with(cells):
    values, codes, obs, clusters = cells
    kept = np.flatnonzero((codes != 1) | (np.cumsum(codes == 1) <= 9))
    found = marker_table(values[kept], codes[kept], obs.iloc[kept], clusters, genes=list("ABCDE"), top=20)
    assert set(found["against"]) == {"(all other cells)"}


def test_top_limits_each_comparison(cells):
    values, codes, obs, clusters = cells
    found = marker_table(values, codes, obs, clusters, genes=list("ABCDE"), top=1)
    assert found.groupby(["cluster", "against"]).size().tolist() == [1, 1, 1]
    assert found["rank"].tolist() == [1, 1, 1]
