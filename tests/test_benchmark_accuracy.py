"""The accuracy benchmark: its metrics have known answers, no label leaks to a method, and no summary has holes."""

import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from integration import summary as summary_of_embeddings
from page import write_page
from running import Store
from scoring import resampled_macro_f1, score
from splits import Task, distinct, fold, read_split, subset, tasks, without, write_task
from summary import summaries
from tests.conftest import ROOT


def test_metrics_by_hand():
    predictions = pd.DataFrame(
        {
            "truth": ["a", "a", "b", "b", "rare", "new"],
            "label": ["a", "b", "b", "b", "rare", "a"],
            "confidence": [1.0, 0.5, 0.5, 0.5, 0.5, 0.7],
            "novelty": [0.1, 0.2, 0.3, 0.9, 0.4, 0.8],
            "label_set": ["a", "a|b", "b", "a", "rare", "a"],
            "status": ["assigned"] * 4 + ["unassigned"] * 2,
        }
    )
    found = score(predictions, {"a": 100, "b": 100, "rare": 19})
    f1 = {"a": 2 / 3, "b": 4 / 5, "rare": 1.0}
    # Of all cells: 'new' is never right, and its cell is one more wrong 'a'.
    expected = {
        "accuracy": 4 / 5,
        "macro_f1": np.mean(list(f1.values())),
        "accuracy_all": 4 / 6,
        "macro_f1_all": (2 / 4 + 4 / 5 + 1 + 0) / 4,
        "rare_f1": 1.0,
        # bins: one of 1.0, right; four of 0.5, three right
        "ece": 4 / 5 * abs(0.5 - 3 / 4),
        "ece_all": 4 / 6 * abs(0.5 - 3 / 4) + 1 / 6 * 0.7,
        "mean_confidence": 3 / 5,
        "novelty_auroc": 4 / 5,
        "set_coverage": 4 / 5,
        "set_size": 6 / 5,
        "set_coverage_worst": None,
        "assigned": 4 / 6,
        "assigned_accuracy": 3 / 4,
        "rejected_accuracy": 1 / 2,
        "unassigned_shared": 1 / 5,
        "unassigned_novel": 1.0,
        "surely_wrong": 0.0,
    }
    # The most confident first: right; of equal ones the first is wrong, the others right.
    kept = {0.05: 1.0, 0.4: 1 / 2, 0.6: 2 / 3, 0.8: 3 / 4, 1.0: 4 / 5}
    assert {name: value for name, value in found.items() if not name.startswith("kept_")} == pytest.approx(expected)
    assert {share: found[f"kept_{share:g}"] for share in kept} == pytest.approx(kept)
    peers = score(
        predictions.drop(columns=["status", "label_set"]).assign(confidence=[0.95, 0.95, 0.4, 0.6, 0.3, 0.4]), {"a": 9, "b": 9}
    )
    assert (peers["surely_wrong"], peers["assigned"], peers["assigned_accuracy"]) == (1 / 4, 1 / 2, 2 / 3)
    assert (peers["unassigned_shared"], peers["unassigned_novel"]) == (1 / 4, 1.0)
    assert "set_coverage" not in peers
    assert score(predictions[:5], {"a": 100, "b": 100, "rare": 100})["novelty_auroc"] is None
    assert score(predictions[:5], {"a": 100, "b": 100, "rare": 100})["rare_f1"] is None


def test_resampling_is_about_macro_f1():
    rng = np.random.default_rng(0)
    truth = rng.choice(["a", "b", "new"], 400)
    label = np.where(rng.random(400) < 0.8, truth, "b")
    run = pd.DataFrame(
        {"cell": [f"c{i:03}" for i in range(400)], "truth": truth, "label": label, "confidence": 1.0, "novelty": 0.0}
    )
    exact = score(run, {"a": 50, "b": 50})["macro_f1"]
    values = resampled_macro_f1([run, run], ["a", "b"])
    assert values.mean() == pytest.approx(exact, abs=0.005)
    assert 0.01 < values.std() < 0.04
    # The order of the rows is not to matter: samples of two methods are compared one by one.
    np.testing.assert_array_equal(values, resampled_macro_f1([run[::-1]], ["a", "b"]))
    assert np.all(resampled_macro_f1([run.assign(label=truth)], ["a", "b"]) == 1)


def test_parts_of_a_reference():
    labels = np.repeat(["a", "b", "few", "single"], [60, 35, 4, 3])
    asked = [fold(labels, number, seed=1) for number in range(5)]
    assert sorted(np.concatenate([query for _, query in asked])) == list(range(95))
    assert all(not set(reference) & set(query) for reference, query in asked)
    small, large = subset(labels, 20, seed=1), subset(labels, 50, seed=1)
    assert len(small) == 20
    assert set(small) < set(large)
    assert pd.Series(labels[small]).value_counts().min() == 3
    reference, query = without(labels, "b", seed=1)
    assert pd.Series(labels[query]).value_counts().to_dict() == {"b": 35, "a": 12}
    assert sorted([*reference, *query]) == list(range(len(labels)))


def test_references_that_share_most_cells_are_asked_once(tmp_path):
    data = synthetic(tmp_path)
    spec = json.loads((data / "splits.json").read_text())["one"]
    donors = {"12": ["1", "2"], "1": ["1"], "3": ["3"]}
    splits = [
        read_split(name, spec | {"train": {"batch": one}, "query": {"batch": ["3"] if name != "3" else ["1"]}}, data)
        for name, one in donors.items()
    ]
    assert [split.name for split in distinct(splits)] == ["12", "3"]


def synthetic(folder: Path) -> Path:
    """Data of one split: three types of 40 cells in two batches each, mapped from donors 1 and 2 to donor 3."""
    rng = np.random.default_rng(0)
    types, donors = np.tile(["T|cell", "B", "NA"], 120), np.repeat(["1", "2", "3"], 120)
    rate = np.full((3, 60), 1.0)
    for row in range(3):
        rate[row, row * 10 : row * 10 + 10] = 8
    counts = rng.poisson(rate[np.tile([0, 1, 2], 120)])
    obs = pd.DataFrame({"kind": types, "batch": donors}, index=[f"cell{i}" for i in range(360)])
    genes = pd.DataFrame(index=[f"GENE{i}" for i in range(60)])
    ad.AnnData(sp.csr_matrix(counts, dtype=np.float32), obs=obs, var=genes).write_h5ad(folder / "cells.h5ad")
    one = {"file": "cells.h5ad", "label": "kind", "train": {"batch": ["1", "2"]}, "query": {"batch": ["3"]}}
    absent = {**one, "file": "elsewhere.h5ad"}
    (folder / "splits.json").write_text(json.dumps({"one": one, "absent": absent}))
    return folder


def test_no_method_sees_a_label(tmp_path):
    data = synthetic(tmp_path)
    split = read_split("one", json.loads((data / "splits.json").read_text())["one"], data)
    assert [task.part for task in tasks("curves", split)] == ["50", "100", "200"]
    about = write_task(split.reference, split.query, tmp_path / "task")
    assert about == {
        "reference_cells": 240,
        "query_cells": 120,
        "genes": 60,
        "batches": 2,
        "types": {"B": 80, "NA": 80, "T|cell": 80},
    }
    reference, query = (ad.read_h5ad(tmp_path / "task" / f"{name}.h5ad") for name in ("reference", "query"))
    assert list(query.obs) == ["batch"]
    assert not set(reference.obs_names) & set(query.obs_names)
    overlapping = {"file": "cells.h5ad", "label": "kind", "train": {"batch": ["1", "3"]}, "query": {"batch": ["3"]}}
    with pytest.raises(ValueError, match="holds cells of the query"):
        read_split("bad", overlapping, data)


def keep(work: Path, kind: str, part: str, seed: int, right: list[bool], novelty: list[float] | None = None) -> None:
    """Keeps a run of logistic regression as if it had been made: six cells, three of 'a', two of 'b' and one of 'new'."""
    store, task = Store(work, kind), Task(kind, "one", part)
    truth = np.array(["a", "a", "a", "b", "b", "new"])
    label = np.where(right, truth, np.where(truth == "a", "b", "a"))
    cells = [f"{part} {i}" for i in range(6)]
    table = pd.DataFrame({"cell": cells, "truth": truth, "label": label, "confidence": 0.5, "novelty": novelty or [0.0] * 6})
    about = {"reference_cells": 200, "query_cells": 6, "genes": 9, "batches": 1, "types": {"a": 100, "b": 100}}
    run = {**score(table, about["types"]), "train_s": 1.0, "predict_s": 1.0, "cpu_s": 1.0, "peak_mib": 1.0, "threads": 1}
    store.expect([task])
    store.add(task, "logistic_regression", seed, about, run, table)


def test_summaries_of_parts(tmp_path):
    right, wrong = [True] * 5 + [False], [True, True, False, True, True, False]
    half = (4 / 5 + 4 / 5) / 2  # F1 of 'a' and 'b' where one 'a' is taken for a 'b'
    keep(tmp_path, "splits", "", 0, right)
    for number in range(5):
        keep(tmp_path, "crossval", f"fold {number + 1}", 0, right if number else wrong)
    for size, answers in ((50, wrong), (100, right)):
        keep(tmp_path, "curves", str(size), 0, answers)
        keep(tmp_path, "curves", str(size), 1, wrong)
    keep(tmp_path, "novelty", "a", 0, right, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    keep(tmp_path, "novelty", "b", 0, right, [0.1, 0.2, 0.3, 0.4, 0.5, 0.25])
    found = summaries(tmp_path)
    assert found["accuracy"]["mean_macro_f1"] == {"logistic_regression": 1.0}
    # 15 cells of 'a', one of them taken for one of the 10 'b'
    assert found["crossval"]["mean_macro_f1"]["logistic_regression"] == pytest.approx((28 / 29 + 20 / 21) / 2)
    points = found["curves"]["splits"]["one"]["logistic_regression"]
    assert [(point["cells"], point["mean"]) for point in points] == [(50, half), (100, (1 + half) / 2), (200, 1.0)]
    assert found["novelty"]["mean_novelty_auroc"]["logistic_regression"] == pytest.approx((1 + 2 / 5) / 2)
    write_page(found, tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "accuracy.md").read_text()
    assert "| 50 (1) | 0.800 |" in page
    assert {file.name for file in (tmp_path / "docs" / "images").iterdir()} == {
        f"accuracy_{name}.svg" for name in ("splits", "kept", "curves", "novelty")
    }
    # What was run elsewhere stays on the page.
    write_page({"novelty": found["novelty"]}, tmp_path / "results", tmp_path / "docs")
    assert (tmp_path / "docs" / "accuracy.md").read_text() == page
    # Data that no choice was made on stand beside the splits, not among them.
    write_page({"unseen": found["accuracy"]}, tmp_path / "results", tmp_path / "docs")
    above, _, below = (tmp_path / "docs" / "accuracy.md").read_text().partition("## On data that no choice was made on\n")
    assert "| one | **1.000** |" in above
    assert "| one | **1.000** |" in below.partition("\n## ")[0]


def test_embeddings_are_on_the_page(tmp_path):
    def of(bio: float, mixed: float) -> dict:
        return {"scores": {"Total": 0.6 * bio + 0.4 * mixed, "Bio conservation": bio, "Batch correction": mixed}}

    ours, pca = of(0.9, 0.5), of(0.5, 0.3) | {"version": "scanpy 1"}
    splits = {"one": {"methods": {"cellmemory": ours, "pca": pca}}, "two": {"methods": {"cellmemory": ours, "pca": of(1, 1)}}}
    found = summary_of_embeddings(splits, "abc")
    assert found["mean_total"] == pytest.approx({"cellmemory": 0.74, "pca": (0.42 + 1) / 2})
    write_page({"integration": found}, tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "accuracy.md").read_text()
    assert "| **CellMemory** | 0.740 | 0.900 | 0.500 |\n| PCA | 0.710 | 0.750 | 0.650 |" in page
    assert "| one | **0.740** | 0.420 |\n| two | 0.740 | **1.000** |" in page
    assert "embeddings abc." in page
    assert "scanpy 1" in page


def benchmark(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    places = {"data": folder, "work": folder / "work", "results": folder / "results", "docs": folder / "docs"}
    options = [f"--{name}={place}" for name, place in places.items()]
    command = [sys.executable, ROOT / "benchmarks" / "accuracy.py", *options, f"--peers_python={sys.executable}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_split_from_end_to_end(tmp_path):
    folder = synthetic(tmp_path)
    run = ("splits", "--methods=cellmemory,logistic_regression", "--seeds=1", "--train_option=--max_epochs=1",
           "--train_option=--d_model=16", "--train_option=--n_layers=1")  # fmt: skip
    done = benchmark(folder, *run, "summarise")
    assert done.returncode == 0, done.stderr
    assert "absent: skipped, elsewhere.h5ad is not in" in done.stderr
    found = json.loads((folder / "results" / "accuracy.json").read_text())
    assert list(found["mean_macro_f1"]) == ["cellmemory", "logistic_regression"]
    assert found["mean_macro_f1"]["logistic_regression"] > 0.95
    ours = found["splits"]["one"]["methods"]["cellmemory"]
    assert {"macro_f1", "accuracy", "ece", "set_coverage", "train_s", "predict_s", "peak_mib"} <= set(ours)
    page = (folder / "docs" / "accuracy.md").read_text()
    assert "**CellMemory**" in page
    assert (folder / "docs" / "images" / "accuracy_splits.svg").exists()
    # All is there already: nothing is run again.
    assert "seed 0" not in benchmark(folder, *run).stderr
    kept = json.loads((folder / "work" / "splits.json").read_text())
    del kept["runs"]["one"]["logistic_regression"]
    kept["tasks"]["two"] = kept["tasks"]["one"]
    (folder / "work" / "splits.json").write_text(json.dumps(kept))
    done = benchmark(folder, "summarise")
    assert done.returncode == 1
    assert "1 of the runs of 'splits' are missing: two cellmemory seed 0" in done.stderr
