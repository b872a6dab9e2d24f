"""Outputs never destroy: not an input, not each other, not what another wrote; each is refused before any work."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
from anndata.io import write_elem

from cellmemory.columns import CELL_COLUMNS
from cellmemory.errors import InputError
from cellmemory.io.atomic import replacing
from cellmemory.io.outputs import PREFIX_LENGTH, checkpoints_beside, output_problems, replaceable
from cellmemory.io.signature import sign
from tests.conftest import DATA, refused, script, succeed


def alignment(folder: Path, output: object, *more: object, query: Path = DATA / "unseen_type.h5ad") -> list[object]:
    """A preprocessing of a query whose aligned cells go to `output`."""
    return ["preprocess_query", "--query", query, "--panel", folder / "panel.tsv", "--output", output,
            *(more or ("--alignment", folder / "alignment.json"))]  # fmt: skip


@pytest.fixture
def own(aligned: Path, tmp_path: Path) -> Path:
    """A folder with the panel and a copy of a query."""
    shutil.copy(aligned / "panel.tsv", tmp_path)
    shutil.copy(DATA / "unseen_type.h5ad", tmp_path / "query.h5ad")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their names."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_output_that_is_an_input_is_refused(own):
    before = contents(own)
    (sentence,) = refused(*alignment(own, own / "query.h5ad", query=own / "query.h5ad"))
    assert sentence.startswith(f"--output {own / 'query.h5ad'} is also the input --query")
    (own / "link.tsv").symlink_to(own / "panel.tsv")
    (sentence,) = refused(*alignment(own, own / "a.h5ad", "--alignment", own / "link.tsv"))
    assert "is also the input --panel" in sentence
    (own / "link.tsv").unlink()
    assert contents(own) == before


def test_what_another_wrote_is_not_replaced(own):
    shutil.copy(own / "query.h5ad", own / "precious.h5ad")
    (own / "notes.json").write_text('{"mine": true}')
    before = contents(own)
    found = refused(*alignment(own, own / "precious.h5ad", "--alignment", own / "notes.json"))
    assert [sentence.split(" exists, and this step did not write it")[0] for sentence in found] == [
        f"--output {own / 'precious.h5ad'}",
        f"--alignment {own / 'notes.json'}",
    ]
    assert contents(own) == before


def test_a_folder_with_other_things_in_it_is_not_replaced(aligned, own):
    """As `train.py --output out` did, where all other results were."""
    before = contents(own)
    arguments = ("--reference", aligned / "reference.h5ad", "--panel", aligned / "panel.tsv", "--label_key", "cell_type")
    (sentence,) = refused("train", *arguments, "--output", own)
    assert f"--output {own} exists, and this step did not write it" in sentence
    assert contents(own) == before
    (sentence,) = refused("train", *arguments, "--output", own / "query.h5ad")
    assert "is a file, but a folder is written" in sentence
    assert contents(own) == before


def test_the_default_folder_of_checkpoints_is_checked_before_work(aligned, own):
    """Training ran to its end, wrote the model, and failed when it was to remove the checkpoint."""
    (own / "model.checkpoints").write_text("mine")
    before = contents(own)
    arguments = ("--reference", aligned / "reference.h5ad", "--panel", aligned / "panel.tsv", "--label_key", "cell_type")
    (sentence,) = refused("train", *arguments, "--output", own / "model")
    assert sentence.startswith(f"--checkpoint {own / 'model.checkpoints'} is a file, but a folder is written.")
    assert contents(own) == before


def test_a_model_may_have_the_longest_name_and_its_checkpoints_one_of_theirs(tmp_path):
    longest = tmp_path / ("n" * (os.pathconf(tmp_path, "PC_NAME_MAX") - PREFIX_LENGTH))
    outputs = {"output": (longest, "model"), "checkpoint": (checkpoints_beside(longest), "checkpoints")}
    assert output_problems(outputs, {}) == []
    outputs = {"output": (Path("/"), "model"), "checkpoint": (checkpoints_beside(Path("/")), "checkpoints")}
    assert not any("lies in the other" in sentence for sentence in output_problems(outputs, {})), "one sentence is enough"


def test_folders_of_a_report_do_not_replace_its_page(model, aligned, tmp_path):
    query = aligned / "unseen_type.aligned.h5ad"
    mapped = tmp_path / "m.h5ad"
    succeed("map_query", "--query", query, "--model", model, "--output", mapped, "--labels", tmp_path / "l.csv")
    command = ("report", "--model", model, "--mapped", mapped)
    pages = tmp_path / "pages"
    in_it, both = refused(*command, "--output", pages / "p.html", "--mqc_dir", pages, "--figures_dir", pages)
    assert "one lies in the other" in in_it
    assert both == f"--mqc_dir and --figures_dir are both {pages}. Give each a name of its own."
    (sentence,) = refused(*command, "--output", pages / "p.html", "--mqc_dir", tmp_path / "mqc", "--figures_dir", pages)
    assert "one lies in the other" in sentence
    assert not pages.exists()
    for _ in range(2):  # its own page, figures and content for MultiQC are replaced
        succeed(*command, "--output", pages / "p.html", "--mqc_dir", pages, "--figures_dir", pages / "figures")
    (pages / "figures" / "photo.png").write_bytes(b"\x89PNG of mine")
    (sentence,) = refused(*command, "--output", pages / "p.html", "--mqc_dir", pages, "--figures_dir", pages / "figures")
    assert "exists, and this step did not write it" in sentence
    assert (pages / "figures" / "photo.png").exists()
    # What is in the way of a file for MultiQC is said before the page is written.
    (tmp_path / "mqc").mkdir()
    (tmp_path / "mqc" / "unseen_type_labels_mqc.json").write_text("{}")
    own = refused(*command, "--output", tmp_path / "mqc" / "unseen_type_summary_mqc.json", "--mqc_dir", tmp_path / "mqc")
    assert ["is the name of a file for MultiQC" in own[0], "this step did not write it" in own[1]] == [True, True]
    assert [path.name for path in (tmp_path / "mqc").iterdir()] == ["unseen_type_labels_mqc.json"]
    # A mapped query is replaced by a mapping alone,
    succeed("map_query", "--query", query, "--model", model, "--output", mapped, "--labels", tmp_path / "l.csv")
    (sentence,) = refused(*alignment(aligned, mapped, "--alignment", tmp_path / "a.json"))
    assert "exists, and this step did not write it" in sentence
    # and not at all once somebody worked on with it.
    clustered = ad.read_h5ad(mapped)
    clustered.obs["leiden"] = "0"
    clustered.write_h5ad(tmp_path / "written_again.h5ad")
    with h5py.File(mapped, "r+") as file:
        write_elem(file, "obsm/X_mine", np.zeros((clustered.n_obs, 2)))
    for changed in (mapped, tmp_path / "written_again.h5ad"):
        assert ad.read_h5ad(changed).uns["cellmemory"]["step"] == "map_query"
        (sentence,) = refused("map_query", "--query", query, "--model", model, "--output", changed)
        assert "exists, and this step did not write it" in sentence


CELL_HEADER = ",".join(["cell", *CELL_COLUMNS])


@pytest.mark.parametrize(
    ("header", "ours"),
    [
        (CELL_HEADER, True),
        (f'"{CELL_HEADER}"'.replace(",", '","'), True),
        (f"{CELL_HEADER},cellmemory_level_class,cellmemory_level_type,cellmemory_answer,cellmemory_answer_level", True),
        (f"{CELL_HEADER},my_note", False),
        (f"{CELL_HEADER},cellmemory_of_a_later_version", True),
    ],
)
def test_a_table_of_labels_is_known_by_its_whole_header(header, ours, tmp_path):
    (tmp_path / "l.csv").write_text(f"{header}\n1,2,3,4\n")
    assert replaceable(tmp_path / "l.csv", "labels") == ours


def own_looking(folder: Path) -> dict[str, tuple[Path, str]]:
    """Things of others that look like ours, and what would replace them."""
    (folder / "thesis").mkdir()
    (folder / "thesis" / "config.json").write_text('{"files": ["thesis.txt"], "format": 5, "digest": "", "label_key": ""}')
    (folder / "thesis" / "thesis.txt").write_text("mine")
    (folder / "figures").mkdir()
    (folder / "figures" / "mine.svg").write_text("<svg><!-- made after nf-cellmemory --></svg>")
    (folder / "deep.json").write_text("[" * 200_000)
    (folder / "labels.csv").write_text("cell,cellmemory_label_checked_by_me\n")
    with zipfile.ZipFile(folder / "deep.zip", "w") as archive:
        archive.writestr("config.json", "[" * 200_000)
    (folder / "half.zip").write_bytes((folder / "deep.zip").read_bytes()[:40] + (folder / "deep.zip").read_bytes()[60:])
    with h5py.File(folder / "odd.h5ad", "w") as file:
        file.create_group("uns/cellmemory/step")
    return {
        "thesis": (folder / "thesis", "model"),
        "figures": (folder / "figures", "figures"),
        "json": (folder / "deep.json", "alignment"),
        "labels": (folder / "labels.csv", "labels"),
        "deep": (folder / "deep.zip", "model"),
        "half": (folder / "half.zip", "copied"),
        "h5ad": (folder / "odd.h5ad", "mapped"),
    }


def test_what_only_looks_like_ours_is_not_replaced(tmp_path):
    outputs = own_looking(tmp_path)
    found = output_problems(outputs, {})
    assert [sentence.split(" exists, and this step")[0] for sentence in found] == [f"--{o} {p}" for o, (p, _) in outputs.items()]


def test_an_output_has_a_name_and_a_place_of_its_own(tmp_path):
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    found = output_problems(
        {
            "dot": (Path("."), "model"),
            "file": (tmp_path / "a", "mapped"),
            "below": (tmp_path / "a" / "b.csv", "labels"),
            "link": (tmp_path / "nowhere" / "x.json", "metrics"),
        },
        {},
    )
    assert any("--dot .: this is a place, not a name" in sentence for sentence in found)
    assert any("one lies in the other" in sentence for sentence in found)
    assert any("is a link to nothing" in sentence for sentence in found)


def test_links_devices_and_places_that_cannot_be_written(own):
    (own / "target.h5ad").write_bytes(b"mine")
    (own / "link.h5ad").symlink_to(own / "target.h5ad")
    (own / "sub").mkdir()
    found = output_problems(
        {
            "link": (own / "link.h5ad", "aligned"),
            "device": (Path("/dev/null"), "alignment"),
            "folder": (own / "sub", "tags"),
            "below": (own / "panel.tsv" / "x.json", "metrics"),
            "name": (own / ("n" * 250), "metrics"),
        },
        {},
    )
    ends = ["is a link to", "is a device or a pipe", "is a folder, but a file is written", "is a file, but the output is to lie"]
    assert len(found) == 5
    for sentence, end in zip(found, [*ends, "is longer than"], strict=True):
        assert end in sentence
    done = script(*alignment(own, "/dev/null"))
    assert done.returncode == 1
    assert "is a device or a pipe" in done.stderr
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    (sentence,) = output_problems({"output": (tmp_path / "x.json", "metrics")}, {})
    assert "cannot be written to" in sentence


def test_empty_files_and_folders_may_be_replaced(tmp_path):
    """Galaxy makes the files of its outputs beforehand."""
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    assert output_problems({"a": (tmp_path / "empty", "tags"), "b": (tmp_path / "folder", "model")}, {}) == []


def test_outputs_in_input_folders_and_inputs_in_outputs(model, tmp_path):
    sheet = tmp_path / "out" / "sheet.csv"
    sheet.parent.mkdir()
    sheet.write_text("sample,h5ad\n")
    (lies,) = output_problems({"labels": (model / "labels.csv", "labels")}, {"model": [model]})
    assert "lies in the input folder" in lies
    (holds,) = output_problems({"output": (sheet.parent, "model")}, {"samplesheet": [sheet]})
    assert "holds the input --samplesheet" in holds


def test_models_are_told_from_adapted_ones(model, tmp_path):
    assert replaceable(model, "model")
    assert not replaceable(model, "adapted")
    copy = Path(shutil.copytree(model, tmp_path / "model"))
    (copy / "thesis.docx").write_text("two years")
    assert not replaceable(copy, "model")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config["files"]))
    assert not replaceable(copy, "model")


@pytest.mark.parametrize("content", ["", "a file"])
def test_the_library_itself_replaces_no_foreign_folder(content, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept")
    with pytest.raises(InputError, match="with other things in it"), replacing(folder) as partial:
        partial.write_text(content) if content else partial.mkdir()
    assert contents(tmp_path) == {"folder/kept.txt": b"kept"}


@pytest.mark.parametrize("system_swaps", [True, False])
def test_a_folder_is_replaced_in_one_move(system_swaps, model, tmp_path, monkeypatch):
    """The old one is whole until the new one is there, and gone after."""
    if not system_swaps:
        monkeypatch.setattr("cellmemory.io.atomic.ctypes.CDLL", lambda *_args, **_options: object())
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    with replacing(folder) as partial:
        shutil.copytree(model, partial)
        (partial / "model_card.md").write_text("new")
        assert (folder / "model_card.md").read_text() != "new"
    assert (folder / "model_card.md").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("place", ["uns", "uns/cellmemory", "uns/cellmemory/step"])
def test_an_output_is_not_looked_for_behind_a_link(place: str, tmp_path: Path):
    """Whatever is there is somebody else's, and a pipe would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(tmp_path / "m.h5ad", "w") as file:
        file[place] = h5py.ExternalLink("pipe", "/x")
        sign(file)
    assert not replaceable(tmp_path / "m.h5ad", "mapped")
