"""From an aligned reference to a trained model folder: tokens, training, calibration, model card."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from threadpoolctl import threadpool_limits

from cellmemory import TERM_COLUMN
from cellmemory.errors import InputError
from cellmemory.log import say, warn
from cellmemory.network.inference import Inference
from cellmemory.network.model import CellMemory
from cellmemory.network.runtime import Runtime
from cellmemory.network.tokens import label_means, tokenize
from cellmemory.reference.alarms import unlearned, usual_share
from cellmemory.reference.calibration import Calibration, calibrate, fit_weights
from cellmemory.reference.coverage import accuracy_by_coverage
from cellmemory.reference.hierarchy import to_label_table
from cellmemory.reference.novelty import calibrate_novelty, learn_profiles
from cellmemory.reference.reference_map import fit_map
from cellmemory.reference.states import learn_states
from cellmemory.reference.trained_model import ModelContent
from cellmemory.training.aligned_reference import Reference, ReferenceFiles
from cellmemory.training.card import model_card, plot_history
from cellmemory.training.checkpoints import CheckpointFile, code_digest
from cellmemory.training.fit import Fitted, fit
from cellmemory.training.settings import Devices, TrainingSettings

#: Labels with fewer cells, or with a smaller share, are reported apart.
RARE_CELLS, RARE_SHARE = 20, 0.01
#: No answer of a network that was trained, and not made up, is as large.
LARGEST_ANSWER = 1e9


@dataclass(frozen=True)
class CheckpointFolder:
    """Where a training's checkpoint is kept until the model is written, and the seconds between two of them."""

    path: Path
    every: float = 30.0


def train_reference(
    source: ReferenceFiles,
    output: Path,
    settings: TrainingSettings,
    runtime: Runtime,
    *,
    devices: Devices = Devices(),
    checkpoint: CheckpointFolder,
) -> None:
    """Trains on an aligned reference and writes the model folder.

    Of several processes that train together only the first writes. Memory: this device's split of the reference over its panel as
    tokens. Raises InputError for what the user can mend.
    """
    reference = source.read(settings, devices)
    torch.manual_seed(settings.seed)
    network = CellMemory(reference.config)
    config = settings.to_json(reference.config) | {"cells": len(reference.codes)}
    resumed = CheckpointFile(checkpoint.path, _about(config, source), checkpoint.every)
    fitted = fit(reference.cells, network, settings, runtime, devices=devices, checkpoint=resumed)
    if fitted is None:
        return
    try:
        calibration, tensors = _finish(fitted, reference, settings, runtime)
    except FloatingPointError:
        resumed.remove()  # nothing in it can be gone on with
        raise InputError(f"The network that was resumed from {resumed.path} is not a trained one. Run the same again.") from None
    tensors["reference.fingerprint"] = reference.fingerprints
    table = _label_table(reference)
    config["usual_share"] = usual_share(reference.expressed, len(reference.panel))
    config["training"] |= {"precision": runtime.precision, "devices": devices.count, "best_epoch": fitted.best_epoch}
    ModelContent(
        tensors=tensors,
        config=config,
        panel=reference.panel,
        label_table=table,
        calibration=calibration,
        history=fitted.history,
        figure=plot_history(fitted.history),
        card=model_card(config, table, calibration),
    ).write(output)
    resumed.remove()
    split = reference.split
    say(
        f"Read {len(reference.codes):,} cells x {len(reference.panel):,} genes, {len(reference.labels)} labels of "
        f"'{settings.label_key}'."
    )
    say(f"Trained on {len(split.all_training):,} cells ({runtime}) to epoch {fitted.best_epoch} of {len(fitted.history)}.")
    say(
        f"On {len(split.validation):,} held-out cells: accuracy {calibration.validation_accuracy:.3f}, calibration error "
        f"{calibration.ece:.3f}."
    )
    for doubt in unlearned(calibration, settings.label_key):
        warn(doubt)
    say(f"Wrote {output}.")


def _about(config: dict, source: ReferenceFiles) -> dict:
    """All that decides what a training ends with, one level deep. Not where it runs: it may go on on another machine."""
    flat = {name: value for name, value in config.items() if not isinstance(value, dict)}
    return {"code": code_digest()} | source.digests() | flat | config["model"] | config["training"]


def _finish(
    fitted: Fitted, reference: Reference, settings: TrainingSettings, runtime: Runtime
) -> tuple[Calibration, dict[str, np.ndarray]]:
    """Adds the linear path, weighs the two parts and calibrates their sum on the validation cells.

    What decides weights and calibration has seen no validation cell; then the linear path learns from these too. Returns
    the calibration, and the tensors of the model folder: weights, what novelty knows, embeddings and map of the kept cells.

    Raises FloatingPointError where the network's answers are not numbers: its weights were made up in a checkpoint.
    """
    network, warm_start, seed = fitted.network, fitted.warm_start, settings.seed
    split, tokens, codes = reference.split, reference.cells.tokens, reference.cells.labels
    kept = split.kept
    n, n_bins, truth = len(split.validation), network.config.n_bins, codes[split.validation]
    known, held_out = tokens.select(kept), tokens.select(split.validation)
    means = label_means(known, codes[kept], len(reference.labels), n_bins)
    profiles = learn_profiles(known, codes[kept], means[1], share=warm_start.share, seed=seed)
    classifier = warm_start.classifier(tokens, codes, split.training)
    network.decide_by(classifier.weight, classifier.bias)
    inference = Inference(network, runtime)
    found = inference.run(tokens.select(np.r_[split.validation, kept]), attention=False)
    if not all(np.abs(part).max() < LARGEST_ANSWER for part in (found.linear_logits, found.cls_logits, found.embedding)):
        raise FloatingPointError
    linear, cls = found.linear_logits[:n], found.cls_logits[:n]
    linear_weight, cls_weight = fit_weights(linear, cls, truth, len(split.all_training))
    logits = linear_weight * linear + cls_weight * cls

    def with_fewer_genes(cells: sp.csr_matrix, measured: np.ndarray) -> np.ndarray:
        tokens = tokenize(cells, measured, mode=settings.mode, binning=settings.binning, n_bins=n_bins)
        fewer = inference.run(tokens, attention=False)
        return linear_weight * fewer.linear_logits + cls_weight * fewer.cls_logits

    calibration = Calibration(
        **calibrate(logits, truth),
        **calibrate_novelty(profiles, logits, held_out),
        panel_accuracy=accuracy_by_coverage(with_fewer_genes, reference.validation_values, truth, seed),
        linear_weight=linear_weight,
        cls_weight=cls_weight,
    )
    classifier = warm_start.classifier(tokens, codes, np.arange(len(codes)))
    network.decide_by(classifier.weight, classifier.bias, linear_weight=linear_weight, cls_weight=cls_weight)
    with threadpool_limits(runtime.threads):
        reference_map = fit_map(found.embedding[n:], seed)
        states = learn_states(reference.kept_values, codes[kept], len(reference.labels), seed)
    tensors = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    tensors |= {f"reference.{name}": getattr(profiles, name) for name in ("components", "scale", "weight", "bias")}
    tensors |= {
        "reference.means": means,
        "reference.embedding": found.embedding[n:],
        "reference.map": reference_map,
        "reference.label": codes[kept].astype(np.int64),
        "reference.states": states.mean,
        "reference.state_label": states.label,
        "reference.spread": states.spread,
    }
    return calibration, tensors


def _label_table(reference: Reference) -> pd.DataFrame:
    """labels.tsv: how many cells of each label there are, train and validate; its term and its coarser labels, where there are
    some."""
    codes, labels = reference.codes, reference.labels
    split = reference.split
    cells, training, validation = (
        np.bincount(codes[rows], minlength=len(labels)) for rows in (slice(None), split.all_training, split.all_validation)
    )
    rare = np.where((cells < RARE_CELLS) | (cells < RARE_SHARE * len(codes)), "true", "false")
    table = pd.DataFrame({"label": labels, "n_cells": cells, "n_train": training, "n_validation": validation, "rare": rare})
    if reference.terms:
        table[TERM_COLUMN] = table["label"].map(reference.terms).fillna("")
    return pd.concat([table, to_label_table(reference.hierarchy)], axis=1) if reference.hierarchy else table
