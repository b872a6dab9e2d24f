"""What the engine is measured against computes the same: the plain implementation equals the oracle."""

import sys

import numpy as np
import torch

from cellmemory.batches import as_tensors
from cellmemory.model import CellMemory, ModelConfig
from tests.conftest import ROOT
from tests.oracle import Oracle
from tests.test_model import N_BINS, SIZES, cells

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
        expected = oracle(tokens.gene[here], tokens.bin[here], tokens.root[here], tokens.measured, N_BINS)
        np.testing.assert_allclose(logits[i], expected["cls_logits"], atol=1e-5)
        np.testing.assert_allclose(embedding[i], expected["embedding"], atol=1e-5)
        np.testing.assert_allclose(attention[i, :n], expected["cls"], atol=1e-6)
