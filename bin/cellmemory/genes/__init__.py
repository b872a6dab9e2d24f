"""Names of genes, scales of values, the panel, and how cells are brought onto it."""
