"""Which genes vary most between cells: by scanpy's two measures, from passes over chunks of cells, none of which is kept.

Memory is that of a few tables of batches x genes, whatever the number of cells. scanpy holds all cells in memory for the same
order of genes (a test compares the two).

Letters: B batches, G genes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp

#: The batch of each cell (n,), negative for a cell that is left out, and their values (n, G) before any logarithm.
Chunk: TypeAlias = tuple[np.ndarray, sp.csr_matrix]
#: Goes through all cells anew.
Pass: TypeAlias = Callable[[], Iterator[Chunk]]

#: Fewer cells have no variance, and fewer genes that vary no trend: the compiled code of loess ends the process there.
MIN_BATCH_CELLS, MIN_VARYING = 2, 10
#: Shares of the genes that loess looks at: a wider one where a small batch makes a narrow one singular.
SPANS = (0.3, 0.6, 1.0)
#: Groups of genes of like means, within which dispersions are compared.
MEAN_BINS = 20


@dataclass(frozen=True)
class Moments:
    """Of each batch its cells (B,), and of each gene in it (B, G) the sum of the values and of their squares."""

    cells: np.ndarray
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, chunks: Iterable[Chunk], n_batches: int, n_genes: int) -> "Moments":
        """The moments of the cells of all chunks."""
        cells = np.zeros(n_batches, np.int64)
        sums, squares = np.zeros((2, n_batches, n_genes))
        for batch, values in chunks:
            exact = values.astype(np.float64, copy=False)
            cells += np.bincount(batch[batch >= 0], minlength=n_batches)
            _add(sums, batch, exact)
            _add(squares, batch, exact.power(2))
        return cls(cells, sums, squares)

    def of_genes(self, genes: np.ndarray) -> "Moments":
        """Those of some genes, by number."""
        return Moments(self.cells, self.sums[:, genes], self.squares[:, genes])

    def merged(self, into: np.ndarray) -> "Moments":
        """Those of batches put together: `into` (B,) numbers them anew, from 0 without gaps; negative ones are left out."""
        kept = np.flatnonzero(into >= 0)
        one = sp.csr_matrix((np.ones(len(kept)), (into[kept], kept)), shape=(into.max() + 1, len(into)))
        return Moments((one @ self.cells).astype(np.int64), one @ self.sums, one @ self.squares)

    def mean_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sample variance, (B, G) each."""
        n = np.maximum(self.cells, 1)[:, None]
        mean = self.sums / n
        return mean, (self.squares / n - mean**2) * (n / np.maximum(n - 1, 1))

    def large_enough(self) -> np.ndarray:
        """Whether each batch (B,) has enough cells for variances, and enough genes that vary for a trend of these."""
        return (self.cells >= MIN_BATCH_CELLS) & ((self.mean_and_variance()[1] > 0).sum(axis=1) >= MIN_VARYING)


def _add(totals: np.ndarray, batch: np.ndarray, values: sp.csr_matrix) -> None:
    """Adds each batch's sum of values (n, G) to its row of totals (B, G)."""
    rows = np.flatnonzero(batch >= 0)
    present, place = np.unique(batch[rows], return_inverse=True)
    one = sp.csr_matrix((np.ones(len(rows)), (place, rows)), shape=(len(present), values.shape[0]))
    totals[present] += (one @ values).toarray()


def by_trend(moments: Moments, cells: Pass, n_top: int) -> pd.DataFrame:
    """A gene's variance over clipped values, against the variance that genes of its mean have (seurat_v3; Stuart et al., Cell
    2019).

    moments: those of the batches and genes that `cells` gives; each gene is expressed somewhere. n_top: genes of a batch that
    speak for themselves there. Returns of each gene `mean`, `dispersion` (its variance so measured, mean over batches) and
    `order`, 0 first. Raises ValueError where variances follow no trend that loess can find.
    """
    mean, variance = moments.mean_and_variance()
    deviation = _expected_deviations(mean, variance)
    limits = deviation * np.sqrt(moments.cells)[:, None] + mean
    clipped = Moments.of(_clipped(cells(), limits), *mean.shape)
    n = moments.cells[:, None]
    spread = (1 / ((n - 1) * deviation**2)) * (n * mean**2 + clipped.squares - 2 * clipped.sums * mean)
    ranks = np.argsort(np.argsort(-spread, axis=1), axis=1).astype(np.float32)
    chosen = (ranks < n_top).sum(axis=0) if len(ranks) > 1 else np.zeros(mean.shape[1])
    ranks[ranks >= n_top] = np.nan
    median = np.ma.median(np.ma.masked_invalid(ranks), axis=0).filled(np.inf)
    order = np.lexsort((-spread.mean(axis=0), median, -chosen))
    return _table(moments.sums.sum(axis=0) / moments.cells.sum(), spread.mean(axis=0), order)


def _expected_deviations(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The standard deviation (B, G) that a gene of that mean has in that batch; of a gene that does not vary, 1."""
    from skmisc.loess import loess

    for span in SPANS:
        deviations = np.ones_like(mean)
        try:
            for of_batch, m, v in zip(deviations, mean, variance, strict=True):
                varies = v > 0
                model = loess(np.log10(m[varies]), np.log10(v[varies]), span=span, degree=2)
                model.fit()
                of_batch[varies] = np.sqrt(10**model.outputs.fitted_values)
            return deviations
        except ValueError as error:
            problem = error
    raise problem


def _clipped(chunks: Iterable[Chunk], limits: np.ndarray) -> Iterator[Chunk]:
    """The chunks with values cut off at the limit (B, G) of their batch and gene."""
    for batch, values in chunks:
        cut = np.minimum(values.data, limits[np.repeat(batch, np.diff(values.indptr)), values.indices])
        yield batch, sp.csr_matrix((cut, values.indices, values.indptr), values.shape)


def by_dispersion(moments: Moments) -> pd.DataFrame:
    """The dispersion (logarithm of variance over mean) against genes of like means (Satija et al., Nat Biotechnol 2015), for
    values whose counts are not known. Returns what `by_trend` does."""
    tables = []
    for mean, variance in zip(*moments.mean_and_variance(), strict=True):
        # A gene that one of several batches does not express counts as an ordinary one there.
        genes = np.flatnonzero(mean > 0) if len(moments.cells) > 1 else np.arange(len(mean))
        tables.append(_dispersions(mean[genes], variance[genes]).set_index(genes).reindex(range(len(mean)), fill_value=0))
    found = pd.concat(tables).groupby(level=0).mean()
    return _table(found["mean"], found["dispersion"], np.argsort(-found["score"].fillna(-np.inf), kind="stable"))


def _dispersions(mean: np.ndarray, variance: np.ndarray) -> pd.DataFrame:
    mean = np.where(mean == 0, 1e-12, mean)
    ratio = variance / mean
    table = pd.DataFrame({"mean": np.log1p(mean), "dispersion": np.log(np.where(ratio > 0, ratio, np.nan))})
    alike = table.groupby(pd.cut(table["mean"], MEAN_BINS), observed=True)["dispersion"]
    average, spread = alike.transform("mean"), alike.transform("std")
    single = spread.isna()  # in its bin: such a gene scores 1
    return table.assign(score=(table["dispersion"] - average.where(~single, 0)) / spread.where(~single, average))


def by_variance(moments: Moments) -> pd.DataFrame:
    """The variance itself, for genes that are too few for a trend. Returns what `by_trend` does, of a single batch."""
    mean = moments.sums[0] / moments.cells[0]
    variance = moments.squares[0] / moments.cells[0] - mean**2
    return _table(mean, variance, np.argsort(-variance, kind="stable"))


def _table(mean: np.ndarray, dispersion: np.ndarray, order: np.ndarray) -> pd.DataFrame:
    """order: the genes' numbers, the one that varies most first."""
    return pd.DataFrame({"mean": mean, "dispersion": dispersion, "order": np.argsort(order, kind="stable")})
