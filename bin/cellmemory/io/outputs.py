"""Where a step may write: an output never replaces what the step did not write itself, and an input is never an output.

A file or folder that is there already is replaced only if it is empty or of the kind that the step writes. Kinds are recognised
by what is in them, so that a copied or renamed result is still known.
"""

import csv
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from importlib.resources.abc import Traversable
from itertools import combinations
from pathlib import Path

from cellmemory.io.signature import is_signed

#: Room for what `atomic.replacing` puts before a name while a file is written.
PREFIX_LENGTH = 24
#: What the first line of each table begins with.
TABLES = {
    "panel": "gene\trank\tmean\tdispersion\tsource_id",
    "query_genes": "sample\tgene\n",
    "tags": "group\trank\tgene\tscore",
    "slot_tags": "group\tslot\trank\tgene",
    "contrasts": "contrast\tgroup\tdirection\trank",
    "faithfulness": "group\tpart\tcurve\tranking",
    "enrichment": "level\tcontrast\tgroup\tslot\tmethod",
    "stability": "first\tsecond\tslot\tmatched_slot",
    "labels": "cell,cellmemory_label,cellmemory_confidence,",
    "consensus": "cell,cellmemory_label_",
}
#: Keys that each JSON object has.
OBJECTS = {
    "inputs": {"reference", "model", "queries", "gmt"},
    "alignment": {"sample", "coverage", "missing_genes"},
    "metrics": {"sample", "truth_key", "cells_with_truth", "per_class", "confusion"},
    "agreement": {"sample", "references", "unanimous"},
    "checksums": {"inputs", "results", "model"},
    "multiqc": {"id", "section_name", "plot_type"},
}
#: The step that each h5ad names in uns['cellmemory']; each is signed, too.
H5ADS = {"reference": "preprocess_reference", "aligned": "preprocess_query", "mapped": "map_query"}
#: A model is written as a folder, or, where its path ends so, as an archive of the same files.
ARCHIVE_SUFFIX = ".zip"
#: The kind of a model's archive by that of its folder.
ARCHIVES = {"model": "model archive", "adapted": "adapted archive", "copied": "copied archive"}
#: Folders that keep what is in them.
ADDED_TO = ("multiqc_folder", "checkpoints")
#: The files of a trained model beside config.json, which holds their checksums.
MODEL_FILES = ("model.safetensors", "panel.tsv", "labels.tsv", "calibration.json", "history.tsv", "history.png", "model_card.md")
#: What figures say of who drew them, and how that stands in an SVG and in a PNG.
DRAWN_BY = "nf-cellmemory"
DRAWN = {".svg": f"<dc:title>{DRAWN_BY}</dc:title>".encode(), ".png": f"Software\0{DRAWN_BY}".encode()}
#: Bytes at the head of a file that are looked at.
HEAD = 8192


def output_problems(outputs: Mapping[str, tuple[Path, str]], inputs: Mapping[str, list[Path]]) -> list[str]:
    """A sentence for each output that would destroy something, or that cannot be written.

    outputs: path and kind by option; kinds are those of TABLES, OBJECTS and H5ADS, and `profiles`, `page`, `figures`,
    `model`, `adapted`, `copied` (a model of either kind), and of folders that things are added to `multiqc_folder` and
    `checkpoints`. inputs: paths by option.
    """
    problems = []
    outputs = {option: (path, _kind_at(path, kind)) for option, (path, kind) in outputs.items()}
    for option, (path, kind) in outputs.items():
        if not path.name:
            problems.append(f"--{option} {path}: this is a place, not a name. Give the name of the {_noun(kind)} to write.")
            continue
        # A path that is an input is not looked into: one sentence about it is enough.
        problems += _input_problems(option, path, kind, inputs) or _place_problems(f"--{option} {path}", path, kind)
    for (one, (first, first_kind)), (other, (second, second_kind)) in combinations(outputs.items(), 2):
        if _same(first, second):
            problems.append(f"--{one} and --{other} are both {second}. Give each a name of its own.")
        elif any(
            kind not in ADDED_TO and _within(path, folder)
            for kind, path, folder in ((first_kind, second, first), (second_kind, first, second))
        ):
            problems.append(f"--{one} {first} and --{other} {second}: one lies in the other, which is replaced. Separate them.")
    return problems


def is_archive_name(path: Path) -> bool:
    """Whether a model that is written to a path becomes an archive, and not a folder."""
    return path.suffix.lower() == ARCHIVE_SUFFIX


def _kind_at(path: Path, kind: str) -> str:
    return ARCHIVES.get(kind, kind) if is_archive_name(path) else kind


def is_folder(kind: str) -> bool:
    """Whether outputs of this kind are folders."""
    return kind in FOLDERS or kind in ADDED_TO


def _input_problems(option: str, path: Path, kind: str, inputs: Mapping[str, list[Path]]) -> list[str]:
    problems = []
    for name, paths in inputs.items():
        for given in paths:
            if _same(path, given):
                problems.append(f"--{option} {path} is also the input --{name}. Give another name: an input is never replaced.")
            elif given.is_dir() and _within(path, given):
                problems.append(f"--{option} {path} lies in the input folder --{name} {given}. Write to another folder.")
            elif kind in FOLDERS and _within(given, path):
                problems.append(f"--{option} {path} holds the input --{name} {given}. Write to another folder.")
    return problems


def _place_problems(where: str, path: Path, kind: str) -> list[str]:
    """What keeps a path from being written: what is there now, or where it is."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return _parent_problems(where, path)
    except OSError as error:
        return [f"{where}: this path cannot be used ({os.strerror(error.errno or 0)}). Give another one."]
    if stat.S_ISLNK(found.st_mode):
        return [f"{where} is a link to {os.readlink(path)}. Give the path of a plain {_noun(kind)}, or remove the link."]
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return [f"{where} is a device or a pipe, and would be replaced by a {_noun(kind)}. Give another path."]
    if stat.S_ISDIR(found.st_mode) != is_folder(kind):
        there = "folder" if stat.S_ISDIR(found.st_mode) else "file"
        return [f"{where} is a {there}, but a {_noun(kind)} is written. Give another path."]
    if not replaceable(path, kind):
        return [f"{where} exists, and this step did not write it. Give another path, or remove it first."]
    return _parent_problems(where, path)


def _noun(kind: str) -> str:
    return "folder" if is_folder(kind) else "file"


def _parent_problems(where: str, path: Path) -> list[str]:
    parent = next((folder for folder in path.absolute().parents if folder.exists() or folder.is_symlink()), path)
    if not parent.exists():
        return [f"{where}: {parent} is a link to nothing. Give another path, or mend the link."]
    if not parent.is_dir():
        return [f"{where}: {parent} is a file, but the output is to lie in it. Give another path."]
    if not os.access(parent, os.W_OK | os.X_OK):
        return [f"{where}: the folder {parent} cannot be written to. Give another path, or change its permissions."]
    longest = os.pathconf(parent, "PC_NAME_MAX") - PREFIX_LENGTH
    if any(len(os.fsencode(name)) > longest for name in path.absolute().relative_to(parent).parts):
        return [f"{where}: a name in this path is longer than {longest} bytes. Give a shorter one."]
    return []


def replaceable(path: Path, kind: str) -> bool:
    """Whether a file or folder is empty or of a kind, so that nothing of somebody else is lost with it."""
    try:
        if path.is_dir():
            return kind in ADDED_TO or not any(path.iterdir()) or FOLDERS[kind](path)
        return path.stat().st_size == 0 or _is_of(path, kind)
    except Exception:  # whatever a reader stumbles on in it, this step did not write it
        return False


def _is_of(path: Path, kind: str) -> bool:
    if kind in H5ADS or kind == "profiles":
        return _is_h5ad(path, kind)
    if kind in ARCHIVES.values():
        return zipfile.is_zipfile(path) and _MODELS[kind.removesuffix(" archive")](zipfile.Path(path))
    if kind in OBJECTS:
        found = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(found, dict) and found.keys() >= OBJECTS[kind]
    with path.open("rb") as file:
        head = file.read(HEAD)
    if kind == "page":
        return b'<meta name="generator" content="nf-cellmemory' in head
    text = head.decode("utf-8", "replace")
    if kind in ("labels", "consensus"):
        # By the rules of CSV: a name with a line break, somewhere in the table, puts the whole header into quotes.
        header = next(csv.reader(io.StringIO(text, newline="")))
        ours = TABLES[kind].split(",")[1].partition("_")[0]  # a column of another name was added by somebody
        return ",".join(header).startswith(TABLES[kind]) and all(name.startswith(ours) for name in header[1:])
    return text.startswith(TABLES[kind])


def _is_h5ad(path: Path, kind: str) -> bool:
    import h5py

    with h5py.File(path, "r") as file:

        def holds(name: str) -> bool:
            """In the file itself: what a link leads to may be a pipe, which would be waited for."""
            parts = name.split("/")
            places = ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
            return all(isinstance(file.get(place, getlink=True), h5py.HardLink) for place in places)

        if not is_signed(file):
            return False
        if kind == "profiles":
            return all(map(holds, ("layers/ranking", "layers/read", "obs/level")))
        return holds("uns/cellmemory/step") and str(file["uns/cellmemory/step"].asstr()[()]) == H5ADS[kind]


def _is_model(files: Traversable, adapted: tuple[bool, ...]) -> bool:
    config = json.loads((files / "config.json").read_text(encoding="utf-8"))
    names = {file.name for file in files.iterdir()}
    is_ours = {"format", "digest", "label_key"} <= config.keys() and set(config["files"]) == set(MODEL_FILES)
    return is_ours and names <= {"config.json", *MODEL_FILES} and ("adapted_to" in config) in adapted


def _are_figures(folder: Path) -> bool:
    """Whether all in a folder are figures that say who drew them."""
    return all(_is_figure(path) for path in folder.iterdir())


def _is_figure(path: Path) -> bool:
    if path.suffix not in DRAWN or not path.is_file():
        return False
    with path.open("rb") as file:
        return DRAWN[path.suffix] in file.read(HEAD)


def is_own_folder(path: Path) -> bool:
    """Whether a folder is empty, or of a kind that is replaced as a whole."""
    return any(replaceable(path, kind) for kind in FOLDERS)


_MODELS: dict[str, Callable[[Traversable], bool]] = {
    "model": lambda files: _is_model(files, (False,)),
    "adapted": lambda files: _is_model(files, (True,)),
    "copied": lambda files: _is_model(files, (False, True)),
}
#: Folders that are replaced as a whole, and how each kind is recognised.
FOLDERS: dict[str, Callable[[Path], bool]] = {**_MODELS, "figures": _are_figures}


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _within(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents
