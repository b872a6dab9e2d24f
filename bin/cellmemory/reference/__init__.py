"""A trained model: its folder or archive, its labels, and what it knows about its own doubt."""
