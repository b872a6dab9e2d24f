"""The cells that are drawn as points, packed for the page: coordinates, columns that colour them, and genes.

Arrays are little-endian bytes in base64 (`pack`); script/explorer.js reads them as typed arrays.
"""

import base64
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.columns import AMBIGUOUS, ASSIGNED, UNASSIGNED
from cellmemory.report.blocks import plain, text
from cellmemory.report.colours import NOT_ASSIGNED, OTHER
from cellmemory.report.data import DRAWN_REFERENCE, QUALITY_TITLES, Sample, counted_labels, label_set_sizes
from cellmemory.sampling import sample_cells_to_draw

STATUS_COLOURS = {ASSIGNED: "#0072b2", AMBIGUOUS: "#8c8c8c", UNASSIGNED: "#d55e00"}
GENE_BYTES = 4_500_000  # of base64


def pack(values: np.ndarray, kind: str) -> dict:
    """An array as base64 of its bytes; kind: numpy's name of a type that JavaScript has (u1, u2, u4, f4)."""
    array = np.ascontiguousarray(values, dtype="<" + kind)
    return {"type": kind, "data": base64.b64encode(array.tobytes()).decode()}


def payload(samples: Sequence[Sample], colours: dict[str, str], palette: Sequence[str]) -> dict:
    """Everything that the explorers of the page draw but `genes`."""
    return {
        "samples": [sample.name for sample in samples],
        "sample": pack(np.repeat(np.arange(len(samples)), [len(s.drawn) for s in samples]), "u2"),
        "ids": [name for sample in samples for name in sample.drawn_ids],
        "spaces": {name: space for name in ("umap", "spatial") if (space := _space(samples, name))},
        "one_map": one_map(samples),
        "reference": _reference(samples, list(colours)),
        "colours": {"labels": list(colours), "values": list(colours.values())},
        "columns": _columns(samples, colours, palette),
        "unused": list(NOT_ASSIGNED),
    }


def one_map(samples: Sequence[Sample]) -> bool:
    """Whether all samples share one UMAP, so that they may be drawn together."""
    maps = [sample.reference_umap for sample in samples]
    return len(samples) == 1 or all(m is not None and maps[0] is not None and np.array_equal(m, maps[0]) for m in maps)


def _space(samples: Sequence[Sample], name: str) -> dict | None:
    parts = [getattr(sample, name) for sample in samples]
    if all(part is None for part in parts):
        return None
    drawn = [
        np.full((len(s.drawn), 2), np.nan) if part is None else part[s.drawn] for s, part in zip(samples, parts, strict=True)
    ]
    values = np.concatenate(drawn)
    has = [i for i, part in enumerate(parts) if part is not None]
    space = {"x": pack(values[:, 0], "f4"), "y": pack(values[:, 1], "f4"), "samples": has}
    return space | ({"bars": [bar_length(part) for part in drawn]} if name == "spatial" else {})


def bar_length(places: np.ndarray) -> float:
    """A round length (1, 2 or 5 times a power of ten), at most a quarter of the width of places (n, 2); 0 without a width."""
    across = places[np.isfinite(places).all(axis=1), 0]
    longest = np.ptp(across) / 4 if len(across) else 0.0
    if not longest > 0:
        return 0.0
    power = int(np.floor(np.log10(longest)))
    # Of the next lower power as well: a logarithm may be rounded up to the power itself.
    return max(length for length in (step * 10.0**p for p in (power - 1, power) for step in (1, 2, 5)) if length <= longest)


def _reference(samples: Sequence[Sample], labels: list[str]) -> list[dict]:
    """The reference cells of every sample's map, or of the one map that all share."""
    with_map = [(sample, sample.reference_umap) for sample in samples if sample.reference_umap is not None]
    with_map = with_map[:1] if one_map(samples) else with_map
    parts = []
    for sample, reference_umap in with_map:
        codes = pd.Categorical(sample.reference_labels, categories=labels).codes.astype(int)
        rows = sample_cells_to_draw(codes, DRAWN_REFERENCE // len(with_map))
        xy = reference_umap[rows]
        part = {
            "sample": samples.index(sample),
            "cells": len(codes),
            "x": pack(xy[:, 0], "f4"),
            "y": pack(xy[:, 1], "f4"),
        }
        parts.append({**part, "label": pack(np.where(codes < 0, 65535, codes)[rows], "u2")})
    return parts


def _columns(samples: Sequence[Sample], colours: dict[str, str], palette: Sequence[str]) -> list[dict]:
    """The columns that may colour points: ours first, then the user's."""
    cells = pd.concat([s.cells.iloc[s.drawn] for s in samples], ignore_index=True)
    sizes = label_set_sizes(cells["label_set"], samples[0].groups)
    columns = [
        _categories("Label", counted_labels(cells), colours | NOT_ASSIGNED, palette),
        _categories("Best guess", cells["label"], colours, palette),
    ]
    if any(sample.truth is not None for sample in samples):
        truth = _joined([None if s.truth is None else s.truth.iloc[s.drawn] for s in samples], samples)
        columns.append(_categories("Your label", truth.astype("category"), colours, palette))
    columns += [
        _numbers("Confidence", cells["confidence"], "confidence", (0.0, 1.0)),
        _numbers("Novelty p", cells["novelty_p"], "confidence", (0.0, 1.0)),
        _numbers("Distance to the reference", cells["novelty"], "expression", None),
        _numbers("Linear share of the decision", cells["linear_share"], "expression", (0.0, 1.0)),
        _categories("Status", cells["status"], STATUS_COLOURS, palette),
        _numbers("Size of the label set", sizes, "expression", None),
    ]
    for key, title in QUALITY_TITLES.items():
        parts = [None if s.quality is None else s.quality[key].iloc[s.drawn] for s in samples]
        if any(part is not None and part.notna().any() for part in parts):
            columns.append(_numbers(title, pd.to_numeric(_joined(parts, samples)), "expression", None))
    if len(samples) > 1:
        names = pd.Categorical.from_codes(
            np.repeat(np.arange(len(samples)), [len(s.drawn) for s in samples]), [s.name for s in samples]
        )
        columns.append(_categories("Sample", pd.Series(names), {}, palette))
    for key in dict.fromkeys(key for sample in samples for key in sample.columns):
        parts = [s.columns[key].iloc[s.drawn] if key in s.columns else None for s in samples]
        if all(part is None or isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            columns.append(_categories(key, _joined(parts, samples).astype("category"), colours, palette))
        elif not any(part is not None and isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            columns.append(_numbers(key, pd.to_numeric(_joined(parts, samples)), "expression", None))
    return columns


def _joined(parts: Sequence[pd.Series | None], samples: Sequence[Sample]) -> pd.Series:
    """One column over all drawn cells; empty where a sample does not have it."""
    full = [
        pd.Series([None] * len(s.drawn), dtype=object) if part is None else part.astype(object)
        for part, s in zip(parts, samples, strict=True)
    ]
    return pd.concat(full, ignore_index=True)


def _categories(title: str, values: pd.Series, colours: dict[str, str], palette: Sequence[str]) -> dict:
    """A column of names; those that `colours` lacks take colours of the palette in order."""
    used = [
        str(level)
        for level in values.cat.categories[
            np.bincount(values.cat.codes[values.cat.codes >= 0], minlength=len(values.cat.categories)) > 0
        ]
    ]
    codes = pd.Categorical(values.astype(object).map(str, na_action="ignore"), categories=used).codes.astype(int)
    spare = iter(palette[len(colours) if any(level in colours for level in used) else 0 :])
    shades = [colours[level] if level in colours else next(spare, OTHER) for level in used]
    return {
        "title": str(title),
        "kind": "names",
        "levels": used,
        "colours": shades,
        "codes": pack(np.where(codes < 0, 65535, codes), "u2"),
    }


def _numbers(title: str, values: pd.Series, scale: str, bounds: tuple[float, float] | None) -> dict:
    """A column of numbers; without bounds the colours span the middle 98 % of the cells."""
    array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    finite = array[np.isfinite(array)]
    low, high = bounds or (np.quantile(finite, [0.01, 0.99]) if len(finite) else (0.0, 1.0))
    first, last = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    codes = np.rint((array - first) / max(last - first, 1e-30) * 65534)
    return {
        "title": str(title),
        "kind": "numbers",
        "scale": scale,
        "low": plain(low),
        "high": plain(high),
        "from": float(first),
        "to": float(last),
        "codes": pack(np.where(np.isfinite(array), codes, 65535), "u2"),
    }


def genes(samples: Sequence[Sample], most_bytes: int) -> dict | None:
    """Expression and attention of the leading genes: per gene the cells that express it, and two bytes for each.

    Genes are taken by their best rank in any label until `most_bytes` are full; without TAGs, the most expressed.
    """
    common = list(samples[0].genes)
    expression = sp.vstack([sample.expression for sample in samples]).tocsc()
    attention = None
    if all(sample.attention is not None for sample in samples):
        attention = sp.vstack([sample.attention for sample in samples]).tocsc()
    place = {gene: i for i, gene in enumerate(common)}
    per_gene = np.diff(expression.indptr)
    cost = np.cumsum(per_gene[(order := _order(samples, place, per_gene))]) * 6
    chosen = order[(cost <= most_bytes) & (per_gene[order] > 0)]
    if not len(chosen):
        return None
    wide = expression.shape[0] > 65_535
    cells, values, weights, tops = [], [], [], []
    for gene in chosen:
        rows = slice(expression.indptr[gene], expression.indptr[gene + 1])
        cells.append(expression.indices[rows])
        shown = expression.data[rows]
        read = np.zeros_like(shown)
        if attention is not None:
            read = np.asarray(attention[:, [gene]].todense()).ravel()[cells[-1]]
        tops.append((shown.max(), read.max()))
        values.append(_bytes(shown))
        weights.append(_bytes(read))
    return {
        "names": [common[gene] for gene in chosen],
        "titles": [text(common[gene]) for gene in chosen],
        "start": np.concatenate([[0], np.cumsum([len(part) for part in cells])]).tolist(),
        "cells": pack(np.concatenate(cells), "u4" if wide else "u2"),
        "expression": pack(np.concatenate(values), "u1"),
        "attention": None if attention is None else pack(np.concatenate(weights), "u1"),
        "tops": plain(tops),
        "of": len(common),
    }


def _order(samples: Sequence[Sample], place: dict[str, int], per_gene: np.ndarray) -> np.ndarray:
    """All genes: by their best rank among the TAGs of any label, the most specific first; others by cells with them."""
    rank, specificity = np.full(len(place), np.inf), np.zeros(len(place))
    for sample in samples:
        table = sample.tables.get("tags")
        if table is None:
            continue
        known = table[table["gene"].isin(place)]
        rows = known["gene"].map(place).to_numpy(dtype=int)
        np.minimum.at(rank, rows, known["rank"].to_numpy(dtype=float))
        np.maximum.at(specificity, rows, known["specificity"].fillna(0).to_numpy(dtype=float))
    return np.lexsort((-per_gene, -specificity, rank))


def _bytes(values: np.ndarray) -> np.ndarray:
    """0 to the highest value as 0 to 255; what is above zero stays above it."""
    return np.where(values > 0, np.maximum(1, np.rint(values / max(values.max(), 1e-12) * 255)), 0)
