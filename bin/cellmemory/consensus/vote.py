"""A vote of several references on each cell of a query; memory does not grow with cells."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.columns import (
    ASSIGNED,
    CONFIDENCE,
    CONSENSUS,
    CONSENSUS_LABEL,
    CONSENSUS_STATUS,
    CONSENSUS_STATUSES,
    LABEL,
    STATUS,
)
from cellmemory.consensus.summary import say_summary, summarise
from cellmemory.consensus.tables import side_by_side
from cellmemory.consensus.tally import Tally, Vocabulary, decide
from cellmemory.io.spreadsheet import write_csv


def vote(sample: str, tables: Mapping[str, Path], label_map: Mapping[tuple[str, str], str], output: Path) -> dict:
    """Writes the consensus of the references on a query's cells as CSV; returns its summary.

    tables: the `labels.csv` of each reference, in an order that decides where nothing else does. A cell that a reference
    does not assign has no vote of it. Raises InputError where a table lacks a column, or the tables are not of the same
    cells in the same order.
    """
    vocabulary, tally = Vocabulary(label_map), Tally(list(tables))
    with output.open("w", encoding="utf-8", newline="") as csv:
        for number, chunks in enumerate(side_by_side(tables)):
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
            table[CONSENSUS_STATUS] = pd.Categorical.from_codes(status, CONSENSUS_STATUSES)
            write_csv(table, csv, header=number == 0)
    summary = summarise(sample, tally, vocabulary)
    say_summary(summary, label_map, vocabulary)
    return summary
