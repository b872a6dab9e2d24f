"""Contrasts of EXTRACT_TAGS through its command line: what is found, and what is refused."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from click.testing import CliRunner

import extract_tags
from cellmemory.columns import CONTRAST_COLUMNS
from cellmemory.io.tables import read_table
from tests.made.mapped_files import attention_of, mapped_cells

RESPONSE = [f"GENE{i}" for i in range(8)]


def cells_of(conditions: tuple[str, ...], seed: int, sample: str) -> ad.AnnData:
    """Cells of two labels; those whose condition is `stim` express and attend to the eight genes of RESPONSE more."""
    rng = np.random.default_rng(seed)
    condition, label = np.tile(conditions, 60 // len(conditions)), np.repeat(["a", "b"], 30)
    values = rng.poisson(1, (60, 50)) * 1.0
    weights = rng.uniform(0.5, 1, values.shape)
    values[np.ix_(condition == "stim", range(8))] += 2
    weights[np.ix_(condition == "stim", range(8))] *= 3
    obs = pd.DataFrame({"condition": pd.Categorical(condition)}, index=[f"{sample}_{i}" for i in range(60)])
    cells = mapped_cells(sp.csr_matrix(values), attention_of(sp.csr_matrix(values), weights), list(label), ["a", "b", "c"], obs)
    cells.uns["cellmemory"]["sample"] = sample
    return cells


def run(folder: Path, cells: ad.AnnData, *options: object):
    """Runs the script on these cells: its result, and the contrasts or None."""
    cells.write_h5ad(folder / "s.mapped.h5ad")
    output = folder / "s.contrasts.tsv"
    arguments = ["--mapped", folder / "s.mapped.h5ad", "--tags", folder / "t.tsv", "--slot_tags", folder / "s.tsv"]
    arguments += ["--contrasts", output, "--permutations", 300, *options]
    result = CliRunner().invoke(extract_tags.main, [str(argument) for argument in arguments])
    return result, read_table(output, CONTRAST_COLUMNS) if output.exists() else None


def check_response(table: pd.DataFrame, name: str) -> None:
    assert set(table["contrast"]) == {name}
    assert set(table["group"]) == {"a", "b"}
    for _, block in table[table["direction"] == "more"].groupby("group"):
        assert set(block["gene"][:8]) == set(RESPONSE)
        assert (block["adjusted_p_value"][:8] < 0.05).all()
        assert (block["differential"][:8] == "yes").sum() >= 6
        assert block["effect"].is_monotonic_decreasing
        assert (block["log2_ratio"][:8] > 0.5).all()
        assert (block["adjusted_p_value"][8:] > 0.05).all()
    less = table[table["direction"] == "less"]
    assert (less["effect"] < 0).all()
    assert not set(less["gene"]) & set(RESPONSE)


def test_two_values_of_a_column_within_each_label(tmp_path):
    cells = cells_of(("ctrl", "stim"), 0, "x")
    result, table = run(tmp_path, cells, "--contrast", "condition:stim:ctrl", "--top", 12)
    assert result.exit_code == 0, result.output
    check_response(table, "condition: stim / ctrl")
    attention = cells.layers["attention"].toarray()
    for group, block in table.groupby("group"):
        of_label = (cells.obs["cellmemory_label"] == group) & (cells.obs["cellmemory_status"] == "assigned")
        sides = [(of_label & (cells.obs["condition"] == c)).to_numpy() for c in ("stim", "ctrl")]
        n = [side.sum() for side in sides]
        column = cells.var_names.get_indexer(block["gene"])
        np.testing.assert_allclose(block["score"], attention[sides[0]].mean(0)[column], rtol=1e-4)
        np.testing.assert_allclose(block["score_other"], attention[sides[1]].mean(0)[column], rtol=1e-4, atol=1e-9)
        within = [attention[side].var(0) * side.sum() for side in sides]
        pooled = np.sqrt((within[0] + within[1]) / (sum(n) - 2))
        effect = (attention[sides[0]].mean(0) - attention[sides[1]].mean(0)) / pooled
        np.testing.assert_allclose(block["effect"], effect[column], rtol=1e-3, atol=1e-4)
        assert (block[["n_cells", "n_cells_other"]] == n).all().all()
        assert 3 <= min(n) < 15, "some cells are not assigned"


def test_the_query_against_cells_of_another_file(tmp_path):
    cells_of(("ctrl",), 1, "reference").write_h5ad(tmp_path / "reference.mapped.h5ad")
    query = cells_of(("stim",), 2, "query")
    result, table = run(tmp_path, query, "--against", tmp_path / "reference.mapped.h5ad", "--top", 12)
    assert result.exit_code == 0, result.output
    check_response(table, "sample: query / reference")
    query.uns["cellmemory"]["model_digest"] = "e" * 64
    result, _ = run(tmp_path, query, "--against", tmp_path / "reference.mapped.h5ad")
    assert result.exit_code == 1
    assert "within one model only" in result.output
    result, _ = run(tmp_path, query, "--against", tmp_path / "s.mapped.h5ad")
    assert result.exit_code == 1
    assert "s.mapped.h5ad is compared with itself (--against)" in result.output


def test_genes_that_one_of_two_files_did_not_measure_are_no_difference(tmp_path):
    """Absent is not zero: they would be the largest differences of all, either way."""
    other, query = cells_of(("ctrl",), 1, "reference"), cells_of(("stim",), 2, "query")
    absent = np.arange(other.n_vars) % 3 == 0
    for matrix in (other.X, other.layers["attention"]):
        matrix[:, absent] = 0
    other.X, other.layers["attention"] = (sp.csr_matrix(each) for each in (other.X, other.layers["attention"]))
    other.var["measured"] = ~absent
    other.write_h5ad(tmp_path / "reference.mapped.h5ad")
    result, table = run(tmp_path, query, "--against", tmp_path / "reference.mapped.h5ad", "--top", 0)
    assert result.exit_code == 0, result.output
    assert f"Left out {absent.sum()} genes of the panel that one of the two did not measure." in result.output
    assert len(table)
    assert not set(table["gene"]) & set(other.var_names[absent])
    assert (table["log2_ratio"].abs() < 3).mean() > 0.5
    (tmp_path / "list.tsv").write_text(f"{query.obs_names[0]}\n")
    result, _ = run(tmp_path, query, "--against", tmp_path / "reference.mapped.h5ad", "--cell_list", tmp_path / "list.tsv")
    assert result.exit_code == 1
    assert "--cell_list and --against exclude each other" in result.output


def test_names_with_colons(tmp_path):
    cells = cells_of(("ctrl", "stim"), 0, "x")
    cells.obs["when:ever"] = cells.obs["condition"].cat.rename_categories({"ctrl": "0:00", "stim": "6:00"})
    result, table = run(tmp_path, cells, "--contrast", "when:ever:6:00:0:00", "--top", 12)
    assert result.exit_code == 0, result.output
    check_response(table, "when:ever: 6:00 / 0:00")


def test_values_are_named_by_the_rule_of_labels(tmp_path):
    """A carriage return, as a spreadsheet leaves it, would break a row of the table in two."""
    cells = cells_of(("ctrl", "stim"), 0, "x")
    cells.obs["when\rever"] = cells.obs["condition"].astype(str) + "\r"
    result, table = run(tmp_path, cells, "--contrast", "when\rever:stim\r:ctrl", "--top", 12)
    assert result.exit_code == 0, result.output
    check_response(table, "when ever: stim / ctrl")
    cells.obs["kind"] = ["a\r" if label == "a" else "b" for label in cells.obs["cellmemory_label"]]
    result, table = run(tmp_path, cells, "--contrast", "condition:stim:ctrl", "--group_key", "kind", "--top", 12)
    assert result.exit_code == 0, result.output
    check_response(table, "condition: stim / ctrl")


def test_blanks_are_no_group_of_two_files(tmp_path):
    values = ["", " ", None, "one", "two\r", " two"]
    for number, name in enumerate(("r", "q"), 1):
        cells = cells_of(("ctrl", "stim"), number, name)
        cells.obs["kind"] = [values[i % 6] for i in range(60)]
        cells.write_h5ad(tmp_path / f"{name}.mapped.h5ad")
    result, table = run(tmp_path, cells, "--against", tmp_path / "r.mapped.h5ad", "--group_key", "kind")
    assert result.exit_code == 0, result.output
    assert set(table["group"]) == {"one", "two"}
    assert set(table.loc[table["group"] == "two", "n_cells"]) == {20}


def test_a_contrast_given_twice_is_answered_once(tmp_path):
    cells = cells_of(("ctrl", "stim"), 0, "x")
    _, once = run(tmp_path, cells, "--contrast", "condition:stim:ctrl")
    result, twice = run(tmp_path, cells, "--contrast", "condition:stim:ctrl", "--contrast", "condition:stim:ctrl")
    assert result.exit_code == 0, result.output
    pd.testing.assert_frame_equal(once, twice)


def test_a_contrast_of_a_column_whose_name_begins_with_another(tmp_path):
    cells = cells_of(("ctrl", "stim"), 0, "x")
    cells.obs["condition:2"] = cells.obs["condition"]
    result, table = run(tmp_path, cells, "--contrast", "condition:2:stim:ctrl", "--top", 12)
    assert result.exit_code == 0, result.output
    check_response(table, "condition:2: stim / ctrl")


def test_groups_with_too_few_cells_are_left_out_and_said(tmp_path):
    cells = cells_of(("ctrl", "stim"), 0, "x")
    cells.obs.loc[cells.obs_names[:2], "cellmemory_label"] = "c"
    result, table = run(tmp_path, cells, "--contrast", "condition:stim:ctrl")
    assert "Left out for fewer than 3 cells on a side: c" in result.output
    assert set(table["group"]) == {"a", "b"}
    cells.obs["lone"] = ["x", "y", *["z"] * 58]
    result, table = run(tmp_path, cells, "--contrast", "lone:x:y")
    assert result.exit_code == 0, result.output
    assert table.empty


def test_all_wrong_contrasts_are_told_at_once(tmp_path):
    result, table = run(tmp_path, cells_of(("ctrl", "stim"), 0, "x"), "--contrast", "condition:stim:control",
                        "--contrast", "state:a:b", "--contrast", "condition")  # fmt: skip
    assert result.exit_code == 1
    errors = [line for line in result.output.splitlines() if line.startswith("Error")]
    assert len(errors) == 3
    assert "has no two such values; it has 'ctrl', 'stim'" in errors[0]
    assert "write COLUMN:A:B" in errors[1]
    assert "condition, cellmemory_label" in errors[2]
    assert table is None


@pytest.mark.parametrize("options", [["--contrast", "condition:stim:ctrl"], ["--against", "s.mapped.h5ad"]])
def test_a_contrast_without_a_place_to_write_it(tmp_path, options, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells_of(("ctrl", "stim"), 0, "x").write_h5ad("s.mapped.h5ad")
    arguments = ["--mapped", "s.mapped.h5ad", "--tags", "t.tsv", "--slot_tags", "s.tsv", *options]
    result = CliRunner().invoke(extract_tags.main, arguments)
    assert result.exit_code != 0
    assert not Path("t.tsv").exists()
