"""CellMemory: embeddings of genes and expression, the layers, the labels' logits (paper A.1).

Letters for dimensions, here as in docs/model.md: B cells, T tokens of a cell (padded), S = 1 + T with the CLS token in
front, d model width, H memory slots, A heads, C labels, L layers.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellmemory.network.batching import CellBatch
from cellmemory.network.config import ModelConfig
from cellmemory.network.layers import LayerAttention, LightLayers, StandardLayers
from cellmemory.network.linear_path import LinearPath

VARIANTS = {"light": LightLayers, "standard": StandardLayers}


class Attention(NamedTuple):
    """Attention of B cells on their T tokens, averaged over heads and layers.

    cls: (B, T) genes' part of the CLS row of A_read A_write; with the CLS token's own share it sums to 1.
    slots: (B, H) CLS row of A_read: how much CLS reads from each slot; sums to 1.
    write: (B, H, T) genes' part of A_write; a slot's row sums to 1 with the CLS token's share.
    read: (B, T, H) genes' rows of A_read; sum to 1 over the slots. None in the light variant, where genes read nothing.
    """

    cls: Tensor
    slots: Tensor
    write: Tensor
    read: Tensor | None


class Output(NamedTuple):
    """logits (B, C): those of the CLS token (B, C) and of the linear path (B, C), summed; CLS embedding (B, d), memory
    (B, H, d), attention or None."""

    logits: Tensor
    cls_logits: Tensor
    embedding: Tensor
    memory: Tensor
    attention: Attention | None


class CellMemory(nn.Module):
    """The whole model: embeddings, L layers, a linear map of the final CLS row to the labels (eq. 7), a linear path.

    dtype: that of the tokens and of the products with them, torch.float32 or torch.bfloat16; all else is fp32.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.gene = nn.Embedding(config.n_genes, config.d_model)
        self.expression = nn.Embedding(config.n_bins + 1, config.d_model)
        self.level = nn.Parameter(torch.arange(config.n_bins + 1) / (config.n_bins / 2))
        self.cls = nn.Parameter(torch.randn(config.d_model))
        self.slots = nn.Parameter(torch.randn(config.n_slots, config.d_model))
        self.layers = VARIANTS[config.variant](config)
        self.norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.n_labels)
        self.linear = LinearPath(config.n_genes, config.n_labels)
        self.dtype = torch.float32

    def embed(self, gene: Tensor, bins: Tensor) -> Tensor:
        """Token of a gene at an expression bin, (B, T, d): the gene's vector, scaled by the level, plus the level's own.

        The scale lets a plain average of tokens be a linear map of expression, which a sum of both vectors is not.
        """
        return self.gene(gene) * F.embedding(bins, self.level.unsqueeze(-1)) + self.expression(bins)

    def start_from(self, loadings: np.ndarray, mean: np.ndarray, spread: np.ndarray, share: np.ndarray) -> None:
        """Starts the gene embeddings from loadings (genes, k), over noise of a tenth of theirs, and scales the genes of the
        linear path: mean, spread (2, genes) of their views, share (genes,) of a cell's counts. Where there are more loadings
        than dimensions, the last ones are left out."""
        added = torch.from_numpy(loadings[:, : self.config.d_model])
        with torch.no_grad():
            self.gene.weight *= 0.1
            self.expression.weight *= 0.3
            self.gene.weight[:, : added.shape[1]] += added
            for name, values in (("mean", mean), ("spread", spread), ("share", share)):
                getattr(self.linear, name).copy_(torch.from_numpy(values))

    def decide_by(self, weight: np.ndarray, bias: np.ndarray, *, linear_weight: float = 1.0, cls_weight: float = 1.0) -> None:
        """Sets the linear path's classifier, weight (2, genes, C) and bias (C,), and weighs its logits and those of the CLS
        token in their sum, for good."""
        with torch.no_grad():
            self.linear.weight.copy_(linear_weight * torch.from_numpy(weight))
            self.linear.bias.copy_(linear_weight * torch.from_numpy(bias))
            self.head.weight.mul_(cls_weight)
            self.head.bias.mul_(cls_weight)

    def forward(
        self, gene: Tensor, bins: Tensor, valid: Tensor, *, attention: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Attention | None]:
        """The CLS token's part. gene, bins: (B, T) integers; valid: (B, T), False on padding, which takes part in nothing.

        Returns its logits (B, C), embedding (B, d), memory (B, H, d) and Attention or None.
        """
        batch, tokens = len(gene), self.embed(gene, bins).to(self.dtype)
        mask = torch.zeros(batch, 1, 1 + tokens.shape[1], device=tokens.device)
        mask[:, 0, 1:].masked_fill_(~valid, -math.inf)
        cls, memory = self.cls.expand(batch, 1, -1), self.slots.expand(batch, -1, -1)
        memory, cls, attentions = self.layers(memory, cls, tokens, mask, attention=attention)
        embedding = self.norm(cls.float())
        return self.head(embedding), embedding, memory, _average(attentions, valid) if attention else None

    def decide(self, batch: CellBatch, *, attention: bool = False) -> Output:
        """Both parts."""
        cls_logits, embedding, memory, averaged = self(batch.gene, batch.bins, batch.valid, attention=attention)
        logits = cls_logits + self.linear(batch, batch.bins / self.config.n_bins)
        return Output(logits, cls_logits, embedding, memory, averaged)


def _average(layers: list[LayerAttention], valid: Tensor) -> Attention:
    """Over heads and layers. A_read A_write is made head by head, then averaged."""
    n, heads = len(layers), layers[0].cls.shape[2]
    cls = _sum(torch.bmm(layer.cls.flatten(1)[:, None], layer.write.flatten(1, 2))[:, 0] for layer in layers) / (heads * n)
    slots = _sum(layer.cls.mean(2) for layer in layers) / n
    write = _sum(layer.write.mean(2) for layer in layers) / n
    reads = [layer.read.mean(2) for layer in layers if layer.read is not None]
    read = (_sum(reads) / n).mT * valid[..., None] if reads else None
    return Attention(cls[:, 1:], slots, write[..., 1:], read)


def _sum(tensors: Iterable[Tensor]) -> Tensor:
    return cast(Tensor, sum(tensors))
