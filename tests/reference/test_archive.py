"""A trained model as one file: the same as its folder for every script, and nothing of what a hostile archive holds is used."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cellmemory.errors import InputError
from cellmemory.io.outputs import output_problems
from cellmemory.reference import trained_model
from cellmemory.reference.archive import MAX_RATIO
from tests.conftest import DATA, ROOT, refused, succeed
from tests.made.model_folders import write_placeholder

NAMES = trained_model.ALL_FILES


@pytest.fixture(scope="module")
def packed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the tests' trained model."""
    path = tmp_path_factory.mktemp("archive") / "model.zip"
    trained_model.copy(model, path)
    return path


def read(path: Path) -> dict[str, bytes]:
    """What is in an archive, by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_copy_is_the_model_byte_for_byte_and_the_same_each_time(model: Path, packed: Path, tmp_path: Path):
    succeed("copy_model", "--model", packed, "--output", tmp_path / "folder")
    succeed("copy_model", "--model", tmp_path / "folder", "--output", tmp_path / "again.ZIP")
    assert {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()} == read(packed)
    assert read(packed) == {name: (model / name).read_bytes() for name in NAMES}
    assert (tmp_path / "again.ZIP").read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("name", ["there", "there.zip"])
def test_a_copy_does_not_replace_another_model(name: str, model: Path, aligned: Path, tmp_path: Path):
    """What was trained or adapted may be the only copy; the same model again is no loss."""
    there = tmp_path / name
    succeed("adapt", "--query", aligned / "unseen_type.aligned.h5ad", "--model", model, "--output", there, "--threads", 1)
    before = trained_model.load(there).config["digest"]
    (sentence,) = refused("copy_model", "--model", model, "--output", there)
    assert f"--output {there} is another trained model than {model}. Give another path, or remove it first." in sentence
    assert trained_model.load(there).config["digest"] == before
    succeed("copy_model", "--model", model, "--output", tmp_path / f"new_{name}")
    succeed("copy_model", "--model", model, "--output", tmp_path / f"new_{name}")


def test_an_archive_is_adapted_as_its_folder_is(model: Path, packed: Path, aligned: Path, tmp_path: Path):
    """A file of any name: a workflow manager may call it dataset_1.dat. That it maps alike, tests/test_notebook.py shows."""
    archive = shutil.copy(packed, tmp_path / "dataset_1.dat")
    for name, given in (("folder.zip", model), ("archive.zip", archive)):
        succeed("adapt", "--query", aligned / "unseen_type.aligned.h5ad", "--model", given, "--output", tmp_path / name,
                "--threads", 1)  # fmt: skip
    assert (tmp_path / "folder.zip").read_bytes() == (tmp_path / "archive.zip").read_bytes()
    assert trained_model.load(tmp_path / "archive.zip").adapted_to == "unseen_type"


def test_every_script_takes_a_folder_or_a_file():
    found = [path.name for path in (ROOT / "bin").glob("*.py") if '"--model", type=_cli.FILE_OR_FOLDER' in path.read_text()]
    every = [path.name for path in (ROOT / "bin").glob("*.py") if '"--model"' in path.read_text()]
    # The path of check_inputs.py need not be there: its absence is one problem of the many. checksums.py is given a folder only
    # for the digest of what a run trained.
    assert sorted(found) == sorted(set(every) - {"check_inputs.py", "checksums.py"})
    assert len(found) == 9


def test_check_inputs_looks_into_an_archive(packed: Path, tmp_path: Path):
    (tmp_path / "sheet.csv").write_text(f"sample,h5ad\nq,{DATA / 'unseen_type.h5ad'}\n")
    outputs = ("--output", tmp_path / "inputs.json", "--query_genes", tmp_path / "genes.tsv")
    succeed("check_inputs", "--samplesheet", tmp_path / "sheet.csv", "--model", packed, *outputs)
    assert len(pd.read_csv(tmp_path / "genes.tsv", sep="\t"))


def with_members(path: Path, change: Callable[[zipfile.ZipFile, dict[str, bytes]], None], found: dict[str, bytes]) -> None:
    """Writes an archive again, with what `change` does of it."""
    with zipfile.ZipFile(path, "w") as archive:
        change(archive, found)
        for name, content in found.items():
            archive.writestr(name, content)


def outside(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    archive.writestr("../evil.txt", b"x")
    archive.writestr("/etc/evil.txt", b"x")


def link(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    member = zipfile.ZipInfo("panel.tsv")
    member.external_attr = 0o120777 << 16
    archive.writestr(member, b"/etc/passwd")
    del found["panel.tsv"]


def bomb(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    del found["model.safetensors"]
    archive.writestr("model.safetensors", bytes(200 << 20), zipfile.ZIP_DEFLATED)


def missing(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    del found["labels.tsv"]


def twice(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    archive.writestr("panel.tsv", b"x")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("panel.tsv", found.pop("panel.tsv"))


def below_a_folder(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    """As `zip -r model.zip model` writes it."""
    for name in list(found):
        archive.writestr(f"model/{name}", found.pop(name))


def packed_otherwise(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    archive.writestr("panel.tsv", found.pop("panel.tsv"), zipfile.ZIP_BZIP2)


def another_panel(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    found["panel.tsv"] = found["panel.tsv"].replace(b"\t1\t", b"\t1.0\t", 1)


def commented(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    archive.comment = b"who reads this?"


def member_commented(archive: zipfile.ZipFile, found: dict[str, bytes]) -> None:
    member = zipfile.ZipInfo("panel.tsv")
    member.comment = b"who reads this?"
    archive.writestr(member, found.pop("panel.tsv"))


HOSTILE = {
    commented: "it holds something other than its files: a comment, or bytes around them",
    member_commented: "it holds something other than its files: a comment, or bytes around them",
    outside: "it holds what a trained model does not have ('../evil.txt', '/etc/evil.txt')",
    link: "it holds a link",
    bomb: f"it would unpack to more than {MAX_RATIO} times its size",
    missing: "the trained model is incomplete, it has no labels.tsv",
    twice: "it holds a name more than once ('panel.tsv')",
    below_a_folder: "it holds what a trained model does not have ('model/config.json'",
    packed_otherwise: "it is packed in another way than zip's own",
    another_panel: "panel.tsv changed since the model was trained (checksum)",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_a_hostile_archive_is_refused_in_one_sentence(change, packed: Path, tmp_path: Path):
    hostile = tmp_path / "hostile.zip"
    with_members(hostile, change, read(packed))
    with pytest.raises(InputError) as error:
        trained_model.copy(hostile, tmp_path / "out")
    (sentence,) = error.value.problems
    assert sentence.startswith(str(hostile))
    assert HOSTILE[change] in sentence
    assert list(tmp_path.iterdir()) == [hostile]


@pytest.mark.parametrize(("before", "behind"), [(b"#!/bin/sh\n", b""), (b"", b"more"), (b"", bytes(100))])
def test_bytes_around_an_archive_are_found(before, behind, packed: Path, tmp_path: Path):
    around = tmp_path / "around.zip"
    around.write_bytes(before + packed.read_bytes() + behind)
    with pytest.raises(InputError, match="is not the archive of a trained model"):
        trained_model.copy(around, tmp_path / "out")


def test_a_script_writes_nothing_of_a_hostile_archive(packed: Path, aligned: Path, tmp_path: Path):
    hostile = tmp_path / "hostile.zip"
    with_members(hostile, outside, read(packed))
    (sentence,) = refused("map_query", "--query", aligned / "unseen_type.aligned.h5ad", "--model", hostile, "--output",
                          tmp_path / "m.h5ad", "--labels", tmp_path / "l.csv")  # fmt: skip
    assert HOSTILE[outside] in sentence
    assert list(tmp_path.iterdir()) == [hostile]


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_a_changed_byte_anywhere_is_found(tmp_path: Path):
    """A byte of the content changes a checksum, one of the archive's own lists what it says of itself; a byte that means
    nothing (of a date, a permission) leaves the model as it was."""
    history = pd.DataFrame({"epoch": [1], "loss": [1.0]})
    panel = pd.DataFrame({"gene": ["A", "B"], "rank": [1, 2], "mean": 1.0, "dispersion": 1.0, "source_id": ["", ""]})
    labels = pd.DataFrame({"label": ["T", "B"], "n_cells": 5, "n_train": 4, "n_validation": 1, "rare": False})
    write_placeholder(tmp_path / "folder", labels, panel, history)
    path = tmp_path / "small.zip"
    trained_model.copy(tmp_path / "folder", path)
    whole, content = path.read_bytes(), read(path)
    found = 0
    for place in range(len(whole)):
        path.write_bytes(flipped(whole, place))
        try:
            trained = trained_model.load(path)
        except InputError:
            found += 1
        else:
            assert {name: (trained.files / name).read_bytes() for name in NAMES} == content
    assert found > sum(map(len, content.values()))


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_broken_download_is_named(packed: Path, tmp_path: Path, share: float):
    path = tmp_path / "part.zip"
    path.write_bytes(packed.read_bytes()[: int(share * packed.stat().st_size)])
    with pytest.raises(InputError) as error:
        trained_model.load(path)
    (sentence,) = error.value.problems
    assert ("it is damaged or incomplete" if share else "it is not a zip archive") in sentence


def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path):
    (tmp_path / "table.tsv").write_text("a\tb\n")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(InputError, match=r"empty\.zip is not the archive of a trained model: it is empty"):
        trained_model.load(tmp_path / "empty.zip")
    with pytest.raises(InputError, match=r"table\.tsv is not the archive of a trained model: it is not a zip archive"):
        trained_model.load(tmp_path / "table.tsv")
    with pytest.raises(InputError, match=r"nowhere: there is no such file or folder"):
        trained_model.load(tmp_path / "nowhere")


def test_all_that_is_wrong_with_an_archive_is_said_at_once(packed: Path, tmp_path: Path):
    path = Path(shutil.copy(packed, tmp_path / "odd.zip"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "mine")
        archive.comment = b"mine"
    with pytest.raises(InputError) as error:
        trained_model.load(path)
    (sentence,) = error.value.problems
    assert "does not have ('notes.txt')" in sentence
    assert "a comment, or bytes around them" in sentence


def test_an_archive_replaces_an_archive_of_a_model_alone(model: Path, packed: Path, tmp_path: Path):
    own = shutil.copy(packed, tmp_path / "own.zip")
    assert output_problems({"output": (own, "model")}, {}) == []
    (adapted,) = output_problems({"output": (own, "adapted")}, {})
    assert "exists, and this step did not write it" in adapted
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.png", b"mine")
    (photos,) = output_problems({"output": (tmp_path / "photos.zip", "copied")}, {})
    assert "exists, and this step did not write it" in photos
    (folder,) = output_problems({"output": (shutil.copytree(model, tmp_path / "folder.zip"), "model")}, {})
    assert "is a folder, but a file is written" in folder
    (itself,) = refused("copy_model", "--model", own, "--output", own)
    assert "is also the input --model" in itself
