"""Where several references agree on a query's cells: a vote for each cell, and how often the references say the same.

The `labels.csv` of one query on each reference are read side by side, a chunk of cells at a time: memory does not grow
with cells.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.columns import (
    ASSIGNED,
    CONFIDENCE,
    CONSENSUS,
    CONSENSUS_LABEL,
    CONSENSUS_STATUS,
    LABEL,
    STATUS,
    STATUSES,
)
from cellmemory.errors import InputError, first_ids
from cellmemory.io.checked import as_numbers
from cellmemory.io.spreadsheet import restored, restored_column, write_csv
from cellmemory.io.text import encoding_of, open_quote, read_text, tab_cells
from cellmemory.log import say, warn

CHUNK_CELLS = 100_000
OUTCOMES = ["agreed", "split", "single", "unassigned"]
MAP_COLUMNS = ["reference", "label", "common_label"]
_REMEDY = "Give the labels.csv that map_query.py wrote."
_READ = [LABEL, CONFIDENCE, STATUS]
_COLUMNS = ["cell", *_READ]


def read_label_map(path: Path, references: Sequence[str]) -> dict[tuple[str, str], str]:
    """A TSV with the columns reference, label and common_label, as {(reference, label): common label}.

    Raises InputError with all problems: the header, lines of other lengths, references that are none, labels named twice.
    """
    texts = read_text(path).split("\n")
    lines = [tab_cells(text.rstrip()) for text in texts]
    if lines[0] != MAP_COLUMNS:
        raise InputError(f"{path}: the first line must be the column names {', '.join(MAP_COLUMNS)}, with tabs between them.")
    found: dict[tuple[str, str], str] = {}
    problems = []
    for number, cells in enumerate(lines[1:], 2):
        if not any(cells):
            continue
        if open_quote(texts[number - 1]):
            problems.append(f'{path}: line {number} has a quote (") that is not closed.')
        elif len(cells) != len(MAP_COLUMNS) or not all(cells):
            problems.append(f"{path}: line {number} does not have three tab-separated texts ({', '.join(MAP_COLUMNS)}).")
        elif cells[0] not in references:
            problems.append(f"{path}: line {number} names the reference '{cells[0]}'; there are {first_ids(references, 20)}.")
        elif found.setdefault((cells[0], cells[1]), cells[2]) != cells[2]:
            problems.append(f"{path}: line {number} gives the label '{cells[1]}' of {cells[0]} a second common label.")
    if problems:
        raise InputError(problems)
    return found


def decide(votes: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The outcome of the votes (cells, references) on each cell: codes of labels, -1 for no vote; confidence alike.

    Returns the label with most votes (cells,), -1 where there is none; the share of the votes that it has (cells,), NaN
    where there is none; and the place of the status in OUTCOMES (cells,). A label with more than half of several votes
    is agreed on; a single vote agrees with nobody. Of labels with as many votes the one of the higher mean confidence is
    taken, then that of the first reference.
    """
    winner = np.full(len(votes), -1, votes.dtype)
    most, surest = np.zeros(len(votes), int), np.zeros(len(votes))
    for vote in votes.T:
        same = votes == vote[:, None]
        count = np.where(vote >= 0, same.sum(axis=1), 0)
        mean_confidence = np.where(same, confidence, 0).sum(axis=1) / np.maximum(count, 1)
        better = (count > most) | ((count == most) & (count > 0) & (mean_confidence > surest))
        winner, most, surest = (np.where(better, *pair) for pair in ((vote, winner), (count, most), (mean_confidence, surest)))
    voters = (votes >= 0).sum(axis=1)
    share = np.where(voters > 0, most / np.maximum(voters, 1), np.nan)
    rules = {"unassigned": voters == 0, "single": voters == 1, "agreed": 2 * most > voters}
    status = np.select(list(rules.values()), [OUTCOMES.index(name) for name in rules], OUTCOMES.index("split"))
    return winner, share, status


@dataclass
class Tally:
    """Counts of cells over all chunks; labels are codes."""

    references: list[str]
    cells: int = 0
    status: Counter = field(default_factory=Counter)
    unanimous: int = 0
    outcomes: Counter = field(default_factory=Counter)  # (label, status)
    votes: dict[str, Counter] = field(default_factory=dict)  # of each reference: label
    pairs: dict[tuple[str, str], Counter] = field(default_factory=dict)  # of two references: (label of one, label of other)

    def add(self, votes: np.ndarray, winner: np.ndarray, share: np.ndarray, status: np.ndarray) -> None:
        """Counts a chunk of cells: their votes and what `decide` made of them."""
        self.cells += len(votes)
        self.status += _counted(status)
        self.unanimous += int(((share == 1) & (votes >= 0).all(axis=1)).sum())
        self.outcomes += _counted(winner, status)
        for name, vote in zip(self.references, votes.T, strict=True):
            self.votes[name] = self.votes.get(name, Counter()) + _counted(vote[vote >= 0])
        for (i, one), (j, other) in combinations(enumerate(self.references), 2):
            both = (votes[:, i] >= 0) & (votes[:, j] >= 0)
            self.pairs[one, other] = self.pairs.get((one, other), Counter()) + _counted(votes[both, i], votes[both, j])


def _counted(*codes: np.ndarray) -> Counter:
    """How often each code occurs, or each combination of codes that stand side by side."""
    values, counts = np.unique(np.stack(codes, axis=1), axis=0, return_counts=True)
    keys = values.ravel().tolist() if len(codes) == 1 else map(tuple, values.tolist())
    return Counter(dict(zip(keys, counts.tolist(), strict=True)))


class Vocabulary:
    """Codes of the common labels, in the order in which they are met."""

    def __init__(self, label_map: Mapping[tuple[str, str], str]):
        self._map = label_map
        self._codes: dict[str, int] = {}
        self.met: dict[str, set[str]] = {}  # of each reference: its own labels

    def codes(self, reference: str, labels: pd.Series) -> np.ndarray:
        """The code of each cell's label (cells,), once the map has made it a common one; -1 for an empty label."""
        given = labels.cat.categories
        self.met.setdefault(reference, set()).update(filter(None, given))
        common = [self.common(reference, label) for label in given]
        codes = [self._codes.setdefault(label, len(self._codes)) if label else -1 for label in common]
        return np.array(codes, int)[labels.cat.codes]

    def common(self, reference: str, label: str) -> str:
        return self._map.get((reference, label), label)

    @property
    def labels(self) -> list[str]:
        return list(self._codes)

    def unused(self) -> list[tuple[str, str]]:
        """References and labels of the map that no cell has."""
        return [(reference, label) for reference, label in self._map if label not in self.met.get(reference, ())]


def vote(sample: str, tables: Mapping[str, Path], label_map: Mapping[tuple[str, str], str], output: Path) -> dict:
    """Writes the consensus of the references on a query's cells as CSV; returns its summary.

    tables: the `labels.csv` of each reference, in an order that decides where nothing else does. A cell that a reference
    does not assign has no vote of it. Raises InputError where a table lacks a column, or the tables are not of the same
    cells in the same order.
    """
    vocabulary, tally = Vocabulary(label_map), Tally(list(tables))
    with output.open("w", newline="") as csv:
        for number, chunks in enumerate(_side_by_side(tables)):
            votes = np.stack([
                np.where(chunk[STATUS] == ASSIGNED, vocabulary.codes(name, chunk[LABEL]), -1)
                for name, chunk in chunks.items()
            ], axis=1)  # fmt: skip
            confidence = np.stack([chunk[CONFIDENCE].fillna(0) for chunk in chunks.values()], axis=1)
            winner, share, status = decide(votes, confidence)
            tally.add(votes, winner, share, status)
            table = pd.concat([chunk.add_suffix(f"_{name}") for name, chunk in chunks.items()], axis=1)
            table[CONSENSUS_LABEL] = pd.Categorical.from_codes(winner, vocabulary.labels)
            table[CONSENSUS] = share
            table[CONSENSUS_STATUS] = pd.Categorical.from_codes(status, OUTCOMES)
            write_csv(table, csv, header=number == 0)
    summary = summarise(sample, tally, vocabulary)
    _say(summary, label_map, vocabulary)
    return summary


def _side_by_side(tables: Mapping[str, Path]) -> Iterator[dict[str, pd.DataFrame]]:
    """The tables' next cells, chunk by chunk: for each reference label, confidence and status, by the cells' names.

    Raises InputError at the end where cells share a name: whether the tables have them in one order cannot be seen then.
    """
    first, names = next(iter(tables)), []
    for chunks in zip_longest(*(_chunks(path) for path in tables.values())):
        named = dict(zip(tables, chunks, strict=True))
        for name, chunk in named.items():
            if chunk is None or named[first] is None or not chunk.index.equals(named[first].index):
                raise InputError(
                    f"{tables[first]} and {tables[name]} are not of the same cells in the same order: a consensus needs one "
                    "query, mapped onto each reference."
                )
        names.append(pd.util.hash_array(named[first].index.to_numpy(object)))
        yield named
    repeated = int(pd.Series(np.concatenate(names)).duplicated(keep=False).sum()) if names else 0
    if repeated:
        raise InputError(
            f"{tables[first]}: {repeated:,} cells share their name with another cell, so that votes cannot be told apart. Make "
            "the names of the query's cells unique, and map it again."
        )


def _chunks(path: Path) -> Iterator[pd.DataFrame]:
    try:
        options = {"keep_default_na": False, "encoding": encoding_of(path)}
        found = pd.Index(pd.read_csv(path, nrows=1, header=None, dtype=str, **options).iloc[0])
        twice = found[found.duplicated()].intersection(pd.Index(_COLUMNS))
        if len(twice):
            raise InputError(f"{path} has the column {', '.join(twice)} twice. {_REMEDY}")
        missing = [column for column in _COLUMNS if column not in found]
        if missing:
            raise InputError(f"{path} has no column {', '.join(missing)}; its columns are {first_ids(found)}. {_REMEDY}")
        types = dict.fromkeys(_COLUMNS, "category") | dict.fromkeys(("cell", CONFIDENCE), str)
        with pd.read_csv(path, usecols=_COLUMNS, dtype=types, chunksize=CHUNK_CELLS, **options) as reader:
            for chunk in reader:
                confidence = as_numbers(chunk[CONFIDENCE])
                _check_votes(path, chunk, confidence)
                chunk["cell"], label = chunk["cell"].map(restored), restored_column(chunk[LABEL])
                yield chunk.assign(**{LABEL: label, CONFIDENCE: confidence}).set_index("cell")[_READ]
    except ValueError as error:  # pandas' errors of parsing are of this kind, too
        raise InputError(f"{path} cannot be read as a table of labels ({error}). {_REMEDY}") from error


def _check_votes(path: Path, chunk: pd.DataFrame, confidence: np.ndarray | None) -> None:
    """Raises InputError, with the first cell that is at fault, for a status or a confidence that mapping does not write."""
    given = chunk[CONFIDENCE]
    if confidence is None:
        confidence = np.array([np.nan if (number := as_numbers([text])) is None else number[0] for text in given])
    known = ((confidence >= 0) & (confidence <= 1)) | (given == "")
    unnamed = (chunk[LABEL] == "") & (chunk[STATUS] == ASSIGNED)
    wrong = {
        LABEL: (unnamed, "a label, but the cell is assigned"),
        STATUS: (~chunk[STATUS].isin(STATUSES), f"one of {', '.join(STATUSES)}"),
        CONFIDENCE: (~known, "a number from 0 to 1"),
    }
    problems = []
    for name, (rows, words) in wrong.items():
        if rows.any():
            cell, value = chunk.loc[rows, ["cell", name]].iloc[0]
            problems.append(f"{path}: {name} of the cell {cell!r} is {value!r}, not {words}. {_REMEDY}")
    if problems:
        raise InputError(problems)


def summarise(sample: str, tally: Tally, vocabulary: Vocabulary) -> dict:
    """What the tally says, with labels for codes: of all cells, of every two references, and of every label."""
    labels = vocabulary.labels
    pairs = []
    for (one, other), counts in tally.pairs.items():
        together, agreeing = counts.total(), sum(n for (a, b), n in counts.items() if a == b)
        most = sorted(counts.items(), key=lambda item: (-item[1], labels[item[0][0]], labels[item[0][1]]))
        pairs.append({
            "first": one,
            "second": other,
            "cells": together,
            "agreeing": agreeing,
            "agreement": agreeing / together if together else None,
            "labels": [{"first": labels[a], "second": labels[b], "cells": n} for (a, b), n in most],
        })  # fmt: skip
    return {
        "sample": sample,
        "references": tally.references,
        "cells": tally.cells,
        "status": {name: tally.status[code] for code, name in enumerate(OUTCOMES)},
        "unanimous": tally.unanimous,
        "pairs": pairs,
        "labels": [
            {"label": label}
            | {status: tally.outcomes[labels.index(label), code] for code, status in enumerate(OUTCOMES[:3])}
            | {"votes": {name: tally.votes[name][labels.index(label)] for name in tally.references}}
            for label in sorted(labels)
        ],
        "warnings": _no_common_label(sample, tally.references, vocabulary),
    }


def _no_common_label(sample: str, references: list[str], vocabulary: Vocabulary) -> list[str]:
    """A sentence for every two references that share no label: they may only write them differently."""
    met = {name: sorted(vocabulary.met.get(name, ())) for name in references}
    given = {name: {vocabulary.common(name, label) for label in met[name]} for name in references}
    return [
        f"{sample}: the references {one} and {other} give no label in common ({first_ids(met[one], 3)} by the one, "
        f"{first_ids(met[other], 3)} by the other); if they write the same types differently, say so with --label_map."
        for one, other in combinations(references, 2)
        if given[one] and given[other] and not given[one] & given[other]
    ]


def _say(summary: dict, label_map: Mapping[tuple[str, str], str], vocabulary: Vocabulary) -> None:
    shares = ", ".join(f"{n:,} {status}" for status, n in summary["status"].items())
    say(f"{summary['sample']}: {summary['cells']:,} cells by {len(summary['references'])} references: {shares}.")
    for pair in summary["pairs"]:
        say(
            f"{pair['first']} and {pair['second']} agree on {pair['agreeing']:,} of the {pair['cells']:,} cells that both assign."
        )
    if label_map:
        unused = [" ".join(names) for names in vocabulary.unused()]
        rest = f"; not {first_ids(unused)}" if unused else ""
        say(f"Label map: {len(label_map) - len(unused)} of {len(label_map)} labels were given to a cell{rest}.")
    for sentence in summary["warnings"]:
        warn(sentence)


def multiqc(summary: dict) -> dict:
    """The summary as custom content for MultiQC: a bar of the cells of each status."""
    colours = {"agreed": "#009e73", "split": "#e69f00", "single": "#56b4e9", "unassigned": "#9aa3aa"}
    return {
        "id": "cellmemory_consensus",
        "section_name": "CellMemory consensus",
        "description": "Whether the references agree on the labels of the cells.",
        "plot_type": "bargraph",
        "pconfig": {
            "id": "cellmemory_consensus_plot",
            "title": "CellMemory: Consensus of the references",
            "ylab": "Cells",
            "cpswitch_counts_label": "Cells",
        },
        "categories": {status: {"name": status, "color": colour} for status, colour in colours.items()},
        "data": {summary["sample"]: summary["status"]},
    }
