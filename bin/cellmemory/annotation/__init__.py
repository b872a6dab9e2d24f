"""A user's own file with what mapping found of its cells, and labels as terms of the Cell Ontology."""
