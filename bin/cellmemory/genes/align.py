"""Brings the cells of any file onto a gene panel, and writes them: genes matched, duplicates summed, values normalised."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory import RUN
from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import H5adWriter
from cellmemory.errors import InputError, first_ids
from cellmemory.genes.matching import Match, match_genes, no_overlap
from cellmemory.genes.quality import QUALITY, Quality
from cellmemory.genes.scales import LOG_BASES, undo_log
from cellmemory.genes.values import TARGET_SUM, Values, checked, find_values
from cellmemory.io.atomic import replacing
from cellmemory.io.samplesheet import Origin

#: Cells whose names are held against the panel's genes.
MANY_CELLS = 2_000


@dataclass(frozen=True)
class Aligner:
    """How the rows of one matrix become rows over the panel.

    selector: (file genes, panel genes) 0/1; expression: file genes that count towards a cell's total; scale: what the values
    are, by `value_scale`; those that are log-normalised keep their normalisation.
    """

    selector: sp.csr_matrix
    expression: np.ndarray
    scale: str

    def __call__(self, rows: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray]:
        """log1p(counts per 10,000) over the panel (cells x panel genes, CSR float32), and which cells are empty.

        The total is that of all genes of the file, before genes are selected. Genes of one name are summed before the
        logarithm, log-normalised ones after it was undone.
        """
        rows = rows.astype(np.float64)
        rows.data = undo_log(rows.data, self.scale)
        totals = np.asarray(rows[:, self.expression].sum(1)).ravel()
        aligned = sp.csr_matrix(rows @ self.selector)
        if self.scale not in LOG_BASES:
            aligned = sp.csr_matrix(sp.diags(TARGET_SUM / np.maximum(totals, 1e-12)) @ aligned)
        aligned.sum_duplicates()
        aligned.eliminate_zeros()
        aligned.data = np.log1p(aligned.data)
        return aligned.astype(np.float32), totals == 0


def make_aligner(match: Match, n_panel: int, scale: str) -> Aligner:
    """The aligner of a matrix whose genes are matched to a panel of n_panel genes, with values of that scale."""
    rows = np.flatnonzero(match.target >= 0)
    ones = np.ones(len(rows))
    selector = sp.csr_matrix((ones, (rows, match.target[rows])), shape=(len(match.target), n_panel))
    return Aligner(selector, np.flatnonzero(match.expression), scale)


class MatchedQuery(NamedTuple):
    """A query's genes on a panel, and where its values are."""

    match: Match
    values: Values


def match_query(
    file: CellFile, panel: pd.DataFrame, origin: Origin, *, gene_map: dict[str, tuple[str, ...]], min_coverage: float
) -> MatchedQuery:
    """Finds a query's values and genes. Raises InputError where too few genes are shared."""
    if not file.n_cells:
        raise InputError(f"{file.path}: this query has no cells.")
    values = find_values(file, origin.counts_layer)
    var = file.var(values.matrix)
    match = match_genes(var, panel, origin.gene_column, gene_map, where=str(file.path))
    share = len(match.measured) / len(panel)
    if share < min_coverage or not len(match.measured):
        cells = file.names(0, min(file.n_cells, MANY_CELLS))
        if file.n_cells > 1 and np.isin(cells, panel["gene"].to_numpy(object)).mean() > max(share, min_coverage):
            raise InputError(
                f"{file.path}: its cells are named as genes are: rows and columns are exchanged. Transpose it (adata.T)."
            )
        names = var.index if match.column == "index" else var[match.column]
        raise InputError(no_overlap(str(file.path), names, panel["gene"], share, floor=min_coverage))
    return MatchedQuery(match, values)


_SCALE_MESSAGES = {
    "binary": "There is one value other than zero (binarised data): labels rest on which genes are expressed, not on how much.",
    "log1p": "Values are log-normalised already and were used as they are.",
    "log2": "Values are log-normalised already, to the base 2; they were taken to the natural logarithm.",
    "linear": "Values are not whole numbers; they were normalised as counts are.",
}


def alignment_summary(file: CellFile, found: MatchedQuery, panel: pd.DataFrame, *, sample: str, empty: int) -> dict[str, Any]:
    """What `<sample>.alignment.json` holds: what was found, matched, summed, dropped and missing."""
    match, (matrix, scale, doubt) = found
    measured, genes = match.measured, panel["gene"].to_numpy()
    target = match.target
    missing = np.setdiff1d(np.arange(len(panel)), measured)
    messages = list(match.messages)
    if matrix != "X":
        messages.append(f"Values were taken from {matrix}.")
    if doubt or scale in _SCALE_MESSAGES:
        messages.append(doubt or _SCALE_MESSAGES[scale])
    names = file.obs.index
    if repeated := int(names.duplicated(keep=False).sum()):
        messages.append(
            f"{repeated:,} cells share their name with another cell, such as '{names[names.duplicated()][0]}': "
            "tables of results cannot be joined by names. Make them unique (adata.obs_names_make_unique())."
        )
    if empty:
        messages.append(f"{empty} cells have no counts; they are kept, and can only be unassigned.")
    return {
        "sample": sample,
        "cells": file.n_cells,
        "empty_cells": int(empty),
        "genes_in_file": len(target),
        "panel_genes": len(panel),
        "matched": len(measured),
        "coverage": round(len(measured) / len(panel), 6),
        "id_type": match.id_type,
        "gene_names_from": match.column,
        "values_from": matrix,
        "value_scale": scale,
        "renamed": match.renamed,
        "summed": int(np.sum(target >= 0) - len(measured)),
        "summed_genes": genes[match.summed].tolist(),
        "unknown": int(np.sum(target < 0) - match.n_left_out),
        "dropped_feature_types": match.n_left_out,
        "missing_genes": genes[missing].tolist(),
        "messages": messages,
    }


def describe(summary: dict[str, Any]) -> list[str]:
    """What alignment_summary found, in a few sentences."""
    missing = summary["missing_genes"]
    return [
        f"Read {summary['cells']:,} cells x {summary['genes_in_file']:,} genes "
        f"({summary['value_scale']} in {summary['values_from']}, {summary['id_type']} ids).",
        f"Matched {summary['matched']:,} of {summary['panel_genes']:,} panel genes ({summary['coverage']:.1%}); "
        f"{summary['renamed']} renamed, {summary['summed']} summed into another, {summary['unknown']} not in the panel.",
        *([f"Missing {len(missing):,} panel genes: {first_ids(missing)}."] if missing else []),
        *summary["messages"],
    ]


def write_aligned(
    file: CellFile,
    matrix: str,
    aligner: Aligner,
    output: Path,
    *,
    elements: Mapping[str, object],
    kept: np.ndarray | None = None,
    quality: Quality | None = None,
) -> tuple[int, str]:
    """Writes the aligned cells (all, or those `kept`) with obs and other elements, and their quality where it is measured.

    Returns how many have no counts, and a digest of their values, which distinguishes them from those of other cells with the
    same names; it is also kept as `uns['cellmemory']['values_digest']`.
    """
    empty, digest = 0, hashlib.sha256()
    with replacing(output) as partial, H5adWriter(partial, aligner.selector.shape[1]) as writer:
        for start, rows in file.chunks(matrix):
            rows = checked(rows, file, matrix, range(start, start + rows.shape[0]), scale=aligner.scale)
            aligned, without = aligner(rows)
            here = slice(None) if kept is None else kept[start : start + rows.shape[0]]
            written = aligned[here]
            writer.append("X", written)
            if quality:
                writer.append(f"obsm/{QUALITY}", quality(rows)[here])
            for part in (np.diff(written.indptr), written.indices, written.data):
                digest.update(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).data)
            empty += int(without[here].sum())
        writer.write("obs", file.obs if kept is None else file.obs[kept])
        for name, value in elements.items():
            writer.write(name, value)
        written_digest = digest.hexdigest()[:16]
        writer.write(f"uns/{RUN}/values_digest", written_digest)
    return empty, written_digest
