"""How the model learned the reference."""

import pandas as pd

from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report import drawing, wording
from cellmemory.report.blocks import Facts, Figure, Notes, Section, Table

_CALIBRATION_FACTS = (
    ("ece", "Calibration error"),
    ("validation_cells", "Validation cells"),
)


def section(trained: TrainedModel) -> Section:
    """How the model was trained."""
    lead = "How the model learned the reference, and how its confidence was calibrated on cells held out of training."
    table = trained.label_table
    titles = {
        "label": ("Label", "label"),
        "n_cells": ("Cells", "count"),
        "n_train": ("Training", "count"),
        "n_validation": ("Validation", "count"),
        "rare": ("Rare", "text"),
    }
    keys = [key for key in titles if key in table]
    rows = [
        [wording.yes(value) if key == "rare" else value for key, value in zip(keys, row, strict=True)]
        for row in table[keys].itertuples(index=False)
    ]
    facts = [(title, wording.shown(getattr(trained.calibration, key))) for key, title in _CALIBRATION_FACTS]
    blocks = [history_figure(trained.history)] if len(trained.history) else [Notes(["The model has no training history."])]
    return Section(
        "training",
        "Training",
        lead,
        [
            *blocks,
            Facts("Calibration", facts),
            Table("reference_labels", "Labels of the reference", [titles[k] for k in keys], rows),
        ],
        advanced=True,
    )


def history_figure(history: pd.DataFrame) -> Figure:
    """Loss, accuracy and macro F1 over the epochs."""
    x = history["epoch"].to_numpy()
    lines = (
        ("training loss", "train_loss", "@muted", "y", "dot"),
        ("validation loss", "validation_loss", "@accent", "y", "solid"),
        ("validation accuracy", "validation_accuracy", "#0072b2", "y2", "solid"),
        ("validation macro F1", "validation_macro_f1", "#e69f00", "y2", "solid"),
    )
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": x,
            "y": history[key].to_numpy(),
            "xaxis": "x2" if axis == "y2" else "x",
            "yaxis": axis,
            "line": {"color": colour, "dash": dash, "width": 2},
            "marker": {"color": colour, "size": 5},
        }
        for name, key, colour, axis, dash in lines
        if key in history
    ]
    ticks = {"tick0": 0, "dtick": max(1, round(len(x) / 8))}
    layout = {
        "grid": {"rows": 1, "columns": 2, "pattern": "independent", "xgap": 0.16},
        "hovermode": "x",
        "xaxis": {"title": {"text": "Epoch"}, **ticks},
        "xaxis2": {"title": {"text": "Epoch"}, **ticks},
        "yaxis": {"title": {"text": "Loss"}, "rangemode": "tozero"},
        "yaxis2": {"title": {"text": "Score"}, "range": [0, 1.02]},
        "legend": {"orientation": "h", "x": 0.5, "xanchor": "center", "y": 1.04, "yanchor": "bottom"},
    }
    caption = (
        "Loss falls while the model learns; validation cells were held out of the reference. Training stops when "
        "their loss has not improved for several epochs, and the best epoch is kept."
    )
    return Figure("training", "Training history", caption, {"": drawing.figure(data, layout, 360, 560)})
