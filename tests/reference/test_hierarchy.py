"""Labels at several levels: probabilities that agree, answers that are sure enough, and families that make no sense."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmemory import evaluation
from cellmemory.errors import InputError
from cellmemory.reference.hierarchy import Hierarchy, parse_levels
from tests.conftest import DATA, refused, succeed

LINEAGES = ["lymphoid", "lymphoid", "lymphoid", "myeloid"]
#: Of two labels of the reference, of which one is a synonym of another term.
TERMS = {"CD4+/CD25 T Reg": "CL:0000815", "Dendritic": "CL:0000990"}
FAMILY = Hierarchy(
    pd.DataFrame({"lineage": LINEAGES, "type": ["T", "T", "B", "Mono"], "sub": ["CD4", "CD8", "B", "CD14"]}),
)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), floor=st.floats(0.5, 1))
def test_levels_agree_and_the_answer_is_the_deepest_that_is_sure(seed, floor):
    finest = np.random.default_rng(seed).dirichlet(np.full(4, 0.4), 5)
    table = FAMILY.table(finest, floor)
    # By hand: children of each parent, summed.
    sums = {"lineage": {"lymphoid": finest[:, :3].sum(1), "myeloid": finest[:, 3]},
            "type": {"T": finest[:, :2].sum(1), "B": finest[:, 2], "Mono": finest[:, 3]},
            "sub": dict(zip(["CD4", "CD8", "B", "CD14"], finest.T, strict=True))}  # fmt: skip
    for cell in range(5):
        expected = ("", "")
        for level, children in sums.items():
            best = max(children, key=lambda name: children[name][cell])
            assert table[f"level_{level}"][cell] == best
            assert np.isclose(table[f"level_{level}_confidence"][cell], children[best][cell])
            if table[f"level_{level}_confidence"][cell] >= floor:
                expected = (best, level)
        assert (table["answer"][cell], table["answer_level"][cell]) == expected
        confidence = [table[f"level_{level}_confidence"][cell] for level in sums]
        assert sorted(confidence, reverse=True) == confidence, "a parent is at least as probable as its child"


def test_accuracy_of_levels_and_answers_is_that_of_a_count_by_hand():
    finest = np.array([[0.9, 0.1, 0, 0], [0.4, 0.45, 0.15, 0], [0.3, 0.3, 0.3, 0.1], [0, 0, 0.2, 0.8]])
    obs = FAMILY.table(finest, 0.6).add_prefix("cellmemory_")
    truth = pd.Series(["CD4", "CD4", "B", "CD14"])
    found = evaluation.by_level(obs, truth, FAMILY)
    assert [row["accuracy"] for row in found["levels"]] == [1.0, 0.75, 0.5]
    assert [(row["level"], row["share"], row["accuracy"]) for row in found["answers"]] == [
        ("none", 0, None), ("lineage", 0, None), ("type", 0.5, 0.5), ("sub", 0.5, 1.0)]  # fmt: skip
    unknown = evaluation.by_level(obs, pd.Series(["CD4", None, "Eryth", "CD14"]), FAMILY)
    assert unknown["levels"][0]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a", "two or more"),
        ("a,a", "different"),
        ("a,,b", "different"),
        ("a,c", "ends with 'c'"),
        ("a x,a_x,b", "both be written as the column cellmemory_level_a_x"),
        ("b_confidence,b", "both be written as the column cellmemory_level_b_confidence"),
    ],
)
def test_levels_that_cannot_be_are_refused(text, sentence):
    with pytest.raises(InputError, match=sentence):
        parse_levels(text, "b")


def with_lineage(folder, change=lambda obs: obs):
    reference = ad.read_h5ad(DATA / "reference.h5ad")
    names = reference.obs["cell_type"].astype(str)
    reference.obs["lineage"] = [
        "T cells" if "T" in name.split()[0] or "CD4" in name or "CD8" in name else "other" for name in names
    ]
    reference.obs["sub"] = names.to_numpy()
    reference.obs["sub_ontology_term_id"] = [TERMS.get(name, "unknown") for name in names]
    reference.obs = change(reference.obs.drop(columns="cell_type"))
    reference.write_h5ad(folder / "reference.h5ad")
    (folder / "sheet.csv").write_text(f"sample,h5ad\none,{DATA / 'reduced_panel.h5ad'}\n")
    return ["check_inputs", "--samplesheet", "sheet.csv", "--reference", "reference.h5ad", "--label_key", "sub",
            "--output", "inputs.json", "--query_genes", "genes.tsv"]  # fmt: skip


def test_families_that_make_no_sense_are_all_named_before_anything_runs(tmp_path):
    def change(obs):
        types = obs["sub"].unique()
        obs.loc[obs.index[obs["sub"] == types[0]][:2], "lineage"] = "elsewhere"
        obs.loc[obs["sub"] == types[1], "lineage"] = None
        return obs

    check = with_lineage(tmp_path, change)
    types = ad.read_h5ad(tmp_path / "reference.h5ad", backed="r").obs["sub"].unique()
    found = refused(*check, "--label_levels", "lineage,sub", folder=tmp_path)
    assert len(found) == 2
    both = "\n".join(found)
    assert f"the label '{types[0]}' of 'sub' has two parents in 'lineage'" in both
    assert "'elsewhere' (2 cells)" in both
    assert f"the label '{types[1]}' of 'sub' has no parent in 'lineage'" in both
    assert "is not in obs" in refused(*check, "--label_levels", "nope,sub", folder=tmp_path)[0]


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A folder with a model of two levels, and a query that it mapped, in one piece and in slices that were joined."""
    tmp_path = tmp_path_factory.mktemp("levels")
    check = with_lineage(tmp_path)
    succeed(*check, "--label_levels", "lineage,sub", folder=tmp_path)
    succeed("preprocess_reference", "--reference", "reference.h5ad", "--label_key", "sub", "--n_genes", 100,
            "--output", "panelled.h5ad", "--panel", "panel.tsv", folder=tmp_path)  # fmt: skip
    succeed("train", "--reference", "panelled.h5ad", "--panel", "panel.tsv", "--label_key", "sub",
            "--label_levels", "lineage,sub", "--output", "model", "--max_epochs", 1, "--threads", 1, folder=tmp_path)  # fmt: skip
    succeed("preprocess_query", "--query", DATA / "reduced_panel.h5ad", "--panel", "panel.tsv", "--truth_key", "author_label",
            "--min_coverage", 0, "--output", "q.aligned.h5ad", "--alignment", "q.alignment.json", folder=tmp_path)  # fmt: skip
    succeed("map_query", "--query", "q.aligned.h5ad", "--model", "model", "--output", "whole.h5ad", "--labels", "whole.csv",
            "--min_confidence", 0.7, "--threads", 1, folder=tmp_path)  # fmt: skip
    for number, cells in enumerate((":40", "40:")):
        succeed("map_query", "--query", "q.aligned.h5ad", "--model", "model", "--cells", cells, "--min_confidence", 0.7,
                "--output", f"{number}.slice.h5ad", "--threads", 1, folder=tmp_path)  # fmt: skip
    succeed("gather", "--query", "q.aligned.h5ad", "--model", "model", "--slice", "0.slice.h5ad", "--slice", "1.slice.h5ad",
            "--output", "joined.h5ad", "--labels", "joined.csv", "--threads", 1, folder=tmp_path)  # fmt: skip
    return tmp_path


def test_a_model_with_levels_maps_and_is_evaluated_at_all_of_them(mapped):
    assert (mapped / "whole.csv").read_bytes() == (mapped / "joined.csv").read_bytes()
    cells = pd.read_csv(mapped / "whole.csv", keep_default_na=False)
    families = ad.read_h5ad(mapped / "reference.h5ad").obs.drop_duplicates("sub").set_index("sub")["lineage"].astype(str)
    sure = cells["cellmemory_level_sub_confidence"] >= 0.7
    assert sure.any()
    assert not sure.all()
    assert (cells.loc[sure, "cellmemory_answer"] == cells.loc[sure, "cellmemory_label"]).all()
    assert (cells.loc[sure, "cellmemory_level_lineage"] == families[cells.loc[sure, "cellmemory_label"]].to_numpy()).all()
    assert (cells["cellmemory_level_lineage_confidence"] >= cells["cellmemory_level_sub_confidence"] - 1e-6).all()
    assert set(cells.loc[~sure, "cellmemory_answer_level"]) <= {"", "lineage"}
    succeed("evaluate", "--mapped", "whole.h5ad", "--truth_key", "author_label", "--model", "model", "--output", "m.json",
            folder=mapped)  # fmt: skip
    found = json.loads((mapped / "m.json").read_text())
    lineage, sub = found["hierarchy"]["levels"]
    assert sub["accuracy"] == found["accuracy"]
    assert lineage["accuracy"] >= sub["accuracy"]
    assert np.isclose(sum(row["share"] for row in found["hierarchy"]["answers"]), 1)


def test_the_reference_s_own_terms_come_before_those_of_names(mapped):
    """As references of CELLxGENE have them: cell_type and cell_type_ontology_term_id."""
    labels = pd.read_csv(mapped / "model" / "labels.tsv", sep="\t", keep_default_na=False).set_index("label")
    assert labels["ontology_term_id"].to_dict() == dict.fromkeys(labels.index, "") | TERMS
    succeed("annotate", "--query", DATA / "reduced_panel.h5ad", "--mapped", "joined.h5ad", "--output", "own.h5ad", folder=mapped)
    obs = ad.read_h5ad(mapped / "own.h5ad").obs
    assigned = obs[obs["cellmemory_status"] == "assigned"]
    terms = assigned.groupby("cellmemory_label", observed=True)["cellmemory_ontology_term_id"].unique().map(list).to_dict()
    assert terms
    assert all(found == [TERMS.get(label, found[0])] for label, found in terms.items())
    assert terms.keys() & TERMS.keys()
