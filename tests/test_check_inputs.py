"""Bad inputs: one clear sentence each, all at once, before anything heavy, and nothing written."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellmemory.cells.labels import check_labels, label_terms
from cellmemory.cells.reading import CellFile
from tests.conftest import DATA, refused, succeed


def check(folder: Path, samplesheet: str, *options: object, reference: Path = DATA / "reference.h5ad") -> list[object]:
    """The arguments of a check of `samplesheet` (its text) in `folder`."""
    (folder / "sheet.csv").write_text(samplesheet)
    if "--model" not in options:
        options = ("--reference", reference, *options)
        if "--label_key" not in options:
            options = (*options, "--label_key", "cell_type")
    return ["check_inputs", "--samplesheet", folder / "sheet.csv", *options, "--output", folder / "inputs.json",
            "--query_genes", folder / "genes.tsv"]  # fmt: skip


GOOD = f"sample,h5ad,truth_key\none,{DATA / 'unseen_type.h5ad'},author_label\n"


def query(path: Path, change) -> Path:
    """The reduced-panel query, changed by `change`."""
    data = ad.read_h5ad(DATA / "unseen_type.h5ad")
    data = change(data)
    data.write_h5ad(path)
    return path


def test_good_inputs_are_described(tmp_path):
    succeed(*check(tmp_path, GOOD))
    inputs = json.loads((tmp_path / "inputs.json").read_text())
    assert inputs["reference"]["cells"] == 400
    assert sum(inputs["reference"]["labels"].values()) == 400
    assert [(q["sample"], q["cells"], q["shared_genes"]) for q in inputs["queries"]] == [("one", 195, 765)]
    genes = pd.read_csv(tmp_path / "genes.tsv", sep="\t")
    assert set(genes["gene"]) == set(ad.read_h5ad(DATA / "reference.h5ad").var_names)


def test_terms_of_labels_are_looked_at(tmp_path):
    (tmp_path / "terms.tsv").write_text("label\tontology_term_id\nDendritic\tdendritic cell\n")
    (sentence,) = refused(*check(tmp_path, GOOD, "--ontology_map", tmp_path / "terms.tsv"))
    assert "terms.tsv: line 2 has 'dendritic cell', which is not the id of a term." in sentence
    (tmp_path / "terms.tsv").write_text("label\tontology_term_id\nneuron\tCL:0000540\n")
    reference = ad.read_h5ad(DATA / "reference.h5ad")
    is_nk = reference.obs["cell_type"] == "CD56+ NK"
    reference.obs["cell_type_ontology_term_id"] = np.where(is_nk, "CL:0000623", "unknown")
    reference.obs.loc[reference.obs.index[is_nk][0], "cell_type_ontology_term_id"] = "CL:0000084"
    reference.obs.loc[reference.obs["cell_type"] == "Dendritic", "cell_type_ontology_term_id"] = "CL_0000451"
    reference.write_h5ad(tmp_path / "reference.h5ad")
    log = succeed(*check(tmp_path, GOOD, "--ontology_map", tmp_path / "terms.tsv", reference=tmp_path / "reference.h5ad"))
    inputs = json.loads((tmp_path / "inputs.json").read_text())
    warnings = [*inputs["warnings"], *inputs["reference"]["warnings"]]
    assert len(warnings) == 3
    assert all(f"Warning: {warning}" in log for warning in warnings)
    assert "terms.tsv names no label of the reference, which has 'CD14+ Monocyte'," in warnings[0]
    assert "'cell_type_ontology_term_id' gives several ids to 'CD56+ NK'; none of them is used." in warnings[1]
    assert "'cell_type_ontology_term_id' holds 'CL_0000451'; ids of terms are written as CL:0000236." in warnings[2]


@pytest.mark.parametrize("terms", [None, np.nan, "unknown", "", 7, True])
def test_a_column_without_terms_is_none(tmp_path, terms):
    reference = ad.read_h5ad(DATA / "reference.h5ad")
    reference.obs["cell_type_ontology_term_id"] = pd.Series([terms] * reference.n_obs, reference.obs_names, dtype="category")
    reference.write_h5ad(tmp_path / "reference.h5ad")
    with CellFile(tmp_path / "reference.h5ad") as file:
        found, notes = label_terms(file, "cell_type", check_labels(file, "cell_type"))
    said = [f"'cell_type_ontology_term_id' holds '{terms}'; ids of terms" in note for note in notes]
    assert (found, said) == ({}, [True] if terms in (7, True) else [])


def test_another_order_of_the_rows_names_the_same_genes(tmp_path):
    """These genes decide whether a reference is trained again."""
    rows = [f"one,{DATA / 'unseen_type.h5ad'}", f"two,{DATA / 'reduced_panel.h5ad'}"]
    written = []
    for order in (rows, rows[::-1]):
        succeed(*check(tmp_path, "\n".join(["sample,h5ad", *order, ""])))
        written.append((tmp_path / "genes.tsv").read_bytes())
    assert written[0] == written[1]


def test_all_problems_of_all_inputs_come_at_once(tmp_path):
    (tmp_path / "text.h5ad").write_text("not HDF5")
    sheet = f"sample,h5ad,truth_key\na,nope.h5ad,\nb,text.h5ad,\nc,{DATA / 'unseen_type.h5ad'},truth\n"
    found = "\n".join(refused(*check(tmp_path, sheet, "--label_key", "celltype")))
    assert "nope.h5ad: there is no such file" in found
    assert "text.h5ad: this is not an h5ad file" in found
    assert "the truth column 'truth' (--truth_key) is not in obs; its columns are: author_label" in found
    assert "the label column 'celltype' (--label_key) is not in obs; its columns are: cell_type" in found
    assert not (tmp_path / "inputs.json").exists()
    assert not (tmp_path / "genes.tsv").exists()


@pytest.mark.parametrize(
    ("sheet", "sentence"),
    [
        ("sample,h5ad\na,x.h5ad\na,y.h5ad\n", "the sample name a is used by lines 2, 3"),
        ("sample,file\na,x.h5ad\n", "lacks the column h5ad; its first line is sample,file."),
        ("sample,h5ad,colour\na,x.h5ad,red\n", "has a column 'colour' that means nothing here"),
        ("sample,h5ad\n", "names no query: add a line"),
        ("sample,h5ad\n,x.h5ad\n", ", line 2: sample is empty."),
        ("sample,h5ad\na,https://x.org/q.h5ad\n", ", line 2: 'https://x.org/q.h5ad' is a URL, which only the pipeline fetches."),
    ],
)
def test_samplesheets_that_cannot_be(sheet, sentence, tmp_path):
    assert any(sentence in found for found in refused(*check(tmp_path, sheet)))


def scaled(data):
    dense = data.X.toarray()
    data.X = dense - dense.mean(0)
    return data


def alien(data):
    data.var_names = [f"FBgn{i:07d}" for i in range(data.n_vars)]
    return data


def with_nan(data):
    data.X.data[5] = np.nan
    return data


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        (scaled, ["negative values (scaled data)"]),
        (with_nan, ["X holds NaN, infinite or impossibly large values"]),
        (lambda data: data[:0].copy(), ["this query has no cells"]),
        (
            alien,
            ["'FBgn0000000', 'FBgn0000001', 'FBgn0000002', 'FBgn0000003', 'FBgn0000004'", "'HES4', 'TNFRSF4', 'SSU72'"],
        ),
    ],
)
def test_queries_that_cannot_be_mapped(change, sentences, tmp_path):
    path = query(tmp_path / "query.h5ad", change)
    (sentence,) = refused(*check(tmp_path, f"sample,h5ad\na,{path}\n"))
    assert str(path) in sentence
    for part in sentences:
        assert part in sentence


def test_a_label_with_a_single_cell_is_named(tmp_path):
    data = ad.read_h5ad(DATA / "reference.h5ad")
    labels = data.obs["cell_type"].astype(str)
    labels.iloc[3] = "Odd one"
    data.obs["cell_type"] = labels
    data.write_h5ad(tmp_path / "reference.h5ad")
    (sentence,) = refused(*check(tmp_path, GOOD, reference=tmp_path / "reference.h5ad"))
    assert "labels of 'cell_type' with a single cell: 'Odd one' (1 in all)" in sentence


def test_a_column_of_names_is_no_column_of_labels(tmp_path):
    """One sentence, not one for each of them."""
    data = ad.read_h5ad(DATA / "reference.h5ad")
    data.obs["cell_type"] = data.obs_names.to_numpy()
    data.write_h5ad(tmp_path / "reference.h5ad")
    (sentence,) = refused(*check(tmp_path, GOOD, reference=tmp_path / "reference.h5ad"))
    assert f"', ... ({data.n_obs:,} in all)" in sentence


def test_a_narrow_query_beside_a_wide_one_is_refused_early(tmp_path):
    path = query(tmp_path / "narrow.h5ad", lambda data: data[:, :30].copy())
    sheet = GOOD + f"narrow,{path},\n"
    (sentence,) = refused(*check(tmp_path, sheet))
    assert "'narrow' shares 30 genes" in sentence
    succeed(*check(tmp_path, f"sample,h5ad\nnarrow,{path}\n"))


def with_conditions(data):
    data.obs["condition"] = pd.Categorical(
        np.where(np.arange(len(data)) < 100, "treated: high", "control"), ["treated: high", "control", "gone"]
    )
    data.obs.loc[data.obs_names[0], "condition"] = None
    data.obs["lone"] = ["yes"] + ["no"] * (len(data) - 1)
    return data


def test_contrasts_that_a_query_cannot_answer(tmp_path):
    path = query(tmp_path / "query.h5ad", with_conditions)
    no_column = "a column of obs and two of its values; the columns of {} are author_label, condition, lone."
    no_value = "'condition' of {} has no two such values; it has 'treated: high', 'control', 'gone'."
    expected = {
        "state:a:b": no_column,
        "condition": no_column,
        "condition:control:stimulated": no_value,
        "condition:gone:gone": no_value,
        "condition:control:gone": "{} has too few cells, 0 of 'gone'; a side needs 3 or more.",
        "lone:yes:no": "{} has too few cells, 1 of 'yes'; a side needs 3 or more.",
    }
    options = [part for text in expected for part in ("--contrast", text)]
    found = refused(*check(tmp_path, f"sample,h5ad\na,{path}\n", *options))
    for sentence, (text, end) in zip(found, expected.items(), strict=True):
        assert sentence.startswith(f"--contrast {text}: ")
        assert sentence.endswith(end.format(path))


def test_contrasts_that_can_be_answered_or_are_of_columns_to_come(tmp_path):
    path = query(tmp_path / "query.h5ad", with_conditions)
    contrasts = ("condition:control:treated: high", "cellmemory_status:unassigned:assigned")
    options = [part for text in contrasts for part in ("--contrast", text)]
    succeed(*check(tmp_path, f"sample,h5ad\na,{path}\n", *options))


def test_what_mapping_and_enrichment_would_refuse_is_refused_now(model, tmp_path):
    (tmp_path / "sets.gmt").write_text("yeast\t\tYAL001C\tYAL002W\n")
    path = query(tmp_path / "query.h5ad", with_conditions)
    options = ("--model", model, "--gmt", tmp_path / "sets.gmt", "--contrast", "cellmemory_status:assigned:unasigned")
    (tmp_path / "sheet.csv").write_text(f"sample,h5ad\na,{path}\n")
    contrast, sets = refused("check_inputs", "--samplesheet", tmp_path / "sheet.csv", *options, "--output", tmp_path / "i.json",
                             "--query_genes", tmp_path / "g.tsv")  # fmt: skip
    assert contrast.startswith(
        "--contrast cellmemory_status:assigned:unasigned: write cellmemory_status:A:B, with two of unassigned,"
    )
    assert sets.startswith(f"{tmp_path / 'sets.gmt'} shares no gene with the panel: it has 'YAL001C', 'YAL002W'")


@pytest.mark.parametrize("damage", ["missing", "weights", "config", "labels"])
def test_a_model_that_is_not_as_it_was_trained_is_refused(damage, model, tmp_path):
    import shutil

    copy = Path(shutil.copytree(model, tmp_path / "model"))
    if damage == "missing":
        (copy / "panel.tsv").unlink()
    elif damage == "weights":
        weights = bytearray((copy / "model.safetensors").read_bytes())
        weights[-5] ^= 1
        (copy / "model.safetensors").write_bytes(weights)
    elif damage == "config":
        text = (copy / "config.json").read_text()
        (copy / "config.json").write_text(text.replace('"mode": "fast"', '"mode": "full"'))
    else:
        (copy / "labels.tsv").write_text((copy / "labels.tsv").read_text().replace("Dendritic", "Neutrophil"))
    (sentence,) = refused(*check(tmp_path, GOOD, "--model", copy))
    name = {"missing": "panel.tsv", "weights": "model.safetensors", "config": "config.json", "labels": "labels.tsv"}[damage]
    assert name in sentence
    assert ("incomplete" if damage == "missing" else "changed since the model was trained") in sentence


def test_a_trained_model_is_accepted(model, tmp_path):
    succeed(*check(tmp_path, GOOD, "--model", model))
    assert json.loads((tmp_path / "inputs.json").read_text())["model"]["labels"] == 9
