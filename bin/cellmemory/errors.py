"""Errors that a user can mend: the scripts print them without a traceback and leave with status 1."""

from collections.abc import Iterable


class InputError(Exception):
    """One or more problems of the input, each a sentence: what is wrong, where, and what to do."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


#: Sentences that are shown of a list of problems: more of them are of one kind, and fill no screen.
SHOWN = 20


def shortened(problems: list[str]) -> list[str]:
    """The problems as they are shown: the first of a long list, and how many there are in all."""
    if len(problems) <= SHOWN:
        return problems
    return [*problems[:SHOWN], f"... and {len(problems) - SHOWN:,} more problems ({len(problems):,} in all)."]


def first_ids(ids: Iterable[str], n: int = 5) -> str:
    """The first `n` ids as they are quoted in messages: `'A1BG', 'A2M', ...`."""
    ids = list(ids)
    return ", ".join(repr(str(i)) for i in ids[:n]) + (", ..." if len(ids) > n else "")


class Checker:
    """Collects problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def attempt(self, function, *arguments):
        """The function's result; None, with its problems kept, where it raises InputError."""
        try:
            return function(*arguments)
        except InputError as error:
            self.problems += error.problems
            return None
