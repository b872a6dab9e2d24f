"""The quality of a query's cells, from all genes of their file: how many counts and genes, and the mitochondrial share."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory import PREFIX
from cellmemory.genes.matching import Match
from cellmemory.genes.names import name_columns, undecorated
from cellmemory.genes.scales import undo_log

#: Key of obsm with the quality of cells, and what its columns hold.
QUALITY = f"{PREFIX}quality"
QUALITY_COLUMNS = ("counts", "genes", "mitochondrial")
#: How names of mitochondrial genes begin, in whatever case: R's make.names writes the point.
MITOCHONDRIAL = ("mt-", "mt.")
#: Ensembl ids of the thirteen mitochondrial genes that make proteins, of human and mouse.
MITOCHONDRIAL_IDS = frozenset(
    [f"ENSG00000{n}" for n in (198695, 198712, 198727, 198763, 198786, 198804, 198840, 198886, 198888, 198899, 198938)]
    + ["ENSG00000212907", "ENSG00000228253"]
    + [f"ENSMUSG000000643{n}" for n in (41, 45, 51, 54, 56, 57, 58, 60, 63, 67, 68, 70)]
    + ["ENSMUSG00000065947"]
)


@dataclass(frozen=True)
class Quality:
    """Measures the cells of one matrix.

    expression, mitochondrial: (file genes,) bool, what is gene expression, and which of these are mitochondrial; scale: what the
    values are (see scales).
    """

    expression: np.ndarray
    mitochondrial: np.ndarray
    scale: str

    def __call__(self, rows: sp.csr_matrix) -> np.ndarray:
        """The measures of QUALITY_COLUMNS (cells, 3), float32; NaN for what the values do not tell: counts that were
        normalised, a mitochondrial share where no such gene was measured or there are no counts."""
        linear = sp.csr_matrix((undo_log(rows.data.astype(np.float64), self.scale), rows.indices, rows.indptr), rows.shape)
        total, mitochondrial = linear @ self.expression.astype(float), linear @ self.mitochondrial.astype(float)
        expressed = sp.csr_matrix(((rows.data > 0).astype(np.int64), rows.indices, rows.indptr), rows.shape)
        genes = expressed @ self.expression.astype(np.int64)
        known = self.mitochondrial.any() and self.scale != "binary"
        share = np.divide(mitochondrial, total, out=np.full(len(total), np.nan), where=(total > 0) & known)
        counts = total if self.scale == "counts" else np.full(len(total), np.nan)
        return np.column_stack([counts, genes, share]).astype(np.float32)


def quality_of(var: pd.DataFrame, match: Match, scale: str, *, where: str) -> Quality:
    """How the cells of a file with these genes are measured. where: the file, for messages."""
    mitochondrial = np.zeros(len(var), bool)
    for names in (name_columns(var, None, where) | name_columns(var, match.column, where)).values():
        mitochondrial |= np.array([_is_mitochondrial(name) for name in names], bool)
    return Quality(match.expression, mitochondrial & match.expression, scale)


def _is_mitochondrial(name: str) -> bool:
    return any(part.lower().startswith(MITOCHONDRIAL) or part in MITOCHONDRIAL_IDS for part in undecorated(name))
