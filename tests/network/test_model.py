"""The network against its slow oracle, and what no neighbour may change."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmemory.network.batching import as_tensors, token_batches
from cellmemory.network.config import ModelConfig
from cellmemory.network.model import CellMemory, Output
from cellmemory.network.runtime import configure
from cellmemory.network.tokens import Tokens, pad, tokenize
from cellmemory.training.batches import TrainingCells
from cellmemory.training.fit import fit
from cellmemory.training.settings import Schedule, TrainingSettings
from cellmemory.training.split import split_reference
from tests.network.oracle import Oracle

GENES = 40
SIZES = {"n_genes": GENES, "n_labels": 5, "d_model": 24, "d_feedforward": 32, "d_key": 4, "d_value": 6, "n_heads": 3,
         "n_slots": 4, "n_layers": 3}  # fmt: skip
N_BINS = 50


@pytest.fixture(scope="module", params=["light", "standard"])
def network(request: pytest.FixtureRequest) -> CellMemory:
    torch.manual_seed(1)
    network = CellMemory(ModelConfig(variant=request.param, **SIZES)).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # norms and biases start as ones and zeros, which would hide mistakes
            parameter.add_(0.1 * torch.randn_like(parameter))
        network.linear.weight.normal_().mul_(0.1)
        network.linear.bias.normal_()
        network.linear.mean.uniform_()
        network.linear.spread.uniform_(0.05, 1)  # some genes are clipped
        network.linear.share.uniform_(0, 2 / GENES)
    return network


@pytest.fixture(scope="module")
def oracle(network: CellMemory) -> Oracle:
    config = network.config
    return Oracle(network.state_dict(), config.n_layers, config.n_heads, config.d_key, config.d_value)


def cells(lengths: list[int], seed: int) -> Tokens:
    rng = np.random.default_rng(seed)
    measured = rng.permutation(GENES) < max([20, *lengths])
    genes = [np.sort(rng.permutation(np.flatnonzero(measured))[:n]) for n in lengths]
    start = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    bins = rng.integers(0, N_BINS + 1, start[-1])
    sqrt_share = (10 * rng.random(start[-1])).astype(np.float32)
    return Tokens(start, np.concatenate([*genes, []]).astype(np.int32), bins.astype(np.uint8), sqrt_share, measured)


def run(network: CellMemory, tokens: Tokens, which: np.ndarray, attention: bool = True):
    """On the network's device; the results are on the CPU."""
    with torch.inference_mode():
        output = network.decide(as_tensors(tokens, which).to(network.cls.device), attention=attention)
        return to_cpu(output)


def to_cpu(output):
    """A tuple of tensors, of such tuples and of None."""
    if output is None or isinstance(output, torch.Tensor):
        return None if output is None else output.cpu()
    return type(output)(*map(to_cpu, output))


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, GENES), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_equals_the_oracle_whatever_the_lengths(network, oracle, lengths, seed):
    """Batched, padded and folded equals one cell at a time; cells of one gene and of none included."""
    check(network, oracle, lengths, seed)


def check(network: CellMemory, oracle: Oracle, lengths: list[int], seed: int) -> None:
    """Holds the network, on its device, to the oracle."""
    tokens = cells(lengths, seed)
    output = run(network, tokens, np.arange(len(lengths)))
    for i, n in enumerate(lengths):
        here = slice(tokens.start[i], tokens.start[i + 1])
        expected = oracle(tokens.gene[here], tokens.bin[here], tokens.sqrt_share[here], tokens.measured, N_BINS)
        found = {
            "logits": output.logits[i],
            "cls_logits": output.cls_logits[i],
            "embedding": output.embedding[i],
            "memory": output.memory[i],
            "cls": output.attention.cls[i, :n],
            "slots": output.attention.slots[i],
            "write": output.attention.write[i, :, :n],
        }
        if output.attention.read is not None:
            found["read"] = output.attention.read[i, :n]
        for name, value in found.items():
            np.testing.assert_allclose(value.numpy(), expected[name], atol=1e-5, rtol=1e-5, err_msg=name)


def test_attention_is_zero_on_padding_and_sums_as_the_equations_say(network, oracle):
    tokens = cells([3, 30], 0)
    attention = run(network, tokens, np.array([0, 1])).attention
    assert torch.all(attention.cls[0, 3:] == 0)
    assert torch.all(attention.write[0, :, 3:] == 0)
    if attention.read is not None:
        assert torch.all(attention.read[0, 3:] == 0)
        assert torch.allclose(attention.read[1].sum(-1), torch.ones(30), atol=1e-5)
    assert torch.allclose(attention.slots.sum(-1), torch.ones(2), atol=1e-5)
    assert torch.all(attention.cls.sum(-1) < 1)
    assert torch.all(attention.write.sum(-1) < 1)


def test_asking_for_attention_changes_no_result(network):
    """The last layer makes the CLS row alone unless attention is asked for."""
    tokens = cells([5, 17, 40], 3)
    with_attention, without = (run(network, tokens, np.arange(3), asked) for asked in (True, False))
    assert without.attention is None
    assert torch.allclose(with_attention.logits, without.logits, atol=1e-6)
    assert torch.allclose(with_attention.embedding, without.embedding, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, GENES), min_size=2, max_size=8), budget=st.integers(1, 120))
def test_no_result_depends_on_the_neighbours(network, lengths, budget):
    tokens = cells(lengths, 5)
    seen = []
    for batch in token_batches(tokens, budget):
        together = run(network, tokens, batch)
        for row, cell in enumerate(batch):
            alone = run(network, tokens, np.array([cell]))
            assert torch.allclose(together.logits[row], alone.logits[0], atol=1e-5)
            n = tokens.lengths[cell]
            assert torch.allclose(together.attention.cls[row, :n], alone.attention.cls[0, :n], atol=1e-5)
        seen.extend(batch)
    assert sorted(seen) == list(range(len(lengths)))


def test_bf16_changes_rounding_alone(network):
    """Tokens and their products in bf16 (8 bits of mantissa), all else in fp32: results move by rounding, sums stay."""
    exact, rough = check_bf16(network)
    assert rough.embedding.dtype == rough.logits.dtype == rough.attention.cls.dtype == torch.float32
    assert torch.allclose(rough.attention.cls, exact.attention.cls, atol=0.01)
    assert torch.allclose(rough.attention.slots.sum(-1), torch.ones(3), atol=1e-5)


def check_bf16(network: CellMemory) -> tuple[Output, Output]:
    """Holds the network's results in bf16, on its device, to those in fp32; returns those in fp32 and in bf16."""
    tokens = cells([3, 17, 40], 4)
    exact = run(network, tokens, np.arange(3))
    network.dtype = torch.bfloat16
    try:
        rough = run(network, tokens, np.arange(3))
    finally:
        network.dtype = torch.float32
    for name in ("embedding", "cls_logits", "memory"):
        one, other = getattr(exact, name), getattr(rough, name)
        assert 0 < (one - other).norm() < 0.03 * one.norm(), name
    return exact, rough


def test_order_of_genes_changes_nothing(network):
    tokens = cells([20], 2)
    order = np.random.default_rng(0).permutation(20)
    shuffled = Tokens(tokens.start, tokens.gene[order], tokens.bin[order], tokens.sqrt_share[order], tokens.measured)
    one, other = (run(network, t, np.array([0])) for t in (tokens, shuffled))
    assert torch.allclose(one.logits, other.logits, atol=1e-5)
    assert torch.allclose(one.attention.cls[0, order], other.attention.cls[0], atol=1e-6)


@pytest.mark.parametrize("variant", ["light", "standard"])
def test_the_gene_that_alone_decides_the_label_is_attended_to_most(variant):
    """A planted answer, trained by the project's own training: two labels, and one gene that only the second expresses."""
    rng = np.random.default_rng(0)
    n, planted = 240, 23
    labels = np.arange(n) % 2
    matrix = (rng.random((n, GENES)) < 0.4) * rng.gamma(2, 1, (n, GENES))
    matrix[:, planted] = np.where(labels == 1, 3.0, 0.0)
    tokens = tokenize(
        sp.csr_matrix(matrix.astype(np.float32)), np.ones(GENES, bool), mode="fast", binning="quantile", n_bins=N_BINS
    )
    torch.manual_seed(0)
    network = CellMemory(ModelConfig(GENES, 2, variant, d_model=32, d_feedforward=64, d_value=8, n_layers=2))
    runtime = configure("cpu", "fp32", 1, seed=0)
    split = split_reference(labels, None, 0)
    settings = TrainingSettings("label", schedule=Schedule(max_epochs=6))
    fitted = fit(TrainingCells(tokens, labels, split), network, settings, runtime)
    with torch.inference_mode():
        attention = fitted.network.decide(as_tensors(tokens, split.validation), attention=True).attention.cls.numpy()
    gene, _, _, valid = pad(tokens, split.validation)
    second = labels[split.validation] == 1
    mean = np.zeros(GENES)
    np.add.at(mean, gene[second][valid[second]], attention[second][valid[second]])
    assert fitted.history["validation_accuracy"].max() == 1
    assert mean.argmax() == planted
    assert mean[planted] > 2 * np.sort(mean)[-2]


def test_labels_that_only_two_programmes_together_decide_are_learned_by_the_network_alone():
    """Either programme is in one of two states in half of the cells of either label: a linear model of genes can only guess.

    A state raises as many genes as the other, so that totals tell nothing.
    """
    rng = np.random.default_rng(0)
    n, width = 1_200, 10
    states = rng.integers(0, 2, (n, 2))
    labels = states[:, 0] ^ states[:, 1]
    raised = np.repeat(np.hstack([states, 1 - states]), width, axis=1)
    rate = np.hstack([np.where(raised, 4.0, 0.4), np.full((n, 20), 0.4)])
    values = sp.csr_matrix(np.log1p(rng.poisson(rate)).astype(np.float32))
    genes = values.shape[1]
    tokens = tokenize(values, np.ones(genes, bool), mode="fast", binning="quantile", n_bins=N_BINS)
    torch.manual_seed(0)
    network = CellMemory(ModelConfig(genes, 2, "light", d_model=64, d_feedforward=128, d_value=16, n_layers=3))
    split = split_reference(labels, None, 0)
    eight = TrainingSettings("label", schedule=Schedule(max_epochs=8))
    fitted = fit(TrainingCells(tokens, labels, split), network, eight, configure("cpu", "fp32", 1, seed=0))
    linear = fitted.warm_start.classifier(tokens, labels, split.training)
    seen = fitted.warm_start.scaler.views(tokens, split.validation, np.arange(genes))
    assert (linear(seen).argmax(1) == labels[split.validation]).mean() < 0.65
    assert fitted.history["validation_accuracy"].max() > 0.95
