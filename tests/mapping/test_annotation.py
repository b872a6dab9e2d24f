"""annotate.py: the user's own file is given back whole, with our columns in it, and what it refuses."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellmemory.annotation.annotated import annotate
from cellmemory.annotation.ontology import read_ontology_map, term_ids
from cellmemory.columns import CELL_COLUMNS, ONTOLOGY
from cellmemory.errors import InputError
from cellmemory.io.guarded import GuardedFile
from cellmemory.mapping.mapped import MappedFile
from tests.conftest import DATA, refused, succeed
from tests.corpus.made import write_10x, write_mtx

#: What mapping adds to obs.
OURS = {*CELL_COLUMNS, ONTOLOGY}


def rich_query() -> ad.AnnData:
    """A query with all that an h5ad can hold, the user's own UMAP included."""
    cells = ad.read_h5ad(DATA / "unseen_type.h5ad")
    rng = np.random.default_rng(0)
    cells.var_names = [cells.var_names[1], *cells.var_names[1:]]  # one gene stands twice
    cells.raw = cells.copy()
    cells.layers["counts"] = cells.X.copy()
    cells.layers["dense"] = rng.normal(size=cells.shape).astype(np.float32)
    cells.obs["a/b ü"] = rng.integers(0, 9, cells.n_obs)
    cells.obs["mine"] = pd.Categorical(rng.choice(["x", "y"], cells.n_obs))
    cells.obs["known"] = pd.array([None, True] + [False] * (cells.n_obs - 2), dtype="boolean")
    cells.obsm["X_umap"] = rng.normal(size=(cells.n_obs, 2))
    cells.obsp["distances"] = sp.random(cells.n_obs, cells.n_obs, 0.01, "csr", random_state=0)
    cells.varm["PCs"] = rng.normal(size=(cells.n_vars, 3))
    cells.uns["neighbors"] = {"params": {"n_neighbors": 15, "method": "umap"}, "list": np.array(["a", "b"], object)}
    return cells


def as_csc(cells: ad.AnnData) -> None:
    cells.X, cells.layers["counts"] = sp.csc_matrix(cells.X), sp.csc_matrix(cells.layers["counts"])


def as_dense(cells: ad.AnnData) -> None:
    cells.X = cells.X.toarray()


def parts(path: Path) -> dict[str, tuple]:
    """What each group and dataset of an h5ad holds: attributes, type, and values as they are stored."""
    found: dict[str, tuple] = {}

    def add(name: str, element: h5py.Group | h5py.Dataset) -> None:
        attributes = {key: np.asarray(value).tolist() for key, value in element.attrs.items()}
        if name == "obs":
            del attributes["column-order"]
        stored = (
            (element.dtype.str, element.chunks, np.asarray(element[()]).tolist()) if isinstance(element, h5py.Dataset) else ()
        )
        found[name] = (attributes, repr(stored))

    with h5py.File(path) as file:
        file.visititems(add)
    return found


@pytest.fixture(scope="module")
def mapped(model: Path, aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("annotation")
    succeed("map_query", "--query", aligned / "unseen_type.aligned.h5ad", "--model", model, "--output", "q.mapped.h5ad",
            "--labels", "q.labels.csv", "--threads", 1, folder=folder)  # fmt: skip
    succeed("cluster", "--mapped", "q.mapped.h5ad", "--model", model, "--cell_clusters", "q.cell_clusters.csv", "--clusters",
            "q.clusters.tsv", "--cluster_markers", "q.cluster_markers.tsv", "--threads", 1, folder=folder)  # fmt: skip
    return folder / "q.mapped.h5ad"


@pytest.mark.parametrize("change", [None, as_csc, as_dense], ids=["csr", "csc", "dense"])
def test_all_that_the_file_held_is_as_it_was(mapped: Path, tmp_path: Path, change: Callable | None):
    cells = rich_query()
    if change:
        change(cells)
    cells.write_h5ad(tmp_path / "q.h5ad", compression="gzip")
    before = (tmp_path / "q.h5ad").read_bytes()
    succeed("annotate", "--query", "q.h5ad", "--mapped", mapped, "--cell_clusters", mapped.parent / "q.cell_clusters.csv",
            "--output", "out.h5ad", folder=tmp_path)  # fmt: skip
    assert (tmp_path / "q.h5ad").read_bytes() == before
    was, now = parts(tmp_path / "q.h5ad"), parts(tmp_path / "out.h5ad")
    assert {name: now.get(name) for name in was} == was
    added = {name.split("/")[1] for name in now.keys() - was.keys()}
    ours = {"cellmemory_cluster", "cellmemory_cluster_label", "cellmemory_candidate", "cellmemory_doublet_score"}
    ours |= {"cellmemory", "cellmemory_reference"}
    assert added == OURS | ours | {"X_cellmemory", "X_cellmemory_slots", "X_cellmemory_umap"}


def test_our_columns_are_those_of_the_mapped_file(mapped: Path, tmp_path: Path):
    rich_query().write_h5ad(tmp_path / "q.h5ad")
    clusters = mapped.parent / "q.cell_clusters.csv"
    succeed("annotate", "--query", "q.h5ad", "--mapped", mapped, "--cell_clusters", clusters, "--output", "out.h5ad",
            folder=tmp_path)  # fmt: skip
    found, expected = ad.read_h5ad(tmp_path / "out.h5ad"), ad.read_h5ad(mapped)
    own = ad.read_h5ad(tmp_path / "q.h5ad")
    ours = [name for name in expected.obs if name.startswith("cellmemory_")]
    of_clusters = ["cellmemory_cluster", "cellmemory_cluster_label", "cellmemory_candidate", "cellmemory_doublet_score"]
    added = ["cellmemory_ontology_term_id", *of_clusters]
    assert found.obs.columns.tolist() == [*own.obs.columns, *ours, *added]
    pd.testing.assert_frame_equal(found.obs[ours], expected.obs[ours])
    table = pd.read_csv(clusters, index_col="cell", dtype=dict.fromkeys(of_clusters[:3], str))
    assert table.columns.tolist() == [*of_clusters, "mapping"]
    assert found.obs[of_clusters[:3]].astype(str).to_numpy().tolist() == table[of_clusters[:3]].to_numpy().tolist()
    assert np.array_equal(found.obs["cellmemory_doublet_score"], table["cellmemory_doublet_score"])
    assert np.array_equal(found.obsm["X_umap"], own.obsm["X_umap"])
    for key, name in (("X_umap", "X_cellmemory_umap"), ("X_cellmemory", "X_cellmemory")):
        assert np.array_equal(found.obsm[name], expected.obsm[key])
    assert found.uns["cellmemory"]["step"] == "annotate"
    assert found.uns["cellmemory"]["model_digest"] == expected.uns["cellmemory"]["model_digest"]
    assert ad.read_h5ad(tmp_path / "out.h5ad", backed="r").obs.columns.tolist() == found.obs.columns.tolist()


def test_assigned_cells_get_the_term_of_their_label(mapped: Path, tmp_path: Path):
    annotate(DATA / "unseen_type.h5ad", mapped, None, output=tmp_path / "out.h5ad")
    obs = ad.read_h5ad(tmp_path / "out.h5ad").obs
    assigned = obs["cellmemory_status"] == "assigned"
    assert set(obs.loc[~assigned, "cellmemory_ontology_term_id"]) == {"unknown"}
    dendritic = (obs["cellmemory_label"] == "Dendritic") & assigned
    assert set(obs.loc[dendritic, "cellmemory_ontology_term_id"]) == {"CL:0000451"}


def test_a_user_s_own_terms_come_first(mapped: Path, tmp_path: Path):
    lines = ["label\tontology_term_id\t", "Dendritic\tCL:0000990\t\t", "", '"NK"\tunknown', "elsewhere\tCL:0000236", ""]
    (tmp_path / "terms.tsv").write_text("\n".join(lines))
    assert read_ontology_map(tmp_path / "terms.tsv") == {"Dendritic": "CL:0000990", "NK": "", "elsewhere": "CL:0000236"}
    succeed("annotate", "--query", DATA / "unseen_type.h5ad", "--mapped", mapped, "--ontology_map", "terms.tsv", "--output",
            "out.h5ad", folder=tmp_path)  # fmt: skip
    obs = ad.read_h5ad(tmp_path / "out.h5ad").obs
    terms = obs[obs["cellmemory_status"] == "assigned"].groupby("cellmemory_label", observed=True)["cellmemory_ontology_term_id"]
    assert set(terms.get_group("Dendritic")) == {"CL:0000990"}
    assert "CL:0000236" not in set(obs["cellmemory_ontology_term_id"])
    (tmp_path / "terms.tsv").write_text("label\tontology_term_id\nelsewhere\tCL:0000236\n")
    log = succeed("annotate", "--query", DATA / "unseen_type.h5ad", "--mapped", mapped, "--ontology_map", "terms.tsv", "--output",
                  "other.h5ad", folder=tmp_path)  # fmt: skip
    assert "Warning: terms.tsv names no label of the reference, which has 'CD14+ Monocyte'," in log


NO_HEADER = "the first line must be the column names label and ontology_term_id, with a tab between them."
WRITE_LABELS = "Write label and ontology_term_id in its first line, and then one label to a line, with its id after a tab."


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "Dendritic\tCL:0000451\n",
            [NO_HEADER],
        ),
        ("", [f"is empty. {WRITE_LABELS}"]),
        ("label\tontology_term_id\n", [f"holds no labels. {WRITE_LABELS}"]),
        (
            'label\tontology_term_id\nB\nT\tCL_0000084\n\tCL:0000084\nNK\tCL:0000623\nNK\tCL:0000814\n"D\tCL:0000451\n',
            [
                "line 2 does not have two tab-separated texts (label and ontology_term_id).",
                "line 3 has 'CL_0000084', which is not the id of a term. Write it as CL:0000236.",
                "line 4 does not have two tab-separated texts (label and ontology_term_id).",
                "line 6 gives the label 'NK' a second term.",
                'line 7 has a quote (") that is not closed.',
            ],
        ),
    ],
    ids=["no header", "empty", "no labels", "many"],
)
def test_terms_that_cannot_be_are_named_by_their_lines(tmp_path: Path, text: str, sentences: list[str]):
    (tmp_path / "terms.tsv").write_text(text)
    with pytest.raises(InputError) as failure:
        read_ontology_map(tmp_path / "terms.tsv")
    found = [problem.removeprefix(f"{tmp_path}/terms.tsv").lstrip(": ") for problem in failure.value.problems]
    assert found == sentences


@pytest.mark.parametrize(
    ("label", "term"),
    [
        ("T cells", "CL:0000084"),
        ("T_cell", "CL:0000084"),
        ("NK", "CL:0000623"),
        ("CD4-positive, alpha-beta T cell", "CL:0000624"),
        ("Plasma Cell", "CL:0000786"),
        ("natural killer cell", "CL:0000623"),
        ("alpha", None),  # of the pancreas here, of the retina in the ontology
        ("VIP", None),
        ("CD14+ Monocyte", None),
        ("T", "CL:0000084"),
        ("M", None),  # a cluster, rather than the M cells of the gut
        ("cell", None),
        ("", None),
    ],
)
def test_a_label_is_a_term_by_name_or_synonym_and_else_none(label: str, term: str | None):
    assert term_ids([label]).get(label) == term


@pytest.mark.parametrize("write", [write_10x, write_mtx])
def test_what_is_no_h5ad_becomes_one_with_all_genes(mapped: Path, tmp_path: Path, write: Callable):
    cells = ad.read_h5ad(DATA / "unseen_type.h5ad")
    cells.X = cells.X.floor()
    write(cells, tmp_path / "given")
    succeed("annotate", "--query", "given", "--mapped", mapped, "--output", "out.h5ad", folder=tmp_path)
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert found.obs_names.tolist() == cells.obs_names.tolist()
    assert found.var_names.tolist() == cells.var_names.tolist()
    assert np.array_equal(found.X.toarray(), cells.X.toarray())
    assert set(found.obs.columns) >= OURS


def test_a_second_time_replaces_the_first_and_nothing_else(mapped: Path, tmp_path: Path):
    query = DATA / "unseen_type.h5ad"
    arguments = ("--mapped", mapped, "--output", tmp_path / "out.h5ad")
    succeed("annotate", "--query", query, *arguments)
    once = (tmp_path / "out.h5ad").read_bytes()
    succeed("annotate", "--query", query, *arguments)
    assert (tmp_path / "out.h5ad").read_bytes() == once
    (sentence,) = refused("annotate", "--query", tmp_path / "out.h5ad", "--mapped", mapped, "--output", tmp_path / "again.h5ad")
    assert "obs has columns that mapping writes" in sentence
    shutil.copy(query, tmp_path / "mine.h5ad")
    (sentence,) = refused("annotate", "--query", query, "--mapped", mapped, "--output", tmp_path / "mine.h5ad")
    assert "this step did not write it" in sentence
    assert (tmp_path / "mine.h5ad").read_bytes() == query.read_bytes()


def test_a_mapped_file_of_an_older_version_without_its_step(mapped: Path, tmp_path: Path):
    shutil.copy(mapped, tmp_path / "m.h5ad")
    with h5py.File(tmp_path / "m.h5ad", "r+") as file:
        del file["uns/cellmemory/step"]
    annotate(DATA / "unseen_type.h5ad", tmp_path / "m.h5ad", None, output=tmp_path / "out.h5ad")
    assert ad.read_h5ad(tmp_path / "out.h5ad").uns["cellmemory"]["step"] == "annotate"


def test_what_an_earlier_mapping_left_outside_of_obs_is_replaced(mapped: Path, tmp_path: Path):
    cells = ad.read_h5ad(DATA / "unseen_type.h5ad")
    cells.obsm["X_cellmemory"], cells.uns["cellmemory"] = np.zeros((cells.n_obs, 2)), {"step": "older", "left": 1}
    cells.write_h5ad(tmp_path / "q.h5ad")
    succeed("annotate", "--query", "q.h5ad", "--mapped", mapped, "--output", "out.h5ad", folder=tmp_path)
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert "left" not in found.uns["cellmemory"]
    assert np.array_equal(found.obsm["X_cellmemory"], ad.read_h5ad(mapped).obsm["X_cellmemory"])


def test_other_cells_are_refused(mapped: Path, tmp_path: Path):
    query = DATA / "unseen_type.h5ad"
    cells = ad.read_h5ad(query)
    cells[:-1].write_h5ad(tmp_path / "fewer.h5ad")
    cells[::-1].write_h5ad(tmp_path / "turned.h5ad")
    written = (mapped.parent / "q.cell_clusters.csv").read_text()
    (tmp_path / "fewer.csv").write_text("\n".join(written.splitlines()[:-1]))
    mapping = next(csv.DictReader(written.splitlines()))["mapping"]
    (tmp_path / "adapted.csv").write_text(written.replace(mapping, "12345678.123456"))

    def sentence(query: Path, clusters: Path | None = None) -> str:
        with pytest.raises(InputError) as failure:
            annotate(query, mapped, clusters, output=tmp_path / "out.h5ad")
        return str(failure.value)

    fewer = tmp_path / "fewer.h5ad"
    assert sentence(fewer) == f"{fewer} has 194 cells, but {mapped} has 195. Give the file that was mapped."
    assert f"cell 0 is '{cells.obs_names[-1]}', but '{cells.obs_names[0]}' in {mapped}" in sentence(tmp_path / "turned.h5ad")
    assert "is not of the cells of" in sentence(query, tmp_path / "fewer.csv")
    assert "was made of another mapping of the cells of" in sentence(query, tmp_path / "adapted.csv")
    assert (
        "it has no column cell, cellmemory_cluster, cellmemory_cluster_label, cellmemory_candidate, mapping, "
        "cellmemory_doublet_score." in sentence(query, DATA / "samplesheet.csv")
    )
    assert not (tmp_path / "out.h5ad").exists()


def kept_beside_scaled_values(cells: ad.AnnData, place: str) -> ad.AnnData:
    """A file as a tutorial leaves it: scaled values in X, and what was mapped by genes in raw or a layer; or as it was."""
    if place == "X":
        return cells
    kept = ad.AnnData(sp.csc_matrix(cells.X), cells.obs, cells.var)
    if place == "raw under other ids":
        kept.var = pd.DataFrame({"gene_symbols": cells.var_names}, index=[f"LOC{n}" for n in range(cells.n_vars)])
    scaled = ad.AnnData(np.random.default_rng(0).normal(size=cells.shape).astype(np.float32), cells.obs, kept.var)
    if place == "layer":
        scaled.layers["counts"] = kept.X
    else:
        scaled.raw = kept
    return scaled


@pytest.mark.parametrize("place", ["X", "raw", "layer", "raw under other ids"])
def test_values_are_compared_wherever_they_are(mapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture, place: str):
    cells = ad.read_h5ad(DATA / "unseen_type.h5ad")
    kept_beside_scaled_values(cells, place).write_h5ad(tmp_path / "same.h5ad")
    annotate(tmp_path / "same.h5ad", mapped, None, output=tmp_path / "out.h5ad")
    assert "Warning" not in capsys.readouterr().err
    other = cells[::-1].copy()
    other.obs_names = cells.obs_names
    kept_beside_scaled_values(other, place).write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(InputError, match="but other values"):
        annotate(tmp_path / "other.h5ad", mapped, None, output=tmp_path / "no.h5ad")
    assert not (tmp_path / "no.h5ad").exists()


def test_values_that_cannot_be_compared_are_said(mapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    cells = ad.read_h5ad(DATA / "unseen_type.h5ad")
    cells.var_names = [f"LOC{n}" for n in range(cells.n_vars)]
    cells.write_h5ad(tmp_path / "renamed.h5ad")
    annotate(tmp_path / "renamed.h5ad", mapped, None, output=tmp_path / "out.h5ad")
    assert "the names of its genes are not those of the model" in capsys.readouterr().err


def test_parts_that_are_links_within_the_file(mapped: Path, tmp_path: Path):
    shutil.copy(DATA / "unseen_type.h5ad", tmp_path / "q.h5ad")
    with h5py.File(tmp_path / "q.h5ad", "r+") as file:
        for name in ("obs", "obsm", "uns"):
            file.move(name, f"my_{name}")
            file[name] = h5py.SoftLink(f"/my_{name}")
    annotate(tmp_path / "q.h5ad", mapped, None, output=tmp_path / "out.h5ad")
    with h5py.File(tmp_path / "out.h5ad") as found:  # anndata reads no file with other groups at its root
        assert set(found["obs"]) >= OURS
        assert set(found["obs"].attrs["column-order"]) >= OURS
        assert "X_cellmemory_umap" in found["my_obsm"]
        assert found["uns/cellmemory/step"].asstr()[()] == "annotate"


def test_the_annotated_file_is_no_mapped_one(mapped: Path, model: Path, tmp_path: Path):
    succeed("annotate", "--query", DATA / "unseen_type.h5ad", "--mapped", mapped, "--output", tmp_path / "out.h5ad")
    (sentence,) = refused(
        "evaluate",
        "--mapped",
        tmp_path / "out.h5ad",
        "--model",
        model,
        "--truth_key",
        "author_label",
        "--output",
        tmp_path / "m.json",
    )
    assert sentence == f"{tmp_path}/out.h5ad: this is the query's own file with its labels. Give <sample>.mapped.h5ad."


def test_a_disk_that_fills_up_late_leaves_nothing(mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(self: GuardedFile, data: memoryview) -> int:
        self._keep(OSError(28, "No space left on device"))
        return len(data)

    monkeypatch.setattr(GuardedFile, "write", full)
    with pytest.raises(OSError, match="No space"):
        annotate(DATA / "unseen_type.h5ad", mapped, None, output=tmp_path / "out.h5ad")
    assert list(tmp_path.iterdir()) == []
    with MappedFile(mapped) as file:
        assert file.n_cells == 195
