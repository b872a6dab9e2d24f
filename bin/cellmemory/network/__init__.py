"""The network, its tokens, and running it on cells; nothing of training."""
