"""The layers of CellMemory: genes compete to write into a few memory slots, which broadcast back (paper A.1).

Letters for dimensions, here as in docs/model.md: B cells, T tokens of a cell (padded), S = 1 + T with the CLS token in
front, d model width, H memory slots, A heads, L layers.

Two identities make it cheap without changing the result. A score q_h k_hT between a slot and a token is
(D W_q,h W_k,hT) R^T: the key projection moves to the side of the few slots, and no key of any token is ever made. In
the same way the values of a write are (A R) W_v, and what a token reads is A_read (D W_v W_o). A token then meets
narrow products (d x A.H) and, in the standard variant, the feed-forward network only.

Tokens have dtype fp32 or bf16: what is multiplied with them is brought to theirs, and so are the slots where weights
take them to the tokens' side. The slots themselves, the softmaxes and the statistics of the
normalisations are in fp32 always.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellmemory.network.config import ModelConfig


class LayerAttention(NamedTuple):
    """Attention of one layer: write (B, H, A, S), cls (B, H, A): the CLS row of A_read, and read (B, H, A, T): the genes'
    rows of A_read, None in the light variant, where genes read nothing."""

    write: Tensor
    cls: Tensor
    read: Tensor | None


class CrossAttention(nn.Module):
    """The projections of one direction between memory and tokens, folded to the side of the slots, in the dtype of what they
    are given."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.n_heads, self.n_slots, self.d_key, self.d_value = config.n_heads, config.n_slots, config.d_key, config.d_value
        self.query = nn.Parameter(_init(config.d_model, config.n_heads * config.d_key))
        self.key = nn.Parameter(_init(config.d_model, config.n_heads * config.d_key))
        self.value = nn.Parameter(_init(config.d_model, config.n_heads * config.d_value))
        self.output = nn.Parameter(_init(config.n_heads * config.d_value, config.d_model))

    def fold_scores(self, memory: Tensor, memory_weight: Tensor, token_weight: Tensor) -> Tensor:
        """(B, H, d) slots -> (B, H.A, d) rows g such that a token r scores g.r = q.k / sqrt(d_key)."""
        projected = memory @ memory_weight.to(memory.dtype)  # (B, H, A.d_key)
        projected = projected.unflatten(-1, (self.n_heads, self.d_key)) / math.sqrt(self.d_key)  # (B, H, A, d_key)
        by_head = token_weight.unflatten(1, (self.n_heads, self.d_key)).permute(1, 2, 0)  # (A, d_key, d)
        return self._by_head(projected, by_head).flatten(1, 2)  # (B, H, A, d) -> (B, H.A, d)

    def project_written(self, averages: Tensor) -> Tensor:
        """(B, H.A, d) averages A_write R of the tokens -> (B, H, d) fp32, what is written: values, heads joined, projected."""
        by_head = averages.unflatten(1, (self.n_slots, self.n_heads))  # (B, H, A, d)
        value = self.value.unflatten(1, (self.n_heads, self.d_value)).transpose(0, 1)  # (A, d, d_value)
        values = self._by_head(by_head, value).flatten(2)  # (B, H, A, d_value) -> (B, H, A.d_value)
        return (values @ self.output.to(averages.dtype)).float()  # (B, H, d)

    def fold_values(self, memory: Tensor) -> Tensor:
        """(B, H, d) slots -> (B, H.A, d) rows v such that weights w (B, n, H.A) read w v."""
        value = memory @ self.value.to(memory.dtype)  # (B, H, A.d_value)
        value = value.unflatten(-1, (self.n_heads, self.d_value))  # (B, H, A, d_value)
        output = self.output.unflatten(0, (self.n_heads, self.d_value))  # (A, d_value, d)
        return self._by_head(value, output).flatten(1, 2)  # (B, H, A, d) -> (B, H.A, d)

    def read(self, memory: Tensor, tokens: Tensor, readers: int) -> tuple[Tensor, Tensor]:
        """(softmax over slots of q k^T) V, eqs. 4-6: the update (B, readers, d) of the first of the tokens (B, n, d), and
        A_read (B, H, A, n)."""
        memory = memory.to(tokens.dtype)
        scores = _scores(self.fold_scores(memory, self.key, self.query), tokens)  # (B, H.A, n)
        # Softmax over a dimension that is not the last one, so that the processor goes along the tokens.
        weights = scores.unflatten(1, (self.n_slots, self.n_heads)).softmax(1)  # (B, H, A, n)
        used = weights[..., :readers].flatten(1, 2).to(tokens.dtype)  # (B, H.A, readers)
        return torch.bmm(used.mT, self.fold_values(memory)), weights  # (B, readers, d)

    @staticmethod
    def _by_head(rows: Tensor, weight: Tensor) -> Tensor:
        """(B, H, A, n) rows times (A, n, m), each head with its own matrix: (B, H, A, m)."""
        by_head = rows.flatten(0, 1).transpose(0, 1)  # (A, B.H, n)
        product = torch.bmm(by_head, weight.to(rows.dtype))  # (A, B.H, m)
        return product.transpose(0, 1).unflatten(0, rows.shape[:2])  # (B, H, A, m)


def _init(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns) / math.sqrt(rows)


def _scores(folded: Tensor, tokens: Tensor) -> Tensor:
    """Scores (B, n, T), fp32, of the rows of `folded` (B, n, d) with tokens (B, T, d).

    Multiplied the other way round, so that the tokens' gradient comes out laid out as they are: transposed, it takes
    several times as long to add to the others.
    """
    return torch.bmm(tokens, folded.mT).mT.contiguous().float()


def _unit(rows: Tensor) -> Tensor:
    """Rows of mean 0 and variance 1. Weights of its own are left out: the maps that follow would absorb them."""
    return F.layer_norm(rows, rows.shape[-1:])


class FeedForward(nn.Module):
    """GELU(rows W_1 + b_1) W_2 + b_2, in the dtype of the rows."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.inner = nn.Linear(config.d_model, config.d_feedforward)
        self.outer = nn.Linear(config.d_feedforward, config.d_model)

    def forward(self, rows: Tensor) -> Tensor:
        inner, outer = self.inner, self.outer
        hidden = F.linear(rows, inner.weight.to(rows.dtype), inner.bias.to(rows.dtype))
        return F.linear(F.gelu(hidden), outer.weight.to(rows.dtype), outer.bias.to(rows.dtype))


class StandardLayer(nn.Module):
    """The paper's layer: write, broadcast to every token, feed-forward on every token; pre-norm, residuals.

    Dropout is only on what is written: on tokens it costs as much as a projection, and training leaves out whole
    tokens anyway.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.write, self.read = CrossAttention(config), CrossAttention(config)
        self.norm_slots, self.norm_written = nn.LayerNorm(config.d_model), nn.LayerNorm(config.d_model)
        self.feedforward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, memory: Tensor, tokens: Tensor, mask: Tensor, *, last: bool, attention: bool
    ) -> tuple[Tensor, Tensor, LayerAttention | None]:
        """One pass over memory (B, H, d) and tokens (B, S, d); mask: (B, 1, S), -inf on padding.

        In the last layer only the CLS row is read any further, so only it is broadcast to and fed forward; the other
        rows of A_read are made where attention is asked for. Returns memory, tokens ((B, 1, d) in the last layer) and
        LayerAttention where asked for.
        """
        write, unit = self.write, _unit(tokens)
        folded = write.fold_scores(self.norm_slots(memory).to(unit.dtype), write.query, write.key)
        weights = (_scores(folded, unit) + mask).softmax(-1)
        memory = memory + self.dropout(write.project_written(torch.bmm(weights.to(unit.dtype), unit)))
        readers = 1 if last else tokens.shape[1]
        update, read = self.read.read(self.norm_written(memory), unit if attention else unit[:, :readers], readers)
        tokens = tokens[:, :readers] + update
        tokens = tokens + self.feedforward(_unit(tokens))
        shape = (write.n_slots, write.n_heads)
        return memory, tokens, LayerAttention(weights.unflatten(1, shape), read[..., 0], read[..., 1:]) if attention else None


class StandardLayers(nn.ModuleList):
    """L layers that rewrite every token."""

    def __init__(self, config: ModelConfig):
        super().__init__(StandardLayer(config) for _ in range(config.n_layers))

    def forward(
        self, memory: Tensor, cls: Tensor, genes: Tensor, mask: Tensor, *, attention: bool
    ) -> tuple[Tensor, Tensor, list[LayerAttention]]:
        """memory (B, H, d), cls (B, 1, d), genes (B, T, d). Returns memory, the CLS row (B, d), and a list of LayerAttention,
        empty unless asked for."""
        tokens, attentions = torch.cat([cls.to(genes.dtype), genes], 1), []
        for number, layer in enumerate(self, 1):
            memory, tokens, found = layer(memory, tokens, mask, last=number == len(self), attention=attention)
            attentions += [found] if attention else []
        return memory, tokens[:, 0], attentions


class LightLayer(nn.Module):
    """Write, broadcast only to CLS, feed-forward on slots and CLS: no gene's token is rewritten."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        d = config.d_model
        self.write, self.read = CrossAttention(config), CrossAttention(config)
        self.norm_slots, self.norm_written, self.norm_memory = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.norm_cls, self.norm_feedforward = nn.LayerNorm(d), nn.LayerNorm(d)
        self.feedforward_slots = FeedForward(config)
        self.feedforward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, memory: Tensor, cls: Tensor, genes: Tensor, mask: Tensor, *, attention: bool
    ) -> tuple[Tensor, Tensor, LayerAttention | None]:
        """One pass over memory (B, H, d), CLS (B, 1, d) and the normalised genes (B, T, d); mask: (B, 1, S)."""
        write, normed = self.write, self.norm_cls(cls)
        folded = write.fold_scores(self.norm_slots(memory), write.query, write.key)
        scores = torch.cat([_scores(folded, normed), _scores(folded.to(genes.dtype), genes)], 2)
        weights = (scores + mask).softmax(-1)
        averages = torch.bmm(weights[:, :, 1:].to(genes.dtype), genes).float() + weights[:, :, :1] * normed
        memory = memory + self.dropout(write.project_written(averages))
        memory = memory + self.dropout(self.feedforward_slots(self.norm_written(memory)))
        update, read = self.read.read(self.norm_memory(memory), normed, readers=1)
        cls = cls + self.dropout(update)
        cls = cls + self.dropout(self.feedforward(self.norm_feedforward(cls)))
        shape = (write.n_slots, write.n_heads)
        return memory, cls, LayerAttention(weights.unflatten(1, shape), read[..., 0], None) if attention else None


class LightLayers(nn.ModuleList):
    """L layers in which the slots read the same gene tokens again and again; the tokens are normalised once, for all."""

    def __init__(self, config: ModelConfig):
        super().__init__(LightLayer(config) for _ in range(config.n_layers))

    def forward(
        self, memory: Tensor, cls: Tensor, genes: Tensor, mask: Tensor, *, attention: bool
    ) -> tuple[Tensor, Tensor, list[LayerAttention]]:
        """As StandardLayers.forward."""
        genes, attentions = _unit(genes), []
        for layer in self:
            memory, cls, found = layer(memory, cls, genes, mask, attention=attention)
            attentions += [found] if attention else []
        return memory, cls[:, 0], attentions
