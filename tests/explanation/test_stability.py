"""Slots of two models: matched whatever their order, and told apart from slots that have nothing in common."""

import numpy as np
import pandas as pd
from click.testing import CliRunner

import compare_slots
import extract_tags
from tests.made.mapped_files import N_SLOTS, pbmc_query


def profile(folder, cells, name: str) -> str:
    cells.write_h5ad(folder / f"{name}.mapped.h5ad")
    path = folder / f"{name}.tag_profiles.h5ad"
    arguments = ["--mapped", folder / f"{name}.mapped.h5ad", "--tags", folder / "t.tsv", "--slot_tags", folder / "s.tsv"]
    arguments += ["--profiles", path, "--permutations", 0]
    result = CliRunner().invoke(extract_tags.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return str(path)


def run(folder, *paths: str):
    options = [part for path in paths for part in ("--profiles", path)]
    result = CliRunner().invoke(compare_slots.main, [*options, "--output", str(folder / "out.tsv")])
    return result, pd.read_csv(folder / "out.tsv", sep="\t") if (folder / "out.tsv").exists() else None


def test_slots_in_another_order_are_found_and_strange_ones_are_not_alike(tmp_path):
    cells = pbmc_query()
    first = profile(tmp_path, cells, "a")
    order = np.random.default_rng(0).permutation(N_SLOTS)
    noise = np.random.default_rng(1).uniform(0.8, 1.25, (cells.n_vars, 1))
    write = cells.varm["cellmemory_slot_write"].reshape(cells.n_vars, -1, N_SLOTS)
    cells.varm["cellmemory_slot_write"] = (write[..., order].reshape(cells.n_vars, -1) * noise).astype(np.float32)
    second = profile(tmp_path, cells, "b")
    stranger = profile(tmp_path, pbmc_query(seed=5), "c")
    result, table = run(tmp_path, first, second, stranger)
    assert result.exit_code == 0, result.output
    assert len(table) == 3 * N_SLOTS
    same = table[(table["first"] == first) & (table["second"] == second)]
    assert (order[same["matched_slot"].astype(int) - 1] == np.arange(N_SLOTS)).all()
    assert (same["similarity"] > 0.95).all()
    assert (same["other_similarity"] < 0.2).all()
    assert (same["shared_top_genes"] > same["other_shared_top_genes"] + 0.3).all()
    other = table[table["second"] == stranger]
    assert sorted(other.loc[other["first"] == first, "matched_slot"]) == list(range(1, N_SLOTS + 1))
    assert (other["similarity"] < 0.5).all()


def test_what_cannot_be_compared_is_refused(tmp_path):
    path = profile(tmp_path, pbmc_query(), "a")
    result, _ = run(tmp_path, path, path)
    assert "at least twice" in result.output
    cells = pbmc_query()
    cells.var_names = [f"X{gene}" for gene in cells.var_names]
    result, table = run(tmp_path, path, profile(tmp_path, cells, "b"))
    assert result.exit_code == 1
    assert "labels and 0 genes; give profiles of one query" in result.output
    assert table is None
