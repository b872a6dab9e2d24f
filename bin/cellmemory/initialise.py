"""Where gene embeddings start: the reference's own principal components, not noise.

A Transformer trained from random weights on a few hundred cells spends them on learning which genes go together; the
loadings of a PCA say so at once. What it brought is in docs/model.md.
"""

import numpy as np
import scipy.sparse as sp

from cellmemory.tokens import Tokens

COMPONENTS = 50
#: Keeps genes that hardly vary from being blown up to the variance of the others.
SMALLEST_SPREAD = 0.05


def gene_loadings(tokens: Tokens, n_genes: int, n_bins: int, seed: int) -> np.ndarray:
    """PCA loadings of the genes on the cells' binned expression, (n_genes, k), with unit variance over all entries.

    k is 50, or less where cells or genes are few. Genes are scaled to unit variance first.
    """
    from sklearn.decomposition import PCA

    values = sp.csr_matrix((tokens.bin / np.float32(n_bins), tokens.gene, tokens.start), shape=(len(tokens), n_genes))
    mean = np.asarray(values.mean(0)).ravel()
    spread = np.sqrt(np.maximum(np.asarray(values.multiply(values).mean(0)).ravel() - mean**2, 0)) + SMALLEST_SPREAD
    scaled = sp.csr_matrix(values @ sp.diags(1 / spread), dtype=np.float64)
    k = min(COMPONENTS, min(scaled.shape) - 1)
    if k < 1:
        return np.zeros((n_genes, 0), np.float32)
    found = PCA(k, svd_solver="arpack", random_state=seed).fit(scaled)
    loadings = found.components_.T * np.sqrt(found.explained_variance_)
    return (loadings / max(loadings.std(), 1e-12)).astype(np.float32)
