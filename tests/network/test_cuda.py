"""What runs on a GPU: equal to the oracle and to the CPU, the same bytes again, and what happens when its memory runs out.

`make test-cuda` on a machine that has one; `make test` leaves these tests out.
"""

import re
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

from cellmemory.explanation.attribution import cls_contributions
from cellmemory.network.batching import as_tensors
from cellmemory.network.config import ModelConfig
from cellmemory.network.inference import Inference
from cellmemory.network.model import CellMemory
from cellmemory.network.runtime import configure
from cellmemory.reference import trained_model
from cellmemory.training.batches import TrainingCells
from cellmemory.training.checkpoints import CheckpointFile
from cellmemory.training.fit import fit
from cellmemory.training.settings import ModelSize, Sampling, Schedule, TrainingSettings
from cellmemory.training.split import split_reference
from cellmemory.training.step import TrainingStep
from tests.conftest import succeed
from tests.network.test_model import cells, check, check_bf16, network, oracle  # noqa: F401
from tests.training.test_fit import STEPS, batches, labels, same, stop_at, tokens, train, uninterrupted  # noqa: F401

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here"),
]
VARIANTS = ("light", "standard")


@pytest.fixture
def on_gpu(network):  # noqa: F811
    configure("cuda", "fp32", 1, seed=0)
    yield network.to("cuda")
    network.to("cpu")


@pytest.mark.parametrize("lengths", [[0, 1, 3, 17, 40], [40] * 30, [1]])
def test_equals_the_oracle(on_gpu, oracle, lengths):  # noqa: F811
    check(on_gpu, oracle, lengths, 7)


def test_bf16_changes_rounding_alone(on_gpu):
    check_bf16(on_gpu)


def test_contributions_are_those_of_the_cpu(network):  # noqa: F811
    some, found = cells([3, 17, 40], 4), []
    for where in ("cpu", "cuda"):
        network.to(where)
        batch = as_tensors(some, np.arange(3)).to(where)
        found.append(cls_contributions(network, batch, torch.tensor([0, 2, 4], device=where)).cpu())
    network.to("cpu")
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("step", [17, STEPS + 1])
def test_a_resumed_training_is_the_uninterrupted_one(tokens, labels, tmp_path, monkeypatch, step):  # noqa: F811
    whole = train(tokens, labels, where="cuda")
    checkpoint = CheckpointFile(tmp_path, {"of": "this"}, 0)
    stop_at(step, monkeypatch)
    with pytest.raises(InterruptedError):
        train(tokens, labels, checkpoint, where="cuda")
    monkeypatch.undo()
    assert same(train(tokens, labels, checkpoint, where="cuda"), whole)


def test_a_training_goes_on_without_its_gpu(uninterrupted, tokens, labels, tmp_path, monkeypatch):  # noqa: F811
    checkpoint = CheckpointFile(tmp_path, {"of": "this"}, 0)
    stop_at(2 * STEPS, monkeypatch)
    with pytest.raises(InterruptedError):
        train(tokens, labels, checkpoint, where="cuda")
    monkeypatch.undo()
    losses = train(tokens, labels, checkpoint).history["validation_loss"], uninterrupted.history["validation_loss"]
    np.testing.assert_allclose(*losses, rtol=0.01)


class TestMemory:
    """Within a gigabyte of the GPU's memory."""

    @pytest.fixture(autouse=True)
    def little(self):
        runtime = configure("cuda", "fp32", 1, seed=0)
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(2**30 / torch.cuda.get_device_properties(0).total_memory)
        yield runtime
        torch.cuda.set_per_process_memory_fraction(1.0)

    def test_a_batch_that_does_not_fit_is_halved(self, little, capsys):
        rng = np.random.default_rng(0)
        some, of_type = cells([40] * 400, 0), rng.integers(0, 5, 400)
        config = ModelConfig(40, 5, "standard", d_model=512, d_feedforward=1024, d_value=128, n_layers=2)
        sampling = Sampling(2048, panel_dropout=0.0)
        settings = TrainingSettings("label", schedule=Schedule(max_epochs=1), sampling=sampling)
        some = TrainingCells(some, of_type, split_reference(of_type, None, 0))
        fitted = fit(some, CellMemory(config), settings, little)
        assert fitted.history["step"].tolist() == [STEPS]
        assert np.isfinite(fitted.history["validation_loss"]).all()
        assert re.search(r"Out of memory at step 0: from here on \d+ of 2048 cells", capsys.readouterr().err)

    def test_mapping_makes_do_with_less(self, little, capsys):
        some = cells([40] * 6000, 0)
        config = ModelConfig(40, 5, "standard", d_model=512, d_feedforward=2048, d_value=128, n_layers=2)
        torch.manual_seed(0)
        inference = Inference(CellMemory(config).eval(), little)
        found = inference.run(some, attention=True)
        assert re.findall(r"from here on ([\d,]+) tokens", capsys.readouterr().err)[-1] == f"{inference.token_budget:,}"
        again = inference.run(some, attention=True)
        assert np.array_equal(found.logits, again.logits)
        assert np.isfinite(found.logits).all()
        np.testing.assert_allclose(found.slots.sum(1), 1, rtol=1e-5)


@pytest.fixture(scope="module", params=VARIANTS)
def trained(aligned: Path, request: pytest.FixtureRequest) -> dict[str, Path]:
    """Models of the test data, trained on the CPU and twice on the GPU, by where."""
    found = {}
    for name, where in (("cpu", "cpu"), ("cuda", "cuda"), ("again", "cuda")):
        found[name] = aligned / f"{request.param}_{name}"
        log = succeed("train", "--reference", "reference.h5ad", "--panel", "panel.tsv", "--label_key", "cell_type", "--output",
                      found[name], "--max_epochs", 8, "--variant", request.param, "--device", where, folder=aligned)  # fmt: skip
        assert (torch.cuda.get_device_name() in log) == (where == "cuda"), log
    return found


def test_the_same_seed_gives_the_same_bytes(trained):
    for file in trained["cuda"].iterdir():
        assert (trained["again"] / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_gpu_learns_what_a_cpu_learns(trained):
    accuracy = [trained_model.load(trained[where]).calibration.validation_accuracy for where in ("cpu", "cuda")]
    assert accuracy[1] == pytest.approx(accuracy[0], abs=0.05)
    assert accuracy[1] > 0.7
    settings = trained_model.load(trained["cuda"]).config
    assert settings["training"]["precision"] == {"light": "fp32", "standard": "bf16"}[settings["model"]["variant"]]


def test_a_query_is_mapped_alike_on_both(trained, aligned, tmp_path):
    """In fp32 to rounding; in bf16 with the same labels where they are sure."""
    found = []
    for where, precision in (("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "bf16")):
        output = tmp_path / f"{where}_{precision}.h5ad"
        succeed("map_query", "--query", aligned / "unseen_type.aligned.h5ad", "--model", trained["cuda"], "--output", output,
                "--labels", tmp_path / "labels.csv", "--device", where, "--precision", precision)  # fmt: skip
        found.append(ad.read_h5ad(output))
    cpu, exact, rough = found
    assert exact.obs["cellmemory_label"].tolist() == cpu.obs["cellmemory_label"].tolist()
    assert exact.obs["cellmemory_status"].tolist() == cpu.obs["cellmemory_status"].tolist()
    np.testing.assert_allclose(exact.obs["cellmemory_confidence"], cpu.obs["cellmemory_confidence"], atol=1e-4)
    np.testing.assert_allclose(exact.obsm["X_cellmemory"], cpu.obsm["X_cellmemory"], atol=1e-3)
    np.testing.assert_allclose(exact.layers["attention"].data, cpu.layers["attention"].data, atol=1e-5)
    np.testing.assert_allclose(exact.varm["cellmemory_slot_write"], cpu.varm["cellmemory_slot_write"], atol=1e-5)
    sure = (cpu.obs["cellmemory_confidence"] > 0.6).to_numpy()
    assert sure.any()
    assert (rough.obs["cellmemory_label"] == cpu.obs["cellmemory_label"])[sure].all()


def test_explanations_are_those_of_the_cpu(trained, aligned, tmp_path):
    """TAGs with contributions, and faithfulness, of a query that the GPU mapped."""
    mapped = tmp_path / "mapped.h5ad"
    succeed("map_query", "--query", aligned / "unseen_type.aligned.h5ad", "--model", trained["cuda"], "--output", mapped,
            "--labels", tmp_path / "labels.csv", "--device", "cuda")  # fmt: skip
    profiles, tables = [], []
    for where in ("cpu", "cuda"):
        outputs = [tmp_path / f"{where}_{name}" for name in ("tags.tsv", "slots.tsv", "profiles.h5ad", "faithfulness.tsv")]
        options = zip(("--tags", "--slot_tags", "--profiles"), outputs, strict=False)
        succeed("extract_tags", "--mapped", mapped, "--model", trained["cuda"], "--device", where,
                *(word for option in options for word in option))  # fmt: skip
        succeed("faithfulness", "--mapped", mapped, "--model", trained["cuda"], "--output", outputs[-1], "--device", where)
        profiles.append(ad.read_h5ad(outputs[2]))
        tables.append(pd.read_csv(outputs[3], sep="\t"))
    for layer in ("cls_contribution", "linear_contribution"):
        cpu, cuda = (one.layers[layer] for one in profiles)
        assert np.isfinite(cpu).any()
        np.testing.assert_allclose(cuda, cpu, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(tables[1]["area"], tables[0]["area"], atol=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_recorded_step_is_the_step_of_the_cpu(tokens, labels, variant):  # noqa: F811
    """Without dropout: the same loss and gradients, batch after batch of other widths, recorded on a GPU or not."""
    drawn = batches(tokens, labels)
    found = {}
    for name, where, longest in (("cpu", "cpu", None), ("cuda", "cuda", None), ("recorded", "cuda", drawn.longest)):
        configure(where, "fp32", 1, seed=0)
        torch.manual_seed(0)
        config = replace(ModelSize(variant, 32, 2).config(40, 3), dropout=0.0)
        training_step = TrainingStep(CellMemory(config), Schedule(), 120, longest=longest).to(where)
        for step in range(4):
            training_step.network.zero_grad()
            loss = training_step._backward(tuple(part.to(where) for part in drawn.batch(step)))
            gradients = torch.cat([p.grad.flatten().cpu() for p in training_step.network.parameters() if p.grad is not None])
            found.setdefault(step, []).append((loss.item(), gradients))
        assert (training_step._graph is not None) == (name == "recorded")
    assert len({drawn.batch(step)[0].shape[1] for step in found}) > 1
    for results in found.values():
        for loss, gradients in results[1:]:
            assert loss == pytest.approx(results[0][0], rel=1e-5)
            torch.testing.assert_close(gradients, results[0][1], atol=1e-6, rtol=1e-3)


def test_dropout_is_drawn_anew_in_each_recorded_step(tokens, labels):  # noqa: F811
    """By the seed and the number of the step: the same again from the same, another from another."""
    drawn = batches(tokens, labels)
    batch = tuple(part.to("cuda") for part in drawn.batch(0))
    training_step = TrainingStep(CellMemory(ModelSize("light", 32, 2).config(40, 3)), Schedule(), 120, longest=drawn.longest).to(
        "cuda"
    )
    losses = []
    for training_step.steps in (0, 1, 2, 0):
        training_step.network.zero_grad()
        losses.append(training_step._backward(batch).item())
    assert losses[0] == losses[3]
    assert len(set(losses)) == 3
