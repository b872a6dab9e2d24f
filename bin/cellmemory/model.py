"""CellMemory: genes compete to write into a few memory slots, which broadcast back to every gene (paper A.1).

Letters for dimensions, here as in docs/model.md: B cells, T tokens of a cell (padded), S = 1 + T with the CLS token in
front, d model width, H memory slots, A heads, C labels, L layers.

Two identities make it cheap without changing the result. A score q_h k_hT between a slot and a token is
(D W_q,h W_k,hT) R^T: the key projection moves to the side of the few slots, and no key of any token is ever made. In
the same way the values of a write are (A R) W_v, and what a token reads is A_read (D W_v W_o). A token then meets
narrow products (d x A.H) and the feed-forward network only.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellmemory.initialise import Start


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shapes of the weights (paper A.2 for the defaults)."""

    n_genes: int
    n_labels: int
    n_bins: int = 50
    d_model: int = 256
    d_feedforward: int = 512
    d_key: int = 32
    d_value: int = 64
    n_heads: int = 4
    n_slots: int = 8
    n_layers: int = 4
    dropout: float = 0.1


class Attention(NamedTuple):
    """Attention of B cells on their T tokens, averaged over heads and layers.

    cls: (B, T) genes' part of the CLS row of A_read A_write; with the CLS token's own share it sums to 1.
    slots: (B, H) CLS row of A_read: how much CLS reads from each slot; sums to 1.
    write: (B, H, T) genes' part of A_write; a slot's row sums to 1 with the CLS token's share.
    read: (B, T, H) genes' rows of A_read; sum to 1 over the slots.
    """

    cls: Tensor
    slots: Tensor
    write: Tensor
    read: Tensor


class Output(NamedTuple):
    """logits (B, C): those of the CLS token (B, C) and of the linear path (B, C), summed; CLS embedding (B, d), memory
    (B, H, d), attention or None."""

    logits: Tensor
    cls_logits: Tensor
    embedding: Tensor
    memory: Tensor
    attention: Attention | None


class CrossAttention(nn.Module):
    """The projections of one direction between memory and tokens, folded to the side of the slots."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.n_heads, self.d_key, self.d_value = config.n_heads, config.d_key, config.d_value
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


class Layer(nn.Module):
    """Write, broadcast, feed-forward; pre-norm with residuals on tokens and on memory.

    Dropout is on what is written alone: on tokens it costs as much as a projection, and training leaves out whole
    tokens anyway.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d = config.d_model
        self.n_heads, self.n_slots = config.n_heads, config.n_slots
        self.write, self.read = CrossAttention(config), CrossAttention(config)
        self.norm_tokens, self.norm_slots = nn.LayerNorm(d), nn.LayerNorm(d)
        self.norm_written, self.norm_feedforward = nn.LayerNorm(d), nn.LayerNorm(d)
        self.feedforward = nn.Sequential(nn.Linear(d, config.d_feedforward), nn.GELU(), nn.Linear(config.d_feedforward, d))
        self.dropout = nn.Dropout(config.dropout)

    def compete_to_write(self, memory: Tensor, tokens: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """D <- D + (softmax over tokens of q k^T) V (eqs. 1-3). tokens: normalised (B, S, d); bias: (B, 1, S), -inf on padding.

        Returns the memory (B, H, d) and A_write (B, A.H, S).
        """
        write = self.write
        folded = write.fold_scores(self.norm_slots(memory), write.query, write.key)
        weights = (torch.bmm(folded.to(tokens.dtype), tokens.mT).float() + bias).softmax(-1)
        gathered = torch.bmm(weights.to(tokens.dtype), tokens).unflatten(1, (self.n_heads, self.n_slots))  # (B, A, H, d)
        value = write.value.view(-1, self.n_heads, write.d_value)
        written = torch.einsum("bahd,dav->bhav", gathered, value.to(gathered.dtype)).flatten(2) @ write.output
        return memory + self.dropout(written), weights

    def broadcast(self, memory: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(softmax over slots of q k^T) V for each token (eqs. 4-6). Returns the update (B, S, d) and A_read (B, S, A, H)."""
        read, slots = self.read, self.norm_written(memory)
        scores = torch.bmm(tokens, read.fold_scores(slots, read.key, read.query).to(tokens.dtype).mT)
        weights = scores.float().unflatten(-1, (self.n_heads, self.n_slots)).softmax(-1)
        value = (slots @ read.value).unflatten(-1, (self.n_heads, read.d_value))
        output = read.output.view(self.n_heads, read.d_value, -1)
        folded = torch.einsum("bhav,avd->bahd", value, output.to(value.dtype)).flatten(1, 2)  # (B, A.H, d)
        return torch.bmm(weights.flatten(-2).to(tokens.dtype), folded.to(tokens.dtype)), weights

    def forward(self, memory: Tensor, tokens: Tensor, bias: Tensor, last: bool, attention: bool):
        """One pass over memory (B, H, d) and tokens (B, S, d).

        In the last layer only the CLS row is read any further, so only it is broadcast to and fed forward; the other
        rows of A_read are made where attention is asked for. Returns memory, tokens ((B, 1, d) in the last layer) and,
        where asked for, A_write (B, A, H, S) and A_read (B, S, A, H).
        """
        normed = self.norm_tokens(tokens)
        memory, written = self.compete_to_write(memory, normed, bias)
        rows = normed[:, :1] if last and not attention else normed
        update, reading = self.broadcast(memory, rows)
        if last:
            tokens, update = tokens[:, :1], update[:, :1]
        tokens = tokens + update
        tokens = tokens + self.feedforward(self.norm_feedforward(tokens))
        maps = (written.unflatten(1, (self.n_heads, self.n_slots)), reading) if attention else None
        return memory, tokens, maps


class LinearPath(nn.Module):
    """Logits that are linear in the expression of each gene, summed into those of the CLS token.

    Genes are centred and scaled as in the reference; one that was not measured counts as average. On a few hundred cells
    nothing beats a linear map, and a network that need not learn it has the rest to learn. It is fitted before the network
    is trained, to its own optimum, and kept: steps that suit the network would destroy it.
    """

    def __init__(self, n_genes: int, n_labels: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_genes, n_labels))
        self.register_buffer("bias", torch.zeros(n_labels))
        self.register_buffer("mean", torch.zeros(n_genes))
        self.register_buffer("spread", torch.ones(n_genes))

    def forward(self, profile: Tensor) -> Tensor:
        """profile: (B, genes), NaN where not measured. Returns (B, C)."""
        centred = ((profile - self.mean) / self.spread).nan_to_num(0.0)
        return centred @ self.weight + self.bias


class CellMemory(nn.Module):
    """The whole model: embeddings, L layers, a linear map of the final CLS row to the labels (eq. 7), a linear path."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.gene = nn.Embedding(config.n_genes, config.d_model)
        self.expression = nn.Embedding(config.n_bins + 1, config.d_model)
        self.level = nn.Parameter(torch.arange(config.n_bins + 1) / (config.n_bins / 2))
        self.cls = nn.Parameter(torch.randn(config.d_model))
        self.slots = nn.Parameter(torch.randn(config.n_slots, config.d_model))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.n_labels)
        self.linear = LinearPath(config.n_genes, config.n_labels)

    def embed(self, gene: Tensor, bins: Tensor) -> Tensor:
        """Token of a gene at an expression bin, (B, T, d): the gene's vector, scaled by the level, plus the level's own.

        The scale lets a plain average of tokens be a linear map of expression, which a sum of both vectors is not.
        """
        return self.gene(gene) * F.embedding(bins, self.level.unsqueeze(-1)) + self.expression(bins)

    def start_from(self, start: Start) -> None:
        """Starts the gene embeddings from the reference's loadings, over noise of a tenth of theirs, and the linear path
        from its linear classifier. Where there are more loadings than dimensions, the last ones are left out."""
        loadings = torch.from_numpy(start.loadings[:, : self.config.d_model])
        with torch.no_grad():
            self.gene.weight *= 0.1
            self.expression.weight *= 0.3
            self.gene.weight[:, : loadings.shape[1]] += loadings
            path, fitted = self.linear, start.linear
            for tensor, values in (
                (path.weight, fitted.weight),
                (path.bias, fitted.bias),
                (path.mean, start.mean),
                (path.spread, start.spread),
            ):
                tensor.copy_(torch.from_numpy(values))

    def forward(self, gene: Tensor, bins: Tensor, valid: Tensor, profile: Tensor, attention: bool = False) -> Output:
        """gene, bins: (B, T) integers; valid: (B, T), False on padding, which takes part in nothing; profile: (B, genes)
        level of every gene, NaN where it was not measured."""
        batch = len(gene)
        tokens = self.embed(gene, bins)
        tokens = torch.cat([self.cls.expand(batch, 1, -1), tokens], 1)
        memory = self.slots.expand(batch, -1, -1)
        bias = torch.zeros(batch, 1, tokens.shape[1], device=tokens.device)
        bias[:, 0, 1:].masked_fill_(~valid, -math.inf)
        maps = []
        for number, layer in enumerate(self.layers, 1):
            memory, tokens, found = layer(memory, tokens, bias, last=number == len(self.layers), attention=attention)
            if attention:
                maps.append(_average_heads(*found))
        embedding = self.norm(tokens[:, 0].float())
        cls_logits = F.linear(embedding, self.head.weight.float(), self.head.bias.float())
        with torch.autocast(profile.device.type, enabled=False):
            logits = cls_logits + self.linear(profile)
        return Output(logits, cls_logits, embedding, memory, _average_layers(maps, valid) if attention else None)


def _init(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns) / math.sqrt(rows)


def _average_heads(write: Tensor, read: Tensor) -> Attention:
    """A_write (B, A, H, S) and A_read (B, S, A, H) of a layer; the product is made head by head, then averaged."""
    slots = read[:, 0]  # (B, A, H)
    cls = torch.einsum("bah,bahs->bs", slots, write) / slots.shape[1]
    return Attention(cls[:, 1:], slots.mean(1), write.mean(1)[..., 1:], read.mean(2)[:, 1:])


def _average_layers(maps: list[Attention], valid: Tensor) -> Attention:
    cls, slots, write, read = (torch.stack(part).mean(0) for part in zip(*maps, strict=True))
    return Attention(cls, slots, write, read * valid[..., None])
