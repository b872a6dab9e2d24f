"""From an aligned reference to a trained one."""
