"""EXTRACT_TAGS through its command line: what is ranked, against sums made by other means, and what is said."""

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import extract_tags
from cellmemory.columns import SLOT_TAG_COLUMNS, TAG_COLUMNS
from cellmemory.errors import InputError
from cellmemory.explanation import grouping, profiles, rankings
from cellmemory.io.tables import read_table
from cellmemory.sampling import sample_cells
from tests.made.mapped_files import N_SLOTS, attention_of, mapped_cells, pbmc_query


def run(folder: Path, cells: ad.AnnData, *options: str):
    """Runs the script on these cells: (result, tags, slot tags); the tables are None where it failed."""
    cells.write_h5ad(folder / "s.mapped.h5ad")
    outputs = folder / "s.tags.tsv", folder / "s.slot_tags.tsv"
    few = [] if "--permutations" in options else ["--permutations", "20"]
    arguments = ["--mapped", folder / "s.mapped.h5ad", "--tags", outputs[0], "--slot_tags", outputs[1], *few, *options]
    result = CliRunner().invoke(extract_tags.main, [str(argument) for argument in arguments])
    return result, *(pd.read_csv(path, sep="\t", keep_default_na=False) if path.exists() else None for path in outputs)


def small(labels=("a", "b", "c"), predicted="aabbbbb", seed=0, genes=12) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    values = sp.csr_matrix(rng.poisson(0.7, (len(predicted), genes)) * rng.uniform(0.5, 2, (len(predicted), genes)))
    return mapped_cells(values, attention_of(values, rng.uniform(size=values.shape)), list(predicted), list(labels))


def test_tables_equal_dense_means(tmp_path):
    cells = pbmc_query()
    result, table, slots = run(tmp_path, cells, "--top", "0")
    assert result.exit_code == 0, result.output
    assert list(table) == [*TAG_COLUMNS, "mapping"]
    assert list(slots) == [*SLOT_TAG_COLUMNS, "mapping"]
    assigned = cells[cells.obs["cellmemory_status"] == "assigned"]
    assert f"Left out {cells.n_obs - assigned.n_obs} cells that are not assigned." in result.output
    values, attention = assigned.X.toarray(), assigned.layers["attention"].toarray().astype(float)
    label = assigned.obs["cellmemory_label"].to_numpy()
    for group, block in table.groupby("group"):
        mine = label == group
        column = cells.var_names.get_indexer(block["gene"])
        score, others = attention[mine].mean(0), attention[~mine].mean(0)
        pseudo = 0.1 / cells.n_vars
        np.testing.assert_allclose(block["score"], score[column], rtol=1e-4)
        np.testing.assert_allclose(
            block["specificity"], np.log2((score + pseudo) / (others + pseudo))[column], rtol=1e-3, atol=1e-4
        )
        pooled = np.sqrt((attention[mine].var(0) * mine.sum() + attention[~mine].var(0) * (~mine).sum()) / (len(mine) - 2))
        np.testing.assert_allclose(block["effect"], (score - others)[column] / pooled[column], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(block["mean_expression"], values[mine].mean(0)[column], rtol=1e-4)
        np.testing.assert_allclose(block["fraction_expressing"], (values[mine] > 0).mean(0)[column], rtol=1e-4)
        assert (block["n_cells"] == mine.sum()).all()
        assert len(block) == (score > 0).sum()
        assert block["score"].is_monotonic_decreasing
        assert list(block["rank"]) == list(range(1, len(block) + 1))


def test_where_no_cell_is_assigned_the_tables_have_no_rows(tmp_path):
    cells = small()
    cells.obs["cellmemory_status"] = "unassigned"
    result, table, slots = run(tmp_path, cells, "--profiles", str(tmp_path / "p.h5ad"))
    assert result.exit_code == 0, result.output
    assert "Left out 7 cells that are not assigned." in result.output
    assert (len(table), len(slots)) == (0, 0)


def test_cells_of_clusters_that_may_be_new_types_are_left_out_of_labels(tmp_path):
    cells = pbmc_query()
    cells.obs["cellmemory_status"], cells.obs["cellmemory_reason"] = "assigned", ""
    new = np.arange(cells.n_obs) < 40
    table = pd.DataFrame({"cellmemory_cluster": np.where(new, "1", "2"), "cellmemory_cluster_label": "B"})
    table = table.assign(cellmemory_candidate=np.where(new, "yes", "state"), cellmemory_doublet_score="", mapping="")
    table.set_axis(cells.obs_names.rename("cell")).to_csv(tmp_path / "c.csv")
    result, found, _ = run(tmp_path, cells, "--cell_clusters", str(tmp_path / "c.csv"))
    assert "Left out 40 cells of clusters that may be of types that the reference lacks." in result.output
    expected = run(tmp_path, cells[~new].copy())[1]
    counts = found.groupby("group")["n_cells"].first()
    assert counts.sum() == cells.n_obs - 40
    shared = found.merge(expected, on=["group", "gene"])
    np.testing.assert_allclose(shared["score_x"], shared["score_y"], rtol=1e-4)
    by_donor = run(tmp_path, cells, "--cell_clusters", str(tmp_path / "c.csv"), "--group_key", "author_label")[0]
    assert "Left out" not in by_donor.output, "other groups than labels are whole"
    table[:-1].set_axis(cells.obs_names[:-1].rename("cell")).to_csv(tmp_path / "c.csv")
    result = run(tmp_path, cells, "--cell_clusters", str(tmp_path / "c.csv"))[0]
    assert result.exit_code == 1
    assert "is not of the cells of" in result.output


def test_slot_genes_are_the_written_ones_of_their_label_and_slot(tmp_path):
    cells = pbmc_query()
    _, _, slots = run(tmp_path, cells, "--top", "5")
    labels = list(cells.uns["cellmemory"]["slot_groups"])
    write, read = (pd.DataFrame(cells.varm[f"cellmemory_slot_{side}"], cells.var_names) for side in ("write", "read"))
    assert set(slots["group"]) == set(cells.obs["cellmemory_label"].unique())
    for (group, slot), block in slots.groupby(["group", "slot"]):
        column = labels.index(group) * N_SLOTS + slot - 1
        best = write[column].sort_values(ascending=False, kind="stable").head(5)
        assert list(block["gene"]) == list(best.index)
        np.testing.assert_allclose(block["score"], best, rtol=1e-4)
        np.testing.assert_allclose(block["read"], read.loc[best.index, column], rtol=1e-4)
        own = cells.obsm["X_cellmemory_slots"][(cells.obs["cellmemory_label"] == group).to_numpy(), slot - 1]
        np.testing.assert_allclose(block["usage"], own.mean(), rtol=1e-4)


def test_recovers_a_planted_signal(tmp_path):
    """Each type's label hangs on its own 15 genes, which its cells attend to more than chance would."""
    rng = np.random.default_rng(1)
    labels, genes, n = ["a", "b", "c", "d"], 400, 600
    predicted = rng.choice(labels, n)
    signal = {label: rng.choice(genes, 15, replace=False) for label in labels}
    values = sp.csr_matrix(rng.poisson(0.4, (n, genes)).astype(float))
    weights = rng.uniform(0.2, 1, (n, genes))
    for label in labels:
        weights[np.ix_(predicted == label, signal[label])] *= 3
    cells = mapped_cells(values, attention_of(values, weights), list(predicted), labels)
    _, table, _ = run(tmp_path, cells, "--top", "0")
    for label in labels:
        block = table[table["group"] == label].set_index("gene")
        truth = np.isin(np.arange(genes), signal[label])
        for figure in ("score", "specificity"):
            assert roc_auc_score(truth, block[figure].reindex(cells.var_names)) > 0.95, (label, figure)
        chance = block.loc[cells.var_names[~truth], "specificity"]
        assert abs(chance.median()) < 0.5


def test_attention_and_expression_are_told_apart(tmp_path):
    """One gene is expressed more in a label and attended to like elsewhere, another the other way round."""
    rng = np.random.default_rng(3)
    predicted = np.repeat(["a", "b", "c"], 40)
    values = 1.0 + rng.random((120, 30))
    weights = rng.uniform(0.9, 1.1, (120, 30))
    values[predicted == "a", 0] += 3
    weights[predicted == "a", 1] *= 4
    cells = mapped_cells(sp.csr_matrix(values), attention_of(sp.csr_matrix(values), weights), list(predicted), ["a", "b", "c"])
    _, table, _ = run(tmp_path, cells, "--permutations", "400")
    block = table[table["group"] == "a"].set_index("gene")
    assert block.loc["GENE0", "differential"] == "yes"
    assert block.loc["GENE0", "adjusted_p_value"] > 0.2
    assert block.loc["GENE1", "differential"] == "no"
    assert block.loc["GENE1", "adjusted_p_value"] < 0.1
    assert block.index[0] == "GENE1"


def test_without_permutations_nothing_is_tested(tmp_path):
    _, table, _ = run(tmp_path, small(), "--permutations", "0")
    for column in ("p_value", "adjusted_p_value", "expression_log2_change", "differential"):
        assert (table[column] == "").all()
    assert (table["effect"] != "").any()


def test_groups_by_a_list_of_cells(tmp_path):
    cells = small(predicted="aabbbbb")
    (tmp_path / "mine.txt").write_text("cell0\ncell3\n\ncell4\tsecond\ncell5\tsecond\n")
    result, table, slots = run(tmp_path, cells, "--cell_list", str(tmp_path / "mine.txt"), "--top", "0")
    assert result.exit_code == 0, result.output
    assert dict(table.groupby("group")["n_cells"].first()) == {"mine": 2, "second": 2, grouping.OTHERS: 3}
    score = cells.layers["attention"].toarray()[[0, 3]].mean(0)
    block = table[table["group"] == "mine"]
    np.testing.assert_allclose(block["score"], score[cells.var_names.get_indexer(block["gene"])], rtol=1e-4)
    assert slots.empty
    (tmp_path / "mine.txt").write_text("cell0\nstranger\ncell0\telse\n")
    result, _, _ = run(tmp_path, cells, "--cell_list", str(tmp_path / "mine.txt"))
    assert result.exit_code == 1
    assert "line 3: the cell 'cell0' is in 'mine' already" in result.output
    assert "1 of 2 cells are not in" in result.output
    (tmp_path / "mine.txt").write_text("\n")
    result, _, _ = run(tmp_path, cells, "--cell_list", str(tmp_path / "mine.txt"))
    assert "lists no cell" in result.output


def test_a_large_group_is_tested_by_a_sample_and_a_small_one_whole(tmp_path):
    codes = np.repeat([0, 1, -1], [900, 12, 50])
    rows = sample_cells(codes, 100, 0)
    assert np.bincount(codes[rows]).tolist() == [88, 12]
    np.testing.assert_array_equal(rows, sample_cells(codes, 100, 0))
    cells = small(predicted="aabbbbb" * 10)
    cells.obs["cellmemory_status"] = "assigned"
    result, table, _ = run(tmp_path, cells, "--test_cells", "30")
    assert "Tests take 30 of the 70 cells" in result.output
    pd.testing.assert_frame_equal(table, run(tmp_path, cells, "--test_cells", "30")[1])
    assert set(table["n_cells"]) == {20, 50}


def test_profiles_hold_every_gene_of_every_ranking(tmp_path):
    cells = pbmc_query()
    _, table, slots = run(tmp_path, cells, "--top", "0", "--profiles", str(tmp_path / "p.h5ad"))
    found = profiles.load(tmp_path / "p.h5ad")
    assert list(found.var_names) == list(cells.var_names)
    assert (found.obs["level"] == "label").sum() == table["group"].nunique()
    for (group, slot), block in [((g, ""), b) for g, b in table.groupby("group")] + list(slots.groupby(["group", "slot"])):
        row = found[(found.obs[["group", "slot"]] == [group, str(slot)]).all(axis=1).to_numpy(), block["gene"]]
        np.testing.assert_allclose(row.X.ravel(), block["score"], rtol=1e-4)
        np.testing.assert_allclose(
            row.layers["ranking"].ravel(), block["specificity" if slot else "effect"], rtol=1e-3, atol=1e-4
        )
        if slot:
            np.testing.assert_allclose(row.layers["read"].ravel(), block["read"], rtol=1e-4)
    cells.write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(InputError, match="lacks level"):
        profiles.load(tmp_path / "other.h5ad")


def test_top_and_ties_follow_the_panel(tmp_path):
    values = sp.csr_matrix(np.ones((3, 6)))
    attention = np.tile([0.1, 0.2, 0.1, 0.2, 0.1, 0.1], (3, 1))
    cells = mapped_cells(values, sp.csr_matrix(attention), list("aab"), ["a", "b"])
    result, table, _ = run(tmp_path, cells, "--top", "4")
    assert result.exit_code == 0
    for _, block in table.groupby("group"):
        assert list(block["gene"]) == ["GENE1", "GENE3", "GENE0", "GENE2"]


def test_groups_without_cells_with_one_cell_and_cells_without_group(tmp_path):
    cells = small(predicted="aabbbbb")
    cells.obs["donor"] = pd.Categorical(["x", "x", "x", None, "y", "z", "z"], categories=["x", "y", "z", "unused"])
    result, table, slots = run(tmp_path, cells, "--group_key", "donor")
    assert result.exit_code == 0, result.output
    assert set(table["group"]) == {"x", "y", "z"}
    assert "Skipped 1 groups without a cell: unused" in result.output
    assert "single cell: y" in result.output
    assert "Left out 1 cells" in result.output
    assert slots.empty
    assert list(slots) == [*SLOT_TAG_COLUMNS, "mapping"]
    assert "No slot genes" in result.output


@pytest.mark.parametrize("values", [[1, 2, 1, 2, 1, 2, 1], [True, False] * 3 + [True], [0.5, 1.5, 0.5, 1.5, 1.5, 1.5, 0.5]])
def test_groups_by_columns_that_are_not_text(tmp_path, values):
    cells = small()
    cells.obs["cluster"] = values
    result, table, _ = run(tmp_path, cells, "--group_key", "cluster")
    assert result.exit_code == 0, result.output
    assert set(table["group"].astype(str)) == {str(value) for value in values}


def test_one_group_alone_has_no_specificity(tmp_path):
    result, table, _ = run(tmp_path, small(predicted="aaaaaaa"))
    assert result.exit_code == 0, result.output
    assert (table["specificity"] == "").all()


def test_names_survive_writing_and_reading(tmp_path):
    names = ("NA", 'with "quotes"', "<b>x</b>" + " long" * 40)
    cells = small(labels=names, predicted=[*names, "NA"] * 2)
    cells.var_names = ["NA", "None", "nan", *cells.var_names[3:]]
    result, _, _ = run(tmp_path, cells, "--top", "0")
    assert result.exit_code == 0, result.output
    table = read_table(tmp_path / "s.tags.tsv", ["group", "gene"])
    assert set(table["group"]) == set(names)
    assert {"NA", "None", "nan"} <= set(table["gene"])


def test_bad_input_is_a_sentence_and_leaves_nothing(tmp_path):
    cells = small()
    del cells.layers["attention"]
    cells.obs["number"] = np.arange(7) / 3
    cells.obs["empty"] = pd.Categorical([None] * 7, categories=["a"])
    for options, expected in [
        ([], "map it again with map_query.py --attention"),
        (["--group_key", "absent"], "cellmemory_label"),
        (["--group_key", "empty"], "holds no value"),
    ]:
        result, table, slots = run(tmp_path, cells, *options)
        assert result.exit_code == 1
        assert result.output.startswith("Error: " if options else "Read ")
        assert expected in result.output
        assert table is None
        assert slots is None
    assert [path.name for path in tmp_path.iterdir()] == ["s.mapped.h5ad"]


def test_a_measure_is_no_group(tmp_path, monkeypatch):
    monkeypatch.setattr(grouping, "MAX_GROUPS", 5)
    cells = small()
    cells.obs["n_counts"] = np.arange(7) / 3
    result, _, _ = run(tmp_path, cells, "--group_key", "n_counts")
    assert result.exit_code == 1
    assert "7 different values" in result.output


def test_unmapped_and_foreign_files_are_refused(tmp_path):
    ad.AnnData(np.ones((2, 2))).write_h5ad(tmp_path / "plain.h5ad")
    (tmp_path / "text.h5ad").write_text("no HDF5")
    for name, expected in [("plain.h5ad", "run map_query.py first"), ("text.h5ad", "not an h5ad file")]:
        arguments = ["--mapped", str(tmp_path / name), "--tags", "t.tsv", "--slot_tags", "s.tsv"]
        result = CliRunner().invoke(extract_tags.main, arguments)
        assert result.exit_code == 1
        assert expected in result.output


def test_runs_alone_from_any_folder_and_twice_alike(tmp_path):
    small().write_h5ad(tmp_path / "s.mapped.h5ad")
    script = Path(extract_tags.__file__)
    for round_ in ("1", "2"):
        command = [
            sys.executable,
            script,
            "--mapped",
            "s.mapped.h5ad",
            "--permutations",
            "0",
            "--tags",
            f"{round_}.tsv",
            "--slot_tags",
            f"{round_}s.tsv",
        ]
        assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout == b""
    assert (tmp_path / "1.tsv").read_bytes() == (tmp_path / "2.tsv").read_bytes()
    assert (tmp_path / "1s.tsv").read_bytes() == (tmp_path / "2s.tsv").read_bytes()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30), st.integers(0, 35))
def test_top_genes_are_the_best_in_stable_order(scores, top):
    chosen = list(rankings.top_genes(np.array(scores), top))
    best = sorted((i for i, score in enumerate(scores) if score > 0), key=lambda i: (-scores[i], i))
    assert chosen == (best[:top] if top else best)
