"""Custom content for MultiQC: the numbers of a run among those of all other tools."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cellmemory import __version__
from cellmemory.columns import AMBIGUOUS, ASSIGNED, UNASSIGNED
from cellmemory.errors import InputError
from cellmemory.io.atomic import write_json
from cellmemory.io.outputs import replaceable
from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report.blocks import plain
from cellmemory.report.colours import NOT_ASSIGNED
from cellmemory.report.data import Sample, alignment_of, counted_labels, share_of
from cellmemory.report.wording import percent

_COLUMNS = (
    ("cells", {"title": "Cells", "description": "Cells mapped", "format": "{:,.0f}", "scale": "Blues"}),
    (
        "assigned",
        {
            "title": "Assigned",
            "description": "Cells whose label may be used",
            "suffix": "%",
            "min": 0,
            "max": 100,
            "scale": "Greens",
        },
    ),
    (
        "ambiguous",
        {
            "title": "Ambiguous",
            "description": "Cells between labels",
            "suffix": "%",
            "min": 0,
            "max": 100,
            "scale": "Oranges",
        },
    ),
    (
        "unassigned",
        {
            "title": "Unassigned",
            "description": "Cells unlike the reference",
            "suffix": "%",
            "min": 0,
            "max": 100,
            "scale": "Reds",
        },
    ),
    (
        "confidence",
        {
            "title": "Confidence",
            "description": "Median calibrated confidence",
            "min": 0,
            "max": 1,
            "format": "{:.2f}",
            "scale": "Purples",
        },
    ),
    (
        "coverage",
        {
            "title": "Panel",
            "description": "Genes of the model's panel that were measured",
            "suffix": "%",
            "min": 0,
            "max": 100,
            "scale": "Oranges",
        },
    ),
    (
        "accuracy",
        {
            "title": "Right",
            "description": "Assigned cells whose label is that of the user's labels",
            "suffix": "%",
            "min": 0,
            "max": 100,
            "scale": "GnBu",
        },
    ),
)


def check_folder(samples: Sequence[Sample], folder: Path, page: Path) -> None:
    """Raises InputError where a file in the folder that `write` would replace is not of this step, or is the page."""
    problems = []
    for path in (folder / f"{name}_mqc.json" for name in _names(samples)):
        if os.path.abspath(path) == os.path.abspath(page):
            problems.append(f"--output {page} is the name of a file for MultiQC in --mqc_dir. Give another name.")
        elif os.path.lexists(path) and (path.is_symlink() or not replaceable(path, "multiqc")):
            problems.append(f"{path} exists, and this step did not write it; give another --mqc_dir, or remove it first.")
    if problems:
        raise InputError(problems)


def _names(samples: Sequence[Sample]) -> list[str]:
    of = "run" if len(samples) > 1 else samples[0].name
    return [
        f"{of}_summary",
        f"{of}_methods",
        *(f"{sample.name}_{kind}" for sample in samples for kind in ("labels", "confidence")),
    ]


def write(samples: Sequence[Sample], trained: TrainedModel, colours: dict[str, str], folder: Path) -> list[Path]:
    """Writes `run_summary` and `run_methods` (of one query: `<sample>_summary` and so on), `<sample>_labels` and
    `<sample>_confidence` as `_mqc.json`."""
    made = [
        _summary(samples),
        _methods(samples, trained),
        *(one for sample in samples for one in (_labels(sample, colours), _confidence(sample))),
    ]
    contents = {f"{name}_mqc.json": content for name, content in zip(_names(samples), made, strict=True)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_json(folder / name, plain(content))
    return [folder / name for name in contents]


def _summary(samples: Sequence[Sample]) -> dict:
    data = {}
    for sample in samples:
        coverage = (alignment_of(sample) or {}).get("coverage")
        accuracy = sample.tables.get("metrics", {}).get("assigned_accuracy")
        row = {
            "cells": len(sample.cells),
            "assigned": 100 * share_of(sample.cells, ASSIGNED),
            "ambiguous": 100 * share_of(sample.cells, AMBIGUOUS),
            "unassigned": 100 * share_of(sample.cells, UNASSIGNED),
            "confidence": sample.cells["confidence"].median(),
        }
        row |= {} if coverage is None else {"coverage": 100 * coverage}
        row |= {} if accuracy is None else {"accuracy": 100 * accuracy}
        data[sample.name] = row
    used = {key for row in data.values() for key in row}
    return {
        "id": "cellmemory_summary",
        "section_name": "CellMemory",
        "description": "Cells mapped onto the labels of a reference.",
        "plot_type": "generalstats",
        "pconfig": [{key: {**column, "namespace": "CellMemory"}} for key, column in _COLUMNS if key in used],
        "data": data,
    }


def _methods(samples: Sequence[Sample], trained: TrainedModel) -> dict:
    """What was done, in words for a paper; nothing of it comes from a user's names."""
    run = samples[0].run
    n_cells = int(trained.label_table["n_cells"].sum())
    words = (
        f"Cells were labelled by nf-cellmemory {__version__}, which runs CellMemory (Wang et al., Genome Biology 2025, 26:178), "
        f"with a model of {n_cells:,} reference cells, {len(trained.labels)} labels and {len(trained.panel):,} genes (seed "
        f"{trained.config['seed']}). A cell is unassigned where fewer than {percent(run.novelty_alpha)} of held-out reference "
        f"cells are as unlike the reference, and ambiguous where the probability of its label is below "
        f"{percent(run.min_confidence)}. Only the labels of assigned cells are used."
    )
    return {
        "id": "cellmemory_methods",
        "section_name": "CellMemory methods",
        "description": "For a paper's section on methods.",
        "plot_type": "html",
        "data": f"<p>{words}</p>",
    }


def _labels(sample: Sample, colours: dict[str, str]) -> dict:
    counts = counted_labels(sample.cells).value_counts(sort=False)
    colours = colours | NOT_ASSIGNED
    found = {label: int(counts[label]) for label in colours if label in counts.index and counts[label]}
    return {
        "id": "cellmemory_labels",
        "section_name": "CellMemory labels",
        "description": "Labels of assigned cells; the others count under no label.",
        "plot_type": "bargraph",
        "pconfig": {
            "id": "cellmemory_labels_plot",
            "title": "CellMemory: Labels",
            "ylab": "Cells",
            "cpswitch_counts_label": "Cells",
        },
        "categories": {label: {"name": label, "color": colours[label]} for label in found},
        "data": {sample.name: found},
    }


def _confidence(sample: Sample) -> dict:
    counts, edges = np.histogram(sample.cells["confidence"], np.linspace(0, 1, 21))
    share = 100 * counts / max(1, counts.sum())
    return {
        "id": "cellmemory_confidence",
        "section_name": "CellMemory confidence",
        "description": "Calibrated confidence of the predicted labels.",
        "plot_type": "linegraph",
        "pconfig": {
            "id": "cellmemory_confidence_plot",
            "title": "CellMemory: Confidence",
            "xlab": "Confidence",
            "ylab": "Cells (%)",
            "xmin": 0,
            "xmax": 1,
            "ymin": 0,
        },
        "data": {
            sample.name: {f"{(low + high) / 2:.3f}": value for low, high, value in zip(edges[:-1], edges[1:], share, strict=True)}
        },
    }
