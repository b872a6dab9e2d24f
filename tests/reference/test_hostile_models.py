"""Model folders that were altered and signed again: each is refused in sentences, or maps cells to finite results."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch

from cellmemory.errors import InputError
from cellmemory.mapping.mapper import MappingSettings, map_query
from cellmemory.network.config import ModelConfig, network_shapes
from cellmemory.network.model import CellMemory
from cellmemory.network.runtime import configure
from cellmemory.reference import trained_model
from tests.conftest import ROOT, refused
from tests.made.model_folders import edit_json, edit_tensors, sign

NAN, INF = float("nan"), float("inf")
Damage = Callable[[Path], None]


def config(**values: object) -> Damage:
    """Fields of config.json; those of the network by `model__NAME`; ... removes a field."""
    return lambda folder: edit_json(folder, "config.json", lambda found: put(found, values))


def calibration(**values: object) -> Damage:
    """Fields of calibration.json, as in `config`."""
    return lambda folder: edit_json(folder, "calibration.json", lambda found: put(found, values))


def put(found: dict, values: dict) -> None:
    for key, value in values.items():
        *path, last = key.split("__")
        inner = found
        for name in path:
            inner = inner[name]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value


def tensor(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Damage:
    """One tensor made another, or left out where it becomes None."""

    def damage(folder: Path) -> None:
        def edit(tensors: dict[str, np.ndarray]) -> None:
            found = change(tensors.pop(name))
            if found is not None:
                tensors[name] = found

        edit_tensors(folder, edit)

    return damage


def filled(name: str, value: float) -> Damage:
    """A tensor with one number of another value."""

    def change(values: np.ndarray) -> np.ndarray:
        values.flat[0] = value
        return values

    return tensor(name, change)


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Damage:
    """The lines of a text file made others."""

    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return damage


def raw(name: str, content: bytes | Callable[[bytes], bytes]) -> Damage:
    """The bytes of a file made others."""

    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return damage


def cells(name: str, row: int, **values: str) -> Damage:
    """Fields of one row of a table, counted from 1."""

    def change(found: list[str]) -> list[str]:
        header, line = found[0].split("\t"), found[row].split("\t")
        for column, value in values.items():
            line[header.index(column)] = value
        return [*found[:row], "\t".join(line), *found[row + 1 :]]

    return lines(name, change)


def with_column(name: str, title: str, value: Callable[[int], str]) -> Damage:
    """A table with one column more."""
    return lines(name, lambda found: [f"{line}\t{value(i) if i else title}" for i, line in enumerate(found)])


def both(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def header(change: Callable[[dict], object]) -> Damage:
    """The header of model.safetensors made another, at its own length."""

    def edit(content: bytes) -> bytes:
        size = int.from_bytes(content[:8], "little")
        found = json.loads(content[8 : 8 + size])
        change(found)
        written = json.dumps(found).encode()
        written += b" " * (-len(written) % 8)
        return len(written).to_bytes(8, "little") + written + content[8 + size :]

    return raw("model.safetensors", edit)


#: What is refused, and a part of what is said of it.
REFUSED: dict[str, tuple[Damage, str]] = {
    "config is no object": (raw("config.json", b"[]"), "damaged"),
    "config is no JSON": (raw("config.json", b"{"), "damaged"),
    "config is empty": (raw("config.json", b""), "damaged"),
    "config is no text": (raw("config.json", b"\xff\xfe\x00"), "damaged"),
    "config is nested": (raw("config.json", b'{"a":' * 100_000), "damaged"),
    "config is nested a little": (config(training=json.loads("[" * 200 + "]" * 200)), "nested more than 50 deep"),
    "config holds NaN": (config(seed=NAN), "NaN is not a number of JSON"),
    "files is a list": (config(files=[]), "damaged"),
    "format is a list": (config(format=[4]), "model format [4] is not known"),
    "format is true": (config(format=True), "model format True is not known"),
    "format is another": (config(format=99), "model format 99 is not known"),
    "no model": (config(model=...), "model is missing"),
    "model is a list": (config(model=[1]), "model is not an object of"),
    "model has too much": (config(model__n_experts=2), "model is not an object of"),
    "model has too little": (config(model__d_key=...), "model is not an object of"),
    "variant": (config(model__variant="heavy"), "model is not"),
    "variant is a list": (config(model__variant=["light"]), "model is not"),
    "other variant": (config(model__variant="standard"), "tensors do not belong to the network"),
    "no bins": (config(model__n_bins=0), "model is not"),
    "300 bins": (config(model__n_bins=300), "model is not"),
    "other bins": (config(model__n_bins=20), "expression.weight"),
    "bins are text": (config(model__n_bins="50"), "model is not"),
    "bins are true": (config(model__n_bins=True), "model is not"),
    "genes": (config(model__n_genes=10), "n_genes is 10, but panel.tsv has"),
    "genes below 0": (config(model__n_genes=-1), "model is not"),
    "labels": (config(model__n_labels=2), "n_labels is 2, but labels.tsv has"),
    "a huge width": (config(model__d_model=10**8), "gene.weight is"),
    "a width beyond all": (config(model__d_model=10**30), "model is not"),
    "a width with a fraction": (config(model__d_model=128.5), "model is not"),
    "heads": (config(model__n_heads=3), "layers.0.read.key"),
    "other slots": (config(model__n_slots=9), "slots"),
    "slots beyond all": (config(model__n_slots=10**9), "slots"),
    "a million layers": (config(model__n_layers=10**6), "too few for the 1,000,000 layers"),
    "no layer": (config(model__n_layers=0), "model is not"),
    "one layer less": (config(model__n_layers=3), "tensors do not belong to the network"),
    "one layer more": (config(model__n_layers=5), "tensors are missing"),
    "dropout": (config(model__dropout=NAN), "NaN"),
    "dropout beyond 1": (config(model__dropout=1.5), "model is not"),
    "mode": (config(mode="slow"), "mode is not one of fast, full ('slow')"),
    "mode is a list": (config(mode=["fast"]), "mode is not one of"),
    "binning": (config(binning=None), "binning is not one of quantile, log (None)"),
    "label_key": (config(label_key=7), "label_key is not"),
    "label_key is empty": (config(label_key=" "), "label_key is not"),
    "label_key with half a character": (config(label_key="\ud800"), "half a surrogate pair, which UTF-8 cannot hold"),
    "label_key with NUL": (config(label_key="a\0b"), "label_key is not"),
    "batch_key": (config(batch_key=["a"]), "batch_key is not"),
    "seed": (config(seed=-1), "seed is not"),
    "seed is text": (config(seed="0"), "seed is not"),
    "seed is missing": (config(seed=...), "seed is missing"),
    "huge seed": (config(seed=10**400), "seed is not"),
    "cells": (config(cells=0), "cells is not"),
    "usual share": (config(usual_share=0.3), "usual_share is not"),
    "usual share falls": (config(usual_share=[0.9, 0.1]), "usual_share is not"),
    "training": (config(training="long"), "training is not an object"),
    "levels": (config(label_levels=["lineage", "type"]), "label_levels is"),
    "levels are a text": (config(label_levels="lineage"), "label_levels is not"),
    "adapted by nobody": (config(adapted_to="q"), "only some of adapted_to, adapted_values, adapted_from, adapting"),
    "adapted to a number": (config(adapted_to=1, adapted_values="", adapted_from="f", adapting=""), "adapted_to is not"),
    "calibration is a list": (raw("calibration.json", b"[1, 2]"), "calibration.json is not JSON with an object"),
    "calibration is cut off": (raw("calibration.json", lambda content: content[:100]), "calibration.json is not JSON"),
    "temperature of 0": (calibration(temperature=0), "temperature is not a number from 0.01 to 10000 (0)"),
    "temperature below 0": (calibration(temperature=-1.5), "temperature is not"),
    "tiny temperature": (calibration(temperature=1e-300), "temperature is not"),
    "infinite temperature": (raw("calibration.json", lambda c: c.replace(b'"temperature": 1', b'"temperature": 1e999, "t": 1')),
                             "'1e999' is too large a number"),
    "temperature is text": (calibration(temperature="1.0"), "temperature is not"),
    "temperature is true": (calibration(temperature=True), "temperature is not"),
    "temperature is missing": (calibration(temperature=...), "temperature is missing"),
    "no conformal score": (calibration(conformal_scores=[]), "conformal_scores is not"),
    "conformal scores beyond 1": (calibration(conformal_scores=[0.1, 1.2]), "conformal_scores is not"),
    "conformal scores fall": (calibration(conformal_scores=[0.5, 0.1]), "conformal_scores is not"),
    "conformal scores are text": (calibration(conformal_scores=["0.5"]), "conformal_scores is not"),
    "one conformal score": (calibration(conformal_scores=[0.0]), "conformal_labels is not the labels of the cells"),
    "no conformal label": (calibration(conformal_labels=[]), "conformal_labels is not"),
    "conformal labels of others": (calibration(conformal_labels=[0] * 60), "conformal_labels is not the labels of the cells"),
    "a conformal label that there is not": (calibration(conformal_labels=[10**9] * 60), "conformal_labels is not the labels"),
    "no novelty": (calibration(novelty_null=[]), "novelty_null is not"),
    "novelty is unsorted": (calibration(novelty_null=[1.0, 0.0]), "novelty_null is not"),
    "novelty in common without end": (calibration(novelty_common=1e300), "novelty_common is not"),
    "novelty is None": (calibration(novelty_null=[0.0, None]), "novelty_null is not"),
    "novelty without a part": (calibration(novelty_parts__odds=...), "novelty_parts is not"),
    "novelty with another part": (calibration(novelty_parts__luck=[0, 1]), "novelty_parts is not"),
    "novelty of no spread": (calibration(novelty_parts__odds=[0.0, 0.0]), "novelty_parts is not"),
    "novelty of one number": (calibration(novelty_parts__odds=[0.0]), "novelty_parts is not"),
    "panel accuracy is empty": (calibration(panel_accuracy=[]), "panel_accuracy is not"),
    "panel accuracy is flat": (calibration(panel_accuracy=[1.0, 0.9]), "panel_accuracy is not"),
    "panel accuracy rises": (calibration(panel_accuracy=[[0.1, 0.5], [1.0, 0.9]]), "shares of panel_accuracy do not fall"),
    "panel accuracy of one share twice": (calibration(panel_accuracy=[[0.5, 0.5], [0.5, 0.9]]), "panel_accuracy do not fall"),
    "more validation cells than there were": (calibration(validation_cells=10**9), "validation_cells is 1000000000, but"),
    "a key of calibration twice": (raw("calibration.json", lambda f: f.replace(b"{", b'{"ece": 0,', 1)), "key 'ece' is there"),
    "linear weight": (calibration(linear_weight=0), "linear_weight is not"),
    "cls weight": (calibration(cls_weight=None), "cls_weight is not"),
    "panel without a column": (lines("panel.tsv", lambda f: [f[0].replace("gene", "name"), *f[1:]]), "missing columns: gene"),
    "panel is empty": (raw("panel.tsv", b""), "missing columns: gene, rank"),
    "panel is one line": (lines("panel.tsv", lambda found: found[:1]), "there is no gene"),
    "panel with a gene twice": (
        lines("panel.tsv", lambda f: [*f[:2], f[1].replace("\t1\t", "\t2\t"), *f[3:]]), "is there twice ("
    ),
    "panel with an empty name": (cells("panel.tsv", 3, gene=""), "a gene's name is empty, too long or not plain text ('')"),
    "panel with a name of two lines": (cells("panel.tsv", 3, gene="A\x85B"), "not plain text ('A"),
    "panel with an endless name": (cells("panel.tsv", 3, gene="A" * 10_000), "a gene's name is empty, too long"),
    "panel with a mean below 0": (cells("panel.tsv", 1, mean="-2"), "is not 0 or more"),
    "panel without a mean": (cells("panel.tsv", 1, mean=""), "is not 0 or more"),
    "panel with an infinite mean": (cells("panel.tsv", 1, mean="inf"), "a mean or a dispersion is infinite"),
    "panel with an infinite dispersion": (cells("panel.tsv", 1, dispersion="-inf"), "a mean or a dispersion is infinite"),
    "panel without a gene": (lines("panel.tsv", lambda found: found[:-1]), "but panel.tsv has"),
    "panel in disorder": (lines("panel.tsv", lambda found: [found[0], *found[:0:-1]]), "rank does not count up"),
    "panel with a column more": (with_column("panel.tsv", "more", lambda _: "1"), "it has other columns than a panel ('more')"),
    "panel with a short row": (lines("panel.tsv", lambda found: [*found[:-1], "GENE"]), "has 1 columns, the header 5"),
    "panel with words": (cells("panel.tsv", 1, mean="many"), "mean is not numbers"),
    "panel is no text": (raw("panel.tsv", lambda content: content + b"\xff"), "not a text file in UTF-8 (line"),
    "panel with NUL": (cells("panel.tsv", 2, gene="A\0B"), "zero bytes"),
    "labels without a column": (lines("labels.tsv", lambda f: [f[0].replace("rare", "often"), *f[1:]]), "missing columns: rare"),
    "labels with one twice": (lines("labels.tsv", lambda found: [*found[:2], found[1], *found[3:]]), "is there twice"),
    "labels with an empty name": (cells("labels.tsv", 2, label=""), "label '' is empty"),
    "labels with a control character": (cells("labels.tsv", 2, label="B\x1b[31mcell"), "not as training writes labels"),
    "labels with a blank at the end": (cells("labels.tsv", 2, label="B "), "label 'B ' is empty, longer than"),
    "labels without end": (cells("labels.tsv", 2, label="B" * 100_000), "is empty, longer than 1,000 letters"),
    "labels with too many that train": (cells("labels.tsv", 2, n_train="999999"), "has more cells that train or validate than"),
    "labels with other counts": (cells("labels.tsv", 2, n_cells="999999"), ", but labels.tsv counts"),
    "labels with words": (cells("labels.tsv", 1, n_cells="many"), "n_cells is not whole numbers"),
    "labels below 0": (cells("labels.tsv", 1, n_train="-3"), "n_train is not whole numbers"),
    "labels with fractions": (cells("labels.tsv", 1, n_cells="1.5"), "n_cells is not whole numbers"),
    "labels rarely": (cells("labels.tsv", 1, rare="perhaps"), "rare is not true or false"),
    "labels with a term that is none": (with_column("labels.tsv", "ontology_term_id", str), "is not the id of a term"),
    "labels without one": (lines("labels.tsv", lambda found: found[:-1]), "but labels.tsv has 8 rows"),
    "labels are none": (lines("labels.tsv", lambda found: found[:1]), "there is no label"),
    "labels with one level": (with_column("labels.tsv", "level:a", str), "the last level, level:a, is not the labels"),
    "labels with a column twice": (with_column("labels.tsv", "rare", lambda _: "true"), "is there twice"),
    "history without epochs": (lines("history.tsv", lambda f: [f[0].replace("epoch", "time"), *f[1:]]), "missing columns: epoch"),
    "history with words": (cells("history.tsv", 1, train_loss="low"), "train_loss is not numbers"),
    "history of an infinite loss": (cells("history.tsv", 1, train_loss="1e400"), "train_loss is infinite"),
    "panel with an odd id": (cells("panel.tsv", 2, source_id="A\x1b[31m"), "a source_id is too long or not plain text"),
    "history in circles": (lines("history.tsv", lambda found: [*found, found[-1]]), "epoch does not count up"),
    "history is no text": (raw("history.tsv", b"\x89PNG\xff"), "not a text file in UTF-8 (line 1)"),
    "card is no text": (raw("model_card.md", b"\xff"), "model_card.md is not a text file in UTF-8"),
    "tensors are none": (raw("model.safetensors", b""), "model.safetensors: it cannot be read"),
    "tensors are cut off": (raw("model.safetensors", lambda content: content[:-8]), "it cannot be read"),
    "tensors with a long header": (raw("model.safetensors", lambda c: b"\xff" * 8 + c[8:]), "it cannot be read"),
    "tensors with a broken header": (raw("model.safetensors", lambda c: c[:8] + b"[" + c[9:]), "it cannot be read"),
    "tensors by pickle": (raw("model.safetensors", b"\x80\x04cos\nsystem\n."), "it cannot be read"),
    "a tensor beyond the file": (header(lambda h: h["slots"].update(data_offsets=[0, 10**12])), "it cannot be read"),
    "a tensor of another type": (header(lambda h: h["level"].update(dtype="I32")), "level is 51 of I32, not 51 of F32"),
    "a tensor of no type": (header(lambda h: h["level"].update(dtype="X9")), "it cannot be read"),
    "a tensor of float64": (tensor("head.bias", lambda v: v.astype(np.float64)), "head.bias is 9 of F64, not 9 of F32"),
    "a tensor of float16": (tensor("head.bias", lambda v: v.astype(np.float16)), "head.bias is 9 of F16, not 9 of F32"),
    "a tensor is missing": (tensor("slots", lambda _: None), "1 tensors are missing, such as slots"),
    "a tensor too many": (lambda f: edit_tensors(f, lambda t: t.update(extra=np.zeros(1))), "such as extra"),
    "a tensor transposed": (tensor("gene.weight", lambda v: v.T), "gene.weight is 128 x 764 of F32, not 764 x 128 of F32"),
    "a tensor flat": (tensor("linear.weight", np.ravel), "linear.weight is"),
    "NaN in the genes": (filled("gene.weight", NAN), "gene.weight holds NaN"),
    "infinite head": (filled("head.bias", INF), "head.bias holds NaN, infinite"),
    "huge weights": (tensor("layers.1.write.value", lambda v: v * 1e30), "layers.1.write.value holds"),
    "NaN in the linear path": (filled("linear.weight", NAN), "linear.weight holds NaN"),
    "no spread": (filled("linear.spread", 0), "linear.spread is not above 0"),
    "shares below 0": (filled("linear.share", -0.01), "linear.share is not shares"),
    "shares beyond 1": (tensor("linear.share", lambda v: v * 3), "linear.share is not shares"),
    "NaN in the reference": (filled("reference.embedding", NAN), "reference.embedding holds NaN"),
    "NaN in the map": (filled("reference.map", NAN), "reference.map holds NaN"),
    "a map of other cells": (tensor("reference.map", lambda v: v[:-1]), "reference.map is"),
    "a map with three directions": (tensor("reference.map", lambda v: np.c_[v, v[:, :1]]), "reference.map is"),
    "NaN in the components": (filled("reference.components", NAN), "reference.components holds NaN"),
    "no scale": (tensor("reference.scale", lambda v: 0 * v), "reference.scale is not different from 0 anywhere"),
    "NaN in the states": (filled("reference.states", NAN), "reference.states holds NaN"),
    "states below 0": (filled("reference.states", -1), "reference.states is not 0 or more"),
    "a state of no label": (filled("reference.state_label", 99), "numbers of labels that there are not (0 to 8)"),
    "more states than labels of states": (tensor("reference.state_label", lambda v: v[:-1]), "reference.state_label is"),
    "a spread of 0": (filled("reference.spread", 0), "reference.spread is not above 0"),
    "means below 0": (filled("reference.means", -1), "reference.means is not 0 or more"),
    "a label that there is not": (filled("reference.label", 99), "numbers of labels that there are not (0 to 8)"),
    "a label below 0": (filled("reference.label", -1), "numbers of labels that there are not"),
    "labels with a fraction": (tensor("reference.label", lambda v: v.astype(np.float32)), "reference.label is"),
    "no cell of the reference": (tensor("reference.embedding", lambda v: v[:0]), "reference.embedding is 0 x 128"),
    "more cells than labels": (tensor("reference.label", lambda v: v[:-1]), "reference.label is"),
    "more directions than components": (
        tensor("reference.scale", lambda _: np.eye(40, dtype=np.float32)), "more than reference.components has"
    ),
}  # fmt: skip
#: What changes nothing that a mapping needs, or no more than another training would.
HARMLESS: dict[str, Damage] = {
    "nothing": lambda _: None,
    "an unknown field": config(remark={"by": "hand"}),
    "another seed": config(seed=2**32 - 1),
    "training of its own": config(training={"note": ["a", {"b": None}]}),
    "a low temperature": calibration(temperature=0.01),
    "conformal scores of 0": calibration(conformal_scores=[0.0] * 60),
    "large weights": tensor("layers.0.feedforward.outer.weight", lambda v: v * 1e4),
    "all weights large": lambda folder: edit_tensors(
        folder, lambda t: [v.__imul__(2e2) for n, v in t.items() if "layers" in n or n == "gene.weight"]
    ),
    "weights of 0": tensor("gene.weight", lambda v: v * 0),
    "a history of none": lines("history.tsv", lambda found: found[:1]),
    "a loss that was no number": cells("history.tsv", 1, train_loss=""),
    "far components": tensor("reference.components", lambda v: v * 1e6),
    "a picture that is none": raw("history.png", b""),
    "odd labels": cells("labels.tsv", 1, label="=1+1,</script>"),
}


@pytest.fixture(scope="module")
def few_cells(aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("few") / "few.aligned.h5ad"
    ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")[:12].copy().write_h5ad(path)
    return path


def damaged(model: Path, folder: Path, damage: Damage) -> Path:
    """A copy of the model with the damage, signed."""
    shutil.copytree(model, folder)
    damage(folder)
    sign(folder)
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_model_is_refused_in_sentences(model: Path, tmp_path: Path, name: str):
    damage, words = REFUSED[name]
    folder = damaged(model, tmp_path / "model", damage)
    with pytest.raises(InputError) as error:
        trained_model.load(folder)
    problems = error.value.problems
    assert any(words in problem for problem in problems), problems
    for problem in problems:
        assert str(folder) in problem
        assert "\n" not in problem
        assert len(problem) < 1000 + len(str(folder))
        assert "copy" in problem or "Give the panel.tsv" in problem or "is not known" in problem


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_accepted_maps_to_finite_results(model: Path, few_cells: Path, tmp_path: Path, name: str):
    trained = trained_model.load(damaged(model, tmp_path / "model", HARMLESS[name]))
    output = tmp_path / "out.h5ad"
    runtime = configure("cpu", "fp32", 1, seed=0)
    map_query(few_cells, trained, MappingSettings(), runtime, output=output, labels=tmp_path / "labels.csv")
    found = ad.read_h5ad(output)
    for column in ("confidence", "novelty", "novelty_p", "linear_share"):
        assert np.isfinite(found.obs[f"cellmemory_{column}"]).all(), column
    assert found.obs["cellmemory_confidence"].between(1 / 9, 1.000001).all()
    assert found.obs["cellmemory_label"].notna().all()
    assert np.isfinite(found.layers["attention"].data).all()
    assert np.isfinite(found.obsm["X_umap"]).all()


def test_all_that_is_wrong_is_said_at_once(model: Path, tmp_path: Path):
    damage = both(calibration(temperature=0, cls_weight=0), cells("labels.tsv", 1, rare="?"), cells("panel.tsv", 2, gene=""))
    with pytest.raises(InputError) as error:
        trained_model.load(damaged(model, tmp_path / "model", damage))
    assert [problem.split(": ")[0].rsplit("/")[-1] for problem in error.value.problems] == [
        "panel.tsv",
        "labels.tsv",
        "calibration.json",
        "calibration.json",
    ]


@pytest.mark.parametrize("variant", ["light", "standard"])
def test_shapes_are_those_of_the_network(variant: str):
    sizes = ModelConfig(
        20, 3, variant, n_bins=7, d_model=8, d_feedforward=12, d_key=3, d_value=5, n_heads=2, n_slots=4, n_layers=3
    )
    state = CellMemory(sizes).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == network_shapes(sizes)
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_a_model_is_checked_without_torch(model: Path):
    """Checks of inputs, evaluation and reports read models; torch would cost each of them seconds."""
    code = f"import sys; from cellmemory.reference import trained_model; trained_model.load({str(model)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "bin", capture_output=True, text=True, check=True)
    assert "cellmemory.reference.model_checks" in done.stdout.split()
    assert "torch" not in done.stdout.split()


@pytest.mark.parametrize("name", ["temperature of 0", "NaN in the genes", "a million layers"])
def test_scripts_refuse_it_in_sentences(model: Path, few_cells: Path, tmp_path: Path, name: str):
    damage, words = REFUSED[name]
    folder = damaged(model, tmp_path / "model", damage)
    outputs = ("--output", tmp_path / "out.h5ad", "--labels", tmp_path / "labels.csv")
    (sentence,) = refused("map_query", "--query", few_cells, "--model", folder, *outputs)
    assert words in sentence
    assert not (tmp_path / "out.h5ad").exists()
