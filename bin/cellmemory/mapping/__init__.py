"""From an aligned query to a mapped one."""
