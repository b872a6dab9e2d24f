"""Errors that a user can mend: the scripts print them without a traceback and leave with status 1."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: A full disk, a full quota, a file larger than the system lets one be.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """An error of one or more problems, a sentence each."""

    def __init__(self, problems: str | Iterable[str]):
        # Two ways to the same problem, such as two matrices of one odd file, are one sentence.
        self.problems = [problems] if isinstance(problems, str) else list(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


class InputError(UserError):
    """One or more problems of the input, each a sentence: what is wrong, where, and what to do."""


class Problems(list[str]):
    """Problems that are collected, so that a user sees all of them at once instead of the first."""

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keeps the problems of an error that the block raises, and goes on behind the block."""
        try:
            yield
        except UserError as error:
            self += error.problems

    def raise_any(self) -> None:
        """Raises InputError with all problems, if there are any."""
        if self:
            raise InputError(self)


#: UserError that are shown of a long list of problems: more of them are of one kind, and would fill the screen.
SHOWN = 20


def shortened(problems: list[str]) -> list[str]:
    """The problems as they are shown: the first of a long list, and how many there are in all."""
    if len(problems) <= SHOWN:
        return problems
    return [*problems[:SHOWN], f"... and {len(problems) - SHOWN:,} more problems ({len(problems):,} in all)."]


def first_ids(ids: Iterable[object], n: int = 5) -> str:
    """The first `n` ids as they are quoted in messages: `'A1BG', 'A2M', ...`."""
    ids = list(ids)
    return ", ".join(repr(str(i)) for i in ids[:n]) + (", ..." if len(ids) > n else "")
