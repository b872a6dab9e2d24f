"""The linear path: logits that are linear in the expression of each gene, beside those of the CLS token."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellmemory.network.batching import CellBatch

#: Standard deviations of the reference by which a gene counts, at most: one odd gene must not decide.
CLIP = 10.0


class LinearPath(nn.Module):
    """Logits that are linear in two views of each gene: its rank in the cell, and the square root of its share of the counts.

    Ranks carry over between protocols, square roots of shares (Hellinger's distance) keep what counts say; together they
    map more queries well than either (docs/decisions.md). Both are centred and scaled as in the reference; a gene that was not
    measured counts as average, and the shares of the others as shares of what the measured genes make up in the
    reference. Fitted before the network is trained, and kept.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    spread: Tensor
    share: Tensor

    def __init__(self, n_genes: int, n_labels: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(2, n_genes, n_labels))
        self.register_buffer("bias", torch.zeros(n_labels))
        self.register_buffer("mean", torch.zeros(2, n_genes))
        self.register_buffer("spread", torch.ones(2, n_genes))
        self.register_buffer("share", torch.full((n_genes,), 1 / n_genes))

    def forward(self, batch: CellBatch, level: Tensor) -> Tensor:
        """Logits (B, C). level: (B, T) of each token, bin / n_bins.

        A gene without a token contributes the same for every cell, so tokens add what they differ by: no dense matrix.
        """
        zero = self._scaled_zeros()
        logits = self.bias + torch.einsum("vg,vgc->c", zero * batch.measured, self.weight)
        for view, scaled in enumerate(self._scaled_views(batch, level)):
            added = (scaled - zero[view][batch.gene]) * batch.valid
            logits = logits + F.embedding_bag(batch.gene, self.weight[view], per_sample_weights=added, mode="sum")
        return logits

    def contributions(self, batch: CellBatch, level: Tensor) -> Tensor:
        """What each token brings to the logits, over a gene that was not measured: (B, T, C).

        Arguments as `forward` takes them; padding is not left out.
        """
        scaled = self._scaled_views(batch, level)
        return cast(Tensor, sum(self.weight[view][batch.gene] * values[..., None] for view, values in enumerate(scaled)))

    def zero_contributions(self, measured: Tensor) -> Tensor:
        """What each gene brings to the logits of a cell that does not express it: (genes, C); 0 where not measured."""
        zero = self._scaled_zeros()
        return cast(Tensor, sum(self.weight[view] * zero[view][:, None] for view in range(2))) * measured[:, None]

    def _scaled_views(self, batch: CellBatch, level: Tensor) -> list[Tensor]:
        """Both views of each token (B, T), as in the reference: of the shares, those that the measured genes make up."""
        sqrt_share = batch.sqrt_share * (self.share * batch.measured).sum().sqrt()
        views = enumerate((level, sqrt_share))
        return [_scaled(value, self.mean[view][batch.gene], self.spread[view][batch.gene]) for view, value in views]

    def _scaled_zeros(self) -> Tensor:
        """Both views (2, genes) of genes without a token."""
        return _scaled(torch.zeros_like(self.mean), self.mean, self.spread)


def _scaled(value: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    return ((value - mean) / spread).clamp(-CLIP, CLIP)
