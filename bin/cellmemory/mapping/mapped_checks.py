"""Whether a mapped query, or a slice of one, holds what mapping writes: kinds, shapes and ranges, said before it is used."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from anndata.io import read_elem

from cellmemory import PREFIX, RUN
from cellmemory.cells.labels import TERM, LabelSets
from cellmemory.cells.reading import CellFile
from cellmemory.columns import (
    ANSWER,
    ANSWER_LEVEL,
    ATTENTION,
    CELL_COLUMNS,
    EMBEDDING,
    LABEL,
    LABEL_SET,
    REFERENCE_MAP,
    SLICE,
    SLOT_READ,
    SLOT_USE,
    SLOT_WRITE,
    STATUS,
    STATUSES,
    UMAP,
)
from cellmemory.errors import InputError, first_ids
from cellmemory.genes.quality import QUALITY, QUALITY_COLUMNS
from cellmemory.io.checked import Kind, choice, flag, integer, is_text, number, sequence, text, wrong_fields
from cellmemory.io.samplesheet import is_sample
from cellmemory.io.text import cleaned
from cellmemory.reference.hierarchy import column as level_column

MAP_AGAIN = "Map the query again with map_query.py."
_ANY_TEXT, _SHARE = text(empty=True), number(0, 1)
_LABEL = Kind("a label as training writes it", lambda v: is_text(v) and cleaned(v) == v)
_TERM = Kind("the id of a term or empty", lambda v: is_text(v) and (v == "" or TERM.fullmatch(v) is not None))
_RUN = {
    "sample": Kind("the name of a sample (letters, digits, '.', '_' and '-')", is_sample),
    "model_digest": _ANY_TEXT,
    "slot_groups": sequence(_LABEL, 1),
    "n_slots": integer(1, 10**6),
    "novelty_alpha": _SHARE,
    "alpha": _SHARE,
}
#: What is not in the files of all versions.
_OPTIONAL = {
    **dict.fromkeys(
        ("adapted_to", "adapting", "label_key", "truth_key", "batch_key", "spatial_key", "version", "mode"), _ANY_TEXT
    ),
    **dict.fromkeys(("binning", "precision", "source", "value_scale", "values_digest", "alignment"), _ANY_TEXT),
    "min_confidence": _SHARE,
    "novelty_shift": flag(),
    "weaker_evidence": number(-1e9, 1e9),
    "seed": integer(0, 2**32 - 1),
    "label_levels": sequence(text()),
    "label_terms": sequence(_TERM),
    "alarms": sequence(text()),
    "reference_cells": integer(0, 2**63 - 1),
    "n_cells": integer(1, 2**63 - 1),
}
#: What gathering needs to map the same way.
_OF_SLICES = {"min_confidence": _SHARE, "precision": choice(("fp32", "bf16"))}


def read_run(file: CellFile) -> dict:
    """`uns['cellmemory']` as it is; an empty object where it cannot be read as one."""
    try:
        run = read_elem(file.uns[RUN])
    except Exception:  # anndata raises anything on what it did not write
        return {}
    return run if isinstance(run, dict) else {}


def problems_of_mapped(file: CellFile, run: Mapping) -> list[str]:
    """A sentence for each thing that is not as map_query.py writes it."""
    problems = _wrong_run(run, _RUN)
    problems += _missing_columns(file, run) + _wrong_numbers(file)
    if not problems:
        groups, slots = len(run["slot_groups"]), run["n_slots"]
        width = f"{groups} labels x {slots} slots"
        problems += _wrong_shapes(file, slots)
        problems += [
            f"varm['{key}'] is not numbers of {file.var().shape[0]} genes x {width} ({_shape(stored)})"
            for key in (SLOT_WRITE, SLOT_READ)
            if (stored := file.stored(f"varm/{key}")) is not None and not _is_array(stored, file.var().shape[0], groups * slots)
        ]
        problems += _wrong_reference(file) + _wrong_names(file, run)
        twice = file.var().index[file.var().index.duplicated()].unique()
        if len(twice):
            problems.append(f"var holds genes more than once ({first_ids(map(str, twice))})")
        if "measured" not in file.var() or file.var()["measured"].dtype != bool:
            problems.append("var['measured'] is not true or false for each gene")
    return [f"{file.path}: {problem}. {MAP_AGAIN}" for problem in problems]


def problems_of_slice(file: CellFile, run: Mapping, sums: Sequence[str]) -> list[str]:
    """As `problems_of_mapped`, of a slice; sums: the names of what its slots got."""
    problems = _wrong_run(run, _RUN | _OF_SLICES)
    problems += _wrong_numbers(file)
    stored = file.uns[SLICE]
    cells = read_cell_range(stored)
    if cells is None or not 0 <= cells[0] < cells[1] <= cells[2] or cells[1] - cells[0] != file.n_cells:
        problems.append(f"uns['{SLICE}'] does not say which cells of how many these are (start, stop, n_cells)")
    if not problems:
        problems += _wrong_shapes(file, run["n_slots"]) + _wrong_names(file, run)
        problems += _wrong_sums(file, stored, groups=len(run["slot_groups"]), slots=run["n_slots"], names=sums)
    return [f"{file.path}: {problem}. {MAP_AGAIN}" for problem in problems]


def _wrong_run(run: Mapping, kinds: Mapping[str, Kind]) -> list[str]:
    """A clause for each field of uns['cellmemory'] that is not of its kind, or not as long as another."""
    clauses = wrong_fields(run, kinds, _OPTIONAL)
    if not clauses and len(run.get("label_terms", run["slot_groups"])) != len(run["slot_groups"]):
        clauses = ["label_terms is not one text for each of slot_groups"]
    return [f"uns['{RUN}']: {clause}" for clause in clauses]


def finite(path: str | Path, where: str, values: np.ndarray) -> np.ndarray:
    """The values. Raises InputError where some are NaN or infinite."""
    if np.isfinite(values).all():
        return values
    raise InputError(f"{path}: {where} holds NaN or infinite values, which mapping does not write. {MAP_AGAIN}")


def read_cell_range(stored: object) -> tuple[int, int, int] | None:
    """First cell, the one after the last, and number of cells of a slice's query; None where they are not all there."""
    if not isinstance(stored, h5py.Group):
        return None
    found = [stored.get(key) for key in ("start", "stop", "n_cells")]
    if not all(isinstance(v, h5py.Dataset) and v.shape == () and v.dtype.kind in "iu" for v in found):
        return None
    start, stop, n_cells = (int(v[()]) for v in found)
    return start, stop, n_cells


def _missing_columns(file: CellFile, run: Mapping) -> list[str]:
    names = list(CELL_COLUMNS)
    levels = run.get("label_levels", ())
    if len(levels) and _OPTIONAL["label_levels"].holds(levels):
        names += [*(PREFIX + level_column(level) for level in levels), ANSWER, ANSWER_LEVEL]
    missing = [f"'{name}'" for name in names if name not in file.columns]
    return [f"obs has no column {', '.join(missing)}"] if missing else []


def _wrong_numbers(file: CellFile) -> list[str]:
    problems = []
    for column, limits in CELL_COLUMNS.items():
        stored = file.stored(f"obs/{column}")
        if limits is None or stored is None:
            continue  # who needs a column says that it is not there
        if not _is_array(stored, file.n_cells):
            problems.append(f"the obs column '{column}' is not numbers, one a cell")
        elif not _within(stored[:], *limits):
            low, high = limits
            problems.append(f"the obs column '{column}' holds numbers out of its range ({low:g} to {high:g}) or lacks some")
    return problems + _wrong_quality(file)


def _wrong_quality(file: CellFile) -> list[str]:
    """A clause for measures of quality that no cell can have; those that are not known are NaN."""
    stored = file.stored(f"obsm/{QUALITY}")
    if stored is None or not _is_array(stored, file.n_cells, len(QUALITY_COLUMNS)):
        return []  # its shape is looked at apart
    known = np.nan_to_num(stored[:], nan=0.0, posinf=-1.0, neginf=-1.0)
    if (known >= 0).all() and (known[:, 2] <= 1).all():
        return []
    return [f"obsm['{QUALITY}'] holds infinite or negative values, or a share above 1"]


def _wrong_names(file: CellFile, run: Mapping) -> list[str]:
    """A clause for a column of obs that has other labels or statuses than mapping gives, or none for some cells."""
    obs, labels = file.obs, set(run["slot_groups"])
    sets = LabelSets(labels)
    allowed = {LABEL: labels.__contains__, STATUS: STATUSES.__contains__}
    allowed[LABEL_SET] = lambda value: sets.members(str(value)) is not None
    problems = []
    for column in [name for name in obs if name.startswith(PREFIX) and CELL_COLUMNS.get(name) is None]:
        values = obs[column]
        missing = int(values.isna().sum())
        if missing:
            problems.append(f"the obs column '{column}' is empty for {missing:,} of {file.n_cells:,} cells")
        strange = [str(value) for value in values.dropna().unique() if column in allowed and not allowed[column](value)]
        if strange:
            problems.append(f"the obs column '{column}' holds {first_ids(strange)}, which mapping does not give")
    return problems


def _within(values: np.ndarray, low: float, high: float) -> bool:
    return bool(np.isfinite(values).all() and (values >= low).all() and (values <= high * 1.000001).all())


def _wrong_shapes(file: CellFile, n_slots: int) -> list[str]:
    problems = []
    for key, width in ((EMBEDDING, None), (SLOT_USE, n_slots), (UMAP, 2), (QUALITY, len(QUALITY_COLUMNS))):
        stored = file.stored(f"obsm/{key}")
        if stored is not None and not _is_array(stored, file.n_cells, width):
            columns = "" if width is None else f" x {width}"
            problems.append(f"obsm['{key}'] is not numbers of {file.n_cells} cells{columns} ({_shape(stored)})")
    return problems


def _wrong_reference(file: CellFile) -> list[str]:
    stored = file.uns.get(REFERENCE_MAP)
    if stored is None:
        return []
    umap, label = (stored.get(key) if isinstance(stored, h5py.Group) else None for key in (UMAP, "label"))
    n = label.shape[0] if isinstance(label, h5py.Dataset) and label.ndim == 1 else None
    if n is None or umap is None or not _is_array(umap, n, 2):
        return [f"uns['{REFERENCE_MAP}'] does not hold {UMAP} and label of the same cells"]
    return [] if np.isfinite(umap[:]).all() else [f"uns['{REFERENCE_MAP}'] holds NaN or infinite values"]


def _wrong_sums(file: CellFile, stored: h5py.Group, *, groups: int, slots: int, names: Sequence[str]) -> list[str]:
    genes = file.var().shape[0]
    if ATTENTION not in file.matrices:
        return []
    shapes = {"write": (groups, slots, genes), "read": (groups, slots, genes), "expressing": (groups, genes), "cells": (groups,)}
    found = {name: stored.get(name) for name in names}
    return [
        f"uns['{SLICE}']: '{name}' is not whole numbers of {' x '.join(map(str, shapes[name]))} ({_shape(one)})"
        for name, one in found.items()
        if not (name == "read" and one is None) and not (_is_array(one, *shapes[name]) and one.dtype.kind in "iu")
    ]


def _is_array(stored: object, *shape: int | None) -> bool:
    """Whether it is a plain array of numbers of this shape; None: any length."""
    if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "iuf" or stored.ndim != len(shape):
        return False
    return all(wanted is None or size == wanted for size, wanted in zip(stored.shape, shape, strict=True))


def _shape(stored: object) -> str:
    if not isinstance(stored, h5py.Dataset):
        return "found none"
    return f"found {' x '.join(map(str, stored.shape)) or 'a single value'}, {stored.dtype}"
