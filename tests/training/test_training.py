"""Training and mapping through the scripts: what they write, that seeds decide everything and neighbours nothing."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from cellmemory.columns import CELL_COLUMNS
from cellmemory.network import linear_fit
from cellmemory.network.tokens import Tokens
from cellmemory.training import warm_start as warm_start_module
from cellmemory.training.warm_start import fit_warm_start
from tests.conftest import ROOT, refused, script, succeed

COLUMNS = ["label", "confidence", "status", "reason", "novelty", "novelty_p", "label_set", "linear_share"]


def map_query(folder: Path, model: Path, query: Path, name: str, *options: object) -> ad.AnnData:
    out = folder / f"{name}.mapped.h5ad"
    succeed("map_query", "--query", query, "--model", model, "--output", out, "--labels", folder / f"{name}.labels.csv",
            "--threads", 1, *options)  # fmt: skip
    return ad.read_h5ad(out)


@pytest.fixture(scope="module")
def mapped(model: Path, aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> ad.AnnData:
    return map_query(tmp_path_factory.mktemp("mapped"), model, aligned / "unseen_type.aligned.h5ad", "unseen_type")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_model(aligned, model, tmp_path):
    for name, seed in (("again", 0), ("other", 1)):
        succeed("train", "--reference", aligned / "reference.h5ad", "--panel", aligned / "panel.tsv",
                "--label_key", "cell_type", "--output", tmp_path / name, "--max_epochs", 1, "--threads", 1,
                "--seed", seed)  # fmt: skip
    for file in model.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
    weights = "model.safetensors"
    assert (tmp_path / "other" / weights).read_bytes() != (model / weights).read_bytes()


def test_a_model_folder_holds_what_the_contract_says(model):
    found = {file.name for file in model.iterdir()}
    assert found == {"model.safetensors", "config.json", "panel.tsv", "labels.tsv", "calibration.json", "history.tsv",
                     "history.png", "model_card.md"}  # fmt: skip
    labels = pd.read_csv(model / "labels.tsv", sep="\t")
    assert (labels["n_train"] + labels["n_validation"] == labels["n_cells"]).all()
    assert (labels[["n_train", "n_validation"]] > 0).all(axis=None)
    calibration = json.loads((model / "calibration.json").read_text())
    assert len(calibration["novelty_null"]) == calibration["validation_cells"] == labels["n_validation"].sum()


def test_a_mapped_query_holds_what_the_contract_says(mapped, aligned, model):
    source = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")
    assert [c for c in mapped.obs if c.startswith("cellmemory_")] == [f"cellmemory_{c}" for c in COLUMNS] == list(CELL_COLUMNS)
    pd.testing.assert_frame_equal(mapped.obs[source.obs.columns], source.obs)
    assert (mapped.X != source.X).nnz == 0
    assert mapped.obs["cellmemory_confidence"].between(0, 1).all()
    labels = pd.read_csv(model / "labels.tsv", sep="\t")["label"].tolist()
    assert mapped.obs["cellmemory_label"].cat.categories.tolist() == labels
    sets = mapped.obs["cellmemory_label_set"].astype(str).str.split("|")
    assert [best in inside for best, inside in zip(mapped.obs["cellmemory_label"], sets, strict=True)] == [True] * len(sets)
    unassigned = mapped.obs["cellmemory_status"] == "unassigned"
    assert (unassigned == (mapped.obs["cellmemory_novelty_p"] < 0.05)).all()
    ambiguous = ~unassigned & (mapped.obs["cellmemory_confidence"] < 0.7)
    assert ((mapped.obs["cellmemory_status"] == "ambiguous") == ambiguous).all()
    assert ambiguous.any()
    reason = mapped.obs["cellmemory_reason"].astype(str)
    assert set(reason[unassigned]) <= {"unlike the reference", "low quality"}
    assert set(reason[mapped.obs["cellmemory_status"] == "assigned"]) == {""}
    first = reason[ambiguous].str.split("|")
    assert (first.str[0] == mapped.obs["cellmemory_label"][ambiguous].astype(str)).all()
    assert (first.str.len() > 1).all()
    attention = mapped.layers["attention"]
    assert np.array_equal(attention.indices, mapped.X.indices)
    assert np.array_equal(attention.indptr, mapped.X.indptr)
    assert (attention.sum(1) < 1).all()
    np.testing.assert_allclose(mapped.obsm["X_cellmemory_slots"].sum(1), 1, rtol=1e-5)
    assert mapped.obsm["X_umap"].shape == (195, 2)


def test_slot_means_are_means_over_the_cells_of_a_label(mapped, model):
    """varm against the network run again on the cells of the most frequent label, one average over all of them."""
    import torch

    from cellmemory.network.batching import as_tensors
    from cellmemory.network.tokens import tokenize
    from cellmemory.reference import trained_model

    trained = trained_model.load(model)
    label = mapped.obs["cellmemory_label"].value_counts().index[0]
    cells = mapped[mapped.obs["cellmemory_label"] == label]
    tokens = tokenize(cells.X, np.ones(cells.n_vars, bool), mode="fast", binning="quantile", n_bins=50)
    gene, bins, _, valid, _ = as_tensors(tokens, np.arange(cells.n_obs))
    with torch.inference_mode():
        *_, attention = trained.network()(gene, bins, valid, attention=True)
    slots = trained.config["model"]["n_slots"]
    write = np.zeros((cells.n_vars, slots))
    for i in range(cells.n_obs):
        np.add.at(write, gene[i][valid[i]].numpy(), attention.write[i, :, valid[i]].T.numpy() / cells.n_obs)
    group = trained.labels.index(label)
    np.testing.assert_allclose(mapped.varm["cellmemory_slot_write"][:, group * slots : (group + 1) * slots], write, atol=1e-6)


def test_a_cell_is_mapped_alike_alone_and_among_others(mapped, model, aligned, tmp_path):
    few = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[40:47].copy()
    few.write_h5ad(tmp_path / "few.h5ad")
    alone = map_query(tmp_path, model, tmp_path / "few.h5ad", "few")
    among = mapped[40:47]
    assert alone.obs["cellmemory_label"].tolist() == among.obs["cellmemory_label"].tolist()
    np.testing.assert_allclose(alone.obs["cellmemory_confidence"], among.obs["cellmemory_confidence"], atol=1e-5)
    # Novelty, too, unless what a query's cells have in common is taken out of it.
    unshifted = [map_query(tmp_path, model, path, name, "--no_novelty_shift").obs[["cellmemory_novelty", "cellmemory_novelty_p"]]
                 for path, name in ((tmp_path / "few.h5ad", "few2"), (aligned / "unseen_type.aligned.h5ad", "all2"))]  # fmt: skip
    np.testing.assert_allclose(unshifted[0], unshifted[1][40:47], atol=1e-5)
    np.testing.assert_allclose(alone.obsm["X_cellmemory"], among.obsm["X_cellmemory"], atol=1e-5)
    np.testing.assert_allclose(alone.layers["attention"].toarray(), among.layers["attention"].toarray(), atol=1e-6)


def test_chunks_join_without_a_seam(mapped, model, aligned, tmp_path, monkeypatch):
    from cellmemory.mapping import cell_ranges, mapper
    from cellmemory.network.runtime import configure
    from cellmemory.reference import trained_model

    monkeypatch.setattr(cell_ranges, "BLOCK_CELLS", 50)
    runtime = configure("cpu", "fp32", 1, seed=0)
    mapper.map_query(aligned / "unseen_type.aligned.h5ad", trained_model.load(model), mapper.MappingSettings(), runtime,
                     output=tmp_path / "m.h5ad")  # fmt: skip
    joined = ad.read_h5ad(tmp_path / "m.h5ad")
    assert joined.obs["cellmemory_label"].tolist() == mapped.obs["cellmemory_label"].tolist()
    np.testing.assert_allclose(joined.layers["attention"].data, mapped.layers["attention"].data, atol=1e-6)
    np.testing.assert_allclose(joined.varm["cellmemory_slot_write"], mapped.varm["cellmemory_slot_write"], atol=1e-6)


def test_an_empty_cell_is_kept_and_unassigned(model, aligned, tmp_path):
    data = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[:5].copy()
    dense = data.X.toarray()
    dense[2] = 0
    data.X = __import__("scipy.sparse").sparse.csr_matrix(dense)
    data.write_h5ad(tmp_path / "few.h5ad")
    found = map_query(tmp_path, model, tmp_path / "few.h5ad", "few")
    assert found.n_obs == 5
    assert (found.obs["cellmemory_status"].iloc[2], found.obs["cellmemory_reason"].iloc[2]) == ("unassigned", "low quality")
    assert np.isfinite(found.obsm["X_cellmemory"]).all()


def test_a_query_of_another_panel_is_refused(model, aligned, tmp_path):
    data = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[:, ::-1].copy()
    data.write_h5ad(tmp_path / "turned.h5ad")
    sentence, = refused("map_query", "--query", tmp_path / "turned.h5ad", "--model", model, "--output", tmp_path / "o.h5ad",
                        "--labels", tmp_path / "o.csv")  # fmt: skip
    assert "preprocess_query.py --panel" in sentence
    assert not (tmp_path / "o.h5ad").exists()


def test_a_mapping_that_is_killed_leaves_no_output(model, aligned, tmp_path, monkeypatch):
    from cellmemory.mapping import mapper
    from cellmemory.network.runtime import configure
    from cellmemory.reference import trained_model

    def broken(*_):
        raise RuntimeError("killed")

    monkeypatch.setattr(mapper.MappedWriter, "finish", broken)
    with pytest.raises(RuntimeError, match="killed"):
        mapper.map_query(aligned / "unseen_type.aligned.h5ad", trained_model.load(model), mapper.MappingSettings(),
                         configure("cpu", "fp32", 1, seed=0), output=tmp_path / "m.h5ad", labels=tmp_path / "m.csv")  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_missing_gpu_is_one_sentence(model, aligned, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    sentence, = refused("map_query", "--query", aligned / "unseen_type.aligned.h5ad", "--model", model, "--device", "cuda",
                        "--output", tmp_path / "o.h5ad", "--labels", tmp_path / "o.csv")  # fmt: skip
    assert "--device cuda" in sentence


def some_tokens(bins: np.ndarray) -> Tokens:
    """Cells that express every gene, with these bins (cells, genes) and random shares."""
    n, genes = bins.shape
    sqrt_share = np.random.default_rng(1).random(n * genes).astype(np.float32)
    gene = np.tile(np.arange(genes), n).astype(np.int32)
    return Tokens(np.arange(n + 1) * genes, gene, bins.ravel().astype(np.uint8), sqrt_share, np.ones(genes, bool))


def test_the_start_learns_nothing_from_validation_cells():
    """Loadings and opinions stay the same when the labels of held-out cells change."""
    tokens = some_tokens(np.random.default_rng(0).integers(1, 51, (60, 15)))
    labels, training = np.arange(60) % 3, np.arange(0, 45)
    other = labels.copy()
    other[45:] = (other[45:] + 1) % 3
    one, two = (fit_warm_start(tokens, y, training, n_bins=50, seed=0) for y in (labels, other))
    np.testing.assert_array_equal(one.loadings, two.loadings)
    for a, b in zip(one.folds, two.folds, strict=True):
        np.testing.assert_array_equal(a.weight, b.weight)
    classifiers = [one.classifier(tokens, y, training) for y in (labels, other)]
    np.testing.assert_array_equal(classifiers[0].weight, classifiers[1].weight)
    assert set(one.fold[training]) == set(range(len(one.folds)))


def test_out_of_fold_logits_are_those_of_a_classifier_that_never_saw_the_cell():
    """Refitted by hand on the other folds' cells."""
    from sklearn.linear_model import LogisticRegression

    from cellmemory.network.tokens import views

    bins = np.random.default_rng(0).integers(1, 51, (90, 12))
    labels = np.arange(90) % 3
    bins[:, :3] += 40 * np.eye(3, dtype=int)[labels]
    tokens = some_tokens(np.minimum(bins, 50))
    warm_start = fit_warm_start(tokens, labels, np.arange(90), n_bins=50, seed=0)
    seen = views(tokens, np.arange(90), 50)
    centred = np.clip((seen - seen.mean(0)) / (seen.std(0) + 0.02), -10, 10).reshape(90, -1)
    found = warm_start.out_of_fold(tokens, np.arange(90))
    for fold in range(len(warm_start.folds)):
        others = warm_start.fold != fold
        model = LogisticRegression(C=warm_start.penalty, class_weight="balanced", tol=1e-3).fit(centred[others], labels[others])
        np.testing.assert_allclose(found[~others], model.decision_function(centred[~others]), atol=1e-3)
    # A single cell leaves four of the five folds without one.
    np.testing.assert_allclose(warm_start.out_of_fold(tokens, np.array([7])), found[7:8], atol=1e-5)


def test_the_linear_classifier_looks_at_the_genes_that_tell_labels_apart():
    """As scikit-learn's analysis of variance ranks them; the others have no weight, and the best of the penalties is taken."""
    from sklearn.feature_selection import f_classif

    from cellmemory.training.warm_start import PENALTIES, rank_genes

    rng = np.random.default_rng(0)
    labels = np.arange(120) % 4
    cells = rng.normal(size=(120, 2, 30)).astype(np.float32)
    cells[:, 0, :5] += labels[:, None]
    cells[:, 1, 20:23] -= (labels == 2)[:, None] * 3
    scores = np.max([f_classif(cells[:, view], labels)[0] for view in (0, 1)], 0)
    np.testing.assert_array_equal(np.sort(rank_genes(cells, labels, 4)[:8]), np.sort(np.argsort(-scores)[:8]))

    bins = rng.integers(1, 51, (90, 600))
    bins[:, :3] = np.minimum(bins[:, :3] + 40 * np.eye(3, dtype=int)[labels[:90] % 3], 50)
    tokens, kinds = some_tokens(bins), labels[:90] % 3
    warm_start = fit_warm_start(tokens, kinds, np.arange(90), n_bins=50, seed=0)
    weight = warm_start.classifier(tokens, kinds, np.arange(90)).weight
    assert {0, 1, 2} <= set(warm_start.selected)
    assert len(warm_start.selected) == 500
    assert not np.delete(weight, warm_start.selected, 1).any()
    assert weight[:, warm_start.selected].any(0).all()
    assert warm_start.penalty in PENALTIES


def planted(n: int, genes: int, n_labels: int) -> tuple[Tokens, np.ndarray]:
    """Cells whose labels show weakly in each of many genes: the more of these a classifier sees, the better."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % n_labels
    bins = rng.integers(10, 40, (n, genes)) + 3 * rng.integers(-1, 2, (n_labels, genes))[labels]
    return some_tokens(bins), labels


@pytest.mark.parametrize(("informative", "expected"), [(40, 40), (3, 10)])
def test_a_large_reference_shows_how_many_genes_the_linear_path_needs(monkeypatch, informative, expected):
    """As few as are about as good as more: three genes are enough where three say all."""
    monkeypatch.setattr(warm_start_module, "BASIS_CELLS", 200)
    monkeypatch.setattr(warm_start_module, "SELECTED_GENES", (10, 40))
    tokens, labels = planted(600, 40, 4)
    if informative < 40:
        bins = np.random.default_rng(1).integers(1, 51, (600, 40))
        bins[:, :informative] = np.where(np.eye(4, dtype=int)[labels][:, :informative], 50, 5)
        tokens = some_tokens(bins)
    found = fit_warm_start(tokens, labels, np.arange(0, 600), n_bins=50, seed=0)
    assert len(found.selected) == expected
    assert [fold.weight.shape for fold in found.folds] == [(2, expected, 4)] * 5


@pytest.mark.parametrize("exactly", [True, False])
def test_the_classifiers_of_many_cells_see_all_of_them(monkeypatch, exactly):
    """Each as scikit-learn fits it on all cells of the other folds. Of a large reference labels weigh as the root of their cells,
    and the whole is the mean of the folds'."""
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(warm_start_module, "BASIS_CELLS", 100)
    monkeypatch.setattr(warm_start_module, "EXACT_CELLS", 1_000 if exactly else 200)
    monkeypatch.setattr(warm_start_module, "STRENGTHS", (0.05,))
    monkeypatch.setattr(linear_fit, "FEWEST_STEPS", 2_000)
    tokens, labels = planted(400, 12, 3)
    labels = np.where(np.arange(400) < 200, 0, labels)  # the first label has most cells
    found = fit_warm_start(tokens, labels, np.arange(400), n_bins=50, seed=0)
    seen = found.scaler.views(tokens, np.arange(400), np.arange(12))
    flat, weight = seen.reshape(400, -1), np.bincount(labels)[labels] ** -0.5

    def fitted(rows: np.ndarray) -> np.ndarray:
        if exactly:
            model = LogisticRegression(C=found.penalty, class_weight="balanced", tol=1e-3).fit(flat[rows], labels[rows])
        else:
            share = weight[rows] / weight[rows].mean()
            model = LogisticRegression(C=1 / (0.05 * rows.sum()), tol=1e-6).fit(flat[rows], labels[rows], share)
        return model.predict_proba(flat)

    for fold, classifier in enumerate(found.folds):
        np.testing.assert_allclose(softmax(classifier(seen), 1), fitted(found.fold != fold), atol=0.02)
    whole = found.classifier(tokens, labels, np.arange(400))
    if exactly:
        np.testing.assert_allclose(softmax(whole(seen), 1), fitted(np.ones(400, bool)), atol=0.02)
    else:
        np.testing.assert_allclose(whole(seen), np.mean([classifier(seen) for classifier in found.folds], 0), atol=1e-5)


def test_a_large_reference_chooses_genes_by_cells_that_were_left_out(monkeypatch):
    """All where many say a little, few where few say all."""
    monkeypatch.setattr(warm_start_module, "BASIS_CELLS", 200)
    monkeypatch.setattr(warm_start_module, "EXACT_CELLS", 200)
    monkeypatch.setattr(warm_start_module, "SELECTED_GENES", (10, 40))
    monkeypatch.setattr(linear_fit, "FEWEST_STEPS", 300)
    tokens, labels = planted(600, 40, 4)
    batch = np.arange(600) // 4 % 10
    assert len(fit_warm_start(tokens, labels, np.arange(600), batch=batch, n_bins=50, seed=0).selected) == 40
    bins = np.random.default_rng(1).integers(1, 51, (600, 40))
    bins[:, :3] = np.where(np.eye(4, dtype=int)[labels][:, :3], 50, 5)
    found = fit_warm_start(some_tokens(bins), labels, np.arange(600), batch=batch, n_bins=50, seed=0)
    assert len(found.selected) == 10
    assert found.penalty is None


def test_whole_batches_choose_the_number_of_genes():
    """A fifth of the batches, one at least; of one batch a fifth of its cells."""
    rng, left_out = np.random.default_rng(0), warm_start_module._left_out_batches
    batch = np.repeat(np.arange(10), 7)
    chosen = left_out(batch, rng)
    assert len(np.unique(batch[chosen])) == 2
    assert chosen.sum() == 14
    assert len(np.unique(np.array([0, 1, 1, 2])[left_out(np.array([0, 1, 1, 2]), rng)])) == 1
    assert left_out(np.zeros(10, int), rng).sum() == 2


def test_the_linear_path_is_its_classifier_on_any_panel():
    """Its sparse sum over tokens equals the dense product; genes that were not measured count as average."""
    import torch

    from cellmemory.network.batching import CellBatch, as_tensors
    from cellmemory.network.config import ModelConfig
    from cellmemory.network.model import CellMemory
    from cellmemory.network.tokens import views

    tokens = some_tokens(np.random.default_rng(0).integers(1, 51, (40, 10)))
    labels = np.arange(40) % 4
    warm_start = fit_warm_start(tokens, labels, np.arange(40), n_bins=50, seed=0)
    network = CellMemory(ModelConfig(10, 4, d_model=8))
    network.start_from(warm_start.loadings, warm_start.scaler.mean, warm_start.scaler.spread, warm_start.share)
    fitted = warm_start.classifier(tokens, labels, np.arange(40))
    network.decide_by(fitted.weight, fitted.bias)
    path, weight = network.linear, fitted.weight.reshape(-1, 4)
    seen = warm_start.scaler(views(tokens, np.arange(40), 50))
    expected = seen.reshape(40, -1) @ weight + fitted.bias
    batch = as_tensors(tokens, np.arange(40))
    np.testing.assert_allclose(path(batch, batch.bins / 50), expected, atol=1e-4)

    gene, bins, sqrt_share, valid = (values[:, :7] for values in batch[:4])
    sqrt_share = sqrt_share / warm_start.share[:7].sum() ** 0.5  # shares among the measured genes are larger
    few = path(CellBatch(gene, bins, sqrt_share, valid, torch.arange(10) < 7), bins / 50)
    seen[:, :, 7:] = 0
    np.testing.assert_allclose(few, seen.reshape(40, -1) @ weight + fitted.bias, atol=1e-4)


def test_weights_of_the_two_parts_follow_the_better_one():
    from cellmemory.reference.calibration import fit_weights

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 2000)
    good = 2 * np.eye(3)[labels] + rng.normal(size=(2000, 3))
    noise = rng.normal(size=(2000, 3))
    linear, cls = fit_weights(good, noise, labels, 10_000)
    assert linear > 5 * cls
    linear, cls = fit_weights(noise, good, labels, 10_000)
    assert cls > 5 * linear


def test_a_small_reference_is_decided_by_the_linear_path():
    """Eight held-out cells on which both parts are as good: 50 training cells are too few for the CLS token, 2,000 are not."""
    from cellmemory.reference.calibration import fit_weights

    labels = np.arange(8) % 4
    alike = 2 * np.eye(4)[labels] + np.random.default_rng(0).normal(size=(8, 4))
    ratios = [np.divide(*fit_weights(alike, alike, labels, cells)) for cells in (50, 250, 2_000)]
    np.testing.assert_allclose(ratios, [10, 2, 2], rtol=0.15)


def test_held_out_cells_that_are_all_right_do_not_make_a_model_sure_of_everything():
    """Cross-entropy alone would raise both weights to their bounds: 20 times as sure, of whichever cells come."""
    from cellmemory.reference.calibration import calibrate, fit_weights

    labels = np.arange(40) % 4
    right = 4 * np.eye(4)[labels] + np.random.default_rng(0).normal(size=(40, 4)) / 2
    linear, cls = fit_weights(right, right, labels, 2_000)
    assert 0.7 < linear < 1.3
    assert linear / cls == pytest.approx(2, rel=0.1)
    found = calibrate(linear * right + cls * right, labels)
    assert (found["validation_accuracy"], found["temperature"]) == (1, 1)


def test_label_sets_are_conformal_ones_and_what_has_most_of_the_probability():
    from cellmemory.reference.calibration import label_sets

    probabilities = np.array([[0.97, 0.02, 0.01], [0.2, 0.7, 0.1], [0.4, 0.25, 0.35], [0.05, 0.15, 0.8]])
    easy, hard = np.full(3, 0.1), np.full(3, 0.8)
    # Held-out cells were so easy that the best label alone would do.
    assert label_sets(probabilities, list("abc"), easy, 0.05) == ["a", "b|a|c", "a|c|b", "c|b"]
    assert label_sets(probabilities, list("abc"), easy, 0.4) == ["a", "b", "a|c", "c"]
    # And where they were hard, conformal sets are the larger ones.
    assert label_sets(probabilities, list("abc"), hard, 0.4) == ["a", "b|a", "a|c|b", "c"]
    # One label alone was hard: it is in the sets where the others would not be.
    assert label_sets(probabilities, list("abc"), np.array([0.1, 0.86, 0.1]), 0.4) == ["a", "b", "a|c|b", "c|b"]


def test_a_label_that_is_missed_more_often_is_in_more_sets():
    """Half of the cells of label 1 look like label 0: at least 95 % of new ones of each label have it in their set."""
    from cellmemory.reference.calibration import calibrate, conformal_thresholds, label_sets

    rng = np.random.default_rng(0)

    def cells(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(3, n, p=[0.85, 0.1, 0.05])
        seen_as = np.where((labels == 1) & (rng.random(n) < 0.5), 0, labels)
        return 4.0 * np.eye(3)[seen_as] + rng.normal(size=(n, 3)), labels

    logits, labels = cells(4_000)
    known = SimpleNamespace(**calibrate(logits, labels))
    assert known.conformal_scores == sorted(known.conformal_scores)
    assert np.bincount(known.conformal_labels).tolist() == np.bincount(labels).tolist()
    thresholds = conformal_thresholds(known, 3, 0.05)
    assert thresholds[1] > max(thresholds[0], thresholds[2])
    logits, labels = cells(20_000)
    sets = label_sets(softmax(logits, 1), list("abc"), thresholds, 0.05)
    held = np.array([name in found for name, found in zip(np.array(list("abc"))[labels], sets, strict=True)])
    for label in range(3):
        assert held[labels == label].mean() > 0.945


def test_a_label_with_few_held_out_cells_leans_on_all():
    from cellmemory.reference.calibration import conformal_thresholds

    scores = np.linspace(0, 0.4, 101).tolist()
    known = SimpleNamespace(conformal_scores=scores, conformal_labels=[0] * 100 + [1])
    without, lone, many = conformal_thresholds(known, 3, 0.05)[[2, 1, 0]]
    assert without == pytest.approx(np.quantile(scores, 0.95), abs=0.01)
    assert without < lone <= 0.4 + 1e-9
    assert abs(many - without) < 0.01


@pytest.mark.parametrize("name", ["check_inputs", "preprocess_reference", "preprocess_query", "train", "map_query",
                                  "gather", "extract_tags", "enrich", "evaluate", "report"])  # fmt: skip
def test_help_answers_without_loading_the_heavy_libraries(name):
    done = subprocess.run([sys.executable, "-X", "importtime", ROOT / "bin" / f"{name}.py", "--help"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "Usage:" in done.stdout
    assert not loaded & {"torch", "scanpy", "anndata", "pandas", "numpy", "plotly", "lightning", "gseapy"}


def test_a_wrong_option_leaves_with_status_1():
    done = script("train", "--reference", "nowhere.h5ad")
    assert done.returncode == 1
    assert "nowhere.h5ad" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("step", "unused"), [
    ("checks", "torch"), ("genes.reference_cells", "torch"), ("genes.query_cells", "torch"), ("mapping.mapped", "torch"),
    ("mapping.gathering", "torch"),
    ("report.data", "torch"), ("explanation.contrasts", "torch"), ("mapping.mapper", "lightning"),
    ("explanation.attribution", "lightning"), ("explanation.faithfulness", "lightning"), ("mapping.adaptation", "lightning"),
])  # fmt: skip
def test_a_step_loads_no_framework_that_it_does_not_use(step, unused):
    """Each is a process of its own, and torch costs it a second, lightning two more."""
    assert unused not in loaded_by(f"import cellmemory.{step}")


def test_a_mapping_starts_without_the_compiler():
    """torch.use_deterministic_algorithms, for one, loads it; it takes a second of every process."""
    starting = "import torch, cellmemory.mapping.mapper; from cellmemory.network.runtime import configure; "
    starting += "configure('cpu', 'auto', 1, seed=0); "
    assert "torch._dynamo" not in loaded_by(starting + "assert torch.are_deterministic_algorithms_enabled()")


def loaded_by(code: str) -> set[str]:
    """The modules that a process has loaded after some code."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, cwd=ROOT / "bin", capture_output=True, text=True, check=True).stdout.split())


def test_a_reference_is_opened_once(aligned, tmp_path, monkeypatch):
    """Each opening probes all of its matrices, over a network now and then."""
    from cellmemory.cells.reading import CellFile
    from cellmemory.network.runtime import configure
    from cellmemory.training.aligned_reference import ReferenceFiles
    from cellmemory.training.settings import ModelSize, Schedule, TrainingSettings
    from cellmemory.training.train import CheckpointFolder, train_reference

    opened, opening = [], CellFile.__init__
    monkeypatch.setattr(CellFile, "__init__", lambda self, path: (opened.append(path), opening(self, path))[1])
    settings = TrainingSettings("cell_type", size=ModelSize(d_model=8, n_layers=1), schedule=Schedule(max_epochs=1))
    source = ReferenceFiles(aligned / "reference.h5ad", aligned / "panel.tsv")
    runtime, checkpoint = configure("cpu", "fp32", 1, seed=0), CheckpointFolder(tmp_path / "checkpoints")
    train_reference(source, tmp_path / "model", settings, runtime, checkpoint=checkpoint)
    assert opened == [aligned / "reference.h5ad"]
    assert (tmp_path / "model" / "config.json").is_file()
