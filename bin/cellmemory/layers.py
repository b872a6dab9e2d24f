"""The layers of CellMemory: genes compete to write into a few memory slots, which broadcast back (paper A.1).

Letters for dimensions, here as in docs/model.md: B cells, T tokens of a cell (padded), S = 1 + T with the CLS token in
front, d model width, H memory slots, A heads, L layers.

Two identities make it cheap without changing the result. A score q_h k_hT between a slot and a token is
(D W_q,h W_k,hT) R^T: the key projection moves to the side of the few slots, and no key of any token is ever made. In
the same way the values of a write are (A R) W_v, and what a token reads is A_read (D W_v W_o). A token then meets
narrow products (d x A.H) and, in the standard variant, the feed-forward network only.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shapes of the weights (paper A.2 for the defaults of the standard variant)."""

    n_genes: int
    n_labels: int
    variant: str = "standard"
    n_bins: int = 50
    d_model: int = 256
    d_feedforward: int = 512
    d_key: int = 32
    d_value: int = 64
    n_heads: int = 4
    n_slots: int = 8
    n_layers: int = 4
    dropout: float = 0.3


class Maps(NamedTuple):
    """Attention of one layer: write (B, A, H, S), cls (B, A, H): the CLS row of A_read, and read (B, T, A, H): the genes'
    rows of A_read, None in the light variant, where genes read nothing."""

    write: Tensor
    cls: Tensor
    read: Tensor | None


class CrossAttention(nn.Module):
    """The projections of one direction between memory and tokens, folded to the side of the slots."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.n_heads, self.n_slots, self.d_key, self.d_value = config.n_heads, config.n_slots, config.d_key, config.d_value
        self.query = nn.Parameter(_init(config.d_model, config.n_heads * config.d_key))
        self.key = nn.Parameter(_init(config.d_model, config.n_heads * config.d_key))
        self.value = nn.Parameter(_init(config.d_model, config.n_heads * config.d_value))
        self.output = nn.Parameter(_init(config.n_heads * config.d_value, config.d_model))

    def fold_scores(self, memory: Tensor, memory_weight: Tensor, token_weight: Tensor) -> Tensor:
        """(B, H, d) slots -> (B, A.H, d) rows g such that a token r scores g.r = q.k / sqrt(d_key)."""
        batch, slots, width = memory.shape
        projected = (memory @ memory_weight).view(batch, slots, self.n_heads, self.d_key)
        back = token_weight.view(width, self.n_heads, self.d_key)
        folded = torch.einsum("bhak,dak->bahd", projected, back) / math.sqrt(self.d_key)
        return folded.reshape(batch, self.n_heads * slots, width)

    def gather(self, averages: Tensor) -> Tensor:
        """(B, A.H, d) averages A_write R of the tokens -> (B, H, d), what is written: values, heads joined, projected."""
        value = self.value.view(-1, self.n_heads, self.d_value)
        by_head = averages.unflatten(1, (self.n_heads, self.n_slots))
        return torch.einsum("bahd,dav->bhav", by_head, value.to(by_head.dtype)).flatten(2) @ self.output

    def fold_values(self, memory: Tensor) -> Tensor:
        """(B, H, d) slots -> (B, A.H, d) rows v such that weights w (B, n, A.H) read w v."""
        value = (memory @ self.value).unflatten(-1, (self.n_heads, self.d_value))
        output = self.output.view(self.n_heads, self.d_value, -1)
        return torch.einsum("bhav,avd->bahd", value, output.to(value.dtype)).flatten(1, 2)

    def read(self, memory: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(softmax over slots of q k^T) V for tokens (B, n, d), eqs. 4-6: the update (B, n, d) and A_read (B, n, A, H)."""
        scores = torch.bmm(tokens, self.fold_scores(memory, self.key, self.query).to(tokens.dtype).mT)
        weights = scores.float().unflatten(-1, (self.n_heads, self.n_slots)).softmax(-1)
        return torch.bmm(weights.flatten(-2).to(tokens.dtype), self.fold_values(memory).to(tokens.dtype)), weights


def _init(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns) / math.sqrt(rows)


def _feedforward(config: ModelConfig) -> nn.Sequential:
    d, inner = config.d_model, config.d_feedforward
    return nn.Sequential(nn.Linear(d, inner), nn.GELU(), nn.Linear(inner, d))


class StandardLayer(nn.Module):
    """The paper's layer: write, broadcast to every token, feed-forward on every token; pre-norm, residuals.

    Dropout is on what is written alone: on tokens it costs as much as a projection, and training leaves out whole
    tokens anyway.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d = config.d_model
        self.write, self.read = CrossAttention(config), CrossAttention(config)
        self.norm_tokens, self.norm_slots = nn.LayerNorm(d), nn.LayerNorm(d)
        self.norm_written, self.norm_feedforward = nn.LayerNorm(d), nn.LayerNorm(d)
        self.feedforward = _feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, memory: Tensor, tokens: Tensor, bias: Tensor, last: bool, attention: bool):
        """One pass over memory (B, H, d) and tokens (B, S, d); bias: (B, 1, S), -inf on padding.

        In the last layer only the CLS row is read any further, so only it is broadcast to and fed forward; the other
        rows of A_read are made where attention is asked for. Returns memory, tokens ((B, 1, d) in the last layer) and
        Maps where asked for.
        """
        write, normed = self.write, self.norm_tokens(tokens)
        folded = write.fold_scores(self.norm_slots(memory), write.query, write.key)
        weights = (torch.bmm(folded.to(normed.dtype), normed.mT).float() + bias).softmax(-1)
        memory = memory + self.dropout(write.gather(torch.bmm(weights.to(normed.dtype), normed)))
        update, read = self.read.read(self.norm_written(memory), normed[:, :1] if last and not attention else normed)
        if last:
            tokens, update = tokens[:, :1], update[:, :1]
        tokens = tokens + update
        tokens = tokens + self.feedforward(self.norm_feedforward(tokens))
        shape = (write.n_heads, write.n_slots)
        return memory, tokens, Maps(weights.unflatten(1, shape), read[:, 0], read[:, 1:]) if attention else None


class StandardLayers(nn.ModuleList):
    """L layers that rewrite every token."""

    def __init__(self, config: ModelConfig):
        super().__init__(StandardLayer(config) for _ in range(config.n_layers))

    def forward(self, memory: Tensor, cls: Tensor, genes: Tensor, bias: Tensor, attention: bool):
        """memory (B, H, d), cls (B, 1, d), genes (B, T, d). Returns memory, the CLS row (B, d), a list of Maps (empty
        unless asked for)."""
        tokens, maps = torch.cat([cls, genes], 1), []
        for number, layer in enumerate(self, 1):
            memory, tokens, found = layer(memory, tokens, bias, last=number == len(self), attention=attention)
            maps += [found] if attention else []
        return memory, tokens[:, 0], maps


class LightLayer(nn.Module):
    """Write, broadcast to CLS alone, feed-forward on slots and CLS: no gene's token is rewritten."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        d = config.d_model
        self.write, self.read = CrossAttention(config), CrossAttention(config)
        self.norm_slots, self.norm_written, self.norm_memory = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.norm_cls, self.norm_feedforward = nn.LayerNorm(d), nn.LayerNorm(d)
        self.feedforward_slots = _feedforward(config)
        self.feedforward = _feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, memory: Tensor, cls: Tensor, genes: Tensor, bias: Tensor, attention: bool):
        """One pass over memory (B, H, d), CLS (B, 1, d) and the normalised genes (B, T, d); bias: (B, 1, S)."""
        write, normed = self.write, self.norm_cls(cls)
        folded = write.fold_scores(self.norm_slots(memory), write.query, write.key).to(genes.dtype)
        scores = torch.cat([torch.bmm(folded, normed.to(genes.dtype).mT), torch.bmm(folded, genes.mT)], 2).float()
        weights = (scores + bias).softmax(-1)
        averages = torch.bmm(weights[:, :, 1:].to(genes.dtype), genes) + weights[:, :, :1].to(genes.dtype) * normed
        memory = memory + self.dropout(write.gather(averages))
        memory = memory + self.dropout(self.feedforward_slots(self.norm_written(memory)))
        update, read = self.read.read(self.norm_memory(memory), normed)
        cls = cls + self.dropout(update)
        cls = cls + self.dropout(self.feedforward(self.norm_feedforward(cls)))
        maps = Maps(weights.unflatten(1, (write.n_heads, write.n_slots)), read[:, 0], None) if attention else None
        return memory, cls, maps


class LightLayers(nn.ModuleList):
    """L layers in which the slots read the same gene tokens again and again; the tokens are normalised once, for all.

    One normalisation without weights of its own suffices: each layer's folded projections would absorb them.
    """

    def __init__(self, config: ModelConfig):
        super().__init__(LightLayer(config) for _ in range(config.n_layers))

    def forward(self, memory: Tensor, cls: Tensor, genes: Tensor, bias: Tensor, attention: bool):
        """As StandardLayers.forward."""
        genes, maps = F.layer_norm(genes, genes.shape[-1:]), []
        for layer in self:
            memory, cls, found = layer(memory, cls, genes, bias, attention)
            maps += [found] if attention else []
        return memory, cls[:, 0], maps
