"""What a training says while it runs."""

import sys

from lightning.pytorch.utilities.rank_zero import rank_zero_only


@rank_zero_only
def say(message: str) -> None:
    """A line on standard error, once however many processes train together."""
    print(message, file=sys.stderr, flush=True)
