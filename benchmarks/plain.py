"""CellMemory as its equations are written, dense and padded: what throughput.py measures the engine against.

Same weights, same results (tests/test_benchmarks.py holds it to the oracle); keys, values and queries of every token are
made, every layer rewrites every token, and in `full` mode every gene of the panel is a token. Batched matrix products of
a well-kept library, fp32: no straw man, only nothing clever.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cellmemory.network.model import CellMemory


class Plain:
    """The plain computation with the weights of a network of the standard variant."""

    def __init__(self, network: CellMemory):
        self.network, self.config = network, network.config

    def _heads(self, rows: Tensor, weight: Tensor) -> Tensor:
        return (rows @ weight).unflatten(-1, (self.config.n_heads, -1)).transpose(1, 2)  # (B, A, n, d_k or d_v)

    def _attend(self, queries: Tensor, sources: Tensor, side, bias: Tensor | float) -> tuple[Tensor, Tensor]:
        q, k, v = (self._heads(*pair) for pair in ((queries, side.query), (sources, side.key), (sources, side.value)))
        weights = (q @ k.mT / math.sqrt(self.config.d_key) + bias).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2) @ side.output, weights

    def __call__(self, gene: Tensor, bins: Tensor, valid: Tensor, attention: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """CLS logits (B, C), embedding (B, d) and, where asked for, the attention of CLS on the genes (B, T)."""
        network, batch = self.network, len(gene)
        tokens = torch.cat([network.cls.expand(batch, 1, -1), network.embed(gene, bins)], 1)
        memory = network.slots.expand(batch, -1, -1)
        bias = torch.zeros(batch, 1, 1, tokens.shape[1], device=tokens.device)
        bias[..., 1:].masked_fill_(~valid[:, None, None], -math.inf)
        found = []
        for layer in network.layers:
            normed = F.layer_norm(tokens, tokens.shape[-1:])
            update, write = self._attend(layer.norm_slots(memory), normed, layer.write, bias)
            memory = memory + layer.dropout(update)
            update, read = self._attend(normed, layer.norm_written(memory), layer.read, 0.0)
            tokens = tokens + update
            tokens = tokens + layer.feedforward(F.layer_norm(tokens, tokens.shape[-1:]))
            if attention:
                found.append((read[:, :, :1] @ write).mean(1)[:, 0, 1:])
        embedding = network.norm(tokens[:, 0])
        logits = F.linear(embedding, network.head.weight, network.head.bias)
        return logits, embedding, torch.stack(found).mean(0) if attention else None
