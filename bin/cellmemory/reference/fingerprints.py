"""Which cells of a query are the reference's own: their labels were learned, so that accuracy on them says nothing.

A cell is recognised by its name and by its values over the panel, of which a model keeps one number a cell.
"""

import hashlib

import numpy as np
import scipy.sparse as sp


def fingerprints(names: np.ndarray, rows: sp.csr_matrix) -> np.ndarray:
    """A number (n,) uint64 of each cell: of its name and its aligned values, wherever it stands in a file.

    0 for a cell without values, which is like any other.
    """
    entries = rows.indices.astype(np.uint64) << np.uint64(32) | rows.data.astype(np.float32).view(np.uint32)
    named = np.array([int.from_bytes(hashlib.blake2b(str(name).encode(), digest_size=8).digest()) for name in names], np.uint64)
    totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mixed(entries), dtype=np.uint64)])  # wraps around
    found = _mixed(named ^ (totals[rows.indptr[1:]] - totals[rows.indptr[:-1]]))
    found[np.diff(rows.indptr) == 0] = 0
    return found


def count_known(found: np.ndarray, known: np.ndarray) -> int:
    """How many fingerprints are among those of the reference (sorted)."""
    return int(np.isin(found[found != 0], known).sum())


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit of a number depends on all of its bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
