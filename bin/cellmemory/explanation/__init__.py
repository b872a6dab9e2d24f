"""Which genes cells attend to, what these bring to labels, and which gene sets they are."""
