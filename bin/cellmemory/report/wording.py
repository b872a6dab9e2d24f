"""Values and numbers of things as the page writes them."""

from collections.abc import Sequence

from cellmemory.report.blocks import plain


def shown(value: object) -> str:
    """A parameter or a figure: four digits at most, lists with commas, None as `none`."""
    value = plain(value)
    if isinstance(value, bool):
        return yes(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def percent(share: float) -> str:
    """A threshold in percent, with all of its digits: `2.5 %` is not `2 %`."""
    return f"{100 * share:.6g}%"


def yes(value: object) -> str:
    """`yes` or `no`, also of a flag that was read as text."""
    return "yes" if str(value).lower() in ("true", "1", "yes") else "no"


def count(n: int, noun: str) -> str:
    """`1 sample`, `2 samples`."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
