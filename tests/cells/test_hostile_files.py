"""Files that scripts read beside a model, altered: mapped queries, slices, tables and JSON. Each is refused in sentences."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellmemory.errors import InputError
from cellmemory.explanation import profiles
from cellmemory.io.checked import parse_object
from cellmemory.mapping.gathering import gather
from cellmemory.mapping.mapped import MappedFile
from cellmemory.mapping.mapper import MappingSettings, map_query
from cellmemory.network.runtime import configure
from cellmemory.reference import trained_model
from cellmemory.report import data
from tests.made.mapped_files import mapped_cells
from tests.made.report_inputs import Inputs, make_inputs


def replaced(name: str, value: object) -> Callable[[h5py.File], None]:
    """An element made another, or taken away (None)."""

    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


def edited(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    """An array made another in its place, with its encoding."""

    def edit(file: h5py.File) -> None:
        attributes, values = dict(file[name].attrs), change(file[name][()])
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)

    return edit


def renamed_column(name: str, new: str) -> Callable[[h5py.File], None]:
    """A column of obs by another name."""

    def change(file: h5py.File) -> None:
        obs = file["obs"]
        obs.move(name, new)
        obs.attrs["column-order"] = [new if column == name else column for column in obs.attrs["column-order"]]

    return change


RUN = "uns/cellmemory"
MAPPED = {
    "no run": (replaced(RUN, 3), "sample is missing"),
    "no sample": (replaced(f"{RUN}/sample", None), "sample is missing"),
    "sample is a number": (edited(f"{RUN}/n_slots", lambda _: np.float64(4.5)), "n_slots is not a whole number"),
    "no slots": (edited(f"{RUN}/n_slots", lambda _: np.int64(0)), "n_slots is not"),
    "other slots": (edited(f"{RUN}/n_slots", lambda _: np.int64(3)), "obsm['X_cellmemory_slots'] is not numbers of 6 cells x 3"),
    "no labels": (replaced(f"{RUN}/slot_groups", None), "slot_groups is missing"),
    "strange labels": (
        edited("obs/cellmemory_label/categories", lambda v: np.array([b"alien", *v[1:]], object)), "holds 'alien', which mapping"
    ),
    "no alpha": (replaced(f"{RUN}/alpha", None), "alpha is missing"),
    "alpha beyond 1": (edited(f"{RUN}/alpha", lambda _: np.float64(7)), "alpha is not a number from 0 to 1"),
    "alpha is NaN": (edited(f"{RUN}/novelty_alpha", lambda _: np.float64("nan")), "novelty_alpha is not"),
    "no digest": (replaced(f"{RUN}/model_digest", None), "model_digest is missing"),
    "confidence beyond 1": (edited("obs/cellmemory_confidence", lambda v: v * 3 + 1), "cellmemory_confidence' holds numbers out"),
    "infinite novelty": (edited("obs/cellmemory_novelty", lambda v: v + np.inf), "cellmemory_novelty' holds numbers out"),
    "negative p": (edited("obs/cellmemory_novelty_p", lambda v: -v - 1), "cellmemory_novelty_p' holds numbers out"),
    "no status": (renamed_column("cellmemory_status", "status"), "obs has no column 'cellmemory_status'"),
    "flat write": (edited("varm/cellmemory_slot_write", lambda v: v[:, 0]), "slot_write'] is not numbers of 5 genes x 2 labels"),
    "other write": (edited("varm/cellmemory_slot_write", lambda v: v[:, :-1]), "slot_write'] is not numbers of 5 genes"),
    "read of text": (edited("varm/cellmemory_slot_read", lambda v: v.astype("S8")), "slot_read'] is not numbers of 5 genes"),
    "a map of one dimension": (edited("obsm/X_umap", lambda v: v[:, :1]), "obsm['X_umap'] is not numbers of 6 cells x 2"),
    "a map of other cells": (edited("obsm/X_umap", lambda v: v[:-1]), "obsm['X_umap'] is not numbers of 6 cells x 2"),
    "slots of other cells": (edited("obsm/X_cellmemory_slots", lambda v: v[1:]), "obsm['X_cellmemory_slots'] is not"),
    "flat embedding": (edited("obsm/X_cellmemory", lambda v: v[:, 0]), "obsm['X_cellmemory'] is not numbers of 6 cells"),
    "attention of other genes": (
        lambda file: file["layers/attention"].attrs.update(shape=(6, 4)), "layers/attention"
    ),
    "a reference without labels": (replaced("uns/cellmemory_reference/label", None), "uns['cellmemory_reference'] does not hold"),
    "a reference of others": (edited("uns/cellmemory_reference/X_umap", lambda v: v[1:]), "uns['cellmemory_reference'] does not"),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPPED)
def test_a_damaged_mapped_query_is_refused_in_sentences(tmp_path: Path, name: str):
    values = sp.random(6, 5, 0.6, "csr", random_state=0)
    cells = mapped_cells(values, values, ["a", "b"] * 3, ["a", "b"])
    cells.uns["cellmemory_reference"] = {"X_umap": np.zeros((3, 2)), "label": np.array(["a", "b", "a"], object)}
    path = tmp_path / "q.mapped.h5ad"
    cells.write_h5ad(path)
    MappedFile(path).close()
    change, words = MAPPED[name]
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError) as error:
        MappedFile(path)
    assert any(words in problem for problem in error.value.problems), error.value.problems
    assert all(str(path) in problem and re.search("Map the query|Write it|write it", problem) for problem in error.value.problems)


SLICE = "uns/cellmemory_slice"
SLICES = {
    "no range": (replaced(f"{SLICE}/stop", None), "does not say which cells"),
    "a range backwards": (edited(f"{SLICE}/start", lambda _: np.int64(50)), "does not say which cells"),
    "a range below 0": (edited(f"{SLICE}/start", lambda _: np.int64(-1)), "does not say which cells"),
    "a range of text": (replaced(f"{SLICE}/n_cells", "many"), "does not say which cells"),
    "no precision": (replaced(f"{RUN}/precision", None), "precision is missing"),
    "no mode": (replaced(f"{RUN}/mode", None), "no mode, not fast"),
    "sums of other genes": (edited(f"{SLICE}/write", lambda v: v[..., 1:]), "'write' is not whole numbers of 9 x 8 x 764"),
    "sums with fractions": (edited(f"{SLICE}/cells", lambda v: v + 0.5), "'cells' is not whole numbers"),
    "no sums": (replaced(f"{SLICE}/expressing", None), "'expressing' is not whole numbers"),
    "no label": (
        edited("obs/cellmemory_label/categories", lambda v: np.array([b"alien", *v[1:]], object)), "holds 'alien', which mapping"
    ),
    "no embedding": (replaced("obsm/X_cellmemory", None), "an embedding that is not 128 wide"),
    "narrow embedding": (edited("obsm/X_cellmemory", lambda v: v[:, :5]), "an embedding that is not 128 wide"),
    "no slots": (replaced("obsm/X_cellmemory_slots", None), "attention without"),
    "p of other cells": (edited("obs/cellmemory_novelty_p", lambda v: v[1:]), "novelty_p has 29 values, but obs has 30 rows"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sliced(model: Path, aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a query of 30 cells and a slice of all of them."""
    folder = tmp_path_factory.mktemp("sliced")
    ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[:30].copy().write_h5ad(folder / "q.h5ad")
    runtime = configure("cpu", "fp32", 1, seed=0)
    settings = MappingSettings(cells="0:30")
    map_query(folder / "q.h5ad", trained_model.load(model), settings, runtime, output=folder / "whole.h5ad")
    return folder


@pytest.mark.parametrize("name", SLICES)
def test_a_damaged_slice_is_refused_in_sentences(model: Path, sliced: Path, tmp_path: Path, name: str):
    path = shutil.copy(sliced / "whole.h5ad", tmp_path / "slice.h5ad")
    change, words = SLICES[name]
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError) as error:
        gather(
            sliced / "q.h5ad",
            trained_model.load(model),
            [path],
            output=tmp_path / "out.h5ad",
            labels=tmp_path / "out.csv",
            threads=1,
        )
    assert any(words in problem for problem in error.value.problems), error.value.problems
    assert all(str(path) in problem for problem in error.value.problems)
    assert not (tmp_path / "out.h5ad").exists()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return make_inputs(tmp_path_factory.mktemp("inputs"), samples=("reduced_panel",))


def json_of(**values: object) -> Callable[[str], str]:
    return lambda written: json.dumps(json.loads(written) | values)


#: What becomes of a table or JSON of the report, and a part of what is said.
TABLES = {
    "tags without a column": ("tags", lambda t: t.replace("\tscore\t", "\tpoints\t", 1), "missing columns: score"),
    "tags of words": ("tags", lambda t: t.replace("\t1\t", "\tfirst\t", 1), "rank is not a number in row 1 ('first')"),
    "tags are empty": ("tags", lambda _: "", "cannot be read"),
    "tags are no text": ("tags", lambda _: b"\xff\xfe\x00", "cannot be read"),
    "slots of another table": ("slot_tags", lambda _: "group\tgene\nT\tA\n", "missing columns: slot"),
    "contrasts of another table": ("contrasts", lambda _: "a\tb\n1\t2\n", "missing columns: contrast"),
    "terms of words": ("enrichment", lambda t: t.replace("adjusted_p_value", "padj", 1), "missing columns: adjusted_p_value"),
    "curves of another table": ("faithfulness", lambda _: "group\n", "missing columns: part"),
    "curves without cells": ("faithfulness", lambda t: t.replace("\t5\t", "\t\t"), "n_cells is not a number in row"),
    "metrics are a list": ("metrics", lambda _: "[1]", "found [1], not an object"),
    "metrics are cut off": ("metrics", lambda t: t[:99], "is not JSON"),
    "metrics hold NaN": ("metrics", lambda t: t.replace('"accuracy": 0', '"accuracy": NaN, "a": 0', 1), "NaN is not a number"),
    "metrics are deep": ("metrics", lambda _: '{"a":' * 90 + "1" + "}" * 90, "nested more than 50 deep"),
    "metrics are too deep": ("metrics", lambda _: '{"a":' * 99_999, "is not JSON"),
    "metrics are no text": ("metrics", lambda _: b'{"\xff": 1}', "not a text file in UTF-8 (line 1)"),
    "accuracy is text": ("metrics", json_of(accuracy="good"), "accuracy is not a number from 0 to 1 or null ('good')"),
    "a ragged confusion": ("metrics", json_of(confusion={"true": ["a"], "predicted": ["b"], "counts": [[1, 2]]}), "confusion"),
    "no confusion": ("metrics", json_of(confusion=None), "confusion is not a table"),
    "classes without scores": ("metrics", json_of(per_class=[{"label": "a"}]), "per_class is not"),
    "levels without answers": ("metrics", json_of(hierarchy={"levels": []}), "hierarchy is not"),
    "coverage is text": ("alignment", json_of(coverage="all"), "coverage is not"),
    "messages are a number": ("alignment", json_of(messages=3), "messages is not"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_of_the_report_is_refused_in_sentences(inputs: Inputs, tmp_path: Path, name: str):
    option, change, words = TABLES[name]
    original = inputs.options[option][0]
    path, content = tmp_path / original.name, change(original.read_text())
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        data.read_samples(inputs.mapped, trained_model.load(inputs.model), {option: [path]})
    assert any(words in problem for problem in error.value.problems), error.value.problems
    assert all(f"{path} (--{option})" in problem for problem in error.value.problems)


@pytest.mark.parametrize("written", ["", "[", "NaN", "[]", "3", '{"a": Infinity}', '{"a":' * 60 + "1" + "}" * 60, "[" * 10**5])
def test_what_is_no_json_object_is_told_from_one(written: str):
    with pytest.raises(ValueError, match=r"."):
        parse_object(written)
    assert parse_object('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


def test_profiles_of_another_kind_are_refused(tmp_path: Path):
    path = tmp_path / "tag_profiles.h5ad"
    for write in (lambda: path.write_text("no h5ad"), lambda: _write_hdf5(path), lambda: _write_cells(path)):
        write()
        with pytest.raises(InputError, match=r"tag_profiles\.h5ad.*give the \.tag_profiles\.h5ad of extract_tags\.py"):
            profiles.load(path)


def _write_hdf5(path: Path) -> None:
    path.unlink()
    with h5py.File(path, "w") as file:
        file["obs"] = [1, 2]


def _write_cells(path: Path) -> None:
    ad.AnnData(np.zeros((2, 2), np.float32), pd.DataFrame(index=["a", "b"])).write_h5ad(path)
