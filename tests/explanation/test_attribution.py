"""Contributions of genes against what the model itself makes of cells that lack them, for both variants."""

import numpy as np
import pytest
import torch

from cellmemory.explanation.attribution import advantage, cls_contributions, presences
from cellmemory.network.batching import as_tensors
from cellmemory.network.model import CellMemory
from tests.network.test_model import N_BINS, cells, network  # noqa: F401 - the fixture of both variants


@pytest.fixture
def batch(network: CellMemory):  # noqa: F811
    """Three cells of unequal length."""
    return as_tensors(cells([6, 14, 20], 4), np.arange(3))


def test_a_token_with_hardly_any_presence_is_absent(network: CellMemory, batch):  # noqa: F811
    gene, bins, _, valid, _ = batch
    gone = valid.clone()
    gone[:, [0, 3]] = False
    with torch.inference_mode(), presences(network, torch.where(gone, 1.0, 1e-30)):
        faded = network(gene, bins, valid)[0]
    with torch.inference_mode():
        absent, whole = network(gene, bins, gone)[0], network(gene, bins, valid)[0]
    np.testing.assert_allclose(faded, absent, atol=1e-5)
    assert not torch.allclose(absent, whole, atol=1e-3)


def test_cls_contributions_are_differences_of_a_small_removal(network: CellMemory, batch):  # noqa: F811
    gene, bins, _, valid, _ = batch
    label = torch.tensor([0, 3, 1])
    found = cls_contributions(network, batch, label)
    assert (found[~valid] == 0).all()
    step = 0.02
    for token in range(6):
        sides = []
        for presence in (1 + step, 1 - step):
            weights = torch.ones(gene.shape)
            weights[:, token] = presence
            with torch.inference_mode(), presences(network, weights):
                sides.append(advantage(network(gene, bins, valid)[0], label))
        np.testing.assert_allclose(found[:, token], (sides[0] - sides[1]) / (2 * step), rtol=0.02, atol=2e-4)
    with torch.inference_mode():
        np.testing.assert_array_equal(network(gene, bins, valid)[0], network(gene, bins, valid)[0])


def test_linear_contributions_add_up_to_the_linear_path(network: CellMemory, batch):  # noqa: F811
    level = batch.bins / N_BINS
    tokens, zeros = network.linear.contributions(batch, level), network.linear.zero_contributions(batch.measured)
    sums = network.linear.bias + zeros.sum(0) + ((tokens - zeros[batch.gene]) * batch.valid[..., None]).sum(1)
    np.testing.assert_allclose(sums, network.linear(batch, level), rtol=1e-4, atol=1e-4)
    assert (zeros[~batch.measured] == 0).all()
