"""What a file of cells says of how it was made."""

from cellmemory import __version__


def provenance(**found: object) -> dict[str, object]:
    """What `uns['cellmemory']` says of how a file was made: plain values only, None as an empty string."""
    return {"version": __version__} | {key: "" if value is None else value for key, value in found.items()}
