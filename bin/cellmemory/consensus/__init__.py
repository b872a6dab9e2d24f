"""Where several references agree on a query's cells."""
