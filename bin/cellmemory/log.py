"""What a training or a mapping says while it runs."""

import os
import sys


def say(message: str) -> None:
    """A line on standard error, once however many processes train together, which lightning numbers in LOCAL_RANK."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(message, file=sys.stderr, flush=True)
