"""A trained model on disk: a folder of plain files, or an archive of them, checked for completeness and checksums before it is
used."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellmemory import TERM_COLUMN, __version__
from cellmemory.errors import InputError
from cellmemory.genes.panel import panel_text
from cellmemory.io.atomic import json_text, replacing
from cellmemory.io.checked import read_json, read_tsv, shown
from cellmemory.io.outputs import MODEL_FILES, is_archive_name
from cellmemory.io.signature import DIGEST, is_signed_object, sha256, signed_object
from cellmemory.network.config import ModelConfig
from cellmemory.reference.archive import model_files, write_archive
from cellmemory.reference.calibration import Calibration
from cellmemory.reference.hierarchy import Hierarchy, from_label_table
from cellmemory.reference.model_checks import read_all
from cellmemory.reference.novelty import Novelty, Profiles
from cellmemory.reference.reference_map import ReferenceMap
from cellmemory.reference.run_info import RunInfo
from cellmemory.reference.states import LabelStates

if TYPE_CHECKING:
    from cellmemory.network.model import CellMemory

FORMAT = 9
ALL_FILES = ("config.json", *MODEL_FILES)


@dataclass(frozen=True)
class TrainedModel:
    """A trained model. path: its folder or archive; files: what is in it; config: how it was made; panel: genes in model order;
    label_table: one row a label."""

    path: Path
    files: Traversable
    config: dict
    panel: pd.DataFrame
    label_table: pd.DataFrame
    calibration: Calibration
    history: pd.DataFrame

    @property
    def labels(self) -> list[str]:
        """The labels in the order of the model's outputs."""
        return self.label_table["label"].tolist()

    @property
    def label_terms(self) -> list[str]:
        """The id of each label's term in an ontology, as the reference gave it; empty for none. No list where none has one."""
        return self.label_table[TERM_COLUMN].tolist() if TERM_COLUMN in self.label_table else []

    @cached_property
    def hierarchy(self) -> Hierarchy | None:
        """The levels of the labels, where the reference had several."""
        return from_label_table(self.label_table)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """All tensors as numpy arrays: the model's, and `reference.*` (what is kept of reference cells)."""
        from safetensors.numpy import load

        return load((self.files / "model.safetensors").read_bytes())

    @cached_property
    def sizes(self) -> ModelConfig:
        """The sizes of the network."""
        return ModelConfig(**self.config["model"])

    @property
    def reference_map(self) -> ReferenceMap:
        """Where the reference cells that travel with the model lie, and where a query's cells are placed among them."""
        return ReferenceMap(self.weights["reference.embedding"], self.weights["reference.map"])

    @property
    def states(self) -> LabelStates:
        """What the reference's cells of each label express."""
        found = (self.weights[f"reference.{name}"] for name in ("states", "state_label", "spread"))
        return LabelStates(*found)

    @property
    def novelty(self) -> Novelty:
        """How strange a cell is to the reference."""
        found = {name: self.weights[f"reference.{name}"] for name in ("components", "scale", "weight", "bias")}
        profiles = Profiles(profile=self.label_means[1], share=self.weights["linear.share"], **found)
        known = self.calibration
        return Novelty(profiles, known.novelty_parts, np.array(known.novelty_null), known.novelty_common)

    @property
    def label_means(self) -> np.ndarray:
        """The means of the labels' cells in both views of each gene (see tokens.views): (2, C, genes)."""
        return self.weights["reference.means"]

    @property
    def adapted_to(self) -> str:
        """The query that the linear path was adapted to, or an empty text."""
        return self.config.get("adapted_to", "")

    @property
    def adapting(self) -> str:
        """What was found on adapting it to a query, whether or not it was adapted then; an empty text if nobody asked."""
        return self.config.get("adapting", "")

    @property
    def trained_digest(self) -> str:
        """The digest of the model as it was trained, adapted since or not."""
        return self.config.get("adapted_from", self.config["digest"])

    def is_adapted_to_values(self, values_digest: str) -> bool:
        """Whether these are the values that an adapted model was adapted to: another query may have the same name."""
        return values_digest == self.config.get("adapted_values", "") != ""

    def mapped(self, run: RunInfo, *, adapted: bool = False) -> bool:
        """Whether this model, adapted to that query or to none, made a run.

        With adapted, a trained model also counts for what was mapped once it was adapted to the query: panel, labels,
        network and training are the same in both, and so is all that a report shows of a model.
        """
        same = run.adapted_to == self.adapted_to and (not self.adapted_to or self.is_adapted_to_values(run.values_digest))
        return (same or (adapted and not self.adapted_to)) and run.model_digest == self.trained_digest

    def network(self) -> "CellMemory":
        """The network in evaluation mode."""
        import torch

        from cellmemory.network.model import CellMemory

        network = CellMemory(self.sizes)
        network.load_state_dict(
            {name: torch.from_numpy(value) for name, value in self.weights.items() if not name.startswith("reference.")}
        )
        return network.eval()


def _check(path: Path, files: Traversable) -> list[str]:
    """The problems of a model's files, a sentence each: incomplete, of another format, changed since training."""
    missing = [name for name in ALL_FILES if not (files / name).is_file()]
    if missing:
        return [f"{path}: the trained model is incomplete, it has no {', '.join(missing)}; copy the whole model again."]
    try:
        config = read_json(files / "config.json")
    except InputError as error:
        return [f"{path}: config.json of the trained model is damaged; copy the whole model again.", *error.problems]
    recorded, version = config.get("files"), config.get("format")
    if not isinstance(recorded, dict) or version is None:
        return [f"{path}: config.json of the trained model is damaged; copy the whole model again."]
    known = version == FORMAT and not isinstance(version, bool)
    problems = [] if known else [f"{path}: model format {shown(version)} is not known (only {FORMAT})."]
    changed = [name for name in MODEL_FILES if recorded.get(name) != sha256(files / name)]
    if not is_signed_object(config, DIGEST):
        changed.insert(0, "config.json")
    if changed:
        problems.append(f"{path}: {', '.join(changed)} changed since the model was trained (checksum); use an untouched copy.")
    return problems


def load(path: str | Path) -> TrainedModel:
    """Reads a trained model from its folder or its archive.

    Raises InputError with all problems at once: files that are missing or changed, and that are not what they have to be
    (see archive and model_checks). Loads no pickle, and no torch.
    """
    path = Path(path)
    files = model_files(path, ALL_FILES)
    problems = _check(path, files)
    if problems:
        raise InputError(problems)
    return TrainedModel(path, files, *read_all(files))


def copy(path: str | Path, output: str | Path) -> TrainedModel:
    """Copies a trained model, byte for byte, into a folder, or into an archive where `output` ends with .zip. Raises InputError
    as `load` does, and where another model is at `output`: it may be the only copy."""
    trained, output = load(path), Path(output)
    if any(output.iterdir()) if output.is_dir() else output.is_file() and output.stat().st_size:
        there = read_json(model_files(output, ALL_FILES) / "config.json")
        if there.get("digest") != trained.config["digest"]:
            raise InputError(f"--output {output} is another trained model than {path}. Give another path, or remove it first.")
    _write(output, {name: (trained.files / name).read_bytes() for name in ALL_FILES})
    return trained


def _write(path: Path, contents: dict[str, bytes]) -> None:
    """Writes the files of a model, by name, as a folder or an archive, whole or not at all."""
    with replacing(path) as partial:
        if is_archive_name(path):
            write_archive(partial, contents)
        else:
            partial.mkdir()
            for name, content in contents.items():
                (partial / name).write_bytes(content)


@dataclass(frozen=True)
class ModelContent:
    """What is written of a trained model. tensors: of the network, and `reference.*`; figure: PNG of the history; card:
    Markdown."""

    tensors: dict[str, np.ndarray]
    config: dict
    panel: pd.DataFrame
    label_table: pd.DataFrame
    calibration: Calibration
    history: pd.DataFrame
    figure: bytes
    card: str

    def write(self, path: str | Path) -> None:
        """Writes it whole or not at all, as a folder, or as an archive where the path ends with .zip. The same content gives the
        same bytes."""
        from safetensors.numpy import save as save_tensors

        tensors = {name: np.ascontiguousarray(self.tensors[name]) for name in sorted(self.tensors)}
        contents = {
            "model.safetensors": save_tensors(tensors),
            "panel.tsv": panel_text(self.panel).encode(),
            "labels.tsv": self.label_table.to_csv(sep="\t", index=False).encode(),
            "calibration.json": json_text(self.calibration.to_json()).encode(),
            "history.tsv": self.history.to_csv(sep="\t", index=False, float_format="%.6g").encode(),
            "history.png": self.figure,
            "model_card.md": self.card.encode(),
        }
        config = {"format": FORMAT, "version": __version__, **self.config}
        config["files"] = {name: hashlib.sha256(contents[name]).hexdigest() for name in MODEL_FILES}
        _write(Path(path), {"config.json": json_text(signed_object(config, DIGEST)).encode(), **contents})


def save_adapted(
    path: str | Path,
    trained: TrainedModel,
    weights: dict[str, np.ndarray],
    *,
    temperature: float,
    to: str,
    values: str,
    found: str,
) -> None:
    """Writes a trained model with some tensors and the temperature replaced, for the query `to`, whole or not at all.

    to: empty where nothing is replaced, since adapting was refused. values: the digest of the query's. found: what was found on
    adapting it, a sentence.
    """
    config = {name: value for name, value in trained.config.items() if name not in ("files", "digest")}
    adapted = {"adapted_to": to, "adapted_values": values, "adapted_from": trained.trained_digest, "adapting": found}
    card = (trained.files / "model_card.md").read_text("utf-8")
    ModelContent(
        tensors=trained.weights | weights,
        config=config | adapted,
        panel=trained.panel,
        label_table=read_tsv(trained.files / "labels.tsv"),
        calibration=replace(trained.calibration, temperature=temperature),
        history=trained.history,
        figure=(trained.files / "history.png").read_bytes(),
        card=f"{card}\nIts linear path is adapted to the cells of '{to}' and should be used for them only.\n" if to else card,
    ).write(path)
