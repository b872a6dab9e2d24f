"""The numbers to look at first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.columns import AMBIGUOUS, ASSIGNED, UNASSIGNED
from cellmemory.reference.alarms import unlearned
from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report import wording
from cellmemory.report.blocks import Facts, Notes, Section, Table, Tiles
from cellmemory.report.data import Sample, alignment_of, share_of
from cellmemory.report.sections import clusters


def section(samples: Sequence[Sample], trained: TrainedModel, inputs: dict | None) -> Section:
    """The numbers to look at first, and a row for every sample."""
    cells = pd.concat([s.cells for s in samples], ignore_index=True)
    reference = (inputs or {}).get("reference") or {}
    n_cells = int(trained.label_table["n_cells"].sum())
    tiles = [
        ("Cells", f"{len(cells):,}", f"in {wording.count(len(samples), 'sample')}"),
        ("Assigned", f"{share_of(cells, ASSIGNED):.1%}", "the others' labels are not to be used"),
        ("Ambiguous", f"{share_of(cells, AMBIGUOUS):.1%}", "between labels"),
        ("Unassigned", f"{share_of(cells, UNASSIGNED):.1%}", "unlike the reference"),
        ("Median confidence", near_one(cells["confidence"].median()), "calibrated probability"),
        ("Labels found", f"{cells['label'].nunique()} of {len(trained.labels)}", "that the reference knows"),
    ]
    coverages = [a["coverage"] for s in samples if (a := alignment_of(s)) and "coverage" in a]
    if coverages:
        low, high = min(coverages), max(coverages)
        span = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{100 * low:.0f}–{high:.0%}"
        tiles.append(("Panel measured", span, f"of {len(trained.panel):,} genes"))
    scored = [s.tables["metrics"] for s in samples if s.tables.get("metrics", {}).get("accuracy") is not None]
    if scored:
        weight = [m["known_cells"] for m in scored]
        right = np.average([m["accuracy"] for m in scored], weights=weight) if sum(weight) else np.nan
        tiles.append(("Accuracy", f"{right:.1%}", "over types that the reference knows"))
    rows = []
    for sample in samples:
        metrics = sample.tables.get("metrics", {})
        rows.append(
            [
                sample.name,
                len(sample.cells),
                *(share_of(sample.cells, status) for status in (ASSIGNED, AMBIGUOUS, UNASSIGNED)),
                sample.cells["confidence"].median(),
                sample.cells["label"].nunique(),
                (alignment_of(sample) or {}).get("coverage"),
                metrics.get("accuracy"),
                metrics.get("macro_f1"),
                metrics.get("novelty_auroc"),
            ]
        )
    columns = [
        ("Sample", "text"),
        ("Cells", "count"),
        ("Assigned", "share"),
        ("Ambiguous", "share"),
        ("Unassigned", "share"),
        ("Median confidence", "number"),
        ("Labels", "count"),
    ]
    columns += [("Panel measured", "share"), ("Accuracy", "share"), ("Macro F1", "number"), ("Novelty AUROC", "number")]
    keep = [i for i in range(len(columns)) if i < 7 or any(row[i] is not None for row in rows)]
    table = Table("samples", "Samples", [columns[i] for i in keep], [[row[i] for i in keep] for row in rows])
    made = [
        ("Label column", trained.config.get("label_key", "")),
        ("Labels", f"{len(trained.labels)}"),
        ("Cells", f"{n_cells:,}"),
    ]
    made += [("Genes in the panel", f"{len(trained.panel):,}"), ("Model", _digest(trained.config.get("digest", "")))]
    if reference.get("path"):
        made.insert(0, ("File", Path(reference["path"]).name))
    lead = (
        "Every cell was given the label of the reference that fits best, a calibrated confidence, and a test of "
        "whether the reference knows cells like it at all."
    )
    unusual = [*unlearned(trained.calibration, trained.config["label_key"]), *reference.get("warnings", ())]
    unusual += [f"{sample.name}: {alarm}" for sample in samples for alarm in sample.run.alarms or ()]
    unusual += [sentence for sample in samples if "clusters" in sample.tables for sentence in clusters.candidates(sample)]
    notes = [Notes(unusual, "Read this first", warning=True)] if unusual else []
    return Section("summary", "Summary", lead, [Tiles(tiles), *notes, table, Facts("Reference", made)])


def near_one(confidence: float) -> str:
    """Two digits; what is not certain is not rounded to it."""
    return ">0.99" if 0.99 < confidence < 1 else f"{confidence:.2f}"


def _digest(digest: str) -> str:
    return digest[:12] or "unknown"
