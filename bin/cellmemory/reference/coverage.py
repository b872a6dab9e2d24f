"""What labels lose where a query measured only a part of the panel: on held-out cells, with genes hidden at random."""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

#: Shares of the panel that are measured; between them the loss is interpolated.
SHARES = (1.0, 0.9, 0.75, 0.5, 0.25, 0.1)
#: From this many cells on, a loss of a hundredth shows.
COVERAGE_CELLS = 1_000


def accuracy_by_coverage(
    logits: Callable[[sp.csr_matrix, np.ndarray], np.ndarray], cells: sp.csr_matrix, truth: np.ndarray, seed: int
) -> list[tuple[float, float]]:
    """(share of the panel, accuracy) with fewer and fewer genes, each part holding the next.

    logits: of cells (n, genes) of which some genes were measured (bool), (n, C). truth: (n,) codes.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(cells.shape[0])[:COVERAGE_CELLS])
    order, found = rng.permutation(cells.shape[1]), []
    for share in SHARES:
        measured = np.zeros(cells.shape[1], bool)
        measured[order[: max(1, round(share * len(order)))]] = True
        seen = cells[chosen] @ sp.diags(measured.astype(np.float32))
        found.append((share, round(float((logits(seen, measured).argmax(1) == truth[chosen]).mean()), 4)))
    return found


def expected_accuracy(by_coverage: list[tuple[float, float]], coverage: float) -> float:
    """The accuracy at a share of the panel, between those that were tried."""
    shares, accuracy = np.array(by_coverage)[::-1].T
    return float(np.interp(coverage, shares, accuracy))
