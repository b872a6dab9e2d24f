"""A trained reference on disk: a folder of plain files, checked for completeness and checksums before it is used."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory import __version__
from cellmemory.errors import InputError
from cellmemory.genes.panel import write_panel
from cellmemory.io.atomic import replacing, sha256, write_json
from cellmemory.io.checked import read_json, read_tsv, shown
from cellmemory.network.config import ModelConfig
from cellmemory.reference.calibration import Calibration
from cellmemory.reference.hierarchy import Hierarchy, from_label_table
from cellmemory.reference.model_checks import read_all
from cellmemory.reference.novelty import Novelty, Profiles
from cellmemory.reference.run_info import RunInfo

FORMAT = 5
#: Everything but config.json, which holds their checksums and its own digest.
FILES = ("model.safetensors", "panel.tsv", "labels.tsv", "calibration.json", "history.tsv", "history.png", "model_card.md")


@dataclass(frozen=True)
class TrainedModel:
    """A trained reference. config: how it was made; panel: genes in model order; label_table: one row a label."""

    path: Path
    config: dict
    panel: pd.DataFrame
    label_table: pd.DataFrame
    calibration: Calibration
    history: pd.DataFrame

    @property
    def labels(self) -> list[str]:
        """The labels in the order of the model's outputs."""
        return self.label_table["label"].tolist()

    @cached_property
    def hierarchy(self) -> Hierarchy | None:
        """The levels of the labels, where the reference had several."""
        return from_label_table(self.label_table)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """All tensors as numpy arrays: the model's, and `reference.*` (what is kept of reference cells)."""
        from safetensors.numpy import load_file

        return load_file(self.path / "model.safetensors")

    @cached_property
    def sizes(self) -> ModelConfig:
        """The sizes of the network."""
        return ModelConfig(**self.config["model"])

    @property
    def reference(self) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (r, d) and label numbers (r,) of the reference cells that travel with the model."""
        return self.weights["reference.embedding"], self.weights["reference.label"]

    @property
    def novelty(self) -> Novelty:
        """How strange a cell is to the reference."""
        found = {name: self.weights[f"reference.{name}"] for name in ("components", "scale", "weight", "bias")}
        profiles = Profiles(profile=self.label_means[1], share=self.weights["linear.share"], **found)
        return Novelty(profiles, self.calibration.novelty_parts, np.array(self.calibration.novelty_null))

    @property
    def label_means(self) -> np.ndarray:
        """The means of the labels' cells in both views of each gene (see tokens.views): (2, C, genes)."""
        return self.weights["reference.means"]

    @property
    def adapted_to(self) -> str:
        """The query that the linear path was adapted to, or an empty text."""
        return self.config.get("adapted_to", "")

    @property
    def trained_digest(self) -> str:
        """The digest of the model as it was trained, adapted since or not."""
        return self.config.get("adapted_from", self.config["digest"])

    def mapped(self, run: RunInfo, *, adapted: bool = False) -> bool:
        """Whether this model, adapted to that query or to none, made a run.

        With adapted, a trained model also counts for what was mapped once it was adapted to the query: panel, labels,
        network and training are the same in both, and so is all that a report shows of a model.
        """
        same = run.adapted_to == self.adapted_to or (adapted and not self.adapted_to)
        return same and run.model_digest == self.trained_digest

    def network(self):
        """The network in evaluation mode."""
        import torch

        from cellmemory.network.model import CellMemory

        network = CellMemory(self.sizes)
        network.load_state_dict(
            {name: torch.from_numpy(value) for name, value in self.weights.items() if not name.startswith("reference.")}
        )
        return network.eval()


def check(folder: str | Path) -> list[str]:
    """The problems of a model folder, a sentence each: incomplete, of another format, changed since training."""
    folder = Path(folder)
    missing = [name for name in ("config.json", *FILES) if not (folder / name).is_file()]
    if missing:
        return [f"{folder}: the trained model is incomplete, it has no {', '.join(missing)}; copy the whole folder again."]
    try:
        config = read_json(folder / "config.json")
    except InputError as error:
        return [f"{folder}: config.json of the trained model is damaged; copy the whole folder again.", *error.problems]
    recorded, version = config.get("files"), config.get("format")
    if not isinstance(recorded, dict) or version is None:
        return [f"{folder}: config.json of the trained model is damaged; copy the whole folder again."]
    known = version == FORMAT and not isinstance(version, bool)
    problems = [] if known else [f"{folder}: model format {shown(version)} is not known (only {FORMAT})."]
    changed = [name for name in FILES if recorded.get(name) != sha256(folder / name)]
    if config.get("digest") != _digest(config):
        changed.insert(0, "config.json")
    if changed:
        problems.append(f"{folder}: {', '.join(changed)} changed since the model was trained (checksum); use an untouched copy.")
    return problems


def load(folder: str | Path) -> TrainedModel:
    """Reads a trained reference. Raises InputError where `check` finds a problem, and for files that are not what they have
    to be (see model_checks), all problems at once. Loads no pickle, and no torch."""
    folder = Path(folder)
    problems = check(folder)
    if problems:
        raise InputError(problems)
    return TrainedModel(folder, *read_all(folder))


@dataclass(frozen=True)
class ModelFolder:
    """What is written of a trained reference. tensors: of the network, and `reference.*`; figure: PNG of the history; card:
    Markdown."""

    tensors: dict[str, np.ndarray]
    config: dict
    panel: pd.DataFrame
    label_table: pd.DataFrame
    calibration: Calibration
    history: pd.DataFrame
    figure: bytes
    card: str

    def write(self, folder: str | Path) -> None:
        """Writes it whole or not at all. The same content gives the same bytes."""
        from safetensors.numpy import save as save_tensors

        with replacing(folder) as partial:
            partial.mkdir()
            weights = save_tensors({name: np.ascontiguousarray(self.tensors[name]) for name in sorted(self.tensors)})
            (partial / "model.safetensors").write_bytes(weights)
            write_panel(self.panel, partial / "panel.tsv")
            self.label_table.to_csv(partial / "labels.tsv", sep="\t", index=False)
            write_json(partial / "calibration.json", self.calibration.to_json())
            self.history.to_csv(partial / "history.tsv", sep="\t", index=False, float_format="%.6g")
            (partial / "history.png").write_bytes(self.figure)
            (partial / "model_card.md").write_text(self.card)
            config = {"format": FORMAT, "version": __version__, **self.config}
            config["files"] = {name: sha256(partial / name) for name in FILES}
            write_json(partial / "config.json", {**config, "digest": _digest(config)})


def save_adapted(
    folder: str | Path, trained: TrainedModel, weights: dict[str, np.ndarray], *, temperature: float, to: str
) -> None:
    """Writes a trained reference with some tensors and the temperature replaced, for the query `to`, whole or not at all."""
    config = {name: value for name, value in trained.config.items() if name not in ("files", "digest")}
    card = (trained.path / "model_card.md").read_text()
    ModelFolder(
        tensors=trained.weights | weights,
        config=config | {"adapted_to": to, "adapted_from": trained.config["digest"]},
        panel=trained.panel,
        label_table=read_tsv(trained.path / "labels.tsv"),
        calibration=replace(trained.calibration, temperature=temperature),
        history=trained.history,
        figure=(trained.path / "history.png").read_bytes(),
        card=f"{card}\nIts linear path is adapted to the cells of '{to}' and should be used for them only.\n",
    ).write(folder)


def _digest(config: dict) -> str:
    rest = {key: value for key, value in config.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
