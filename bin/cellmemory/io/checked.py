"""What a file of ours may hold: JSON and tables are read and held to kinds of values before anything is done with them.

A file may have been changed by hand, cut off on the way, or be another than it is called. Kinds say what a value has to be
in words, so that the sentence about a wrong one says so too.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import pandas as pd

from cellmemory.errors import InputError
from cellmemory.io.text import Source, encoding_of, opened

#: Nothing of ours is as deep; what walks through deeper values would run out of stack.
MAX_DEPTH = 50


class Kind(NamedTuple):
    """words: what a value of the kind is, as in `is not ...`; holds: whether a value belongs to it."""

    words: str
    holds: Callable[[object], bool]


def integer(low: int, high: int) -> Kind:
    """A whole number from low to high, from JSON or from h5ad."""
    return Kind(f"a whole number from {low:,} to {high:,}", lambda v: _is_integer(v) and low <= v <= high)


def number(low: float, high: float) -> Kind:
    """A number from low to high: NaN is none, and neither is infinity."""
    return Kind(f"a number from {low:g} to {high:g}", lambda v: _is_number(v) and low <= v <= high)


def text(*, empty: bool = False) -> Kind:
    """Text that h5ad and UTF-8 can hold."""
    return Kind("a text" if empty else "a text with something in it", lambda v: is_text(v) and (empty or v.strip() != ""))


def flag() -> Kind:
    """True or false, from JSON or from h5ad."""
    return Kind("true or false", lambda v: isinstance(v, bool | np.bool_))


def choice(names: Collection[str]) -> Kind:
    """One of some names."""
    return Kind(f"one of {', '.join(names)}", lambda v: isinstance(v, str) and v in names)


def either(kind: Kind, value: object) -> Kind:
    """Of a kind, or one other value."""
    return Kind(f"{kind.words} or {json.dumps(value)}", lambda v: v is value or kind.holds(v))


def sequence(kind: Kind, shortest: int = 0, *, rising: bool = False) -> Kind:
    """A list of values of a kind, each at least as large as the one before where it has to be rising."""

    def holds(value: object) -> bool:
        values = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
        if not isinstance(values, list | tuple) or len(values) < shortest or not all(map(kind.holds, values)):
            return False
        return not rising or all(a <= b for a, b in pairwise(values))

    return Kind(f"a list of {shortest} or more, each {kind.words}{', rising' if rising else ''}", holds)


def fixed(*kinds: Kind) -> Kind:
    """A list with one value of each kind."""

    def holds(value: object) -> bool:
        return (
            isinstance(value, list | tuple)
            and len(value) == len(kinds)
            and all(k.holds(v) for k, v in zip(kinds, value, strict=True))
        )

    return Kind(f"a list of {len(kinds)}: {'; '.join(kind.words for kind in kinds)}", holds)


def mapping(fields: Mapping[str, Kind] | None = None, *, others: bool = False) -> Kind:
    """An object with these fields, and with others where they may be; any object without fields."""
    if fields is None:
        return Kind("an object", lambda v: isinstance(v, dict))
    words = "an object of " + ", ".join(f"{name} ({kind.words})" for name, kind in fields.items())

    def holds(value: object) -> bool:
        if not isinstance(value, dict) or (set(value) != set(fields) and not (others and set(fields) <= set(value))):
            return False
        return all(kind.holds(value[name]) for name, kind in fields.items())

    return Kind(words, holds)


def wrong_fields(value: Mapping[str, object], kinds: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None) -> list[str]:
    """What is wrong with an object's fields, a clause each: `temperature is not a number from 0.001 to 1e+06 (0)`."""
    missing = [f"{name} is missing" for name in kinds if name not in value]
    given = [(name, kind) for name, kind in {**kinds, **(optional or {})}.items() if name in value]
    return missing + [f"{name} is not {kind.words} ({shown(value[name])})" for name, kind in given if not kind.holds(value[name])]


def shown(value: object, longest: int = 40) -> str:
    """A value as a message shows it: the beginning of a long one."""
    written = repr(value.item() if isinstance(value, np.generic) else value)
    written = " ".join(written.split())
    return written if len(written) <= longest else f"{written[:longest]}..."


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is text that h5ad and UTF-8 can hold: without a NUL, without half a surrogate pair."""
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number, of Python or of numpy."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number, of Python or of numpy."""
    return _is_integer(value) or isinstance(value, float | np.floating)


def read_json(path: Source, what: str = "") -> dict[str, Any]:
    """The object in a JSON file of UTF-8. Raises InputError; `what` follows the path in it, such as ` (--inputs)`."""
    try:
        encoding = encoding_of(path)
        with opened(path) as file:
            return parse_object(file.read().decode(encoding))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}{what} is not JSON with an object ({error}). Use an untouched copy.") from None


def parse_object(written: str) -> dict[str, Any]:
    """The object in a JSON text. Raises ValueError for anything else: numbers that JSON does not know, values too deep, texts
    that UTF-8 cannot hold."""
    try:
        value = json.loads(written, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_of_different_keys)
    except RecursionError:
        raise ValueError(f"values are nested more than {MAX_DEPTH} deep") from None
    if not isinstance(value, dict):
        raise ValueError(f"found {shown(value)}, not an object")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [item for v in level for item in (v.values() if isinstance(v, dict) else v) if isinstance(item, dict | list)]
    if level:
        raise ValueError(f"values are nested more than {MAX_DEPTH} deep")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it has half a surrogate pair, which UTF-8 cannot hold") from None
    return value


def _of_different_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {shown(next(name for name in names if names.count(name) > 1))} is there twice in one object")
    return found


def _finite(written: str) -> float:
    value = float(written)
    if math.isinf(value):
        raise ValueError(f"{shown(written)} is too large a number")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def read_tsv(path: Source, needed: Iterable[str] = ()) -> pd.DataFrame:
    """A tab-separated table with a header of different names, all of it as text. Raises ValueError as `tsv_rows` does."""
    names, *rows = tsv_rows(path, needed)
    return pd.DataFrame(rows, columns=names, dtype=object)


def tsv_rows(path: Source, needed: Iterable[str] = ()) -> Iterator[list[str]]:
    """The rows of a tab-separated table, its header of different names first; empty lines are left out.

    Raises ValueError that says what is wrong: another encoding, a quote that is not closed, a row of another length, a needed
    column that is missing.
    """
    encoding = encoding_of(path)
    with io.TextIOWrapper(opened(path), encoding, newline="") as file:
        rows = filter(None, csv.reader(file, delimiter="\t", strict=True))
        try:
            names = next(rows, [])
            _check_names(names, needed)
            yield names
            for i, row in enumerate(rows, 1):
                if len(row) != len(names):
                    raise ValueError(f"row {i} has {len(row)} columns, the header {len(names)}")
                yield row
        except csv.Error as error:
            raise ValueError(str(error)) from None


def _check_names(names: list[str], needed: Iterable[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        first = "\t".join(names)
        raise ValueError(f"missing columns: {', '.join(missing)}; its first line is {shown(first)}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"the column {shown(twice[0])} is there twice")


def as_numbers(column: Iterable[str], *, whole: bool = False) -> np.ndarray | None:
    """The numbers that a column of text holds, NaN where it is empty; None where it holds anything else, or, where they have
    to be whole, anything but digits."""
    texts = pd.Series(column, dtype=object)
    if whole:
        return texts.astype(np.int64).to_numpy() if texts.str.fullmatch(r"[0-9]{1,15}").all() else None
    try:
        return texts.where(texts != "", "nan").astype(np.float64).to_numpy()
    except ValueError:
        return None
