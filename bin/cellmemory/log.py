"""The log: what was read, matched, dropped, trained, mapped or written, one sentence a line.

All of it goes through one logger of Python's `logging`, called `cellmemory`: the scripts show it on standard error, and a
notebook sees warnings, and the rest once it asks for it (`logging.basicConfig(level="INFO")`).
"""

import logging
import os
import re
import sys
from collections.abc import Mapping

LOGGER = logging.getLogger("cellmemory")
#: Characters of a long sentence that are shown: the first say what is wrong and where, the last what to do.
FIRST_CHARACTERS, LAST_CHARACTERS = 1500, 500


def say(sentence: str) -> None:
    """Writes a line of the log."""
    _write(logging.INFO, sentence)


def warn(sentence: str) -> None:
    """Writes a line of the log that a user should not overlook."""
    _write(logging.WARNING, sentence)


def _write(level: int, sentence: str) -> None:
    # Once, however many processes train together: lightning numbers them in LOCAL_RANK.
    if os.environ.get("LOCAL_RANK", "0") == "0":
        LOGGER.log(level, "%s", sentence)


class _StandardError(logging.Handler):
    """Prints lines on what is standard error at the moment, warnings with a word before them."""

    def __init__(self, called: Mapping[str, str]):
        super().__init__()
        self._called = called

    def emit(self, record: logging.LogRecord) -> None:
        before = "Warning: " if record.levelno >= logging.WARNING else ""
        print(f"{before}{as_printed(record.getMessage(), self._called)}", file=sys.stderr, flush=True)


def show_on_standard_error(called: Mapping[str, str]) -> None:
    """Shows the log as the scripts do, whatever is set for other loggers. Once is enough; twice does no harm.

    called: the user's own paths by those where a workflow manager put the files.
    """
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    LOGGER.handlers = [_StandardError(called)]


def as_printed(sentence: str, called: Mapping[str, str]) -> str:
    """The sentence with the user's own paths in it, with what a terminal would obey, from a name in it, written out, and not
    longer than a screen: a file may have thousands of columns, and a name thousands of letters."""
    for staged, name in called.items():
        sentence = re.sub(rf"(?<![\w./-]){re.escape(staged)}(?![\w-])", name.replace("\\", r"\\"), sentence)
    if (left_out := len(sentence) - FIRST_CHARACTERS - LAST_CHARACTERS) > 0:
        sentence = f"{sentence[:FIRST_CHARACTERS]} ... ({left_out:,} characters left out) ... {sentence[-LAST_CHARACTERS:]}"
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", sentence)
