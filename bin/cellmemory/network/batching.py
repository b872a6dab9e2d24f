"""Cells of like length in batches, as tensors."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cellmemory.network.runtime import TOKEN_BUDGETS
from cellmemory.network.tokens import Tokens, pad


def token_batches(tokens: Tokens, budget: int = TOKEN_BUDGETS["cpu"]) -> Iterator[np.ndarray]:
    """Cells in batches of about `budget` tokens, alike in length so that hardly any padding is computed.

    Covers every cell once. The batches depend only on the lengths. The default budget suits a CPU, and gradients on any
    device.
    """
    lengths = tokens.lengths
    order, start = np.argsort(lengths, kind="stable")[::-1], 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


class CellBatch(NamedTuple):
    """Cells as the network takes them: (B, T) each, but measured (genes,) bool, what the file measured.

    gene, bins: integers. sqrt_share: see tokens.sqrt_shares. valid: False on padding, which takes part in nothing.
    """

    gene: Tensor
    bins: Tensor
    sqrt_share: Tensor
    valid: Tensor
    measured: Tensor

    def to(self, device: str | torch.device) -> "CellBatch":
        """On a device."""
        return CellBatch(*(tensor.to(device) for tensor in self))


def as_tensors(tokens: Tokens, cells: np.ndarray) -> CellBatch:
    """The tokens of `cells`, padded to the longest of them."""
    return CellBatch(*(torch.from_numpy(a) for a in (*pad(tokens, cells), tokens.measured)))
