"""From an aligned reference to a trained model folder: tokens, training, calibration, model card."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from cellmemory.cells.labels import as_text, check_labels
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError
from cellmemory.genes.panel import read_panel
from cellmemory.genes.values import checked
from cellmemory.io.atomic import sha256
from cellmemory.network.inference import Inference
from cellmemory.network.model import CellMemory
from cellmemory.network.runtime import Runtime
from cellmemory.network.tokens import Tokens, label_means, tokenize
from cellmemory.reference import trained_model
from cellmemory.reference.alarms import unlearned, usual_share
from cellmemory.reference.calibration import calibrate, fit_weights
from cellmemory.reference.coverage import accuracy_by_coverage
from cellmemory.reference.fingerprints import fingerprints_of
from cellmemory.reference.hierarchy import Hierarchy, parse_levels, read_hierarchy, to_label_table
from cellmemory.reference.novelty import calibrate_novelty, learn_profiles
from cellmemory.sampling import stratified
from cellmemory.training.card import model_card
from cellmemory.training.checkpoints import CheckpointFile, code_digest
from cellmemory.training.curves import plot_history
from cellmemory.training.fit import Fitted, fit
from cellmemory.training.settings import Devices, ModelSize, Sampling, Schedule
from cellmemory.training.split import Split, split_reference

#: Labels with fewer cells, or with a smaller share, are reported apart.
RARE_CELLS, RARE_SHARE = 20, 0.01
#: Reference cells that novelty is learned from, and whose embeddings travel with the model for the co-embedding.
KEPT_CELLS = 5_000


@dataclass(frozen=True)
class _Reference:
    """What this device reads of a reference over its panel of G genes.

    labels: names of the C labels, sorted; all_codes: (N,) of all its cells; cells: (n, G) CSR, and tokens, of the rows that
    are in the device's split.
    """

    labels: np.ndarray
    all_codes: np.ndarray
    hierarchy: Hierarchy | None
    split: Split
    cells: sp.csr_matrix
    tokens: Tokens

    @property
    def codes(self) -> np.ndarray:
        """Labels (n,) of the rows."""
        return self.all_codes[self.split.rows]


def train_reference(
    reference: Path,
    panel_path: Path,
    label_key: str,
    batch_key: str | None,
    label_levels: str | None,
    output: Path,
    mode: str,
    binning: str,
    size: ModelSize,
    schedule: Schedule,
    sampling: Sampling,
    seed: int,
    runtime: Runtime,
    devices: Devices,
    checkpoints: Path,
    checkpoint_every: float,
) -> list[str]:
    """Trains on reference.h5ad and writes the model folder; returns the lines of the log.

    checkpoints: folder of this training's checkpoint, which is removed when the model is written; checkpoint_every: in
    seconds. Of several processes that train together only the first writes, and has lines to return. Memory: this
    device's split of the reference over its panel as CSR, once as tokens. Raises InputError for what the user can mend.
    """
    panel = read_panel(panel_path)
    levels = parse_levels(label_levels, label_key)
    labels, all_codes, batch, hierarchy = _annotation(reference, panel, label_key, batch_key, levels)
    config = size.config(len(panel), len(labels))
    split = split_reference(all_codes, batch, seed, devices.rank, devices.count)
    cells = _cells(reference, split.rows)
    tokens = tokenize(cells, np.ones(len(panel), bool), mode, binning, config.n_bins)
    read = _Reference(labels, all_codes, hierarchy, split, cells, tokens)
    torch.manual_seed(seed)
    network = CellMemory(config)
    settings = {
        "label_key": label_key,
        "batch_key": batch_key,
        "label_levels": hierarchy.levels if hierarchy else [],
        "mode": mode,
        "binning": binning,
        "seed": seed,
        "model": asdict(config),
        "training": asdict(schedule) | asdict(sampling),
        "cells": len(all_codes),
    }
    checkpoint = CheckpointFile(checkpoints, _about(settings, reference, panel_path), checkpoint_every)
    fitted = fit(tokens, read.codes, split, network, schedule, sampling, seed, runtime, devices, checkpoint)
    if fitted is None:
        return []
    calibration, tensors = _finish(fitted, read, settings, runtime)
    with CellFile(reference) as file:
        tensors["reference.fingerprint"] = fingerprints_of(file)
    table = _label_table(read)
    settings["usual_share"] = usual_share(np.diff(cells.indptr), len(panel))
    settings["training"] |= {"precision": runtime.precision, "devices": devices.count, "best_epoch": fitted.best_epoch}
    card = model_card(settings, table, calibration)
    trained_model.save(output, tensors, settings, panel, table, calibration, fitted.history, plot_history(fitted.history), card)
    checkpoint.remove()
    return [
        f"read {len(all_codes):,} cells x {len(panel):,} genes, {len(labels)} labels of '{label_key}'",
        f"trained on {len(split.all_training):,} cells ({runtime}) to epoch {fitted.best_epoch} of {len(fitted.history)}",
        f"on {len(split.validation):,} held-out cells: accuracy {calibration['validation_accuracy']:.3f}, calibration error "
        f"{calibration['ece_after']:.3f} (temperature {calibration['temperature']:.2f})",
        *(f"Warning: {doubt}" for doubt in unlearned(calibration, label_key)),
        f"wrote {output}",
    ]


def _about(settings: dict, reference: Path, panel: Path) -> dict:
    """All that decides what a training ends with, one level deep. Not where it runs: it may go on on another machine."""
    flat = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    inputs = {"code": code_digest(), "reference": sha256(reference), "panel": sha256(panel)}
    return inputs | flat | settings["model"] | settings["training"]


def _annotation(
    reference: Path, panel: pd.DataFrame, label_key: str, batch_key: str | None, levels: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Hierarchy | None]:
    """Names of the labels, sorted, their codes (N,) of all cells, batch codes (N,) or None, and the labels' hierarchy, if any."""
    with CellFile(reference) as file:
        labels = check_labels(file, label_key)
        if labels.isna().any():
            raise InputError(f"{reference}: {labels.isna().sum()} cells have no label; run preprocess_reference.py first.")
        if file.var().index.astype(str).tolist() != panel["gene"].tolist():
            raise InputError(f"{reference}: its genes are not those of the panel; use the two files of one preprocessing.")
        batch = file.column(batch_key, "batch", "batch_key") if batch_key else None
        codes = None if batch is None else np.unique(as_text(batch), return_inverse=True)[1]
        hierarchy = read_hierarchy(file, levels, labels) if levels else None
        return *np.unique(labels.to_numpy(str), return_inverse=True), codes, hierarchy


def _cells(reference: Path, rows: np.ndarray) -> sp.csr_matrix:
    """Some rows of the reference (sorted), or all of them without a copy."""
    with CellFile(reference) as file:
        cells = file.rows("X", 0, file.n_cells) if len(rows) == file.n_cells else file.picked("X", rows)
        return checked(cells, file, "X", 0, "log1p")


def _finish(fitted: Fitted, read: _Reference, settings: dict, runtime: Runtime) -> tuple[dict, dict[str, np.ndarray]]:
    """Adds the linear path, weighs the two parts and calibrates their sum on the validation cells.

    What decides weights and calibration has seen no validation cell; then the linear path learns from these too. Returns
    the calibration, and the tensors of the model folder: weights, what novelty knows, embeddings of the kept cells.
    """
    network, warm_start, seed = fitted.network, fitted.warm_start, settings["seed"]
    split, tokens, codes = read.split, read.tokens, read.codes
    kept = stratified(codes, split.training, KEPT_CELLS, np.random.default_rng(seed))
    n, n_bins, truth = len(split.validation), network.config.n_bins, codes[split.validation]
    known, held_out = tokens.select(kept), tokens.select(split.validation)
    means = label_means(known, codes[kept], len(read.labels), n_bins)
    profiles = learn_profiles(known, codes[kept], means[1], warm_start.share, seed)
    classifier = warm_start.classifier(tokens, codes, split.training, n_bins, seed)
    network.decide_by(classifier.weight, classifier.bias)
    inference = Inference(network, runtime)
    found = inference.run(tokens.select(np.r_[split.validation, kept]), attention=False)
    linear, cls = found.linear_logits[:n], found.cls_logits[:n]
    weights = fit_weights(linear, cls, truth, len(split.all_training))
    logits = weights[0] * linear + weights[1] * cls
    calibration = calibrate(logits, truth) | calibrate_novelty(profiles, logits, held_out)
    calibration["commonest_share"] = float(np.bincount(truth).max() / n)

    def with_fewer_genes(cells: sp.csr_matrix, measured: np.ndarray) -> np.ndarray:
        fewer = inference.run(tokenize(cells, measured, settings["mode"], settings["binning"], n_bins), attention=False)
        return weights[0] * fewer.linear_logits + weights[1] * fewer.cls_logits

    calibration["panel_accuracy"] = accuracy_by_coverage(with_fewer_genes, read.cells[split.validation], truth, seed)
    classifier = warm_start.classifier(tokens, codes, np.arange(len(codes)), n_bins, seed)
    network.decide_by(classifier.weight, classifier.bias, *weights)
    calibration |= {"linear_weight": weights[0], "cls_weight": weights[1]}
    tensors = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    tensors |= {f"reference.{name}": getattr(profiles, name) for name in ("components", "scale", "weight", "bias")}
    tensors |= {
        "reference.means": means,
        "reference.embedding": found.embedding[n:],
        "reference.label": codes[kept].astype(np.int64),
    }
    return calibration, tensors


def _label_table(read: _Reference) -> pd.DataFrame:
    """labels.tsv: how many cells of each label there are, train and validate; its coarser labels, where it has some."""
    codes, split = read.all_codes, read.split
    cells, training, validation = (
        np.bincount(codes[rows], minlength=len(read.labels)) for rows in (slice(None), split.all_training, split.all_validation)
    )
    rare = np.where((cells < RARE_CELLS) | (cells < RARE_SHARE * len(codes)), "true", "false")
    columns = {"label": read.labels, "n_cells": cells, "n_train": training, "n_validation": validation, "rare": rare}
    table = pd.DataFrame(columns)
    return pd.concat([table, to_label_table(read.hierarchy)], axis=1) if read.hierarchy else table
