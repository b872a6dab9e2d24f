"""EVALUATE through its command line: figures against counts by hand, over every shape of truth."""

import json
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluate
from cellmemory import evaluation
from cellmemory.io.signature import SIGNATURE
from tests.made.mapped_files import mapped_cells, pbmc_query, write_model

LABELS = ["a", "b", "c", "rare"]


def run(folder: Path, cells: ad.AnnData, *options: str, labels=LABELS, rare=("rare",), truth_key="truth"):
    """Runs the script on these cells: (result, metrics or None)."""
    cells.uns["cellmemory"]["model_digest"] = write_model(folder / "model", list(labels), list(rare), list(cells.var_names))
    cells.write_h5ad(folder / "s.mapped.h5ad")
    output = folder / "s.metrics.json"
    output.unlink(missing_ok=True)
    arguments = ["--mapped", folder / "s.mapped.h5ad", "--truth_key", truth_key, "--model", folder / "model"]
    result = CliRunner().invoke(evaluate.main, [str(a) for a in [*arguments, "--output", output, *options]])
    return result, json.loads(output.read_text(), parse_constant=pytest.fail) if output.exists() else None


def query(truth, predicted, labels=LABELS) -> ad.AnnData:
    """Cells with these true and predicted labels: all assigned, novelty 0, confidence 0.9, one label a set."""
    cells = mapped_cells(sp.csr_matrix(np.ones((len(predicted), 3))), None, list(predicted), list(labels))
    cells.obs["truth"] = truth
    cells.obs["cellmemory_status"] = pd.Categorical(["assigned"] * len(predicted))
    cells.obs["cellmemory_reason"] = ""
    cells.obs["cellmemory_novelty"], cells.obs["cellmemory_novelty_p"] = 0.0, 1.0
    cells.obs["cellmemory_confidence"] = 0.9
    cells.obs["cellmemory_label_set"] = list(predicted)
    return cells


def test_labels_of_the_mapping_are_no_truth(tmp_path):
    result, found = run(tmp_path, query(["a", "b"], ["a", "b"]), truth_key="cellmemory_label")
    assert (result.exit_code, found) == (1, None)
    assert "--truth_key cellmemory_label: this column was made by the mapping." in result.output


def test_figures_by_hand(tmp_path):
    truth = ["a", "a", "a", "b", "b", "rare", "rare", "new", "new", None]
    predicted = ["a", "a", "b", "b", "c", "rare", "a", "a", "b", "c"]
    cells = query(pd.Categorical(truth), predicted)
    cells.obs["cellmemory_status"] = pd.Categorical(["assigned"] * 5 + ["ambiguous"] + ["unassigned"] * 2 + ["assigned"] * 2)
    cells.obs["cellmemory_novelty"] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 0.95, 0.55, 5.0]
    cells.obs["cellmemory_novelty_p"] = [0.5] * 7 + [0.01, 0.03, 0.5]
    cells.obs["cellmemory_confidence"] = [1.0, 0.9, 0.92, 0.5, 0.5, 0.5, 0.05, 0.99, 0.99, 0.99]
    cells.obs["cellmemory_label_set"] = ["a", "a|b", "b|a", "b|c", "c", "rare", "a|b|c", "a", "b", "c"]
    result, found = run(tmp_path, cells)
    assert result.exit_code == 0, result.output
    assert "10 cells, 9 of them with a true label in truth, 7 of these of a type that the model knows" in result.output
    assert "new, 2 cells" in result.output
    expected = {
        "sample": "synthetic",
        "truth_key": "truth",
        "cells": 10,
        "cells_with_truth": 9,
        "known_cells": 7,
        "unknown_cells": 2,
        "accuracy": 4 / 7,
        "accuracy_all": 4 / 9,
        # F1: a 2*2/(2*2+1+1), b 2*1/(2*1+1+1), rare 2*1/(2*1+1+0); c has no true cell
        "macro_f1": (2 / 3 + 1 / 2 + 2 / 3) / 3,
        "weighted_f1": (3 * 2 / 3 + 2 * 1 / 2 + 2 * 2 / 3) / 7,
        "balanced_accuracy": (2 / 3 + 1 / 2 + 1 / 2) / 3,
        "rare_f1": 2 / 3,
        # 14 pairs of an unknown and a known cell: 0.95 beats seven, 0.55 beats five
        "novelty_auroc": 12 / 14,
        "unknown_flagged": 1 / 2,
        "known_flagged": 1 / 7,
        "known_ambiguous": 1 / 7,
        "assigned_fraction": 6 / 9,
        "assigned_accuracy": 3 / 6,
        "surely_wrong": 1 / 7,
        "label_set_coverage": 5 / 7,
        "label_set_mean_size": 12 / 7,
        # bins: 1.0 (right), 0.9 (right) and 0.92 (wrong), three of 0.5 (two right), 0.05 (wrong)
        "ece": (1 * 0.0 + 2 * 0.41 + 3 * abs(0.5 - 2 / 3) + 1 * 0.05) / 7,
    }
    for name, value in expected.items():
        assert found[name] == (pytest.approx(value) if isinstance(value, float) else value), name
    assert found["unknown_types"] == [
        {"label": "new", "cells": 2, "mean_novelty_p": pytest.approx(0.02), "flagged_fraction": 0.5}
    ]
    assert found["rare_types"] == ["rare"]
    assert found["integration"] is None
    assert found["confusion"] == {
        "true": ["a", "b", "rare", "new"],
        "predicted": ["a", "b", "c", "rare"],
        "counts": [[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0]],
    }
    assert [row["label"] for row in found["per_class"]] == ["a", "b", "rare"]
    third = pytest.approx(2 / 3)
    assert found["per_class"][0] == {
        "label": "a",
        "precision": third,
        "recall": third,
        "f1": third,
        "cells": 3,
        "label_set_coverage": 1.0,
    }
    assert [row["cells"] for row in found["calibration"]] == [1, 3, 2, 1]
    gaps = [row["cells"] * abs(row["confidence"] - row["accuracy"]) for row in found["calibration"]]
    assert sum(gaps) / 7 == pytest.approx(found["ece"])


def test_contract_of_the_json(tmp_path):
    cells = pbmc_query()
    labels = list(cells.uns["cellmemory"]["slot_groups"])
    result, found = run(tmp_path, cells, labels=labels, rare=["CD34+"], truth_key="author_label")
    assert result.exit_code == 0, result.output
    assert list(found) == [
        "sample", "mapping", "truth_key", "reference_cells", "cells", "cells_with_truth", "known_cells", "unknown_cells",
        "unknown_types",
        "accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "accuracy_all", "rare_types", "rare_f1", "ece", "calibration",
        "surely_wrong", "novelty_auroc", "unknown_flagged", "known_flagged", "known_ambiguous", "assigned_fraction",
        "assigned_accuracy", "label_set_coverage", "label_set_mean_size", "per_class", "confusion", "hierarchy", "integration",
        SIGNATURE,
    ]  # fmt: skip
    truth, predicted = (cells.obs[key].astype(str) for key in ("author_label", "cellmemory_label"))
    known = truth != "CD19+ B"
    assert found["accuracy"] == pytest.approx((truth == predicted)[known].mean())
    assert found["accuracy_all"] == pytest.approx((truth == predicted).mean())
    assert np.sum(found["confusion"]["counts"]) == len(cells)
    assert found["rare_types"] == ["CD34+"]
    assert found["novelty_auroc"] > 0.8


def test_nothing_known_and_nothing_unknown_are_null(tmp_path):
    result, found = run(tmp_path, query(["x", "y"], ["a", "b"]))
    assert result.exit_code == 0, result.output
    assert "No true label is one of the model's: truth has 'x', 'y'; the model has 'a', 'b'" in result.output
    for name in (
        "accuracy",
        "macro_f1",
        "weighted_f1",
        "balanced_accuracy",
        "rare_f1",
        "ece",
        "novelty_auroc",
        "known_flagged",
    ):
        assert found[name] is None
    assert found["per_class"] == found["calibration"] == []
    assert found["confusion"]["true"] == ["x", "y"]
    _, found = run(tmp_path, query(["a", "b"], ["a", "b"]))
    assert found["accuracy"] == 1
    assert (found["novelty_auroc"], found["unknown_flagged"], found["rare_f1"]) == (None, None, None)


@pytest.mark.parametrize(
    "truth",
    [[1, 2, 1, 3], [1.0, 2.0, np.nan, 3.0], pd.Categorical([1, 2, 1, 3]), pd.array([1, 2, None, 3], dtype="Int64")],
)
def test_numbers_are_labels_too(tmp_path, truth):
    result, found = run(tmp_path, query(truth, ["1", "2", "1", "1"], labels=["1", "2"]), labels=["1", "2"])
    assert result.exit_code == 0, result.output
    assert found["accuracy"] == 1
    assert [row["label"] for row in found["unknown_types"]] == ["3"]


def test_labels_with_the_separator_are_whole(tmp_path):
    labels = ["T|CD4", "T", "CD4"]
    cells = query(["T|CD4", "T"], ["T|CD4", "T"], labels=labels)
    cells.obs["cellmemory_label_set"] = ["T", "T|CD4"]
    _, found = run(tmp_path, cells, labels=labels)
    assert found["label_set_coverage"] == 0.5


def test_bad_input_is_a_sentence(tmp_path):
    cells = query([None, None], ["a", "b"])
    cells.obs["truth"] = pd.Categorical([None, None], ["a"])
    cells.obs["donor"] = ["x", "y"]
    result, _ = run(tmp_path, cells, truth_key="absent")
    assert result.exit_code == 1
    assert "donor" in result.output
    assert "--truth_key" in result.output
    result, _ = run(tmp_path, cells)
    assert result.exit_code == 1
    assert "holds no value" in result.output
    result, _ = run(tmp_path, cells, "--batch_key", "nowhere", truth_key="donor")
    assert result.exit_code == 1
    assert "'nowhere' (--batch_key)" in result.output
    cells.write_h5ad(tmp_path / "s.mapped.h5ad")
    digest = write_model(tmp_path / "model", ["a", "b"], [], ["OTHER"])
    assert digest != cells.uns["cellmemory"]["model_digest"]
    arguments = ["--mapped", tmp_path / "s.mapped.h5ad", "--truth_key", "donor", "--model", tmp_path / "model"]
    result = CliRunner().invoke(evaluate.main, [str(a) for a in [*arguments, "--output", tmp_path / "s.metrics.json"]])
    assert "was mapped with another model" in result.output
    assert not (tmp_path / "s.metrics.json").exists()
    (tmp_path / "model" / "labels.tsv").unlink()
    result = CliRunner().invoke(evaluate.main, [str(a) for a in [*arguments, "--output", tmp_path / "s.metrics.json"]])
    assert result.exit_code == 1
    assert "labels.tsv" in result.output


def test_integration_is_null_with_a_reason(tmp_path, monkeypatch):
    cells = query(["a", "b"] * 60, ["a", "b"] * 60)
    cells.obs["batch"] = ["x"] * 120
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    monkeypatch.setattr(evaluation.importlib.util, "find_spec", lambda name: None)
    result, found = run(tmp_path, cells, "--batch_key", "batch")
    assert found["integration"] is None
    assert "scib-metrics is not installed" in result.output
    monkeypatch.setattr(evaluation.importlib.util, "find_spec", lambda name: name)
    result, found = run(tmp_path, cells, "--batch_key", "batch")
    assert found["integration"] is None
    assert "here are 1, 2 and 120" in result.output


@pytest.mark.slow
def test_integration_scores_tell_mixed_from_separate_batches():
    pytest.importorskip("scib_metrics")
    rng = np.random.default_rng(0)
    truth, batch = pd.Series(rng.choice(["a", "b"], 300)), pd.Series(rng.choice(["x", "y"], 300))
    mixed = rng.normal(size=(300, 8)) + 6 * (truth == "a").to_numpy()[:, None]
    apart = mixed + 30 * (batch == "x").to_numpy()[:, None] * np.eye(8)[0]
    (first, _), (second, _) = (evaluation.integration(embedding, truth, batch) for embedding in (mixed, apart))
    assert first["Batch correction"] > second["Batch correction"] + 0.2
    assert json.dumps(first, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "new", None]),
            st.sampled_from(["a", "b", "c"]),
            st.floats(0, 1),
            st.booleans(),
            st.floats(0, 10),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_any_query_gives_sound_figures(rows):
    truth, predicted, confidence, assigned, novelty = zip(*rows, strict=True)
    obs = pd.DataFrame(
        {
            "cellmemory_label": pd.Categorical(predicted, ["a", "b", "c"]),
            "cellmemory_confidence": confidence,
            "cellmemory_status": np.where(assigned, "assigned", "unassigned"),
            "cellmemory_novelty": novelty,
            "cellmemory_novelty_p": confidence,
            "cellmemory_label_set": predicted,
        }
    )
    found = evaluation.evaluate(obs, evaluation.true_labels(pd.Series(truth), ["a", "b", "c"]), ["a", "b", "c"], ["b"])
    json.dumps(found, allow_nan=False)
    assert found["known_cells"] + found["unknown_cells"] == found["cells_with_truth"] == sum(t is not None for t in truth)
    assert found["label_set_coverage"] == found["accuracy"]
    assert np.sum(found["confusion"]["counts"]) == found["cells_with_truth"]
    for name, value in found.items():
        if isinstance(value, float) and name != "label_set_mean_size":
            assert 0 <= value <= 1, name
