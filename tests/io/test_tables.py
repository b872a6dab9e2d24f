"""Tables of results: what is written is read back the same, from and to the path that was given, whatever it is called."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cellmemory.columns import TEXT_COLUMNS
from cellmemory.errors import InputError
from cellmemory.io.outputs import TABLES, replaceable
from cellmemory.io.tables import read_results, write_table

#: What names are made of, and what is hard to keep in a table.
plain = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
names = st.text(plain | st.sampled_from(" \t\r\n\"',;\\\u2028\x85\ufeffeé"), max_size=6) | st.sampled_from(["NA", "nan", "1.0"])
numbers = st.floats(allow_infinity=False, width=32)
rows = st.lists(st.tuples(names, names, numbers), max_size=5)
ODD = ["~/t.tsv", "t.tsv.gz", "t.zip", "t.tsv.zst", "t.tsv.bz2", "t.xz", "t.tar", "file:/t.tsv", os.fsdecode(b"t\xff.tsv")]


def table_of(found: list[tuple[str, str, float]]) -> pd.DataFrame:
    table = pd.DataFrame(found, columns=["group", "gene", "score"]).astype({"group": object, "gene": object, "score": float})
    return table.assign(rank=np.arange(1, len(table) + 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
@example([("ctrl\r", "A", 1.0)])
@example([("\r", "", np.nan), ("", '"', 1.0)])
def test_what_is_written_is_read_back(tmp_path: Path, found: list[tuple[str, str, float]]):
    table = table_of(found)
    write_table(table, tmp_path / "t.tsv")
    read = read_results(tmp_path / "t.tsv", table.columns)
    assert read[["group", "gene"]].to_numpy().tolist() == table[["group", "gene"]].to_numpy().tolist()
    np.testing.assert_allclose(read["score"].to_numpy(float), table["score"], rtol=1e-5)
    assert read["rank"].tolist() == table["rank"].tolist()


@pytest.mark.parametrize("name", ODD)
def test_a_path_is_taken_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    write_table(table_of([("a", "A", 1.0)]), path)
    assert path.read_bytes() == b"group\tgene\tscore\trank\na\tA\t1\t1\n"
    assert read_results(path, ["group"])["gene"].tolist() == ["A"]
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / path]


@pytest.mark.parametrize("name", ["a\0b", "a\udcff"])
def test_a_name_that_no_text_file_can_hold_is_refused(name: str, tmp_path: Path):
    with pytest.raises(InputError, match=r"group 'a.* holds a character that a table cannot hold"):
        write_table(table_of([(name, "A", 1.0)]), tmp_path / "t.tsv")
    assert not list(tmp_path.iterdir())


def test_a_table_with_a_carriage_return_in_a_name_is_known_again(tmp_path: Path):
    begins, n_columns = TABLES["tags"]
    header = begins.split("\t") + [f"more{i}" for i in range(n_columns - begins.count("\t") - 1)]
    table = pd.DataFrame([["x\ry", 1, "A", *[0.0] * (n_columns - 3)]], columns=header)
    assert {"group", "gene"} <= TEXT_COLUMNS
    write_table(table, tmp_path / "t.tsv")
    assert replaceable(tmp_path / "t.tsv", "tags")
    assert read_results(tmp_path / "t.tsv", header)["group"].tolist() == ["x\ry"]
