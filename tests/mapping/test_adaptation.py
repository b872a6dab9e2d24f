"""Adapting a model to a query: labels of another protocol get better, and nothing that it should leave alone changes."""

import json
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from click.testing import CliRunner
from scipy.optimize import minimize
from scipy.special import softmax

import evaluate
import extract_tags
import faithfulness
import report
from cellmemory.errors import InputError
from cellmemory.explanation import contrasts
from cellmemory.mapping.adaptation import PENALTY, Adapted, _difference, adapt, learn_query
from cellmemory.mapping.mapped import MappedFile
from cellmemory.mapping.mapper import Mapper, MappingSettings, map_query
from cellmemory.network.runtime import configure
from cellmemory.network.tokens import Tokens
from cellmemory.reference import trained_model
from tests.conftest import refused, succeed

RUNTIME = ("--threads", 1, "--device", "cpu")


def mapped(folder: Path, query: Path, model: Path, name: str) -> ad.AnnData:
    succeed("map_query", "--query", query, "--model", model, "--output", folder / f"{name}.h5ad",
            "--labels", folder / f"{name}.csv", *RUNTIME)  # fmt: skip
    return ad.read_h5ad(folder / f"{name}.h5ad")


def tokens_of(mapper: Mapper, query: Path, factor: np.ndarray | None = None, measured: np.ndarray | None = None) -> Tokens:
    """Tokens of a query's cells, the counts of each gene multiplied by a factor, where only some genes were measured."""
    cells = ad.read_h5ad(query)
    counts = np.expm1(cells.X.toarray()) * (1 if factor is None else factor)
    measured = np.ones(cells.n_vars, bool) if measured is None else measured
    return mapper.tokenize(sp.csr_matrix(np.log1p(counts * measured).astype(np.float32)), measured)


@pytest.fixture(scope="module")
def mapper(model: Path) -> Mapper:
    return Mapper(trained_model.load(model), configure("cpu", "fp32", 1, seed=0))


@pytest.fixture(scope="module")
def reference_cells(aligned: Path) -> Path:
    return aligned / "reference.h5ad"


def decided(mapper: Mapper, tokens: Tokens, adapted: Adapted | None = None) -> np.ndarray:
    """Logits (n, C) of the model, or of the model adapted."""
    trained = mapper.network.linear.weight.data
    if adapted:
        mapper.network.linear.weight.data = torch.from_numpy(adapted.weight.astype(np.float32))
    try:
        return mapper.run(tokens, attention=False).logits
    finally:
        mapper.network.linear.weight.data = trained


def right(mapper: Mapper, logits: np.ndarray, query: Path, truth: str) -> float:
    """The share of cells whose label is the true one, a column of obs."""
    return (np.array(mapper.trained.labels)[logits.argmax(1)] == ad.read_h5ad(query).obs[truth].astype(str)).mean()


def test_labels_of_another_protocol_get_better(mapper, aligned):
    """A protocol that counts each gene more or less often, at random: labels are lost by it, and some of them found again."""
    query = aligned / "reduced_panel.aligned.h5ad"
    measured, better = ad.read_h5ad(query).var["measured"].to_numpy(bool), []
    for seed in range(3):
        factor = np.exp(np.random.default_rng(seed).normal(0, 1.2, mapper.network.config.n_genes))
        tokens = tokens_of(mapper, query, factor, measured)
        logits = decided(mapper, tokens), decided(mapper, tokens, learn_query(tokens, mapper))
        before, after = (right(mapper, found, query, "author_label") for found in logits)
        better.append(after - before)
    assert min(better) >= 0
    assert np.mean(better) > 0.02


def test_cells_of_the_reference_keep_their_labels(mapper, reference_cells):
    tokens = tokens_of(mapper, reference_cells)
    before, after = decided(mapper, tokens), decided(mapper, tokens, learn_query(tokens, mapper))
    assert (before.argmax(1) == after.argmax(1)).mean() > 0.97


def test_types_that_the_query_lacks_are_not_unlearned(mapper, reference_cells):
    """A query of one type alone: the reference's cells of all other types are labelled as well as before."""
    everything = tokens_of(mapper, reference_cells)
    before = decided(mapper, everything)
    common = np.bincount(before.argmax(1)).argmax()
    adapted = learn_query(everything.select(np.flatnonzero(before.argmax(1) == common)), mapper)
    assert set(np.unique(adapted.label)) <= {-1, common}
    logits = before, decided(mapper, everything, adapted)
    before, after = (right(mapper, found, reference_cells, "cell_type") for found in logits)
    assert after > before - 0.02


def test_what_it_taught_itself_makes_it_no_surer(mapper, reference_cells):
    factor = np.exp(np.random.default_rng(0).normal(0, 1.2, mapper.network.config.n_genes))
    tokens = tokens_of(mapper, reference_cells, factor)
    adapted, trained = learn_query(tokens, mapper), mapper.trained.calibration.temperature
    before = softmax(decided(mapper, tokens) / trained, 1).max(1).mean()
    assert adapted.temperature >= trained
    assert softmax(decided(mapper, tokens, adapted) / adapted.temperature, 1).max(1).mean() == pytest.approx(before, abs=1e-3)


def test_the_weights_solve_the_problem_that_they_are_said_to_solve():
    """Against a general solver in another form: weights of all classes as one vector, gradient by finite differences."""
    rng = np.random.default_rng(0)
    cells, offset, labels, weight = (
        rng.normal(size=(12, 3)),
        rng.normal(size=(12, 4)),
        rng.integers(0, 4, 12),
        rng.uniform(1, 9, 12),
    )
    found = _difference(cells, offset, labels, weight)

    def objective(flat: np.ndarray) -> float:
        p = softmax(offset + cells @ flat.reshape(3, 4), 1)[np.arange(12), labels]
        return 0.5 * (flat**2).sum() - PENALTY * (weight * np.log(p)).sum()

    expected = minimize(objective, np.zeros(12), method="BFGS").x.reshape(3, 4)
    assert np.allclose(found, expected, atol=1e-3)


def test_genes_that_were_not_measured_keep_their_weights(mapper, reference_cells):
    measured = np.arange(mapper.network.config.n_genes) % 2 > 0
    trained = mapper.network.linear.weight.numpy()
    moved = np.abs(learn_query(tokens_of(mapper, reference_cells, measured=measured), mapper).weight - trained).max((0, 2))
    assert (moved[~measured] == 0).all()
    assert (moved[measured & (trained != 0).any((0, 2))] > 0).all()


def test_only_what_the_linear_path_says_changes(model, aligned, tmp_path):
    query, adapted = aligned / "unseen_type.aligned.h5ad", tmp_path / "adapted"
    log = succeed("adapt", "--query", query, "--model", model, "--output", adapted, *RUNTIME)
    assert "cells of 'unseen_type'" in log
    assert "likelier to" in log
    before, after = mapped(tmp_path, query, model, "before"), mapped(tmp_path, query, adapted, "after")
    assert (before.obsm["X_cellmemory"] == after.obsm["X_cellmemory"]).all()
    assert (before.layers["attention"] != after.layers["attention"]).nnz == 0
    assert (before.obs["cellmemory_confidence"] != after.obs["cellmemory_confidence"]).any()
    assert "--adapt" in after.uns["cellmemory"]["alarms"][0]
    assert not any("--adapt" in alarm for alarm in before.uns["cellmemory"]["alarms"])
    assert (before.uns["cellmemory"]["adapted_to"], after.uns["cellmemory"]["adapted_to"]) == ("", "unseen_type")
    assert before.uns["cellmemory"]["model_digest"] == after.uns["cellmemory"]["model_digest"]
    assert "adapted to the cells of 'unseen_type'" in (adapted / "model_card.md").read_text()
    for name in ("labels.tsv", "panel.tsv", "history.tsv"):
        assert (adapted / name).read_bytes() == (model / name).read_bytes(), name
    calibrations = [json.loads((folder / "calibration.json").read_text()) for folder in (model, adapted)]
    assert {name for name in calibrations[0] if calibrations[0][name] != calibrations[1][name]} <= {"temperature"}
    assert json.loads((adapted / "config.json").read_text())["adapted_from"] == trained_model.load(model).config["digest"]
    (sentence,) = refused("adapt", "--query", query, "--model", adapted, "--output", tmp_path / "twice", *RUNTIME)
    assert "is adapted to 'unseen_type' already" in sentence
    assert not (tmp_path / "twice").exists()


def test_a_label_is_lost_by_its_share_and_not_by_what_it_wins():
    before = np.repeat([0, 1, 2, 3], [8, 4, 10, 10])
    after = np.concatenate([np.repeat([0, 1], [6, 2]), np.repeat([1, 1], [1, 3]), np.repeat(2, 10), np.repeat([3, 0], [6, 4])])
    adapted = Adapted(np.zeros(0), 1.0, np.zeros(0), before, after)
    # 0 lost two of its eight and won four; 1 has too few cells; 2 kept all; 3 lost four of ten.
    assert adapted.losses(["a", "b", "c", "d"]) == [("d", 10, 4)]


def test_auto_leaves_the_model_as_it_is_where_a_label_would_be_lost(model, aligned, tmp_path):
    trained = trained_model.load(model)

    def tried(query: str, how: str) -> tuple[trained_model.TrainedModel, str]:
        query_path, output = aligned / f"{query}.aligned.h5ad", tmp_path / f"{query}.{how}"
        log = succeed("adapt", "--query", query_path, "--model", model, "--output", output, "--adapt", how, *RUNTIME)
        return trained_model.load(output), log

    kept, log = tried("unseen_type", "auto")
    assert "Warning: 'unseen_type': Adapting changes the label of" in log
    assert "'CD8+ Cytotoxic T' loses" in kept.adapting
    assert kept.adapting.endswith("It is likelier to harm than to help.")
    assert (kept.adapted_to, kept.trained_digest, kept.calibration) == ("", trained.trained_digest, trained.calibration)
    assert all((kept.weights[name] == weight).all() for name, weight in trained.weights.items())
    changed, log = tried("unseen_type", "true")
    assert (changed.adapted_to, changed.adapting) == ("unseen_type", kept.adapting)
    assert "Warning: 'unseen_type': Adapting" in log
    better, log = tried("reduced_panel", "auto")
    assert (better.adapted_to, better.adapting[-36:]) == ("reduced_panel", "It is likelier to help than to harm.")
    assert "Warning" not in log
    # The query is mapped as by the trained model, and says why.
    query = aligned / "unseen_type.aligned.h5ad"
    before, after = (mapped(tmp_path, query, which, which.name) for which in (model, kept.path))
    assert before.obs.equals(after.obs)
    assert after.uns["cellmemory"]["alarms"][0].startswith("The model was not adapted to this query (--adapt auto). Adapting")
    assert after.uns["cellmemory"]["alarms"][1:].tolist() == before.uns["cellmemory"]["alarms"].tolist()


@pytest.fixture(scope="module")
def both_ways(model: Path, aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, `trained`, the same `adapted` to a query of few cells, and the query mapped by either."""
    folder = tmp_path_factory.mktemp("both_ways")
    shutil.copytree(model, folder / "trained")
    cells = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[:60].copy()
    cells.uns["cellmemory"]["sample"] = "few"
    cells.write_h5ad(folder / "few.h5ad")
    runtime = configure("cpu", "fp32", 1, seed=0)
    adapt(folder / "few.h5ad", trained_model.load(model), folder / "adapted", runtime)
    for name in ("trained", "adapted"):
        map_query(
            folder / "few.h5ad", trained_model.load(folder / name), MappingSettings(), runtime, output=folder / f"{name}.h5ad"
        )
    return folder


#: Scripts that are given the model of a mapped query, and their further arguments.
GIVEN = {
    evaluate: ["--truth_key", "author_label", "--output", "metrics.json"],
    extract_tags: ["--tags", "tags.tsv", "--slot_tags", "slots.tsv", "--permutations", "0"],
    faithfulness: ["--cells_per_label", "1", "--output", "faithfulness.tsv", "--threads", "1"],
    report: ["--output", "report.html", "--mqc_dir", "mqc"],
}


@pytest.mark.parametrize("script", GIVEN, ids=lambda script: script.__name__)
def test_scripts_take_the_model_that_mapped_the_query_and_a_report_its_trained_one(both_ways, monkeypatch, script):
    monkeypatch.chdir(both_ways)

    def sentence(mapped_by: str, given: str) -> str:
        """What the script says to a query that one model mapped, given another; empty where it takes it."""
        result = CliRunner().invoke(script.main, ["--mapped", f"{mapped_by}.h5ad", "--model", given, *GIVEN[script]])
        assert not isinstance(result.exception, Exception), result.exception
        assert result.exit_code == ("another model" in result.output)
        return result.output if result.exit_code else ""

    assert sentence("adapted", "adapted") == sentence("trained", "trained") == ""
    assert "(one that is not adapted, not one adapted to 'few')" in sentence("trained", "adapted")
    # The page shows panel, labels and training of the reference's model, which are those of the adapted one.
    refusal = sentence("adapted", "trained")
    assert refusal == "" if script is report else "(one adapted to 'few', not one that is not adapted)" in refusal


def test_a_model_adapted_to_another_query_of_the_same_name_is_refused(both_ways, aligned, tmp_path):
    other = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[60:120].copy()
    other.uns["cellmemory"]["sample"] = "few"
    other.uns["cellmemory"]["values_digest"] = "0123456789abcdef"
    other.write_h5ad(tmp_path / "few.h5ad")
    given = ("--model", both_ways / "adapted", "--output", tmp_path / "m.h5ad", "--labels", tmp_path / "l.csv", *RUNTIME)
    (sentence,) = refused("map_query", "--query", tmp_path / "few.h5ad", *given)
    assert "this model is adapted to another query that is called 'few' as well" in sentence
    mapped = ad.read_h5ad(both_ways / "adapted.h5ad")
    mapped.uns["cellmemory"]["values_digest"] = "0123456789abcdef"
    mapped.write_h5ad(tmp_path / "other.h5ad")
    with (
        MappedFile(tmp_path / "other.h5ad") as file,
        pytest.raises(InputError, match="adapted to another query of the same name"),
    ):
        file.check_model(trained_model.load(both_ways / "adapted"))


def test_attention_by_a_model_and_by_it_adapted_may_be_contrasted(both_ways):
    with MappedFile(both_ways / "adapted.h5ad") as one, MappedFile(both_ways / "trained.h5ad") as other:
        assert np.bincount(contrasts.between_files(one, other).side).tolist() == [60, 60]


def test_a_query_without_counts_is_refused(model, aligned, tmp_path):
    cells = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[:3].copy()
    cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
    cells.obs = pd.DataFrame(index=cells.obs_names)
    cells.write_h5ad(tmp_path / "empty.h5ad")
    (sentence,) = refused("adapt", "--query", tmp_path / "empty.h5ad", "--model", model, "--output", tmp_path / "out", *RUNTIME)
    assert "no cell expresses a gene" in sentence
