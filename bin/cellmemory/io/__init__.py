"""Files of any kind: written whole or not at all, read with one sentence for what is wrong. No biology, no torch."""
