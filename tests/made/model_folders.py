"""Model folders made by code: complete and of the right shapes, with weights that mean nothing. And what damages them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.network.config import ModelConfig, network_shapes, reference_shapes
from cellmemory.reference import novelty, trained_model
from cellmemory.reference.calibration import Calibration
from cellmemory.reference.hierarchy import COLUMN


def write_placeholder(
    folder: Path,
    label_table: pd.DataFrame,
    panel: pd.DataFrame,
    history: pd.DataFrame,
    calibration: dict | None = None,
    config: dict | None = None,
    n_slots: int = 4,
) -> str:
    """Writes a model folder of these tables, whose network is as small as can be; returns its digest.

    calibration and config replace single fields of what such a folder has anyway.
    """
    sizes = ModelConfig(len(panel), len(label_table), "light", d_model=2, d_feedforward=2, d_key=1, d_value=1, n_heads=1,
                        n_slots=n_slots, n_layers=1)  # fmt: skip
    shapes = network_shapes(sizes) | reference_shapes(sizes, kept=1, components=1, near=1, states=len(label_table))
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    tensors["linear.spread"] += 1
    tensors["linear.share"] += 1 / len(panel)
    tensors["reference.scale"] += 1
    tensors["reference.label"] = tensors["reference.label"].astype(np.int64)
    tensors["reference.state_label"] = np.arange(len(label_table))
    tensors["reference.spread"] += 1
    tensors["reference.fingerprint"] = np.ones(1, np.uint64)
    levels = [name.removeprefix(COLUMN) for name in label_table if name.startswith(COLUMN)]
    whole_config = {"label_key": "cell_type", "batch_key": None, "label_levels": levels, "mode": "fast", "binning": "quantile"}
    whole_config |= {"seed": 0, "model": vars(sizes), "training": {}, "cells": int(label_table["n_cells"].sum())}
    whole_config |= {"usual_share": [0.1, 0.9]} | (config or {})
    found = {
        "validation_cells": int(label_table["n_validation"].sum()),
        "temperature": 1.0,
        "ece": 0.1,
        "validation_accuracy": 0.9,
    }
    found |= {"commonest_share": 0.3}
    found |= {
        "conformal_scores": [0.5] * int(label_table["n_validation"].sum()),
        "conformal_labels": np.repeat(np.arange(len(label_table)), label_table["n_validation"].astype(int)).tolist(),
        "novelty_method": "none",
        "novelty_null": [0.0],
        "panel_accuracy": [[1.0, 0.9]],
    }
    found |= {"novelty_parts": {part: [0.0, 1.0] for part in novelty.NOVELTY_PARTS}, "linear_weight": 1.0, "cls_weight": 1.0}
    found["novelty_common"] = 0.0
    rare = np.where(label_table["rare"].astype(bool), "true", "false")
    table = label_table.assign(rare=rare)
    calibrated = Calibration.from_json(found | (calibration or {}))
    card = "# Model card\n"
    trained_model.ModelContent(tensors, whole_config, panel, table, calibrated, history, b"", card).write(folder)
    return trained_model.load(folder).config["digest"]


def sign(folder: Path) -> None:
    """Writes the checksums of what the folder holds now, and the digest: a folder whoever changed it meant to be believed.

    A config.json that is no JSON object, or whose list of files is none, stays as it is.
    """
    try:
        config = json.loads((folder / "config.json").read_bytes())
        for name in trained_model.MODEL_FILES:
            if (folder / name).is_file() and isinstance(config["files"], dict):
                config["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        rest = {key: value for key, value in config.items() if key != "digest"}
        config["digest"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    (folder / "config.json").write_text(json.dumps(config))


def edit_json(folder: Path, name: str, change: Callable[[dict], object]) -> None:
    """Changes a JSON file of the folder in place: `change` is given its object."""
    value = json.loads((folder / name).read_text())
    change(value)
    (folder / name).write_text(json.dumps(value))


def edit_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Changes the tensors of the folder: `change` is given all of them by name."""
    from safetensors.numpy import load_file, save

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    (folder / "model.safetensors").write_bytes(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))
