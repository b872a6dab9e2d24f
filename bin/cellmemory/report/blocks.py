"""What a page is made of: sections of figures, tables and notes, plain values that `page` renders and its script draws."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Of a table in the page.
MAX_ROWS = 5000


@dataclass(frozen=True)
class Selector:
    """A choice above a figure: the name of what is chosen and the options."""

    name: str
    options: list[str]


@dataclass(frozen=True)
class Figure:
    """A plotly figure (plain dict of data and layout) for every combination of its selectors' options.

    The key of a variant is the number of each selector's option, joined by commas ('' without selectors); a combination
    without a variant shows `empty`. Text in the figures is escaped already (`text`, `short`).
    """

    id: str
    title: str
    caption: str
    variants: dict[str, dict]
    selectors: list[Selector] = field(default_factory=list)
    empty: str = ""
    kind: str = "figure"


@dataclass(frozen=True)
class Explorer:
    """The scatter of cells that the reader colours: `space` names the coordinates in the points' payload."""

    id: str
    title: str
    caption: str
    space: str
    kind: str = "explorer"


@dataclass(frozen=True)
class Table:
    """Rows under columns of a title and a kind each (text, label, verdict, score, number, count, share or p).

    `note` says what was left out.
    """

    id: str
    title: str
    columns: list[tuple[str, str]]  # title, kind
    rows: list[list]
    caption: str = ""
    note: str = ""
    kind: str = "table"


@dataclass(frozen=True)
class Facts:
    """Names and values in a list."""

    title: str
    items: list[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Tiles:
    """The few numbers that a reader looks for first: name, value and a word of explanation."""

    items: list[tuple[str, str, str]]
    kind: str = "tiles"


@dataclass(frozen=True)
class Notes:
    """Sentences; `warning` makes them stand out."""

    sentences: list[str]
    title: str = ""
    warning: bool = False
    kind: str = "notes"


@dataclass(frozen=True)
class Links:
    """Files next to the page: words and the path of each, relative to the page and with every letter quoted that a link needs."""

    title: str
    items: list[tuple[str, str]]
    caption: str = ""
    kind: str = "links"


Block = Figure | Explorer | Table | Facts | Tiles | Notes | Links


@dataclass(frozen=True)
class Section:
    """A part of the page; `lead` says in plain words what it shows and how to read it.

    absent: why there is nothing to show; the page then leaves the section out and says so at its end. advanced: about the model
    more than about cells, and folded.
    """

    id: str
    title: str
    lead: str
    blocks: list = field(default_factory=list)
    absent: str = ""
    advanced: bool = False


def bounded(
    id: str,
    title: str,
    columns: list[tuple[str, str]],
    rows: list[list],
    *,
    sort_column: int | None = None,
    caption: str = "",
) -> Table:
    """A table of at most MAX_ROWS rows that says what it leaves out; the smallest p-values in `sort_column` stay."""
    note = (
        f"The first {MAX_ROWS:,} of {len(rows):,} rows; the pipeline's own tables hold all of them."
        if len(rows) > MAX_ROWS
        else ""
    )
    if note and sort_column is not None and columns[sort_column][1] == "p":
        rows = sorted(rows, key=lambda row: row[sort_column])
    return Table(id, title, columns, rows[:MAX_ROWS], caption, note)


def text(value: object, length: int = 80) -> str:
    """A name as plotly shows it: cut to `length` characters, and literal, for plotly reads a subset of HTML in text."""
    name = " ".join(str(value).split())
    name = name if len(name) <= length else name[: length - 1] + "…"
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def short(value: object) -> str:
    """A name for an axis or a legend."""
    return text(value, 30)


def category_axis(values: Sequence[object], *, down: bool = False, **more: object) -> dict:
    """A plotly axis whose places are 0, 1, ... and whose ticks are the names: numbers and dates stay names.

    down: the first place is at the top.
    """
    ends = [-0.5, len(values) - 0.5]
    ticks = {"tickvals": list(range(len(values))), "ticktext": [short(value) for value in values]}
    return {**ticks, "range": ends[::-1] if down else ends, **more}


def plain(value: Any) -> Any:
    """Makes a value fit for JSON: numpy to Python, floats to five digits, NaN and infinities to None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{type(value)} does not go into JSON")
