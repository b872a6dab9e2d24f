"""Cells of like length in batches, as tensors."""

from collections.abc import Iterator

import numpy as np
import torch

from cellmemory.network.runtime import TOKEN_BUDGETS
from cellmemory.network.tokens import Tokens, pad


def token_batches(tokens: Tokens, budget: int = TOKEN_BUDGETS["cpu"]) -> Iterator[np.ndarray]:
    """Cells in batches of about `budget` tokens, alike in length so that hardly any padding is computed.

    Covers every cell once. The batches depend on the lengths alone. The default budget suits a CPU, and gradients on any
    device.
    """
    order = np.argsort(tokens.lengths, kind="stable")[::-1]
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(tokens.lengths[order[start]])))
        yield order[start : start + size]
        start += size


def as_tensors(tokens: Tokens, cells: np.ndarray) -> tuple[torch.Tensor, ...]:
    """The tokens of `cells` as CellMemory.decide takes them: gene, bin, sqrt_share, valid (B, T), and measured (genes,)."""
    return tuple(torch.from_numpy(a) for a in (*pad(tokens, cells), tokens.measured))
