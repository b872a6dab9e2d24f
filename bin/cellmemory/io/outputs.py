"""Where a step may write: an output never replaces what the step did not write itself, and an input is never an output.

A file or folder that is there already is replaced only if it is empty or of the kind that the step writes. Kinds are recognised
by what is in them, so that a copied or renamed result is still known.
"""

import csv
import json
import os
import re
import stat
import zipfile
from collections.abc import Callable, Mapping
from importlib.resources.abc import Traversable
from itertools import combinations
from pathlib import Path

from cellmemory.io.signature import DIGEST, is_signed, is_signed_object, sha256

#: Room for what `atomic.replacing` puts before a name while a file is written.
PREFIX_LENGTH = 24
#: What the header of each table of tab-separated text begins with, and its number of columns: one more is somebody's own.
TABLES = {
    "panel": ("gene\trank\tmean\tdispersion\tsource_id", 5),
    "query_genes": ("sample\tgene", 2),
    "tags": ("group\trank\tgene", 21),
    "slot_tags": ("group\tslot\trank\tgene", 11),
    "contrasts": ("contrast\tgroup\tdirection\trank", 21),
    "faithfulness": ("group\tpart\tcurve\tranking", 18),
    "enrichment": ("level\tcontrast\tgroup\tslot\tmethod", 15),
    "clusters": ("cluster\tn_cells\tlabel\tlabel_share", 22),
    "cluster_markers": ("cluster\tagainst\trank\tgene", 12),
    "stability": ("first\tsecond\tslot\tmatched_slot", 8),
}
#: The header of each table of cells, as a pattern of its names behind tabs: what begins with `cellmemory_` is ours.
CELL_TABLES = {
    "labels": r"\tcell\tcellmemory_label\tcellmemory_confidence(\tcellmemory_[^\t]+)+",
    "cell_clusters": r"\tcell\tcellmemory_cluster\tcellmemory_cluster_label\tcellmemory_candidate\tcellmemory_doublet_score"
    r"\tmapping",
    "consensus": r"\tcell(\tcellmemory_label_([^\t]+)\tcellmemory_confidence_\2\tcellmemory_status_\2)+"
    r"\tcellmemory_consensus_label\tcellmemory_consensus\tcellmemory_consensus_status",
}
#: Keys that each JSON object has. Each is signed as well.
OBJECTS = {
    "inputs": {"reference", "model", "queries", "gmt"},
    "alignment": {"sample", "coverage", "missing_genes"},
    "metrics": {"sample", "truth_key", "cells_with_truth", "per_class", "confusion"},
    "agreement": {"sample", "references", "unanimous"},
    "checksums": {"inputs", "results", "model"},
    "multiqc": {"id", "section_name", "plot_type"},
}
#: The step that each h5ad names in uns['cellmemory']. Each is signed as well.
H5ADS = {"reference": "preprocess_reference", "aligned": "preprocess_query", "mapped": "map_query", "annotated": "annotate"}
#: A model is written as a folder, or, where its path ends so, as an archive of the same files.
ARCHIVE_SUFFIX = ".zip"
#: The kind of a model's archive by that of its folder.
ARCHIVES = {"model": "model archive", "adapted": "adapted archive", "copied": "copied archive"}
#: Folders that keep what is in them.
ADDED_TO = ("multiqc_folder", "checkpoints")
#: The files of a trained model beside config.json, which holds their checksums.
MODEL_FILES = ("model.safetensors", "panel.tsv", "labels.tsv", "calibration.json", "history.tsv", "history.png", "model_card.md")
#: What figures say of who drew them, and how that stands at the head of an SVG and of a PNG and at the end of a PDF.
DRAWN_BY = "nf-cellmemory"
DRAWN = {".svg": f"<dc:title>{DRAWN_BY}</dc:title>".encode(), ".png": f"Software\0{DRAWN_BY}".encode()}
DRAWN |= {".pdf": f"/Creator ({DRAWN_BY})".encode()}
#: Bytes at the head or the end of a file that are looked at, and of a table's header.
HEAD_BYTES, HEADER_BYTES = 8192, 2**20


def output_problems(outputs: Mapping[str, tuple[Path, str]], inputs: Mapping[str, list[Path]]) -> list[str]:
    """A sentence for each output that would destroy something, or that cannot be written.

    outputs: path and kind by option; kinds are those of TABLES, CELL_TABLES, OBJECTS and H5ADS, and `profiles`, `page`,
    `figures`, `model`, `adapted`, `copied` (a model of either kind), and of folders that things are added to `multiqc_folder`
    and `checkpoints`. inputs: paths by option.
    """
    problems = []
    outputs = {option: (path, _kind_at(path, kind)) for option, (path, kind) in outputs.items()}
    for option, (path, kind) in outputs.items():
        if not path.name:
            problems.append(f"--{option} {path}: this is a place, not a name. Give the name of the {_noun(kind)} to write.")
            continue
        # A path that is an input is not looked into: one sentence about it is enough.
        problems += _input_problems(option, path, kind, inputs) or _place_problems(f"--{option} {path}", path, kind)
    named = [item for item in outputs.items() if item[1][0].name]
    for (one, (first, first_kind)), (other, (second, second_kind)) in combinations(named, 2):
        if _same(first, second):
            problems.append(f"--{one} and --{other} are both {second}. Give each a name of its own.")
        elif any(
            kind not in ADDED_TO and _within(path, folder)
            for kind, path, folder in ((first_kind, second, first), (second_kind, first, second))
        ):
            problems.append(f"--{one} {first} and --{other} {second}: one lies in the other, which is replaced. Separate them.")
    return problems


def checkpoints_beside(output: Path) -> Path:
    """The folder of a training's checkpoints where none is given."""
    return output.parent / f"{output.name}.checkpoints"


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
        return _parent_problems(where, path, kind)
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
    return _parent_problems(where, path, kind)


def _noun(kind: str) -> str:
    return "folder" if is_folder(kind) else "file"


def _parent_problems(where: str, path: Path, kind: str) -> list[str]:
    parent = next((folder for folder in path.absolute().parents if folder.exists() or folder.is_symlink()), path)
    if not parent.exists():
        return [f"{where}: {parent} is a link to nothing. Give another path, or mend the link."]
    if not parent.is_dir():
        return [f"{where}: {parent} is a file, but the output is to lie in it. Give another path."]
    if not os.access(parent, os.W_OK | os.X_OK):
        return [f"{where}: the folder {parent} cannot be written to. Give another path, or change its permissions."]
    # A folder that is added to has its own name from the first.
    longest = os.pathconf(parent, "PC_NAME_MAX") - (0 if kind in ADDED_TO else PREFIX_LENGTH)
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
        return found.keys() >= OBJECTS[kind] and is_signed_object(found)
    with path.open("rb") as file:
        if kind == "page":
            return b'<meta name="generator" content="nf-cellmemory' in file.read(HEAD_BYTES)
        header = file.readline(HEADER_BYTES).decode("utf-8").removesuffix("\n")
    if kind in TABLES:
        begins, n_columns = TABLES[kind]
        return header.startswith(begins) and header.count("\t") + 1 == n_columns
    # By the rules of CSV: a name with a line break, somewhere in the table, puts the whole header into quotes.
    names = next(csv.reader([header]))
    return bool(re.fullmatch(CELL_TABLES[kind], "".join(f"\t{name}" for name in names)))


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
    """Whether this is a model as it was written: one with another file in it, or another model card, is somebody's own."""
    found = {file.name: file for file in files.iterdir()}
    if not (found.keys() <= {"config.json", *MODEL_FILES} and all(file.is_file() for file in found.values())):
        return False  # a pipe would be waited for
    config = json.loads(found.pop("config.json").read_text(encoding="utf-8"))
    sums = config["files"]
    is_ours = "label_key" in config and set(sums) == set(MODEL_FILES) and is_signed_object(config, DIGEST)
    return is_ours and ("adapted_to" in config) in adapted and all(sha256(file) == sums[name] for name, file in found.items())


def _are_figures(folder: Path) -> bool:
    """Whether all in a folder are figures that say who drew them."""
    return all(_is_figure(path) for path in folder.iterdir())


def _is_figure(path: Path) -> bool:
    if path.suffix not in DRAWN or not path.is_file():
        return False
    with path.open("rb") as file:
        if path.suffix == ".pdf":
            file.seek(max(0, path.stat().st_size - HEAD_BYTES))
        return DRAWN[path.suffix] in file.read(HEAD_BYTES)


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
