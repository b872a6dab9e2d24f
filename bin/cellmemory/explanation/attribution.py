"""What each gene of a cell brings to the logit of its label: exactly for the linear path, by gradient for the CLS token.

Letters: B cells, T tokens of a cell (padded), M panel genes, C labels, G groups.

The logit of a label counts from the mean of all labels' logits, as in `linear_share`: what speaks for all labels alike
speaks for none. The linear path is a sum over genes, so that a gene's contribution is exact: what would be missing if the
gene had not been measured. The CLS token's part is not, so that the contribution is its first order: the tokens' attention
weights are multiplied by presences (1: there, 0: absent) before they are normalised, and the contribution is the
derivative of the logit with respect to the gene's presence. Absent is what the network takes a token without presence
for, in training and mapping alike, so that no baseline value of a gene has to be made up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cellmemory.explanation.grouping import CellSample
from cellmemory.mapping.mapper import Mapper
from cellmemory.network.batching import CellBatch, as_tensors, token_batches
from cellmemory.network.model import CellMemory


@contextmanager
def presences(network: CellMemory, presence: Tensor) -> Iterator[None]:
    """Within the context the tokens compete with attention weights that are multiplied by presence (B, T), above 0."""

    def multiply(_layers: torch.nn.Module, arguments: tuple) -> tuple:
        memory, cls, genes, mask = arguments
        return memory, cls, genes, mask + torch.nn.functional.pad(presence.log(), (1, 0)).unsqueeze(1)

    handle = network.layers.register_forward_pre_hook(multiply)
    try:
        yield
    finally:
        handle.remove()


def advantage(logits: Tensor, label: Tensor) -> Tensor:
    """How far each cell's label (B,) is above the mean of all labels' logits (B, C): (B,)."""
    return logits.gather(1, label[:, None])[:, 0] - logits.mean(1)


def cls_contributions(network: CellMemory, batch: CellBatch, label: Tensor) -> Tensor:
    """(B, T) the derivative of the CLS token's advantage for `label` (B,) with respect to each token's presence.

    A removal of gene i changes the advantage by about minus its contribution. 0 on padding.
    """
    presence = torch.ones(batch.gene.shape, device=batch.gene.device, requires_grad=True)
    with torch.enable_grad(), presences(network, presence):
        logits = network(batch.gene, batch.bins, batch.valid)[0]
        (gradient,) = torch.autograd.grad(advantage(logits, label).sum(), presence)
    return gradient * batch.valid


@dataclass(frozen=True)
class Contributions:
    """Mean contributions (G, M) of each gene to the label of a group's cells: by the CLS token and by the linear path."""

    cls: np.ndarray
    linear: np.ndarray


def mean_contributions(cells: CellSample, measured: np.ndarray, mapper: Mapper, n_groups: int) -> Contributions:
    """Means over the cells of each group, each cell's contributions being to its own predicted label.

    cells: values and group of each cell; measured: (M,) bool. A gene that a cell does not express contributes to the
    linear path as such, and nothing to the CLS token's part. A group without cells gets NaN.
    """
    tokens, n_genes = mapper.tokenize(cells.values, measured), len(measured)
    zeros = mapper.network.linear.zero_contributions(torch.from_numpy(measured).to(mapper.runtime.device))
    zeros = zeros - zeros.mean(1, keepdim=True)
    totals, labels = np.zeros((2, n_groups * n_genes)), np.zeros((n_groups, zeros.shape[1]))
    for rows in token_batches(tokens):
        batch = as_tensors(tokens, rows).to(mapper.runtime.device)
        gene, valid = batch.gene, batch.valid
        label, linear = _linear_of_label(mapper.network, batch)
        # What a gene brings beyond its zero: the zeros are added for all cells at once.
        of_tokens = cls_contributions(mapper.network, batch, label), linear - zeros[gene, label[:, None]]
        place = np.repeat(cells.codes[rows], valid.sum(1).cpu()) * n_genes + gene[valid].cpu().numpy()
        for total, values in zip(totals, of_tokens, strict=True):
            total += np.bincount(place, values[valid].double().cpu(), minlength=len(total))
        np.add.at(labels, (cells.codes[rows], label.cpu().numpy()), 1)
    of_cls, of_linear = totals.reshape(2, n_groups, n_genes)
    size = labels.sum(1, keepdims=True)
    of_linear = of_linear + labels @ zeros.double().cpu().numpy().T
    means = [np.where(size > 0, sums / np.maximum(size, 1), np.nan) for sums in (of_cls, of_linear)]
    return Contributions(*means)


def _linear_of_label(network: CellMemory, batch: CellBatch) -> tuple[Tensor, Tensor]:
    """The predicted label (B,) and what each token brings to its advantage in the linear path (B, T)."""
    with torch.no_grad():
        label = network.decide(batch).logits.argmax(1)
        each = network.linear.contributions(batch, batch.bins / network.config.n_bins)
        return label, each.gather(2, label[:, None, None].expand(-1, each.shape[1], 1))[..., 0] - each.mean(2)
