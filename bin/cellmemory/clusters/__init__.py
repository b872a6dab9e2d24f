"""A query's own clusters: the labels of their cells, which of them may be new types, and their marker genes."""
