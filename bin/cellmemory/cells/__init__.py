"""Files of cells as users have them: h5ad, 10x, mtx; read without trust, written as h5ad."""
