"""What belongs to a mapped query in a report: tables of results and JSON, looked at field by field as they are read."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from cellmemory.columns import (
    CLUSTER,
    CLUSTER_COLUMNS,
    CLUSTER_MARKER_COLUMNS,
    CONSENSUS_STATUSES,
    CONTRAST_COLUMNS,
    DOUBLET_SCORE,
    ENRICHMENT_COLUMNS,
    FAITHFULNESS_COLUMNS,
    MAPPING,
    SLOT_TAG_COLUMNS,
    TAG_COLUMNS,
    TEXT_COLUMNS,
)
from cellmemory.errors import InputError, first_ids
from cellmemory.io import checked
from cellmemory.io.checked import Kind, either, integer, mapping, number, sequence, text
from cellmemory.io.tables import mapping_of, read_results
from cellmemory.mapping.clustered import read_clusters

TABLES_OF_SAMPLES = {"alignment": ".json", "metrics": ".json", "tags": ".tsv", "slot_tags": ".tsv", "contrasts": ".tsv"}
TABLES_OF_SAMPLES |= {"faithfulness": ".tsv", "enrichment": ".tsv", "clusters": ".tsv", "cluster_markers": ".tsv"}
TABLES_OF_SAMPLES |= {"cell_clusters": ".csv"}
COLUMNS = {
    "tags": TAG_COLUMNS,
    "slot_tags": SLOT_TAG_COLUMNS,
    "contrasts": CONTRAST_COLUMNS,
    "enrichment": ENRICHMENT_COLUMNS,
    "faithfulness": FAITHFULNESS_COLUMNS,
    "clusters": CLUSTER_COLUMNS,
    "cluster_markers": CLUSTER_MARKER_COLUMNS,
}
_NAMES, _COUNT, _SHARE = sequence(text(empty=True)), integer(0, 10**12), number(0, 1)
_SCORE = either(_SHARE, None)


def _rows(**fields: Kind) -> Kind:
    return sequence(mapping(fields, others=True))


def _some(**fields: Kind) -> Kind:
    """An object whose fields have these kinds where they are there."""
    words = ", ".join(f"{name} ({kind.words})" for name, kind in fields.items())
    return Kind(f"an object, with {words}", lambda v: isinstance(v, dict) and not checked.wrong_fields(v, {}, fields))


def _is_confusion(value: Any) -> bool:
    fields = {"true": _NAMES, "predicted": _NAMES, "counts": sequence(sequence(_COUNT))}
    if not mapping(fields).holds(value):
        return False
    return [len(row) for row in value["counts"]] == [len(value["predicted"])] * len(value["true"])


def _are_links(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(path, str) and path and path[0] != "/" for path in value.values())


_LEVELS = {
    "levels": _rows(level=text(), accuracy=_SCORE, macro_f1=_SCORE),
    "answers": _rows(level=text(), share=_SCORE, accuracy=_SCORE),
}
_PAIRS = _rows(first=text(), second=text(), cells=_COUNT, agreeing=_COUNT, agreement=_SCORE,
               labels=_rows(first=text(), second=text(), cells=_COUNT))  # fmt: skip
_SCORES = ["accuracy", "accuracy_all", "balanced_accuracy", "macro_f1", "weighted_f1", "rare_f1", "ece", "novelty_auroc"]
_SCORES += [
    "unknown_flagged",
    "known_flagged",
    "known_ambiguous",
    "surely_wrong",
    "assigned_fraction",
    "assigned_accuracy",
    "label_set_coverage",
]
#: Fields that JSON of each option must have, and those that are looked at where they are there.
JSON_FIELDS = {
    "alignment": (
        {"values_digest": text(empty=True)},
        {
            "coverage": _SHARE,
            **dict.fromkeys(("messages", "missing_genes", "summed_genes"), _NAMES),
            **dict.fromkeys(("matched", "genes_in_file", "renamed", "summed", "unknown"), either(_COUNT, None)),
            **dict.fromkeys(("id_type", "value_scale", "values_from"), either(text(empty=True), None)),
        },
    ),
    "metrics": (
        {
            MAPPING: text(empty=True),
            "known_cells": _COUNT,
            "confusion": Kind("a table of counts, true types by predicted labels", _is_confusion),
        },
        {
            **dict.fromkeys(_SCORES, _SCORE),
            **dict.fromkeys(("cells", "cells_with_truth", "unknown_cells"), _COUNT),
            "label_set_mean_size": either(number(0, 1e9), None),
            "unknown_types": _rows(label=text(), cells=_COUNT, mean_novelty_p=_SCORE, flagged_fraction=_SCORE),
            "per_class": _rows(label=text(), cells=_COUNT, precision=_SCORE, recall=_SCORE, f1=_SCORE),
            "calibration": _rows(cells=_COUNT, accuracy=_SCORE, confidence=_SCORE),
            "hierarchy": either(mapping(_LEVELS), None),
        },
    ),
    "consensus": (
        {
            "sample": text(),
            "references": sequence(text(), 2),
            "status": mapping(dict.fromkeys(CONSENSUS_STATUSES, _COUNT)),
            "pairs": _PAIRS,
            "warnings": _NAMES,
        },
        {},
    ),
    "inputs": (
        {},
        {
            "reference": either(_some(warnings=_NAMES, path=text(empty=True)), None),
            "gmt": sequence(_some(sets=_COUNT)),
            "warnings": _NAMES,
        },
    ),
    "provenance": ({}, {"links": Kind("an object of relative paths", _are_links), "written": text()}),
}  # fmt: skip


#: The cells whose genes cluster.py tests, at most.
TESTED_CELLS = 20_000


def is_of_mapping(table: pd.DataFrame | dict, path: Path, values_digest: str, mappings: Collection[str]) -> bool:
    """Whether a table or a JSON of results was made of this mapped query; mappings: see MappedFile. A table without rows is of
    any."""
    if not isinstance(table, dict):
        return table.empty or mapping_of(table, path) in mappings
    return table[MAPPING] in mappings if MAPPING in table else table["values_digest"] == values_digest


def are_of_one_clustering(clusters: pd.DataFrame, markers: pd.DataFrame) -> bool:
    """Whether tables of clusters and of their markers say the same of the numbers of cells."""
    sizes = clusters.groupby("cluster")["n_cells"].sum()
    tested = markers.groupby("cluster")["n_cells"].max()
    known = sizes.reindex(tested.index).fillna(-1)
    return not (tested > known).any() and (sizes.sum() > TESTED_CELLS or not (tested != known).any())


def read_json(path: Path, option: str) -> dict:
    """A JSON object from a file. Raises InputError that names the file and its option, and what is not as it has to be."""
    value = checked.read_json(path, f" (--{option})")
    problems = checked.wrong_fields(value, *JSON_FIELDS.get(option, ({}, {})))
    if option == "consensus" and not problems:
        known = set(value["references"])
        strange = {pair[side] for pair in value["pairs"] for side in ("first", "second")} - known
        problems += [f"{checked.shown(name)} is not one of the references" for name in sorted(strange)]
    if problems:
        raise InputError(f"{path} (--{option}): {problem}. Give the file as it was written." for problem in problems)
    return value


def read_result(path: Path, option: str) -> pd.DataFrame | dict:
    """A table of results by the name of its option. Raises InputError for one that is not as it was written."""
    if TABLES_OF_SAMPLES[option] == ".json":
        return read_json(path, option)
    try:
        if option == "cell_clusters":
            table = read_clusters(path)[[CLUSTER, DOUBLET_SCORE, MAPPING]].rename(columns={CLUSTER: "cluster"})
        else:
            table = read_results(path, [*COLUMNS[option], MAPPING])
    except (ValueError, OSError) as error:  # pandas' errors of parsing are of this kind, too
        raise InputError(f"{path} (--{option}) cannot be read: {error}. Give the file as it was written.") from None
    numbers = [name for name in table if name not in TEXT_COLUMNS]
    problems = [f"{name} is not numbers" for name in numbers if not pd.api.types.is_numeric_dtype(table[name].dtype)]
    if option == "slot_tags" and (
        strange := [slot for slot in table["slot"].unique() if not re.fullmatch(r"[1-9]\d{0,3}", slot)]
    ):
        problems.append(f"slot {first_ids(strange)} is not the number of a memory slot")
    if problems:
        raise InputError(f"{path} (--{option}): {problem}. Give the file as it was written." for problem in problems)
    return table
