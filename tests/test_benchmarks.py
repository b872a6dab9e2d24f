"""What the engine is measured against: the plain implementation equals the oracle, and its products are all counted."""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from cellmemory.network.batching import as_tensors
from cellmemory.network.config import ModelConfig
from cellmemory.network.model import CellMemory
from tests.conftest import ROOT
from tests.network.oracle import Oracle
from tests.network.test_model import N_BINS, SIZES, cells

sys.path.append(str(ROOT / "benchmarks"))


def test_the_plain_implementation_equals_the_oracle():
    from plain import Plain

    torch.manual_seed(0)
    network = CellMemory(ModelConfig(variant="standard", **SIZES)).eval()
    config = network.config
    oracle = Oracle(network.state_dict(), config.n_layers, config.n_heads, config.d_key, config.d_value)
    tokens = cells([0, 3, 40], 0)
    gene, bins, _, valid, _ = as_tensors(tokens, np.arange(3))
    with torch.inference_mode():
        logits, embedding, attention = Plain(network)(gene, bins, valid, True)
    for i, n in enumerate([0, 3, 40]):
        here = slice(tokens.start[i], tokens.start[i + 1])
        expected = oracle(tokens.gene[here], tokens.bin[here], tokens.sqrt_share[here], tokens.measured, N_BINS)
        np.testing.assert_allclose(logits[i], expected["cls_logits"], atol=1e-5)
        np.testing.assert_allclose(embedding[i], expected["embedding"], atol=1e-5)
        np.testing.assert_allclose(attention[i, :n], expected["cls"], atol=1e-6)


def test_the_products_of_a_training_step_are_those_that_torch_counts():
    """But for those of single rows, which the benchmark leaves out."""
    from throughput import training_flops

    network = CellMemory(ModelConfig(n_genes=400, n_labels=5))
    gene, bins = torch.arange(300).expand(2, -1), torch.ones(2, 300, dtype=torch.int64)
    with FlopCounterMode(display=False) as counted:
        F.cross_entropy(network(gene, bins, bins > 0)[0], torch.arange(2)).backward()
    np.testing.assert_allclose(training_flops(network.config, 300), counted.get_total_flops() / 2, rtol=0.01)
