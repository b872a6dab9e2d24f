"""The first screen: what the cells are, which labels may be used, and what is new or wrong."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from cellmemory.cells.labels import PERHAPS_NEW
from cellmemory.columns import AMBIGUOUS, ASSIGNED, UNASSIGNED
from cellmemory.reference.alarms import unlearned
from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report import wording
from cellmemory.report.blocks import Facts, Links, Notes, Section, Table, Tiles
from cellmemory.report.data import Sample, alignment_of, share_of
from cellmemory.report.sections import clusters
from cellmemory.report.verdicts import CHECK, DO_NOT_USE, USE, Verdict, is_used, judge

#: Labels that the first sentence names, genes that stand beside a label.
NAMED_LABELS, NAMED_GENES = 3, 3
_LABEL_COLUMNS = [
    ("Label", "label"),
    ("Verdict", "verdict"),
    ("Why", "text"),
    ("Genes", "text"),
    ("Cells", "count"),
    ("To be used", "count"),
    ("Confidence", "number"),
]
_LABEL_CAPTION = (
    "Every label that a cell got. To be used: its cells that are assigned, and not in a cluster that may be a new type. Use: at "
    "least four in five of the label's cells are. Don't use: fewer than half are. Check: what lies between, labels of few cells, "
    "and labels of which a tenth may be a new type. Genes: the highest contributions to the label in its assigned cells. "
    "Confidence: the median of the cells to be used."
)
_LINKS_CAPTION = "The links lead to files where the pipeline writes them. They work as long as this page lies there as well."


def section(samples: Sequence[Sample], trained: TrainedModel, inputs: dict | None, links: dict[str, str]) -> Section:
    """A sentence, the figures to look at first, a verdict on every label, a row for every sample, and files next to the page.

    links: words and the path of each, relative to the page.
    """
    cells = pd.concat([s.cells for s in samples], ignore_index=True)
    verdicts = _verdicts(cells, trained)
    unusual = [*unlearned(trained.calibration, trained.config["label_key"]), *_reference(inputs).get("warnings", ())]
    unusual += (inputs or {}).get("warnings", ())
    unusual += [f"{sample.name}: {alarm}" for sample in samples for alarm in sample.run.alarms or ()]
    unusual += [sentence for sample in samples if "clusters" in sample.tables for sentence in clusters.candidates(sample)]
    notes = [Notes(unusual, "Read this first", warning=True)] if unusual else []
    blocks = [Tiles(_tiles(samples, cells, trained)), *notes, _labels(samples, cells, verdicts)]
    several = [_samples(samples)] if len(samples) > 1 else []
    files = [(words, quote(path)) for words, path in links.items()]
    next_to = [Links("Next to this page", files, _LINKS_CAPTION)] if files else []
    blocks += [*several, *next_to, _facts(trained, inputs)]
    return Section("summary", "Summary", _sentence(samples, cells, verdicts), blocks)


def _reference(inputs: dict | None) -> dict:
    return (inputs or {}).get("reference") or {}


def _verdicts(cells: pd.DataFrame, trained: TrainedModel) -> dict[str, Verdict]:
    """The verdict on each label that cells got, the label with the most cells to be used first."""
    known = trained.label_table.set_index("label")["n_cells"]
    parts = cells.groupby("label", observed=True)
    found = {str(label): judge(part, trained.labels, int(known[label])) for label, part in parts}
    return dict(sorted(found.items(), key=lambda each: -each[1].used))


def _sentence(samples: Sequence[Sample], cells: pd.DataFrame, verdicts: dict[str, Verdict]) -> str:
    """What the cells are, in words."""
    shares = _shares(cells)
    most = [f"{label} ({found.used / len(cells):.0%})" for label, found in verdicts.items() if found.used][:NAMED_LABELS]
    of_them = f", most of them {wording.listed(most)}" if most else ""
    where = f" of {wording.count(len(samples), 'sample')}" if len(samples) > 1 else ""
    verdict = pd.Series([found.verdict for found in verdicts.values()]).value_counts()
    parts = {USE: "may be used", CHECK: "should be checked", DO_NOT_USE: "should not be used"}
    judged = wording.listed([f"{verdict[name]} {words}" for name, words in parts.items() if name in verdict])
    others = [f"{share:.0%} {words}" for name, words in _OTHERS.items() if (share := shares[name]) >= 0.005]
    rest = f" {wording.listed(others)}." if others else ""
    return (
        f"{shares[ASSIGNED]:.0%} of the {len(cells):,} cells{where} have a label that may be used{of_them}.{rest} "
        f"Of {wording.count(len(verdicts), 'label')}, {judged}."
    )


#: What cells are that count under no label, in words.
_OTHERS = {PERHAPS_NEW: "are in clusters that may be new types", AMBIGUOUS: "lie between labels"}
_OTHERS |= {UNASSIGNED: "are unlike the reference"}


def _shares(cells: pd.DataFrame) -> dict[str, float]:
    """Shares of cells: those of clusters that may be new types, and all others by their status; together 1."""
    new = cells["candidate"] if "candidate" in cells else pd.Series(False, cells.index)
    of_status = {status: float((~new & (cells["status"] == status)).mean()) for status in (ASSIGNED, AMBIGUOUS, UNASSIGNED)}
    return {**of_status, PERHAPS_NEW: float(new.mean())}


def _tiles(samples: Sequence[Sample], cells: pd.DataFrame, trained: TrainedModel) -> list[tuple[str, str, str]]:
    shares = _shares(cells)
    tiles = [
        ("Cells", f"{len(cells):,}", f"in {wording.count(len(samples), 'sample')}"),
        ("To be used", f"{shares[ASSIGNED]:.1%}", "have a label"),
        ("Between labels", f"{shares[AMBIGUOUS]:.1%}", "ambiguous"),
        ("Unlike the reference", f"{shares[UNASSIGNED]:.1%}", "unassigned"),
    ]
    if shares[PERHAPS_NEW]:
        tiles.append(("Perhaps new", f"{shares[PERHAPS_NEW]:.1%}", "whole clusters"))
    coverages = [a["coverage"] for s in samples if (a := alignment_of(s)) and "coverage" in a]
    if coverages:
        low, high = min(coverages), max(coverages)
        span = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{100 * low:.0f}–{high:.0%}"
        tiles.append(("Panel measured", span, f"of {len(trained.panel):,} genes"))
    scored = [s.tables["metrics"] for s in samples if s.tables.get("metrics", {}).get("assigned_accuracy") is not None]
    weight = [(m.get("cells_with_truth") or 0) * (m.get("assigned_fraction") or 0) for m in scored]
    if sum(weight):
        right = np.average([m["assigned_accuracy"] for m in scored], weights=weight)
        tiles.append(("As in your labels", f"{right:.1%}", "of assigned cells"))
    return tiles


def _labels(samples: Sequence[Sample], cells: pd.DataFrame, verdicts: dict[str, Verdict]) -> Table:
    """A row for every label: what is to be done with it, and why."""
    genes = _deciding_genes(samples)
    rows = []
    for label, found in verdicts.items():
        part = cells[(cells["label"] == label).to_numpy()]
        confidence = part["confidence"][is_used(part).to_numpy()].median() if found.used else None
        shown = genes.get(label, "") if found.used else ""
        rows.append([label, found.verdict, found.reason, shown, len(part), found.used, confidence])
    kept = [i for i, (title, _) in enumerate(_LABEL_COLUMNS) if title != "Genes" or genes]
    columns, rows = [_LABEL_COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in rows]
    return Table("verdicts", "Labels", columns, rows, _LABEL_CAPTION)


def _deciding_genes(samples: Sequence[Sample]) -> dict[str, str]:
    """The first genes of each label by contribution, in the sample that has most of its assigned cells."""
    parts = [sample.tables["tags"] for sample in samples if "tags" in sample.tables]
    if not parts:
        return {}
    table = pd.concat(parts, keys=range(len(parts)), names=["sample", None]).reset_index("sample")
    by = "contribution_rank" if table["contribution_rank"].notna().any() else "rank"
    largest = table.groupby("group")["n_cells"].transform("max") == table["n_cells"]
    table = table[largest].sort_values(["sample", by], kind="stable")
    table = table[table["sample"] == table.groupby("group")["sample"].transform("first")]
    return {str(group): ", ".join(part.head(NAMED_GENES)) for group, part in table.groupby("group")["gene"]}


def _samples(samples: Sequence[Sample]) -> Table:
    """A row for every sample."""
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
                metrics.get("assigned_accuracy"),
                metrics.get("accuracy_all"),
                metrics.get("novelty_auroc"),
            ]
        )
    columns = [("Sample", "text"), ("Cells", "count"), ("Assigned", "share"), ("Ambiguous", "share"), ("Unassigned", "share")]
    columns += [("Median confidence", "number"), ("Labels", "count"), ("Panel measured", "share")]
    columns += [("Right, of assigned cells", "share"), ("Right, of all cells", "share"), ("Novelty AUROC", "number")]
    keep = [i for i in range(len(columns)) if i < 7 or any(row[i] is not None for row in rows)]
    return Table("samples", "Samples", [columns[i] for i in keep], [[row[i] for i in keep] for row in rows])


def _facts(trained: TrainedModel, inputs: dict | None) -> Facts:
    made = [
        ("Label column", trained.config.get("label_key", "")),
        ("Labels", f"{len(trained.labels)}"),
        ("Cells", f"{int(trained.label_table['n_cells'].sum()):,}"),
        ("Genes in the panel", f"{len(trained.panel):,}"),
        ("Model", trained.config.get("digest", "")[:12] or "unknown"),
    ]
    path = _reference(inputs).get("path")
    return Facts("Reference", [*([("File", Path(path).name)] if path else []), *made])


def near_one(confidence: float) -> str:
    """Two digits; what is not certain is not rounded to it."""
    return ">0.99" if 0.99 < confidence < 1 else f"{confidence:.2f}"
