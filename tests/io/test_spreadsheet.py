"""CSV files: no name is taken for a formula, none breaks a line, and all come back as they were."""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cellmemory.consensus.vote import vote
from cellmemory.io.spreadsheet import harmless, restored, write_csv
from cellmemory.mapping.mapper import MappingSettings, map_query
from cellmemory.network.runtime import configure
from cellmemory.reference import trained_model
from tests.conftest import ROOT
from tests.made.model_folders import sign

#: What is computed, and what is not.
FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\rx",
    " =1",
    "\n=1",
    "'=1",
    "''@x",
    "-",
    "＝1",
    "+1 cells",
    "-1.2.3",
]
NAMES = ["T cell", "CD4+ T", "-1", "+3.5e-7", "-.5", "'", "'quoted'", "'-1", "", "7", "a=b", "NA", "x\ty"]
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(FORMULAS + NAMES)
signs = st.text("'=+-@ \t\r\n1e.,\"", max_size=6)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_made_text(name: str):
    assert harmless(name) == f"'{name}"


@pytest.mark.parametrize("name", NAMES)
def test_names_and_numbers_stay(name: str):
    assert harmless(name) == restored(name) == name


@given(text | signs)
@example("'=")
def test_every_text_comes_back(name: str):
    assert restored(harmless(name)) == name
    assert not harmless(name).startswith(("=", "@", "\t", "\r"))


@given(st.lists(st.tuples(text | signs, text | signs, st.floats(0, 1)), min_size=1, max_size=5))
def test_tables_come_back_by_any_reader(rows: list[tuple[str, str, float]]):
    table = pd.DataFrame(rows, columns=["cell", "label", "number"]).set_index("cell")
    file = io.StringIO(newline="")
    write_csv(table.astype({"label": "category"}), file, header=True)
    written = file.getvalue()
    header, *found = csv.reader(io.StringIO(written, newline=""), strict=True)
    assert header == ["cell", "label", "number"]
    assert [(restored(cell), restored(label)) for cell, label, _ in found] == [row[:2] for row in rows]
    again = pd.read_csv(io.StringIO(written, newline=""), dtype=str, keep_default_na=False)
    assert again["cell"].map(restored).tolist() == [row[0] for row in rows]
    assert again["label"].map(restored).tolist() == [row[1] for row in rows]
    assert np.allclose(again["number"].astype(float), [row[2] for row in rows], rtol=1e-5)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_page_has_the_same_rule():
    source = (ROOT / "bin" / "cellmemory" / "report" / "script" / "base.js").read_text()
    function = source[source.index("function csvText(") :]
    function = function[: function.index("\n}\n") + 3]
    names = [*FORMULAS, *NAMES]
    rows = pd.DataFrame({"name": names, "n": 1}).to_json(orient="values")
    program = f"{function} process.stdout.write(csvText({rows}));"
    done = subprocess.run(["node", "-e", program], capture_output=True, check=True)
    found = list(csv.reader(io.StringIO(done.stdout.decode(), newline=""), strict=True))
    assert found == [[harmless(name), "1"] for name in names]


def test_labels_of_hostile_names_are_harmless_and_the_h5ad_is_exact(model: Path, aligned: Path, tmp_path: Path):
    folder = shutil.copytree(model, tmp_path / "model")
    table = (folder / "labels.tsv").read_text().splitlines()
    names = [line.split("\t")[0] for line in table[1:]]
    new = dict(zip(names, [f'={name},"x"\'' for name in names[:5]] + names[5:], strict=True))
    quoted = ['"' + name.replace('"', '""') + '"' for name in new.values()]
    rows = ["\t".join([name, *line.split("\t")[1:]]) for name, line in zip(quoted, table[1:], strict=True)]
    (folder / "labels.tsv").write_text("\n".join([table[0], *rows]) + "\n")
    sign(folder)
    cells = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[:40].copy()
    cells.obs_names = [*FORMULAS, *(f"{name}~" for name in NAMES), *(f"c{i}" for i in range(40 - len(FORMULAS + NAMES)))]
    cells.write_h5ad(tmp_path / "q.h5ad")
    trained, runtime = trained_model.load(folder), configure("cpu", "fp32", 1, seed=0)
    assert trained.labels == list(new.values())
    outputs = {"output": tmp_path / "q.mapped.h5ad", "labels": tmp_path / "q.labels.csv"}
    map_query(tmp_path / "q.h5ad", trained, MappingSettings(attention=False), runtime, **outputs)

    mapped = ad.read_h5ad(tmp_path / "q.mapped.h5ad")
    assert mapped.obs_names.tolist() == cells.obs_names.tolist()
    assert mapped.obs["cellmemory_label"].cat.categories.tolist() == trained.labels
    written = pd.read_csv(tmp_path / "q.labels.csv", dtype=str, keep_default_na=False)
    assert written["cell"].tolist() == [harmless(name) for name in cells.obs_names]
    for column in ("cellmemory_label", "cellmemory_label_set"):
        assert written[column].tolist() == [harmless(label) for label in mapped.obs[column]]
    assert (written["cellmemory_label"].str.startswith("'=")).any()
    # The one line of docs/output.md that takes the apostrophes away.
    undone = written.replace(r"^'(?=['\s]*[=+@＝＋－＠\t\r\n-])", "", regex=True)
    assert undone["cell"].tolist() == cells.obs_names.tolist()

    both = {"one": tmp_path / "q.labels.csv", "other": tmp_path / "q.labels.csv"}
    summary = vote("q", both, {("one", trained.labels[0]): trained.labels[0]}, tmp_path / "q.consensus.csv")
    assert {row["label"] for row in summary["labels"]} <= set(trained.labels)
    voted = pd.read_csv(tmp_path / "q.consensus.csv", dtype=str, keep_default_na=False)
    assert voted["cell"].tolist() == written["cell"].tolist()
    assert voted["cellmemory_label_one"].tolist() == written["cellmemory_label"].tolist()
    assert not voted["cellmemory_consensus_label"].str.startswith("=").any()
