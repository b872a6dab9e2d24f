"""cluster.py on real cells, a type of which the reference lacks, and what it refuses."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellmemory.cells import named_columns
from cellmemory.cells.reading import CellFile
from cellmemory.clusters import clustering
from cellmemory.clusters.clustering import Clustered, ClusterSettings, cluster_query
from cellmemory.columns import CLUSTER_COLUMNS
from cellmemory.errors import InputError
from cellmemory.io.samplesheet import Origin
from cellmemory.io.tables import read_cells
from cellmemory.reference import trained_model
from tests.conftest import ROOT, refused, succeed
from tests.made.report_inputs import UNSEEN, Inputs, make_inputs

OUTPUTS = ("--cell_clusters", "q.cell_clusters.csv", "--clusters", "q.clusters.tsv", "--cluster_markers", "q.cluster_markers.tsv")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Real cells, half of them B cells, that were labelled without any; every third of these is unlike the reference."""
    made = make_inputs(tmp_path_factory.mktemp("clusters"), ("unseen_type",), attention=False, extras=False)
    path = made.mapped[0]
    cells = ad.read_h5ad(path)
    third = (cells.obs["author_label"] == UNSEEN) & (np.arange(cells.n_obs) % 3 == 0)
    cells.obs.loc[third, ["cellmemory_status", "cellmemory_reason"]] = "unassigned", "unlike the reference"
    cells.write_h5ad(path)
    return made


def clustered(made: Inputs, **settings: object) -> Clustered:
    return cluster_query(made.mapped[0], trained_model.load(made.model), ClusterSettings(**settings))


def given(made: Inputs) -> tuple[object, ...]:
    return ("--mapped", made.mapped[0], "--model", made.model, *OUTPUTS)


def test_the_type_that_the_reference_lacks_is_found_with_its_markers(made: Inputs, tmp_path: Path):
    sets = ROOT / "assets/genesets/blood_cell_markers.gmt"
    said = succeed("cluster", *given(made), "--gmt", sets, "--threads", 1, folder=tmp_path)
    clusters = pd.read_csv(tmp_path / "q.clusters.tsv", sep="\t", dtype={"cluster": str}, keep_default_na=False)
    cells = pd.read_csv(tmp_path / "q.cell_clusters.csv", index_col="cell", dtype=str)
    obs = ad.read_h5ad(made.mapped[0]).obs
    assert clusters.columns.tolist() == [*CLUSTER_COLUMNS, "mapping"]
    assert cells.index.tolist() == obs.index.tolist()
    assert cells["cellmemory_cluster"].value_counts().reindex(clusters["cluster"]).tolist() == clusters["n_cells"].tolist()
    unseen = (obs["author_label"] == UNSEEN).to_numpy()
    new = clusters.loc[clusters["candidate"] == "yes", "cluster"].tolist()
    assert new
    is_new = cells["cellmemory_cluster"].isin(new).to_numpy()
    assert unseen[is_new].mean() > 0.9
    assert set(cells.loc[is_new, "cellmemory_cluster_label"]) == {"(perhaps new)"}
    assert f"{', '.join(new)} may be of types that the reference lacks" in said
    named = ";".join(clusters.loc[clusters["candidate"] == "yes", "markers"]).split(";")
    assert {"CD79A", "CD79B", "MS4A1"} & set(named)
    known = clusters[clusters["known_as"] != ""]
    assert set(known["candidate"]) <= {"yes", "state"}
    assert known["known_as"].str.match(r"(B|PLASMA)_[A-Z]+ \(blood_cell_markers\)").any()
    assert {"CD79A", "MS4A1"} <= set(known["known_genes"].str.cat(sep=";").split(";"))
    markers = pd.read_csv(tmp_path / "q.cluster_markers.tsv", sep="\t", dtype={"cluster": str})
    assert (markers["expression_adjusted_p_value"] <= 0.05).all()
    assert (markers["expression_log2_change"] >= 0.25).all()


def test_the_users_clusters_are_taken(made: Inputs, tmp_path: Path):
    cells = ad.read_h5ad(made.mapped[0])
    own = np.where(cells.obs["author_label"] == UNSEEN, "=unseen, 'b'", np.where(np.arange(cells.n_obs) % 2, "2", "10"))
    cells.obs["mine"] = pd.Series(own, cells.obs_names).where(np.arange(cells.n_obs) > 4)
    cells.write_h5ad(tmp_path / "own.h5ad")
    arguments = ("--mapped", tmp_path / "own.h5ad", *given(made)[2:], "--cluster_key", "mine", "--threads", 1)
    succeed("cluster", *arguments, folder=tmp_path)
    table = pd.read_csv(tmp_path / "q.clusters.tsv", sep="\t", dtype={"cluster": str}).set_index("cluster")
    mine = cells.obs["mine"].astype(object).fillna("(none)")
    assert table["n_cells"].to_dict() == mine.value_counts().to_dict()
    assert table["n_cells"].is_monotonic_decreasing
    assert table.loc["=unseen, 'b'", "candidate"] == "yes"
    found = read_cells(tmp_path / "q.cell_clusters.csv", ("cellmemory_cluster",))["cellmemory_cluster"].astype(str)
    assert found.tolist() == mine.tolist()
    (sentence,) = refused("cluster", *arguments[:-3], "nowhere", folder=tmp_path)
    assert "the cluster column 'nowhere' (--cluster_key) is not in obs" in sentence
    (sentence,) = refused("cluster", *arguments[:-3], "", folder=tmp_path)
    assert "the cluster column '' (--cluster_key) is not in obs" in sentence


def test_a_column_without_values_holds_no_clusters(made: Inputs, tmp_path: Path):
    cells = ad.read_h5ad(made.mapped[0])
    cells.obs["mine"] = np.full(cells.n_obs, np.nan)
    cells.write_h5ad(tmp_path / "own.h5ad")
    arguments = ("--mapped", tmp_path / "own.h5ad", *given(made)[2:], "--cluster_key", "mine")
    (sentence,) = refused("cluster", *arguments, folder=tmp_path)
    assert "the cluster column 'mine' (--cluster_key) holds no value. Name another one, or none." in sentence
    with CellFile(tmp_path / "own.h5ad") as file:
        of_cluster = [one for one in named_columns.column_problems(file, Origin(cluster_key="mine")) if "--cluster_key" in one]
    assert len(of_cluster) == 1


def test_a_column_of_too_many_values_holds_no_clusters(made: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(named_columns, "MOST_CLUSTERS", 3)
    with pytest.raises(InputError, match=r"column 'author_label' \(--cluster_key\) holds \d+ values, and may hold 3"):
        clustered(made, cluster_key="author_label")


def test_twice_alike_and_finer_by_a_higher_resolution(made: Inputs, tmp_path: Path):
    first, again = (tmp_path / name for name in ("first", "again"))
    for folder in (first, again):
        folder.mkdir()
        succeed("cluster", *given(made), "--threads", 1, folder=folder)
    for path in first.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
    fine = clustered(made, resolution=4.0)
    assert len(fine.clusters) > len(pd.read_csv(first / "q.clusters.tsv", sep="\t"))


def test_of_a_large_query_a_sample_is_clustered_and_others_join(made: Inputs, monkeypatch: pytest.MonkeyPatch):
    whole = clustered(made).cells["cellmemory_cluster_label"]
    monkeypatch.setattr(clustering, "CLUSTERED_CELLS", 120)
    part = clustered(made)
    assert len(part.cells) == len(whole) > 120
    assert part.clusters["n_cells"].sum() == len(whole)
    new = (np.asarray(found) == "(perhaps new)" for found in (whole, part.cells["cellmemory_cluster_label"]))
    both = np.stack(list(new))
    assert (both[0] == both[1]).mean() > 0.85


def test_a_file_that_was_not_mapped_and_other_peoples_files_are_left_alone(made: Inputs, tmp_path: Path):
    plain = tmp_path / "plain.h5ad"
    ad.AnnData(np.eye(3, dtype=np.float32)).write_h5ad(plain)
    (said,) = refused("cluster", "--mapped", plain, "--model", made.model, *OUTPUTS, folder=tmp_path)
    assert "plain.h5ad: this file has not been mapped" in said
    (tmp_path / "q.clusters.tsv").write_text("my own\n")
    (tmp_path / "q.cell_clusters.csv").write_text("cell,mine\n")
    said = refused("cluster", *given(made), folder=tmp_path)
    assert len(said) == 2
    assert all("this step did not write it" in sentence for sentence in said)
    assert not (tmp_path / "q.cluster_markers.tsv").exists()
