"""The API for notebooks: results are those of the scripts, cells are left alone, what is wrong is a sentence."""

import shutil
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import cellmemory
from cellmemory import notebook
from cellmemory.errors import InputError
from cellmemory.io.checked import wrong_fields
from cellmemory.notebook import Model
from cellmemory.reference import trained_model
from tests.conftest import DATA, ROOT, succeed


@pytest.fixture(scope="module")
def query() -> ad.AnnData:
    return ad.read_h5ad(DATA / "unseen_type.h5ad")


@pytest.fixture(scope="module")
def opened(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The model from its archive, which must map as its folder does for the scripts."""
    archive = tmp_path_factory.mktemp("archive") / "model.zip"
    trained_model.copy(model, archive)
    return cellmemory.load(archive)


@pytest.fixture(scope="module")
def by_scripts(aligned: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> ad.AnnData:
    folder = tmp_path_factory.mktemp("scripts")
    succeed("map_query", "--query", aligned / "unseen_type.aligned.h5ad", "--model", model, "--output", "q.h5ad", "--labels",
            "q.csv", "--threads", 1, folder=folder)  # fmt: skip
    return ad.read_h5ad(folder / "q.h5ad")


@pytest.fixture(scope="module")
def by_door(opened: Model, query: ad.AnnData) -> ad.AnnData:
    return opened.map(query, sample="unseen_type", truth_key="author_label", threads=1)


def same(one: object, other: object) -> bool:
    """Whether two values are the same bytes."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if sp.issparse(one):
        return one.shape == other.shape and all(same(getattr(one, part), getattr(other, part)) for part in ("data", "indices"))
    if isinstance(one, np.ndarray) and one.dtype != object:
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return type(one) is type(other) and np.array_equal(one, other)


def test_mapping_gives_what_the_scripts_give(by_scripts, by_door):
    pd.testing.assert_frame_equal(by_door.obs, by_scripts.obs, check_exact=True)
    pd.testing.assert_frame_equal(by_door.var, by_scripts.var, check_exact=True)
    assert same(by_door.X, by_scripts.X)
    for part in ("layers", "obsm", "varm", "uns"):
        found, expected = dict(getattr(by_door, part)), dict(getattr(by_scripts, part))
        assert found.keys() == expected.keys()
        for name in expected:
            assert same(found[name], expected[name]), (part, name)
    assert {"attention"} <= by_door.layers.keys()


def test_training_gives_the_model_of_the_scripts(aligned: Path, model: Path, tmp_path: Path):
    genes = pd.read_csv(aligned / "genes.tsv", sep="\t")["gene"]
    reference = ad.read_h5ad(DATA / "reference.h5ad")
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.get_rng_state()
    trained = cellmemory.train(reference, "cell_type", folder=tmp_path / "model", genes=genes, max_epochs=1, threads=1)
    after = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    for file in model.iterdir():
        assert (trained.path / file.name).read_bytes() == file.read_bytes(), file.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]  # no checkpoint is left


def test_cells_in_memory_are_read_as_from_a_file_and_left_as_they_are(by_door, opened, query):
    odd = query.copy()
    odd.obs["note"] = pd.array([f"n{i % 3}" for i in range(odd.n_obs)], dtype="string")
    odd.obs["mixed"] = [1, "a", None] * (odd.n_obs // 3)
    odd.layers["counts"], odd.X = sp.csc_matrix(odd.X), np.log1p(odd.X.toarray())
    odd.uns["anything"] = object()
    odd.var_names = [f"{name.lower()}" for name in odd.var_names]
    before = odd.obs.copy(), odd.var.copy()
    mapped = opened.map(odd, counts_layer="counts", attention=False, threads=1)
    pd.testing.assert_frame_equal(odd.obs, before[0])
    pd.testing.assert_frame_equal(odd.var, before[1])
    assert mapped.obs["note"].astype(str).tolist() == odd.obs["note"].tolist()
    assert "attention" not in mapped.layers
    columns = [name for name in by_door.obs if name.startswith("cellmemory_")]
    pd.testing.assert_frame_equal(mapped.obs[columns], by_door.obs[columns], check_exact=True)


def test_a_path_is_mapped_like_its_cells(by_door, opened):
    mapped = opened.map(DATA / "unseen_type.h5ad", sample="unseen_type", truth_key="author_label", threads=1)
    pd.testing.assert_frame_equal(mapped.obs, by_door.obs, check_exact=True)


@pytest.mark.parametrize(
    ("options", "sentences"),
    [
        ({"alpha": 2, "device": "tpu"}, ["alpha is not a number from 1e-09 to 1 (2).",
                                         "device is not one of auto, cpu, cuda ('tpu')."]),
        ({"counts_layer": "raw_counts"}, ["query.h5ad: there is no layer 'raw_counts' (counts_layer); there are: X."]),
        ({"truth_key": "x"}, ["query.h5ad: the truth column 'x' (truth_key) is not in obs; its columns are: author_label."]),
        ({"sample": "a/b"}, ["The sample is called 'a/b'. A sample name may hold only letters, digits, '.', '_' and '-', "
                             "begins with a letter or digit, and has at most 80 characters."]),
        ({"sample": 3}, ["The sample is called 3. A sample name may hold only letters, digits, '.', '_' and '-', "
                         "begins with a letter or digit, and has at most 80 characters."]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_the_words_of_a_notebook(opened, query, options, sentences):
    with pytest.raises(InputError) as error:
        opened.map(query, **options)
    assert error.value.problems == sentences


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "quick"}, "mode is not one of fast, full ('quick')."),
        ({"sampling": "balancd"}, "sampling is not one of balanced, natural ('balancd')."),
        ({"batch_size": 0}, "batch_size is not a whole number from 1 to 100,000 (0)."),
        ({"learning_rate": float("nan")}, "learning_rate is not a number from 1e-12 to 1 (nan)."),
        ({"d_model": 16.0}, "d_model is not a whole number from 8 to 4,096 or null (16.0)."),
        ({"batch_key": ["a"]}, "batch_key is not a text with something in it or null (['a'])."),
        ({"label_levels": "author_label"}, "label_levels is not a list of names ('author_label')."),
        ({"label_levels": None}, "label_levels is not a list of names (None)."),
        ({"genes": "CD3E"}, "genes is not a list of names ('CD3E')."),
    ],
)
def test_wrong_options_of_a_training_replace_no_model(model, query, tmp_path, options, sentence):
    shutil.copytree(model, tmp_path / "model")
    with pytest.raises(InputError) as error:
        cellmemory.train(query, "author_label", folder=tmp_path / "model", **options)
    assert error.value.problems == [sentence]
    assert cellmemory.load(tmp_path / "model").labels


def test_numbers_of_numpy_are_numbers(query, by_door, opened, tmp_path):
    """As sums and lengths of columns are."""
    mapped = opened.map(query, threads=np.int64(1), alpha=np.float64(0.05), attention=np.bool_(True))
    assert mapped.obs["cellmemory_label"].tolist() == by_door.obs["cellmemory_label"].tolist()
    sizes = {"n_genes": np.int64(60), "max_epochs": np.int64(1), "d_model": np.int32(16), "n_layers": np.int8(1)}
    rest = {"seed": np.int64(3), "batch_size": np.uint16(32), "learning_rate": np.float32(0.001), "patience": np.int64(1)}
    reference = ad.read_h5ad(DATA / "reference.h5ad")
    found = cellmemory.train(reference, "cell_type", folder=tmp_path / "numbers", **sizes, **rest, threads=np.int64(1))
    assert len(found.genes) == 60


def test_what_is_not_cells_or_a_model_is_refused(opened, query, tmp_path):
    with pytest.raises(InputError, match=r"^The cells are of the type DataFrame\. Give an AnnData, or the path of a file\.$"):
        opened.map(query.obs)
    with pytest.raises(InputError, match="the trained model is incomplete"):
        cellmemory.load(tmp_path)
    with pytest.raises(InputError, match="The model is of the type NoneType"):
        cellmemory.load(None)
    with pytest.raises(InputError, match="https://x/y"):
        cellmemory.load("https://x/y")
    with pytest.raises(InputError, match="gene_map: there is no such file"):
        opened.map(query, gene_map="nowhere.tsv")
    with pytest.raises(InputError, match=r"^folder is not a path \(3\)\.$"):
        cellmemory.train(query, "author_label", folder=3)
    with pytest.raises(InputError, match=r"^folder is not a path \('a\\x00b'\)\.$"):
        cellmemory.train(query, "author_label", folder="a\0b")
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(InputError, match=r"^gene_map: there is no such file"):
            opened.map(query, gene_map=name)
    with pytest.raises(InputError, match=r"^'aaaaaa.* cannot be used: File name too long\.$"):
        cellmemory.train(query, "author_label", folder="a" * 300)
    with pytest.raises(InputError, match=r"^threads is not a whole number from 1 to 4,096 \(0\)\.$"):
        opened.map(query, threads=0)
    with pytest.raises(InputError, match=r"^genes holds nan, which is not a name\.$"):
        cellmemory.train(query, "author_label", genes=["CD3D", np.nan])
    with pytest.raises(InputError, match=r"^genes names no gene\.$"):
        cellmemory.train(query, "author_label", genes=[])
    with pytest.raises(InputError, match=r"^label_levels 'a,b' ends with 'b', but"):
        cellmemory.train(query, "author_label", label_levels=["a", "b"])
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match=r"^folder \S+ exists, and this step did not write it"):
        cellmemory.train(query, "author_label", folder=tmp_path)
    (tmp_path / "model.checkpoints").touch()
    with pytest.raises(InputError, match=r"^checkpoints \S+ is a file, but a folder is written"):
        cellmemory.train(query, "author_label", folder=tmp_path / "model")
    with pytest.raises(InputError, match=r"^reference\.h5ad: the label column 'type' \(label_key\) is not in obs"):
        cellmemory.train(query, "type")


def test_columns_that_no_file_can_hold_are_named(opened, query):
    for name, column, sentence in (
        ("", 1, "obs has a column without a name"),
        ("plane", 1j, r"obs has complex numbers in 'plane'\. Remove"),
    ):
        cells = query.copy()
        cells.obs[name] = column
        with pytest.raises(InputError, match=sentence):
            opened.map(cells)
    cells = query.copy()
    cells.obs.columns = ["a"] * cells.obs.shape[1]
    cells.obs["a"], cells.obs[0], cells.obs["0"] = 1, 2, 3
    with pytest.raises(InputError, match=r"obs has more than one column called .*'0'"):
        opened.map(cells)


def test_importing_the_library_loads_none_of_its_parts():
    code = "import sys, cellmemory; print([n for n in sys.modules if n.startswith('cellmemory.') or n in ('numpy', 'torch')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "bin", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'mapp'"):
        _ = cellmemory.mapp


def test_the_example_of_the_docs_runs():
    example = ROOT / "docs" / "examples" / "notebook.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "The model knows" in done.stdout
    assert "cellmemory_status" in done.stdout


def test_a_notebook_has_the_defaults_and_limits_of_the_scripts():
    scripts = ("preprocess_reference", "train", "preprocess_query", "map_query")
    options = {option.name: option for script in scripts for option in import_module(script).main.params}
    parameters = signature(notebook.Model.map).parameters | signature(notebook.train).parameters
    # All the others are missing where they are not given, here and there.
    numbers = {name: found.default for name, found in parameters.items() if isinstance(found.default, int | float | str)}
    assert numbers.pop("sample") == "query"
    assert len(numbers) > 15
    assert numbers == {name: options[name].default for name in numbers}
    for name in (
        "novelty_alpha",
        "min_confidence",
        "min_coverage",
        "threads",
        "seed",
        "n_genes",
        "max_epochs",
        "batch_size",
        "n_layers",
        "d_model",
    ):
        allowed, known = options[name].type, {name: notebook._OPTIONS[name]}
        assert [wrong_fields({name: value}, known) for value in (allowed.min, allowed.max) if value is not None].count([]) >= 1
        assert wrong_fields({name: allowed.min - 1}, known)
        assert allowed.max is None or wrong_fields({name: allowed.max + 1}, known)
    named = {name: options[name].type.choices for name in notebook._OPTIONS if hasattr(options[name].type, "choices")}
    assert len(named) == 6
    for name, choices in named.items():
        assert [wrong_fields({name: value}, {name: notebook._OPTIONS[name]}) for value in choices] == [[]] * len(choices)
        assert wrong_fields({name: "quick"}, {name: notebook._OPTIONS[name]})
    given = {name for function in (notebook.Model.map, notebook.train) for name in signature(function).parameters}
    assert given - set(notebook._OPTIONS) == {"self", "cells", "sample", "gene_map", "folder", "label_levels", "genes"}
