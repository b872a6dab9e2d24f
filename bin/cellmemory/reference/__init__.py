"""A trained reference: its folder, its labels, and what it knows of its own doubt."""
