"""Pre-ranked tests against gseapy's own, on planted signals, and through the command line of ENRICH."""

import logging

import anndata as ad
import gseapy
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmemory.columns import ENRICHMENT_COLUMNS
from cellmemory.errors import InputError
from cellmemory.explanation import gsea, profiles
from tests.explanation.test_enrichment import GENES, MADE_OF, run, write_gmt, write_inputs


@pytest.fixture(scope="module")
def ranking() -> pd.Series:
    """300 genes, ranked by values without ties."""
    return pd.Series(np.random.default_rng(0).normal(size=300), index=[f"G{i}" for i in range(300)])


@pytest.fixture(scope="module")
def sets(ranking: pd.Series) -> dict[str, list[str]]:
    """Sets that crowd at the top, at the bottom and nowhere, of several sizes."""
    rng, ordered = np.random.default_rng(1), list(ranking.sort_values(ascending=False).index)
    made = {"TOP": list(rng.choice(ordered[:60], 20, False)), "BOTTOM": list(rng.choice(ordered[-50:], 12, False))}
    return made | {f"NONE{k}": list(rng.choice(ordered, k, False)) for k in (5, 12, 20, 40)}


def test_scores_and_leading_edges_are_those_of_gseapy(ranking: pd.Series, sets: dict[str, list[str]]):
    logging.disable(logging.WARNING)
    theirs = gseapy.prerank(ranking.sort_values(ascending=False), sets, outdir=None, no_plot=True, min_size=5, max_size=500,
                            permutation_num=1000, threads=1, seed=0).res2d.set_index("Term")  # fmt: skip
    logging.disable(logging.NOTSET)
    ours = gsea.prerank(ranking, sets, 3000, 0).set_index("term")
    assert set(ours.index) == set(theirs.index) == set(sets)
    names = ranking.sort_values(ascending=False).index
    for term, row in theirs.iterrows():
        score = gsea.scores(np.abs(ranking[names].to_numpy()), np.sort(names.get_indexer(sets[term]))[None])[0]
        assert score == pytest.approx(row["ES"], abs=1e-6)
        assert ours.loc[term, "nes"] == pytest.approx(row["NES"], rel=0.08)
        assert ours.loc[term, "p_value"] == pytest.approx(row["NOM p-val"], abs=0.05)
        assert set(ours.loc[term, "genes"].split(";")) == set(row["Lead_genes"].split(";"))
        assert ours.loc[term, "overlap"] == f"{len(row['Lead_genes'].split(';'))}/{len(sets[term])}"
    assert ours.loc["TOP", "p_value"] == pytest.approx(1 / 3001)  # none of all 3,000 random sets is as far out
    assert ours.loc["TOP", "nes"] > 1.5
    assert ours.loc["BOTTOM", "nes"] < -1.5
    assert (ours.loc[[name for name in sets if name.startswith("NONE")], "p_value"] > 0.05).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 500), st.integers(2, 30))
def test_the_score_is_the_largest_deviation_of_the_running_sum(seed: int, k: int):
    rng = np.random.default_rng(seed)
    weights = rng.choice([0.0, 0.5, 1, 2], 40)
    at = np.sort(rng.choice(40, k, False))
    steps = np.full(40, -1 / (40 - k))
    steps[at] = weights[at] / weights[at].sum() if weights[at].sum() else 1 / k
    walk = np.r_[0, np.cumsum(steps)]
    expected = walk.max() if walk.max() >= -walk.min() - 1e-12 else walk.min()
    assert abs(gsea.scores(weights, at[None])[0]) == pytest.approx(abs(expected), abs=1e-9)


def write_profiles(path, rows: dict[tuple[str, str, str, str], list[float]]) -> str:
    obs = pd.DataFrame(
        [(*key, 10, np.nan) for key in rows], columns=profiles.OBS_COLUMNS, index=[f"r{i}" for i in range(len(rows))]
    )
    values = np.array(list(rows.values()), np.float32)
    made = ad.AnnData(np.abs(values), obs=obs, var=pd.DataFrame(index=GENES))
    made.uns["mapping"] = MADE_OF
    made.layers["ranking"], made.layers["read"] = values, np.full_like(values, np.nan)
    made.write_h5ad(path)
    return str(path)


def test_both_methods_of_all_levels_are_in_one_table(tmp_path):
    falling, rising = list(np.linspace(2, -2, 40)), list(np.linspace(-2, 2, 40))
    rows = {("label", "", "a", ""): falling, ("slot", "", "a", "1"): rising, ("contrast", "c: x / y", "a", ""): falling}
    rows["label", "", "lone", ""] = [np.nan] * 40
    ranked = write_profiles(tmp_path / "p.h5ad", rows)
    options = write_inputs(tmp_path, {"a": GENES[:8]}, {("a", 1): GENES[32:]})
    contrasts = [("c: x / y", "a", way, i + 1, gene) for way, genes in (("more", GENES[:8]), ("less", GENES[30:38]))
                 for i, gene in enumerate(genes)]  # fmt: skip
    columns = ["contrast", "group", "direction", "rank", "gene"]
    pd.DataFrame(contrasts, columns=columns).assign(mapping=MADE_OF).to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    sets = {"FIRST": GENES[:8], "LAST": GENES[-8:], "SMALL": GENES[:4], "MIXED": GENES[::5]}
    gmt = write_gmt(tmp_path / "sets.gmt", sets)
    options += ["--gmt", gmt, "--contrasts", str(tmp_path / "c.tsv"), "--profiles", ranked, "--top", "8"]
    result, table = run(tmp_path, options)
    assert result.exit_code == 0, result.output
    assert list(table) == [*ENRICHMENT_COLUMNS, "mapping"]
    assert "Pre-ranked tests take 3 sets of 5 to 500 genes" in result.output
    best = table.drop_duplicates(["level", "method", "group"]).set_index(["level", "method"])
    assert set(best.index) == {(level, method) for level in ("label", "slot", "contrast") for method in ("ora", "gsea")}
    for method in ("ora", "gsea"):
        assert best.loc[("label", method), "term"] == "FIRST"
        assert best.loc[("contrast", method), "contrast"] == "c: x / y"
        assert best.loc[("contrast", method), "term"] == "FIRST"
        assert best.loc[("slot", method), "term"] in ("LAST", "FIRST")
    ranked_terms = table[table["method"] == "gsea"].set_index(["level", "term"])
    assert float(ranked_terms.loc[("slot", "LAST"), "nes"]) > 1
    assert float(ranked_terms.loc[("slot", "FIRST"), "nes"]) < -1
    assert ranked_terms.loc[("label", "FIRST"), "overlap"] == "8/8"
    # A family is one library, one ranking and one method: three sets were tested in each here.
    smallest = ranked_terms.loc["label"]["p_value"].astype(float).min()
    assert ranked_terms.loc["label"]["adjusted_p_value"].astype(float).min() <= 3 * smallest + 1e-9
    again = run(tmp_path, options)[1]
    pd.testing.assert_frame_equal(table, again)


def test_enrichr_by_name_where_there_is_a_network(tmp_path, monkeypatch):
    options = write_inputs(tmp_path, {"a": GENES[:5]})
    monkeypatch.setattr(gseapy, "get_library", lambda name, organism: {"A": ["GENE1,1.0", "GENE2,1.0", "GENE3,1.0"]})
    result, table = run(tmp_path, [*options, "--enrichr", "Some_Library"])
    assert result.exit_code == 0, result.output
    assert (table.loc[0, "library"], table.loc[0, "overlap"]) == ("Some_Library", "3/3")

    def unreachable(name, organism):
        raise OSError("no route to host")

    monkeypatch.setattr(gseapy, "get_library", unreachable)
    result, _ = run(tmp_path, [*options, "--enrichr", "Some_Library", "--enrichr", "Other"])
    errors = [line for line in result.output.splitlines() if line.startswith("Error")]
    assert len(errors) == 2
    assert "give a GMT file with --gmt" in errors[0]
    result, _ = run(tmp_path, options)
    assert result.exit_code == 1
    assert "--gmt is missing" in result.output


def test_other_files_are_no_profiles(tmp_path):
    (tmp_path / "x.h5ad").write_text("text")
    with pytest.raises(InputError, match="not an h5ad file"):
        profiles.load(tmp_path / "x.h5ad")


def test_profiles_of_another_mapping_are_refused(tmp_path):
    options = write_inputs(tmp_path, {"a": GENES[:5]})
    path = write_profiles(tmp_path / "p.h5ad", {("label", "", "a", ""): [1.0] * 40})
    options += ["--gmt", write_gmt(tmp_path / "x.gmt", {"A": GENES[:20]}), "--profiles", str(path)]
    for mapping, status in (("1.3", 1), (MADE_OF, 0)):
        found = profiles.load(path)
        found.uns["mapping"] = mapping
        found.write_h5ad(path)
        result, _ = run(tmp_path, options)
        assert result.exit_code == status, result.output
        assert ("p.h5ad (--profiles) and " in result.output) == bool(status)


def test_profiles_of_other_cells_than_the_tags_are_refused(tmp_path):
    found = profiles.load(write_profiles(tmp_path / "p.h5ad", {("label", "", "a", ""): [1.0] * 40}))  # of ten cells
    tags = pd.DataFrame({"group": ["a", "a", "b"], "n_cells": [10, 10, 4]})
    profiles.check_cells(found, tags, tmp_path / "p.h5ad")
    with pytest.raises(InputError, match=r"is of other cells than --tags: a has 10 in it, and 12 there\."):
        profiles.check_cells(found, tags.assign(n_cells=12), tmp_path / "p.h5ad")
