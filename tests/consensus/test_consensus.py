"""consensus.py: the vote of several references on each cell, what is counted of it, and what is refused."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmemory.columns import CONSENSUS_STATUSES
from cellmemory.consensus import tables
from cellmemory.consensus.tally import decide
from cellmemory.consensus.vote import vote
from cellmemory.io.samplesheet import REFERENCE_NAME, REFERENCE_NAME_RULE
from tests.conftest import ROOT, refused, succeed

CELLS = ["c1", "c2", "c3", "c4"]
#: Label, confidence and status of each cell by each reference. The last cell is unassigned by all.
TABLES = {
    "pbmc": [("B", 0.9, True), ("T", 0.5, True), ("T", 0.5, False), ("NA", 0.9, False)],
    "tissue": [("B", 0.7, True), ("NK", 0.8, True), ("NK", 0.25, True), ("B", 0.9, False)],
    "atlas": [("T", 0.99, True), ("T cell", 0.1, False), ("T", 0.5, False), ("B", 0.9, False)],
}


def write(folder: Path, tables: dict = TABLES, cells: list[str] = CELLS) -> list[object]:
    """Writes a labels.csv for each reference; returns the script's arguments for them."""
    arguments = ["--sample", "q", "--output", folder / "q.consensus.csv", "--summary", folder / "q.consensus.json"]
    for name, rows in tables.items():
        table = pd.DataFrame(rows, columns=["label", "confidence", "status"]).add_prefix("cellmemory_")
        table["cellmemory_status"] = np.where(table["cellmemory_status"], "assigned", "unassigned")
        table["cellmemory_label_set"] = table["cellmemory_label"]
        table.index = pd.Index(cells[: len(rows)], name="cell")
        table.to_csv(folder / f"{name}.labels.csv")
        arguments += ["--labels", name, folder / f"{name}.labels.csv"]
    return arguments


def read(folder: Path) -> tuple[pd.DataFrame, dict]:
    table = pd.read_csv(folder / "q.consensus.csv", index_col="cell", keep_default_na=False)
    return table, json.loads((folder / "q.consensus.json").read_text())


def test_references_vote_on_each_cell(tmp_path: Path):
    log = succeed("consensus", *write(tmp_path), "--mqc", tmp_path / "q_consensus_mqc.json")
    table, summary = read(tmp_path)
    assert list(table.index) == CELLS
    assert list(table) == [
        *(f"cellmemory_{key}_{name}" for name in TABLES for key in ("label", "confidence", "status")),
        "cellmemory_consensus_label", "cellmemory_consensus", "cellmemory_consensus_status",
    ]  # fmt: skip
    # Two of three; one against one, the surer shown; a single vote; none.
    assert table["cellmemory_consensus_label"].tolist() == ["B", "NK", "NK", ""]
    assert table["cellmemory_consensus"].tolist() == ["0.666667", "0.5", "1", ""]
    assert table["cellmemory_consensus_status"].tolist() == ["agreed", "split", "single", "unassigned"]
    assert table["cellmemory_label_pbmc"].tolist() == ["B", "T", "T", "NA"]
    assert summary["status"] == {"agreed": 1, "split": 1, "single": 1, "unassigned": 1}
    assert summary["unanimous"] == 0
    assert summary["warnings"] == []
    pair = summary["pairs"][0]
    assert (pair["first"], pair["second"], pair["cells"], pair["agreeing"], pair["agreement"]) == ("pbmc", "tissue", 2, 1, 0.5)
    assert pair["labels"] == [{"first": "B", "second": "B", "cells": 1}, {"first": "T", "second": "NK", "cells": 1}]
    assert summary["pairs"][2]["agreement"] == 0
    assert {"label": "NK", "agreed": 0, "split": 1, "single": 1, "votes": {"pbmc": 0, "tissue": 2, "atlas": 0}} in summary[
        "labels"
    ]
    mqc = json.loads((tmp_path / "q_consensus_mqc.json").read_text())
    assert mqc["data"] == {"q": summary["status"]}
    assert "q: 4 cells by 3 references: 1 agreed, 1 split, 1 single, 1 unassigned." in log


def test_labels_that_are_written_differently_agree_by_a_map(tmp_path: Path):
    one = [("CD14 Mono", 0.9, True), ("B", 0.9, True)]
    other = [("CD14+ Monocyte", 0.8, True), ("B cell", 0.9, True)]
    arguments = write(tmp_path, {"pbmc": one, "tissue": other})
    log = succeed("consensus", *arguments)
    (sentence,) = read(tmp_path)[1]["warnings"]
    assert sentence in log
    assert "q: the references pbmc and tissue give no label in common ('B', 'CD14 Mono' by the one" in sentence
    assert "--label_map" in sentence

    rows = ["reference\tlabel\tcommon_label", "pbmc\tCD14 Mono\tMonocyte", "tissue\tCD14+ Monocyte\tMonocyte", "",
            "tissue\tB cell\tB", "tissue\tNeuron\tneuron"]  # fmt: skip
    (tmp_path / "map.tsv").write_text("\n".join(rows))
    log = succeed("consensus", *arguments, "--label_map", tmp_path / "map.tsv")
    table, summary = read(tmp_path)
    assert table["cellmemory_consensus_label"].tolist() == ["Monocyte", "B"]
    assert table["cellmemory_label_tissue"].tolist() == ["CD14+ Monocyte", "B cell"]
    assert (summary["unanimous"], summary["warnings"]) == (2, [])
    assert "Label map: 3 of 4 labels were given to a cell; not 'tissue Neuron'." in log


def test_chunks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    rows = {
        name: list(zip(rng.choice(list("abcd"), 500), rng.uniform(0, 1, 500), rng.uniform(0, 1, 500) > 0.2, strict=True))
        for name in TABLES
    }
    write(tmp_path, rows, [f"c{i}" for i in range(500)])
    paths = {name: tmp_path / f"{name}.labels.csv" for name in TABLES}
    whole = vote("q", paths, {}, tmp_path / "whole.csv")
    monkeypatch.setattr(tables, "TABLE_ROWS", 64)
    parts = vote("q", paths, {}, tmp_path / "parts.csv")
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "parts.csv").read_bytes()
    assert whole == parts


def slowly(votes: list[int], confidence: list[float]) -> tuple[int, float | None, str]:
    """The rules of `decide` as the manual says them, for one cell."""
    count = Counter(vote for vote in votes if vote >= 0)
    if not count:
        return -1, None, "unassigned"

    def mean(label: int) -> float:
        return sum(c for vote, c in zip(votes, confidence, strict=True) if vote == label) / count[label]

    winner = max(count, key=lambda label: (count[label], mean(label), -votes.index(label)))
    share = count[winner] / count.total()
    if count.total() == 1:
        return winner, share, "single"
    return winner, share, "agreed" if share > 0.5 else "split"


# Confidences of which sums are exact: means that are equal on paper are equal here.
_CELL = st.tuples(st.integers(-1, 3), st.integers(0, 64).map(lambda n: n / 64))


@given(st.integers(2, 6).flatmap(lambda n: st.lists(st.lists(_CELL, min_size=n, max_size=n), min_size=1, max_size=20)))
def test_a_vote_follows_the_rules(cells: list[list[tuple[int, float]]]):
    votes, confidence = np.array(cells)[..., 0].astype(int), np.array(cells)[..., 1]
    winner, share, status = decide(votes, confidence)
    for i in range(len(cells)):
        expected = slowly(votes[i].tolist(), confidence[i].tolist())
        found = (winner[i], None if np.isnan(share[i]) else share[i], CONSENSUS_STATUSES[status[i]])
        assert found == expected
    # The references' order decides nothing but exact ties.
    _, other_share, other_status = decide(votes[:, ::-1], confidence[:, ::-1])
    np.testing.assert_array_equal(share, other_share)
    np.testing.assert_array_equal(status, other_status)


def test_tables_of_other_cells_are_refused(tmp_path: Path):
    arguments = write(tmp_path, {"pbmc": TABLES["pbmc"], "tissue": TABLES["tissue"][:3]})
    (problem,) = refused("consensus", *arguments)
    assert "pbmc.labels.csv and " in problem
    assert "not of the same cells in the same order" in problem
    assert not (tmp_path / "q.consensus.csv").exists()


def test_what_is_no_table_of_labels_is_refused(tmp_path: Path):
    arguments = write(tmp_path)
    (tmp_path / "tissue.labels.csv").write_text("cell,cellmemory_label\nc1,B\n")
    (problem,) = refused("consensus", *arguments)
    assert "tissue.labels.csv has no column cellmemory_confidence, cellmemory_status" in problem
    (tmp_path / "tissue.labels.csv").write_bytes(b"\x00\xff\xfe\n")
    assert len(refused("consensus", *arguments)) == 1


def test_one_reference_is_no_consensus(tmp_path: Path):
    (problem,) = refused("consensus", *write(tmp_path, {"pbmc": TABLES["pbmc"]}))
    assert "two references or more" in problem


def test_of_cells_of_one_name_the_order_says_which_is_which(tmp_path: Path):
    said = succeed("consensus", *write(tmp_path, cells=["c1", "c2", "c2", "c2"]))
    assert "pbmc.labels.csv: 3 cells share their name with another cell; votes go by the order of the cells." in said
    assert pd.read_csv(tmp_path / "q.consensus.csv")["cell"].tolist() == ["c1", "c2", "c2", "c2"]


def test_a_sample_is_called_as_a_samplesheet_could(tmp_path: Path):
    arguments = write(tmp_path)
    arguments[1] = "../q"
    (problem,) = refused("consensus", *arguments)
    assert problem.startswith("--sample is '../q'. A sample name may hold only")


def test_references_are_called_as_their_sheet_could(tmp_path: Path):
    rule = json.loads((ROOT / "assets" / "schema_references.json").read_text())["items"]["properties"]["reference"]
    assert (REFERENCE_NAME.pattern, REFERENCE_NAME_RULE) == (rule["pattern"], rule["errorMessage"])
    arguments = write(tmp_path)
    for place, name in ((7, ""), (10, " "), (13, "a\nb")):
        assert arguments[place - 1] == "--labels"
        arguments[place] = name
    problems = refused("consensus", *arguments)
    assert problems == [f"--labels names a reference {name!r}. {REFERENCE_NAME_RULE}" for name in ("", " ", "a\nb")]
    assert not (tmp_path / "q.consensus.csv").exists()


def test_all_problems_of_a_label_map_are_said(tmp_path: Path):
    arguments = [*write(tmp_path), "--label_map", tmp_path / "map.tsv"]
    (tmp_path / "map.tsv").write_bytes(b"\xff\xfe\n")
    assert "is not a text file in UTF-8 (line 1)" in refused("consensus", *arguments)[0]
    (tmp_path / "map.tsv").write_text("from\tto\n")
    assert "the first line must be" in refused("consensus", *arguments)[0]
    lines = ["reference\tlabel\tcommon_label", "pbmc\tB", "brain\tB\tB", "pbmc\tT\tT cell", "pbmc\tT\tT lymphocyte"]
    (tmp_path / "map.tsv").write_text("\n".join(lines))
    problems = refused("consensus", *arguments)
    assert len(problems) == 3
    assert "line 2 does not have three" in problems[0]
    assert "line 3 names the reference 'brain'; there are 'pbmc', 'tissue', 'atlas'." in problems[1]
    assert "line 5 gives the label 'T' of pbmc a second common label." in problems[2]
