"""The test profile for real: what it leaves, what it finds, and that it can be stopped, resumed and repeated."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io

from cellmemory.reference import trained_model
from tests.conftest import ROOT
from tests.pipeline.nextflow import DATA, STEPS, Run, counted, lose, pipeline, start, succeed

SAMPLES = ("reduced_panel", "unseen_type")
pytestmark = pytest.mark.slow


KINDS = ("labels.csv", "tags.tsv", "slot_tags.tsv", "enrichment.tsv", "metrics.json", "clusters.tsv", "cluster_markers.tsv")
KINDS += ("cell_clusters.csv",)


def digests(folder: Path) -> dict[str, str]:
    """A digest of each result that must be the same whenever the same is run again."""
    paths = [folder / "model" / "model.safetensors", folder / "model" / "calibration.json"]
    paths += [path for kind in KINDS for sample in SAMPLES for path in folder.glob(f"samples/{sample}/*.{kind}")]
    assert len(paths) == 2 + len(KINDS) * len(SAMPLES)
    return {str(path.relative_to(folder)): sha256(path) for path in paths}


def metrics(results: Path, sample: str) -> dict:
    return json.loads((results / "samples" / sample / f"{sample}.metrics.json").read_text())


def test_every_step_runs_once_for_each_query(real_run: Run):
    assert counted(real_run.submitted) == STEPS


def test_the_end_says_where_the_report_is(real_run: Run, results: Path):
    assert f"Report:  {results / 'report.html'}" in real_run.output
    assert "2 queries mapped" in real_run.output


def test_the_start_says_how_to_follow_a_task(real_run: Run):
    """By the command as it is printed, with what Nextflow shows of the training."""
    (told,) = re.findall(r"^To follow a task that is shown as \[ab/123456\]: tail -f (.*)$", real_run.output, re.MULTILINE)
    (task,) = re.findall(r"^\[(../......)\] Submitted process > \S*:TRAIN ", real_run.output, re.MULTILINE)
    shown = subprocess.run(
        f"cat {told.replace('ab/123456', task)}", shell=True, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^Epoch (\d+): training loss", shown, re.MULTILINE)[:2] == ["1", "2"]


def test_the_tutorial_names_the_type_that_the_reference_lacks(results: Path, tmp_path: Path):
    """Its blocks of Python, one after the other, on these results."""
    shutil.copytree(results / "samples", tmp_path / "results" / "samples")
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    used, right = map(int, re.search(r"(\d+) of 195 cells have .*\n(\d+) of the \1 cells", done.stdout).groups())
    assert used > 60
    assert right > 0.8 * used
    cells = ad.read_h5ad(tmp_path / "results" / "samples" / "unseen_type" / "labelled.h5ad").obs
    of_b_cells = cells.loc[cells["author_label"] == "CD19+ B", "cell_type"]
    assert of_b_cells.isin(["B cell (new)", "plasma cell (new)"]).mean() > 0.95
    assert set(of_b_cells) >= {"B cell (new)", "plasma cell (new)"}


def test_what_was_written_is_remembered(results: Path):
    found = json.loads((results / "pipeline_info" / "written.json").read_text())
    names = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    info = {"pipeline_info/inputs.json", "pipeline_info/versions.yml"}
    assert set(found) == info | {name for name in names if not name.startswith("pipeline_info/")}
    for place, about in found.items():
        assert (about["bytes"], about["sha256"]) == ((results / place).stat().st_size, sha256(results / place)), place


def edit(path: Path) -> None:
    """Changes a result, in the way of its kind. Its date becomes an older one, as that of a file that was moved in."""
    if path.suffix == ".h5ad":
        with h5py.File(path, "r+") as file:
            file["obs/cellmemory_confidence"][0] = 0.5
    else:
        path.write_text(path.read_text().replace("Dendritic", "cDC") + " ")
    os.utime(path, (0, 0))


def refused_for(folder: Path) -> list[str]:
    """The results for whose sake a run into a folder is refused."""

    def kept() -> dict[Path, str]:  # all but what Nextflow says of its last run
        found = {path for path in folder.rglob("*") if path.is_file() and path.parent.name != "pipeline_info"}
        return {path: sha256(path) for path in found}

    before = kept()
    run = pipeline("-profile", "test", "--outdir", folder, folder=folder.parent)
    assert run.status != 0
    assert run.submitted == []
    assert kept() == before
    said = "since this pipeline wrote them, these results were changed, and would be replaced: "
    return run.output.split(said)[1].split(". Move them away")[0].split(", ")


def test_results_that_somebody_worked_on_are_not_replaced(results: Path, tmp_path: Path):
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    sample = "samples/unseen_type/"
    places = [f"{sample}unseen_type.annotated.h5ad", f"{sample}unseen_type.labels.csv", f"{sample}figures/umap.label.svg"]
    for place in places:
        edit(folder / place)
    (folder / "samples" / "reduced_panel" / "reduced_panel.tags.tsv").touch()  # newer, but the same
    (folder / "samples" / "reduced_panel" / "notes.txt").write_text("of the user")
    assert sorted(refused_for(folder)) == sorted(places)
    edited = ["report.html", "ro-crate-metadata.json", "figures/composition.svg"]
    for place in edited:
        edit(folder / place)
    assert refused_for(folder)[-1] == "... (6 in all)"


def test_a_run_that_failed_does_not_give_results_away(results: Path, tmp_path: Path):
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    failed = pipeline("-profile", "test", "--label_key", "no_such", "--outdir", folder, folder=tmp_path)
    assert failed.status == 1
    assert "no_such" in failed.output
    edit(folder / "samples" / "unseen_type" / "unseen_type.labels.csv")
    assert refused_for(folder) == ["samples/unseen_type/unseen_type.labels.csv"]


def test_results_are_where_the_manual_says(results: Path):
    names = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    model = ("model.safetensors", "config.json", "panel.tsv", "labels.tsv", "calibration.json", "history.tsv",
             "history.png", "model_card.md")  # fmt: skip
    kinds = ("alignment.json", "mapped.h5ad", "labels.csv", "tags.tsv", "slot_tags.tsv", "tag_profiles.h5ad",
             "faithfulness.tsv", "enrichment.tsv", "clusters.tsv", "cluster_markers.tsv", "cell_clusters.csv", "annotated.h5ad",
             "metrics.json", "report.html", "provenance.json")  # fmt: skip
    info = ("inputs.json", "versions.yml", "written.json", "execution_report.html", "execution_timeline.html",
            "execution_trace.tsv", "pipeline_dag.html")  # fmt: skip
    expected = (
        {"report.html", "model.provenance.json", "ro-crate-metadata.json"}
        | {f"model/{name}" for name in model}
        | {f"pipeline_info/{name}" for name in info}
    )
    expected |= {f"samples/{sample}/{sample}.{kind}" for sample in SAMPLES for kind in kinds}
    for folder, figure in (("", "composition"), ("samples/unseen_type/", "umap.label"), ("samples/reduced_panel/", "tags")):
        assert {f"{folder}figures/{figure}.{kind}" for kind in ("svg", "pdf", "png")} <= names
    assert {name for name in names if not name.startswith("multiqc/") and "figures/" not in name} == expected
    assert any(name.startswith("multiqc/") and name.endswith("_mqc.json") for name in names)


def test_scanpy_opens_mapped_cells_as_they_are(results: Path):
    """And cellxgene, which asks for unique names, plain categories and coordinates `X_*` of two columns without NaN."""
    import scanpy

    cells = scanpy.read_h5ad(results / "samples" / "unseen_type" / "unseen_type.mapped.h5ad")
    assert cells.obs_names.is_unique
    assert cells.var_names.is_unique
    assert np.isfinite(cells.obsm["X_umap"]).all()
    assert cells.obsm["X_umap"].shape == (len(cells), 2)
    assert {str(cells.obs[key].dtype) for key in ("cellmemory_label", "cellmemory_status")} == {"category"}
    scanpy.tl.rank_genes_groups(cells, "cellmemory_label", groups=["CD14+ Monocyte"])
    assert "LST1" in cells.uns["rank_genes_groups"]["names"]["CD14+ Monocyte"][:20]
    figure = scanpy.pl.umap(cells, color=["cellmemory_label", "cellmemory_confidence", "LYZ"], show=False, return_fig=True)
    assert len(figure.axes) >= 3


def test_versions_of_all_steps_are_kept(results: Path):
    versions = (results / "pipeline_info" / "versions.yml").read_text()
    for step in STEPS:
        assert f'"{step}":' in versions
    assert "torch: " in versions


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_result_has_a_record_of_where_it_comes_from(sample: str, results: Path):
    folder = results / "samples" / sample
    record = json.loads((folder / f"{sample}.provenance.json").read_text())
    # Figures are those of the report, drawn once more.
    files = {path.name for path in folder.iterdir()} - {f"{sample}.provenance.json", "figures"}
    assert {file["name"] for file in record["results"]} == files
    for file in record["results"]:
        assert file["sha256"] == sha256(folder / file["name"]), file["name"]
    query, genes = record["inputs"]
    assert query["path"] == str(DATA / f"{sample}.h5ad")
    assert genes["path"].endswith("/blood_cell_markers.gmt")
    for file in (query, genes):
        assert (file["bytes"], file["sha256"]) == (Path(file["path"]).stat().st_size, sha256(Path(file["path"])))
    assert record["model"] == json.loads((results / "model" / "config.json").read_text())["digest"]
    assert "-profile test" in record["command"]
    assert record["parameters"]["max_epochs"] == 10
    assert record["versions"]["MAP_QUERY"]["torch"]


def test_the_model_has_a_record_of_its_reference(results: Path):
    record = json.loads((results / "model.provenance.json").read_text())
    assert [(file["path"], file["sha256"]) for file in record["inputs"]] == [
        (str(DATA / "reference.h5ad"), sha256(DATA / "reference.h5ad"))
    ]
    assert {file["name"] for file in record["results"]} == {path.name for path in (results / "model").iterdir()}


def test_the_run_is_a_ro_crate(results: Path):
    """What RO-Crate 1.1 requires: the descriptor, the root and its properties, flat entities, and parts that are there."""
    crate = json.loads((results / "ro-crate-metadata.json").read_text())
    assert "https://w3id.org/ro/crate/1.1/context" in crate["@context"]
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(graph) == len(crate["@graph"])
    descriptor = graph["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert descriptor["about"] == {"@id": "./"}
    root = graph["./"]
    assert root["@type"] == "Dataset"
    assert root["name"]
    assert root["description"]
    assert datetime.fromisoformat(root["datePublished"])
    assert graph[root["license"]["@id"]]["name"]
    for entity in graph.values():
        assert entity["@type"]
        for value in entity.values():
            for linked in value if isinstance(value, list) else [value]:
                if isinstance(linked, dict):
                    assert set(linked) == {"@id"}, "JSON-LD must be flat"
                    assert linked["@id"] in graph or linked["@id"].startswith(("http://", "https://"))
    data = {name for name, entity in graph.items() if entity["@type"] in ("File", "Dataset")} - {"./"}
    assert {part["@id"] for part in root["hasPart"]} == data
    for name in data:
        assert (results / name).exists(), name
        assert (results / name).is_dir() == (graph[name]["@type"] == "Dataset") == name.endswith("/")
        if "sha256" in graph[name]:
            assert graph[name]["sha256"] == sha256(results / name)
            assert graph[name]["contentSize"] == str((results / name).stat().st_size)
    assert len([name for name in data if name.startswith("samples/")]) == 2 * 15
    assert graph["#run"]["instrument"] == {"@id": "#pipeline"}


def test_reduced_panel_is_mapped_well(results: Path):
    # 105 cells: between seeds it varies from 0.77 to 0.83.
    assert metrics(results, "reduced_panel")["accuracy"] >= 0.74


def test_unknown_type_is_further_from_the_reference(results: Path):
    found = metrics(results, "unseen_type")
    assert found["unknown_types"][0]["label"] == "CD19+ B"
    assert found["novelty_auroc"] >= 0.7
    assert found["unknown_flagged"] > found["known_flagged"]


def test_a_cluster_of_the_unknown_type_is_told_with_its_markers(results: Path):
    clusters = pd.read_csv(results / "samples" / "unseen_type" / "unseen_type.clusters.tsv", sep="\t", dtype={"cluster": str})
    cells = pd.read_csv(results / "samples" / "unseen_type" / "unseen_type.cell_clusters.csv", index_col="cell", dtype=str)
    truth = ad.read_h5ad(DATA / "unseen_type.h5ad").obs["author_label"].astype(str).loc[cells.index]
    unknown = (truth == "CD19+ B").to_numpy()
    new = cells["cellmemory_cluster"].isin(clusters.loc[clusters["candidate"] == "yes", "cluster"]).to_numpy()
    assert new.any()
    assert unknown[new].mean() > 0.9
    assert set(cells["cellmemory_cluster_label"][new]) == {"(perhaps new)"}
    genes = ";".join(clusters.loc[clusters["candidate"] == "yes", "excess_genes"]).split(";")
    assert {"CD79A", "CD79B", "MS4A1", "IGJ", "MZB1"} & set(genes)


def test_nothing_changed_means_all_is_cached_and_damage_to_results_is_mended(real_run: Run, results: Path, folder: Path):
    # As if Nextflow had been killed while it copied this.
    labels = results / "samples" / "unseen_type" / "unseen_type.labels.csv"
    whole = labels.read_bytes()
    mark = results / "pipeline_info" / "unfinished"
    assert not mark.exists()
    mark.touch()
    labels.write_bytes(whole[:1000])
    again = succeed("-profile", "test", "-resume", folder=folder)
    assert again.submitted == []
    assert counted(again.cached) == STEPS
    assert labels.read_bytes() == whole
    assert not mark.exists()


def one_thread(folder: Path) -> tuple[str, str]:
    """Options for as many threads as in the test profile: the last bits of a result may depend on them."""
    (folder / "cpus.config").write_text("process { withName: 'MAP_QUERY' { cpus = 1 } }")
    return "-c", "cpus.config"


def mtx_folder(path: Path, cells: ad.AnnData) -> None:
    """The cells as others than Cell Ranger write them: nothing compressed, features of two columns."""
    path.mkdir()
    scipy.io.mmwrite(path / "matrix.mtx", cells.X.T, precision=9)
    (path / "barcodes.tsv").write_text("".join(f"{name}\n" for name in cells.obs_names))
    (path / "features.tsv").write_text("".join(f"{name}\t{name}\n" for name in cells.var_names))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the folder's files, on this machine alone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_model_from_a_url_maps_slices_and_an_mtx_folder_to_the_same_files(results: Path, tmp_path: Path):
    (tmp_path / "served").mkdir()
    trained_model.copy(results / "model", tmp_path / "served" / "lung model.zip")
    mtx_folder(tmp_path / "folder", ad.read_h5ad(DATA / "unseen_type.h5ad"))
    (tmp_path / "sheet.csv").write_text(
        f"sample,h5ad,truth_key\nreduced_panel,{DATA / 'reduced_panel.h5ad'},author_label\nfolder,folder,\n"
    )
    with served(tmp_path / "served") as address:
        run = succeed("--model", f"{address}/lung%20model.zip", "--input", "sheet.csv", "--cells_per_task", "64",
                      "--faithfulness", "false", *one_thread(tmp_path), folder=tmp_path)  # fmt: skip
    steps = counted(run.submitted)
    assert not {"TRAIN", "PREPROCESS_REFERENCE"} & set(steps)
    assert (steps["COPY_MODEL"], steps["MAP_QUERY"], steps["GATHER"]) == (1, 2 + 4, 2)
    found, expected = tmp_path / "results" / "samples", results / "samples"
    for kind in ("mapped.h5ad", "labels.csv", "tags.tsv", "slot_tags.tsv", "metrics.json"):
        name = f"reduced_panel/reduced_panel.{kind}"
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    labels = (expected / "unseen_type" / "unseen_type.labels.csv").read_bytes()
    assert (found / "folder" / "folder.labels.csv").read_bytes() == labels


def stop_at(step: str, arguments: tuple[object, ...], folder: Path) -> None:
    """Runs the pipeline until `step` has started, and kills all of it then, as a crashing machine does."""
    run = start(*arguments, folder=folder)
    assert any(re.search(rf"Submitted process > \S+:{step}\b", line) for line in run.stdout), f"{step} never started"
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def test_killed_with_a_work_file_lost_and_resumed_it_is_the_same_as_uninterrupted(results: Path, tmp_path: Path):
    """In mid-training, then in mid-explanation; and a mapped query is gone when it goes on."""
    arguments = ("-profile", "test", "--faithfulness", "false", "-resume")
    for step in ("TRAIN", "EXTRACT_TAGS"):
        stop_at(step, arguments, tmp_path)
    lose(tmp_path / "work", "unseen_type.mapped.h5ad")
    run = succeed(*arguments, folder=tmp_path)
    assert {"MAP_QUERY (unseen_type)", "EXTRACT_TAGS (unseen_type)"} <= set(run.submitted)
    assert {"TRAIN (reference)", "MAP_QUERY (reduced_panel)"} <= set(run.cached)
    assert digests(tmp_path / "results") == digests(results)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the first steps of a run, and not for a mapped query."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", disk], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_leaves_nothing_half_done_and_the_run_goes_on_with_room(results: Path, small_disk: Path, tmp_path: Path):
    (tmp_path / "sheet.csv").write_text(f"sample,h5ad,truth_key\nunseen_type,{DATA / 'unseen_type.h5ad'},author_label\n")
    arguments = ("--model", results / "model", "--input", "sheet.csv", "--faithfulness", "false", "--clusters", "false",
                 "--permutations", "0", *one_thread(tmp_path), "-work-dir", small_disk)  # fmt: skip
    run = pipeline(*arguments, folder=tmp_path)
    assert run.status != 0
    assert "the same command with -resume" in run.output
    assert counted(run.submitted)["MAP_QUERY"] == 1
    for kind in ("mapped.h5ad", "labels.csv"):
        written = [*tmp_path.glob(f"results/samples/*/*.{kind}"), *small_disk.glob(f"*/*/[!.]*.{kind}")]
        for path in written:
            assert path.read_bytes() == (results / "samples" / path.name.split(".")[0] / path.name).read_bytes(), path

    subprocess.run(["mount", "-o", "remount,size=1g", small_disk], check=True)
    run = succeed(*arguments, "-resume", folder=tmp_path)
    assert "CHECK_INPUTS" in run.cached
    name = "samples/unseen_type/unseen_type.labels.csv"
    assert (tmp_path / "results" / name).read_bytes() == (results / name).read_bytes()
