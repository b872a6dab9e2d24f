"""From expression to tokens: which genes of a cell take part, and the bin of each value (paper A.1)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

BINNINGS = ("quantile", "log")
MODES = ("fast", "full")
#: The square root of a gene's share of a cell's counts, times this, is of the order of 1.
SQRT_SHARE_SCALE = 10.0


@dataclass(frozen=True)
class Tokens:
    """The tokens of n cells, cell after cell: cell i owns `gene[start[i]:start[i + 1]]` and the like of `bin`.

    gene: columns of the panel, the smallest unsigned integers that hold them. bin: uint8, 0 for a gene that is measured but not
    expressed, else 1 to n_bins.
    sqrt_share: float32, the square root of the gene's share of the cell's counts (see sqrt_shares), for the linear path.
    measured: (panel genes,) bool, the genes that the file measured at all.
    """

    start: np.ndarray
    gene: np.ndarray
    bin: np.ndarray
    sqrt_share: np.ndarray
    measured: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each cell (n,)."""
        return np.diff(self.start)

    def lengths_of(self, cells: np.ndarray) -> np.ndarray:
        """Tokens of each of `cells`."""
        return self.start[cells + 1] - self.start[cells]

    def positions(self, cells: np.ndarray) -> np.ndarray:
        """Where the tokens of `cells` stand, cell after cell."""
        lengths = self.lengths_of(cells)
        offset = np.repeat(self.start[cells] - np.r_[0, np.cumsum(lengths)[:-1]], lengths)
        return offset + np.arange(lengths.sum())

    def select(self, cells: np.ndarray) -> "Tokens":
        """Only the tokens of `cells`, in that order."""
        source = self.positions(cells)
        start = np.r_[0, np.cumsum(self.lengths_of(cells))]
        return Tokens(start, self.gene[source], self.bin[source], self.sqrt_share[source], self.measured)

    def matrix(self, values: np.ndarray) -> sp.csr_matrix:
        """Values of the tokens, one each, as cells x genes of the panel."""
        return sp.csr_matrix((values, self.gene, self.start), shape=(len(self), len(self.measured)))


def quantile_bins(values: np.ndarray, start: np.ndarray, n_bins: int) -> np.ndarray:
    """The within-cell quantile bin of each non-zero value: ceil(n_bins x the share of the cell's values that are <= it).

    Depends only on ranks, so that counts and any monotone transform of them give the same bins; equal values of a
    cell share the upper bin. values: (nnz,) positive float32; start: (n + 1,) as in CSR. Returns uint8 (nnz,) in
    1..n_bins.
    """
    lengths = np.diff(start)
    cell = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
    # The bits of positive floats are ordered as they are: one key for cell and value is sorted several times as fast as two.
    key = cell << np.uint64(32) | values.astype(np.float32, copy=False).view(np.uint32)
    order = np.argsort(key)
    ordered = key[order]
    ties = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(key) else np.empty(0, np.int64)
    upper = np.repeat(ties, np.diff(ties, prepend=-1))
    rank = upper + 1 - np.repeat(start[:-1], lengths)
    bins = np.empty(len(values), np.uint8)
    bins[order] = -(-rank * n_bins // np.repeat(lengths, lengths))  # integer ceiling: no rounding at bin edges
    return bins


def log_bins(values: np.ndarray, n_bins: int) -> np.ndarray:
    """The log-normalised value rounded up, at most n_bins. Returns uint8 (nnz,) in 1..n_bins."""
    return np.clip(np.ceil(values), 1, n_bins).astype(np.uint8)


def sqrt_shares(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The square root of each gene's share of its cell's counts, times SQRT_SHARE_SCALE: float32 (nnz,).

    values: (nnz,) log1p of counts on any scale; start: (n + 1,) as in CSR.
    """
    counts = np.expm1(values.astype(np.float64))
    cell = np.repeat(np.arange(len(start) - 1), np.diff(start))
    total = np.bincount(cell, counts, len(start) - 1)
    return (SQRT_SHARE_SCALE * np.sqrt(counts / total[cell])).astype(np.float32)


def tokenize(matrix: sp.csr_matrix, measured: np.ndarray, *, mode: str, binning: str, n_bins: int) -> Tokens:
    """The tokens of each row of `matrix` (cells x panel genes, log-normalised, no negative value).

    `fast`: the expressed genes. `full`: every gene that is `measured` (bool, one a panel gene), zeros with bin 0.
    Genes that were not measured never become tokens: they are absent, not zero. No loop over cells.
    """
    matrix = sp.csr_matrix(matrix)
    if not matrix.has_canonical_format or (matrix.data <= 0).any():
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    start = matrix.indptr.astype(np.int64)
    bins = quantile_bins(matrix.data, start, n_bins) if binning == "quantile" else log_bins(matrix.data, n_bins)
    sqrt_share = sqrt_shares(matrix.data, start)
    column_type = _column_type(matrix.shape[1])
    if mode == "fast":
        return Tokens(start, matrix.indices.astype(column_type), bins, sqrt_share, measured)
    genes = np.flatnonzero(measured).astype(column_type)
    column = np.full(matrix.shape[1], -1, np.int64)
    column[genes] = np.arange(len(genes))
    place = np.repeat(np.arange(matrix.shape[0]) * len(genes), np.diff(start)) + column[matrix.indices]
    size = matrix.shape[0] * len(genes)
    all_bins, all_shares = np.zeros(size, np.uint8), np.zeros(size, np.float32)
    all_bins[place], all_shares[place] = bins, sqrt_share
    return Tokens(np.arange(matrix.shape[0] + 1) * len(genes), np.tile(genes, matrix.shape[0]), all_bins, all_shares, measured)


def joined(parts: Iterable[Tokens], measured: np.ndarray, *, n_cells: int, n_tokens: int) -> Tokens:
    """The cells of all parts, one part after the other. measured: of all; n_tokens: how many there are at most.

    Memory: 7 bytes a token, for panels of up to 65,536 genes, and one part.
    """
    start, cells, tokens = np.zeros(n_cells + 1, np.int64), 0, 0
    gene, bins, sqrt_share = (np.empty(n_tokens, dtype) for dtype in (_column_type(len(measured)), np.uint8, np.float32))
    for part in parts:
        own = slice(tokens, tokens + len(part.gene))
        gene[own], bins[own], sqrt_share[own] = part.gene, part.bin, part.sqrt_share
        start[cells + 1 : cells + len(part) + 1] = tokens + part.start[1:]
        cells, tokens = cells + len(part), own.stop
    return Tokens(start, gene[:tokens], bins[:tokens], sqrt_share[:tokens], measured)


def _column_type(n_genes: int) -> np.dtype:
    return np.min_scalar_type(max(0, n_genes - 1))


def pad(tokens: Tokens, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The tokens of `cells` as rectangles: gene and bin (int64), sqrt_share (float32) and valid (bool), each (len(cells), T).

    T is the largest number of tokens among the cells, at least 1. Padding is gene 0, bin 0, sqrt_share 0, not valid.
    """
    lengths = tokens.lengths_of(cells)
    valid = np.arange(max(1, lengths.max(initial=0)))[None, :] < lengths[:, None]
    source = tokens.positions(cells)
    gene, bins, sqrt_share = np.zeros(valid.shape, np.int64), np.zeros(valid.shape, np.int64), np.zeros(valid.shape, np.float32)
    gene[valid], bins[valid], sqrt_share[valid] = tokens.gene[source], tokens.bin[source], tokens.sqrt_share[source]
    return gene, bins, sqrt_share, valid


def label_means(tokens: Tokens, labels: np.ndarray, n_labels: int, n_bins: int) -> np.ndarray:
    """The mean of each label's cells (n,) in both `views`: (2, n_labels, genes) float32; 0 for a label without cells."""
    share = 1 / np.maximum(np.bincount(labels, minlength=n_labels), 1)
    member = sp.csr_matrix((share[labels], (labels, np.arange(len(labels)))), shape=(n_labels, len(tokens)))
    both = (tokens.matrix(view) for view in (tokens.bin / np.float32(n_bins), tokens.sqrt_share))
    return np.stack([(member @ view).toarray() for view in both]).astype(np.float32)


def views(tokens: Tokens, cells: np.ndarray, n_bins: int) -> np.ndarray:
    """What the linear path sees of `cells`, dense: (len(cells), 2, genes) float32, level (bin / n_bins) and sqrt_share; 0
    without a token."""
    found = np.zeros((len(cells), 2, len(tokens.measured)), np.float32)
    source, cell = tokens.positions(cells), np.repeat(np.arange(len(cells)), tokens.lengths_of(cells))
    found[cell, 0, tokens.gene[source]] = tokens.bin[source] / np.float32(n_bins)
    found[cell, 1, tokens.gene[source]] = tokens.sqrt_share[source]
    return found
