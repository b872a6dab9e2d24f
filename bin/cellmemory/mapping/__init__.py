"""From an aligned query to a mapped one, and to the consensus of several."""
