"""Attention, attributions and curves of a model that was trained where the genes that decide a label are known."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import extract_tags
import faithfulness as script
from cellmemory.cells.labels import ALL_LABELS
from cellmemory.columns import CONTRIBUTION_RANKS, CONTRIBUTIONS
from cellmemory.explanation import faithfulness
from tests.made.planted import Planted, plant


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"))


def run(main, *arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def options(planted: Planted, output: Path, *more: object) -> list:
    mapped, model = planted.folder / "q.mapped.h5ad", planted.folder / "model"
    return ["--mapped", mapped, "--model", model, "--output", output, "--threads", 1, *more]


@given(st.integers(1, 1000), st.integers(1, 10_000))
def test_the_number_of_cells_is_bounded_however_many_labels_there_are(cells_per_label: int, n_labels: int):
    found = faithfulness.cells_of_each(cells_per_label, n_labels)
    assert min(cells_per_label, 2) <= found <= cells_per_label
    assert found == cells_per_label or n_labels > 20
    assert found * n_labels <= max(20 * cells_per_label, 2 * n_labels)


@pytest.fixture(scope="module")
def curves(planted: Planted) -> pd.DataFrame:
    """The table of curves, by group, part, curve and ranking."""
    result = run(script.main, *options(planted, planted.folder / "q.faithfulness.tsv", "--cells_per_label", 20))
    assert result.exit_code == 0, result.output
    table = pd.read_csv(planted.folder / "q.faithfulness.tsv", sep="\t")
    assert list(table) == [*faithfulness.COLUMNS, "mapping"]
    return table.set_index(["group", "part", "curve", "ranking"]).sort_index()


def test_attention_and_contributions_find_the_planted_genes(planted: Planted):
    tags = planted.folder / "q.tags.tsv"
    result = run(extract_tags.main, "--mapped", planted.folder / "q.mapped.h5ad", "--model", planted.folder / "model",
                 "--tags", tags, "--slot_tags", planted.folder / "s.tsv", "--top", 0, "--threads", 1,
                 "--profiles", planted.folder / "p.h5ad")  # fmt: skip
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tags, sep="\t").set_index(["group", "gene"])
    for label, own in planted.genes.items():
        block = table.loc[label]
        for score in ("score", "specificity", "effect", *CONTRIBUTIONS):
            assert roc_auc_score(block.index.isin(own), block[score]) > 0.95, (label, score)
        assert (block.loc[own, "adjusted_p_value"] < 0.05).mean() > 0.9
        for kind, rank in zip(CONTRIBUTIONS, CONTRIBUTION_RANKS, strict=True):
            assert block.sort_values(rank)[kind].is_monotonic_decreasing
        both = block["cls_contribution"] + block["linear_contribution"]
        assert block["contribution"].to_numpy() == pytest.approx(both.to_numpy(), abs=1e-4)


def test_removing_attended_genes_is_worse_than_removing_any(curves: pd.DataFrame, planted: Planted):
    attributed = ("attention", "cls_contribution", "linear_contribution", "both_contributions")
    for group in [*planted.genes, ALL_LABELS]:  # `rest` has no genes to remove
        for part in faithfulness.PARTS:
            for ranking in attributed:
                row = curves.loc[group, part, "deletion", ranking]
                assert row["gain"] > 0.05, (group, part, ranking)
                assert row["gain"] > 4 * row["gain_error"], (group, part, ranking)
    assert (curves.loc[(ALL_LABELS, ["whole", "cls"], "insertion", list(attributed)), "gain"] > 0.02).all()
    whole = curves.loc[ALL_LABELS, "whole", "deletion"]
    assert whole.loc["attention", "k20"] < whole.loc["random", "k20"] - 0.2


def test_curves_begin_and_end_where_they_must(curves: pd.DataFrame):
    """Nothing removed is all kept: both curves meet, whatever the ranking; after the last gene they meet again."""
    last = f"k{faithfulness.STEPS[-1]}"
    for (_, part), block in curves.groupby(["group", "part"]):
        deletion, insertion = block.xs("deletion", level="curve"), block.xs("insertion", level="curve")
        np.testing.assert_allclose(deletion["k0"], insertion[last], atol=1e-4)
        np.testing.assert_allclose(deletion[last], insertion["k0"], atol=1e-4)
        assert (deletion["area"].between(0, 1)).all()
        assert part in faithfulness.PARTS


def test_the_area_is_a_mean_over_the_logarithm_of_genes():
    assert faithfulness.area(np.full((2, len(faithfulness.STEPS)), 0.3)) == pytest.approx(0.3)
    x = np.log2(1 + np.array(faithfulness.STEPS))
    assert faithfulness.area(1 - x / x[-1]) == pytest.approx(0.5)


def test_the_seed_decides_which_cells(planted: Planted, tmp_path: Path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = run(script.main, *options(planted, tmp_path / name, "--cells_per_label", 3, "--seed", seed))
        assert "15 of 200 cells" in result.output
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_another_model_is_refused(planted: Planted, tmp_path: Path):
    cells = ad.read_h5ad(planted.folder / "q.mapped.h5ad")
    cells.uns["cellmemory"]["model_digest"] = "0" * 64
    cells.write_h5ad(tmp_path / "q.mapped.h5ad")
    inputs = ["--mapped", tmp_path / "q.mapped.h5ad", "--model", planted.folder / "model"]
    for result in (
        run(script.main, *inputs, "--output", tmp_path / "x.tsv"),
        run(extract_tags.main, *inputs, "--tags", tmp_path / "t", "--slot_tags", tmp_path / "s"),
    ):
        assert result.exit_code == 1
        assert "was mapped with another model than" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["q.mapped.h5ad"]
