"""Whether the files of a trained model are what they have to be: kinds, ranges, and that they agree with each other.

Checksums show that a folder is as it was written. Whoever writes a folder can write checksums too, so nothing in it is
believed: sizes are those of the tensors that are there, and every number is finite. Needs no torch.
"""

from collections import Counter
from collections.abc import Callable
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from cellmemory import TERM_COLUMN
from cellmemory.cells.labels import MAX_LABEL, RESERVED, TERM
from cellmemory.errors import InputError, Problems
from cellmemory.genes.panel import read_panel
from cellmemory.io.checked import (
    as_numbers,
    choice,
    either,
    fixed,
    integer,
    mapping,
    number,
    read_json,
    read_tsv,
    sequence,
    shown,
    text,
    wrong_fields,
)
from cellmemory.io.text import cleaned, read_text
from cellmemory.network.config import LAYERS, ModelConfig, network_shapes, reference_shapes
from cellmemory.network.tokens import BINNINGS, MODES
from cellmemory.reference.calibration import Calibration
from cellmemory.reference.hierarchy import COLUMN
from cellmemory.reference.novelty import NOVELTY_PARTS

UNTOUCHED_COPY = "Use an untouched copy of the trained model."
#: Beyond these, products of weights leave the range of float32; trained ones stay far below.
LARGEST_WEIGHT, LARGEST_OF_REFERENCE = 1e4, 1e8
MANY = 10**9
_SHARE, _POSITIVE = number(0, 1), number(1e-9, 1e9)
_CONFIG = {
    "version": text(),
    "label_key": text(),
    "label_levels": sequence(text()),
    "mode": choice(MODES),
    "binning": choice(BINNINGS),
    "seed": integer(0, 2**32 - 1),
    "cells": integer(1, 10**12),
    "usual_share": sequence(_SHARE, 2, rising=True),
    "training": mapping(),
    "model": mapping({
        **dict.fromkeys(("n_genes", "n_labels", "d_model", "d_feedforward", "d_key", "d_value"), integer(1, MANY)),
        **dict.fromkeys(("n_heads", "n_slots", "n_layers"), integer(1, MANY)),
        "variant": choice(LAYERS),
        "n_bins": integer(1, 255),
        "dropout": number(0, 1),
    }),
}  # fmt: skip
_ADAPTED = {
    "batch_key": either(text(empty=True), None),
    **dict.fromkeys(("adapted_to", "adapted_values", "adapting"), text(empty=True)),
    "adapted_from": text(),
}
_CALIBRATION = {
    "validation_cells": integer(1, MANY),
    # 1 as trained; adapting may multiply it by up to 100.
    "temperature": number(0.01, 1e4),
    **dict.fromkeys(("ece", "validation_accuracy", "commonest_share"), _SHARE),
    "conformal_scores": sequence(_SHARE, 1, rising=True),
    "conformal_labels": sequence(integer(0, MANY), 1),
    "novelty_method": text(),
    "novelty_parts": mapping(dict.fromkeys(NOVELTY_PARTS, fixed(number(-1e9, 1e9), _POSITIVE))),
    "novelty_common": number(-1e9, 1e9),
    "novelty_null": sequence(number(-1e12, 1e12), 1, rising=True),
    "panel_accuracy": sequence(fixed(_SHARE, _SHARE), 1),
    "linear_weight": _POSITIVE,
    "cls_weight": _POSITIVE,
}
LABEL_COLUMNS = ["label", "n_cells", "n_train", "n_validation", "rare"]
_COUNTS = LABEL_COLUMNS[1:4]


def read_config(path: Traversable) -> dict:
    """config.json. Raises InputError with all that is wrong with it; whether it fits the other files is not looked at."""
    return _read_fields(path, _CONFIG, _ADAPTED)


def read_calibration(path: Traversable) -> Calibration:
    """calibration.json. Raises InputError with all that is wrong with it."""
    calibration = _read_fields(path, _CALIBRATION)
    shares = [share for share, _ in calibration["panel_accuracy"]]
    if any(next_share >= share for share, next_share in pairwise(shares)):
        raise InputError(f"{path}: the shares of panel_accuracy do not fall ({shown(shares)}). {UNTOUCHED_COPY}")
    return Calibration.from_json(calibration)


def _read_fields(path: Traversable, kinds: dict, optional: dict | None = None) -> dict:
    value = read_json(path)
    problems = wrong_fields(value, kinds, optional)
    if problems:
        raise InputError(f"{path}: {problem}. {UNTOUCHED_COPY}" for problem in problems)
    return value


def read_labels(path: Traversable) -> pd.DataFrame:
    """labels.tsv, one label a row in the model's order: label, counts (int), rare (bool), perhaps TERM_COLUMN (empty for
    none), and `level:` columns, coarse to fine.

    Labels of any level are text, whatever they look like: `7` and `NA` are names as well. Raises InputError.
    """
    table = _read_table(path, LABEL_COLUMNS)
    problems = []
    names = ["label", *(name for name in table if name.startswith(COLUMN))]
    problems += [
        f"{name} {shown(found)} is empty, longer than {MAX_LABEL:,} letters, or not as training writes labels"
        for name in names
        for found in table[name].unique()
        if cleaned(found) != found or len(found) > MAX_LABEL
    ]
    problems += [
        f"the label {shown(name)} has a name that results give to other things" for name in sorted(set(table["label"]) & RESERVED)
    ]
    problems += [f"the label {shown(name)} is there twice" for name in table["label"][table["label"].duplicated()].unique()]
    numbers = {name: as_numbers(table[name], whole=True) for name in _COUNTS}
    problems += [f"{name} is not whole numbers" for name, found in numbers.items() if found is None]
    counts = [found for found in numbers.values() if found is not None]
    if len(counts) == len(_COUNTS):
        n_cells, n_train, n_validation = counts
        wrong = n_train + n_validation > n_cells
        problems += [f"{shown(label)} has more cells that train or validate than cells" for label in table["label"][wrong]]
    if not table["rare"].isin(["true", "false"]).all():
        problems.append("rare is not true or false everywhere")
    terms = table[TERM_COLUMN].unique() if TERM_COLUMN in table else ()
    problems += [f"{TERM_COLUMN} {shown(term)} is not the id of a term" for term in terms if term and not TERM.fullmatch(term)]
    problems += _wrong_levels(table, names[1:])
    if not len(table):
        problems.append("there is no label")
    if problems:
        raise InputError(f"{path}: {problem}. {UNTOUCHED_COPY}" for problem in problems)
    return table.assign(**numbers, rare=table["rare"] == "true")


def _wrong_levels(table: pd.DataFrame, levels: list[str]) -> list[str]:
    if not levels:
        return []
    problems = [] if (table[levels[-1]] == table["label"]).all() else [f"the last level, {levels[-1]}, is not the labels"]
    if len(levels) == 1:
        problems.append(f"there is only one level, {levels[0]}")
    for coarse, fine in pairwise(levels):
        parents = table.groupby(fine)[coarse].nunique()
        problems += [f"{shown(name)} of {fine} has several parents in {coarse}" for name in parents.index[parents > 1]]
    return problems


def read_history(path: Traversable) -> pd.DataFrame:
    """history.tsv, one epoch a row, only numbers; an empty field is NaN. Raises InputError."""
    table = _read_table(path, ["epoch"])
    epochs = as_numbers(table["epoch"], whole=True)
    numbers = {name: as_numbers(table[name], whole=True) for name in table}  # a step stays whole when it is written again
    numbers = {name: as_numbers(table[name]) if found is None else found for name, found in numbers.items()}
    problems = [f"{name} is not numbers" for name, found in numbers.items() if found is None]
    problems += [f"{name} is infinite" for name, found in numbers.items() if found is not None and np.isinf(found).any()]
    if epochs is None or (np.diff(epochs) <= 0).any():
        problems.append("epoch does not count up")
    if problems:
        raise InputError(f"{path}: {problem}. {UNTOUCHED_COPY}" for problem in problems)
    return pd.DataFrame(numbers | {"epoch": epochs})


def _read_table(path: Traversable, needed: list[str]) -> pd.DataFrame:
    try:
        return read_tsv(path, needed)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table ({error}). {UNTOUCHED_COPY}") from None


def check_agreement(
    files: Traversable, config: dict, panel: pd.DataFrame, labels: pd.DataFrame, *, calibration: Calibration
) -> list[str]:
    """A sentence for each number of config.json and calibration.json that the panel or the labels contradict."""
    counted = {"n_genes": (len(panel), "panel.tsv"), "n_labels": (len(labels), "labels.tsv")}
    problems = [
        f"{files / 'config.json'}: {name} is {config['model'][name]}, but {file} has {found} rows. {UNTOUCHED_COPY}"
        for name, (found, file) in counted.items()
        if config["model"][name] != found
    ]
    if (cells := int(labels["n_cells"].sum())) != config["cells"]:
        problems.append(f"{files / 'config.json'}: cells is {config['cells']}, but labels.tsv counts {cells}. {UNTOUCHED_COPY}")
    if (held_out := int(labels["n_validation"].sum())) != calibration.validation_cells:
        problems.append(
            f"{files / 'calibration.json'}: validation_cells is {calibration.validation_cells}, but labels.tsv counts "
            f"{held_out}. {UNTOUCHED_COPY}"
        )
    counted_of = Counter({label: n for label, n in enumerate(labels["n_validation"]) if n})
    if Counter(calibration.conformal_labels) != counted_of or len(calibration.conformal_scores) != counted_of.total():
        problems.append(
            f"{files / 'calibration.json'}: conformal_labels is not the labels of the cells of conformal_scores, as labels.tsv "
            f"counts them. {UNTOUCHED_COPY}"
        )
    levels = [name.removeprefix(COLUMN) for name in labels if name.startswith(COLUMN)]
    if levels != config["label_levels"]:
        problems.append(
            f"{files / 'config.json'}: label_levels is {shown(config['label_levels'])}, but the levels in labels.tsv are "
            f"{shown(levels)}. {UNTOUCHED_COPY}"
        )
    adapted = ("adapted_to", "adapted_values", "adapted_from", "adapting")
    if any(name in config for name in adapted) and not all(name in config for name in adapted):
        problems.append(f"{files / 'config.json'}: it has only some of {', '.join(adapted)}. {UNTOUCHED_COPY}")
    return problems


def check_tensors(path: Traversable, config: ModelConfig) -> list[str]:
    """A sentence for each tensor of model.safetensors that is missing, too many, of another shape or type, or out of range.

    Shapes are compared before values, and all that is compared has the size of the file.
    """
    from safetensors import SafetensorError, deserialize

    try:
        found = dict(deserialize(path.read_bytes()))
        kinds = {name: _kind(tensor) for name, tensor in found.items()}
        problems = _wrong_shapes(kinds, config)
        if not problems:
            problems = [p for name, tensor in found.items() for p in _wrong_values(name, _array(tensor), config)]
    except (SafetensorError, OSError, ValueError, TypeError, OverflowError) as error:
        problems = [f"it cannot be read ({shown(str(error), 100)})"]
    return [f"{path}: {problem}. {UNTOUCHED_COPY}" for problem in problems]


#: The tensors that are not of float32.
_INTEGERS = {"reference.label": "I64", "reference.state_label": "I64", "reference.fingerprint": "U64"}


_TYPES = {"F32": np.float32, "I64": np.int64, "U64": np.uint64}


def _kind(tensor: dict[str, Any]) -> tuple[tuple[int, ...], str]:
    return tuple(tensor["shape"]), tensor["dtype"]


def _array(tensor: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(tensor["data"], _TYPES[tensor["dtype"]]).reshape(tensor["shape"])


def _wrong_shapes(kinds: dict[str, tuple[tuple[int, ...], str]], config: ModelConfig) -> list[str]:
    if config.n_layers > len(kinds):  # before the names of all layers are made
        return [f"it has {len(kinds)} tensors, too few for the {config.n_layers:,} layers of config.json"]

    def length(name: str, dimension: int) -> int:
        shape = kinds.get(name, ((), ""))[0]
        return max(1, shape[dimension]) if len(shape) > dimension else 1

    components, near = length("reference.components", 1), length("reference.scale", 0)
    kept, states = length("reference.embedding", 0), length("reference.states", 0)
    expected = network_shapes(config) | reference_shapes(config, kept=kept, components=components, near=near, states=states)
    expected["reference.fingerprint"] = (length("reference.fingerprint", 0),)
    wanted = {name: (shape, _INTEGERS.get(name, "F32")) for name, shape in expected.items()}
    missing, extra = sorted(wanted.keys() - kinds.keys()), sorted(kinds.keys() - wanted.keys())
    problems = [f"{len(names)} {what}, such as {names[0]}" for names, what in (
        (missing, "tensors are missing"), (extra, "tensors do not belong to the network of config.json")) if names]  # fmt: skip
    problems += [
        f"the tensor {name} is {_words(kinds[name])}, not {_words(wanted[name])}"
        for name in wanted.keys() & kinds.keys()
        if kinds[name] != wanted[name]
    ]
    if near > components:
        problems.append(f"reference.scale has {near} rows, more than reference.components has columns ({components})")
    return sorted(problems)


def _words(kind: tuple[tuple[int, ...], str]) -> str:
    return f"{' x '.join(map(str, kind[0])) or 'a single number'} of {kind[1]}"


def _at_least(low: float) -> Callable[[np.ndarray], bool]:
    return lambda values: bool((values >= low).all())


#: What some tensors have to be beside finite, in words and as a test.
_RANGES = {
    "linear.spread": ("above 0 everywhere", _at_least(1e-6)),
    "linear.share": ("shares of one whole", lambda v: bool((v >= 0).all()) and abs(float(v.sum(dtype=np.float64)) - 1) < 0.01),
    "reference.means": ("0 or more everywhere", _at_least(0)),
    "reference.states": ("0 or more everywhere", _at_least(0)),
    "reference.spread": ("above 0 everywhere", _at_least(1e-6)),
    "reference.scale": ("different from 0 anywhere", lambda v: bool(v.any())),
}


def _wrong_values(name: str, tensor: np.ndarray, config: ModelConfig) -> list[str]:
    if name in ("reference.label", "reference.state_label"):
        inside = bool(((tensor >= 0) & (tensor < config.n_labels)).all())
        return [] if inside else [f"{name} holds numbers of labels that there are not (0 to {config.n_labels - 1})"]
    if name == "reference.fingerprint":
        return [] if (tensor[1:] >= tensor[:-1]).all() else ["reference.fingerprint is not in rising order"]
    largest = LARGEST_OF_REFERENCE if name.startswith("reference.") else LARGEST_WEIGHT
    if not (np.abs(tensor) <= largest).all():  # NaN is not, either
        return [f"the tensor {name} holds NaN, infinite or far too large numbers (above {largest:g})"]
    words, holds = _RANGES.get(name, ("", lambda _: True))
    return [] if holds(tensor) else [f"the tensor {name} is not {words}"]


def read_all(files: Traversable) -> tuple[dict, pd.DataFrame, pd.DataFrame, Calibration, pd.DataFrame]:
    """Config, panel, labels, calibration and history of a model, held to all of the above.

    Raises InputError with all problems."""
    problems = Problems()
    with problems.collect():
        config = read_config(files / "config.json")
    with problems.collect():
        panel = read_panel(files / "panel.tsv")
    with problems.collect():
        labels = read_labels(files / "labels.tsv")
    with problems.collect():
        calibration = read_calibration(files / "calibration.json")
    with problems.collect():
        history = read_history(files / "history.tsv")
    with problems.collect():
        read_text(files / "model_card.md", UNTOUCHED_COPY)
    problems.raise_any()
    problems += check_agreement(files, config, panel, labels, calibration=calibration)
    if not problems:
        problems += check_tensors(files / "model.safetensors", ModelConfig(**config["model"]))
    problems.raise_any()
    return config, panel, labels, calibration, history
