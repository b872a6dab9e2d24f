"""The two preprocessing steps: a reference becomes panel and matrix, a query is aligned to a panel, both chunk by chunk."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.cells.labels import as_text, check_labels, label_notes, label_problems
from cellmemory.cells.named_columns import column_problems, place_problems
from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import H5adWriter
from cellmemory.columns import RUN
from cellmemory.errors import InputError, first_ids
from cellmemory.genes.align import Aligner, alignment_summary, make_aligner, match_query
from cellmemory.genes.matching import Match, match_own_genes
from cellmemory.genes.names import expression_rows, read_gene_map
from cellmemory.genes.panel import queried, read_panel, reference_genes, select_panel, write_panel
from cellmemory.genes.scales import LOG_BASES, undo_log
from cellmemory.genes.values import checked, find_values
from cellmemory.genes.variability import Chunk, Moments
from cellmemory.io.atomic import replacing, write_json
from cellmemory.io.provenance import provenance
from cellmemory.io.samplesheet import Origin, Query
from cellmemory.io.text import Source, file_name

#: Cells that are read at once to choose genes: several copies of their values are in memory then.
CHOICE_CELLS = 1024


@dataclass(frozen=True)
class Preparation:
    """What was found in a reference, and what of it was kept.

    scale, matrix: what its values are, and where; no_expression: features that are not gene expression; nameless:
    genes that were left out for want of a name; summed: genes that were summed into another of their name; unlabelled, empty:
    cells that were dropped; shared: genes that some query measured, None without queries; panel: genes of it; warnings and
    notes: sentences.
    """

    cells: int
    genes: int
    labels: int
    scale: str
    matrix: str
    no_expression: int
    nameless: int
    summed: int
    unlabelled: int
    empty: int
    shared: int | None
    panel: int
    warnings: list[str]
    notes: list[str]


def preprocess_reference(
    reference: Path,
    label_key: str,
    origin: Origin,
    *,
    query_genes: Path | None,
    n_genes: int,
    output: Path,
    panel_path: Path,
) -> Preparation:
    """Writes the cells over the panel and the panel itself: reference.h5ad and panel.tsv.

    Cells without a label or without counts are left out. The file is read three times, chunk by chunk; memory grows with
    batches x genes, and with cells only for obs and CSC or mtx input.

    Parameters
    ----------
    reference
        The cells as the user has them.
    label_key
        Column of obs with the labels.
    origin
        Where values, gene names and batches are.
    query_genes
        Genes that the queries measured, as CHECK_INPUTS writes them; None for all.
    n_genes
        Genes of the panel, at most.
    output, panel_path
        What is written.

    Returns
    -------
    What was found and kept.

    Raises
    ------
    InputError
        For what the user can mend.
    """
    with CellFile(reference) as file:
        labels = check_labels(file, label_key, origin.batch_key)
        warnings = label_notes(file.obs[label_key], f"{reference}, '{label_key}'")
        batch = file.column(origin.batch_key, "batch", "batch_key") if origin.batch_key else None
        matrix, scale, _ = found = find_values(file, origin.counts_layer)
        warnings += found.warnings(str(reference))
        genes, expression = reference_genes(file.var(matrix), origin.gene_column, str(reference))
        shared = queried(genes, query_genes) & expression
        candidates = genes[shared].drop_duplicates("gene").reset_index(drop=True)
        match = match_own_genes(genes["gene"], expression, candidates)
        batches, codes = np.unique(["all"] * file.n_cells if batch is None else as_text(batch), return_inverse=True)
        kept = np.zeros(file.n_cells, bool)

        def cells() -> Iterator[Chunk]:
            for rows, values in _candidate_chunks(file, matrix, scale, match, n=len(candidates), among=labels.notna().to_numpy()):
                kept[rows] = True
                yield codes[rows], values

        moments = Moments.of(cells(), len(batches), len(candidates))
        warnings += _gone(labels, kept, str(reference), label_key)
        nameless = int((expression_rows(file.var(matrix), str(reference)) & ~expression).sum())
        panel, batch_notes = select_panel(
            moments, cells, candidates, batches=batches.tolist(), n_genes=n_genes, logged=scale in LOG_BASES
        )
        onto_panel = match_own_genes(genes["gene"], expression, panel)
        made = provenance(
            step="preprocess_reference",
            source=file_name(reference),
            label_key=label_key,
            batch_key=origin.batch_key,
            values_from=matrix,
            value_scale=scale,
        )
        var_out = pd.DataFrame({"measured": True, "source_id": panel["source_id"].to_numpy()}, index=panel["gene"])
        aligner = make_aligner(onto_panel, len(panel), scale)
        _write_aligned(file, matrix, aligner, output, elements={"var": var_out, f"uns/{RUN}": made}, kept=kept)
        write_panel(panel, panel_path)
    unlabelled = int(labels.isna().sum())
    return Preparation(
        cells=len(labels),
        genes=len(genes),
        labels=labels.nunique(),
        scale=scale,
        matrix=matrix,
        no_expression=match.n_left_out - nameless,
        nameless=nameless,
        summed=int(np.sum(match.target >= 0) - len(match.measured)),
        unlabelled=unlabelled,
        empty=len(labels) - int(kept.sum()) - unlabelled,
        shared=int(shared.sum()) if query_genes else None,
        panel=len(panel),
        warnings=warnings,
        notes=batch_notes,
    )


def _gone(labels: pd.Series, kept: np.ndarray, where: str, label_key: str) -> list[str]:
    """A sentence where labels have no cell with counts. Raises InputError where what is left cannot be learned."""
    left = labels[kept]
    gone = sorted(set(labels.dropna()) - set(left))
    notes = [f"{where}: no cell of {first_ids(gone)} has counts; the model cannot give these labels."] if gone else []
    problems = label_problems(left, where, label_key)
    if problems:
        raise InputError([*notes, *(f"{problem} Cells without counts do not count." for problem in problems)])
    return notes


def _candidate_chunks(
    file: CellFile, matrix: str, scale: str, match: Match, *, n: int, among: np.ndarray
) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
    """The numbers of those cells that have counts, `among` (cells,) others, and their values over the n candidate genes as they
    were before a logarithm, genes of one name summed; chunk by chunk."""
    selector = make_aligner(match, n, scale).selector
    expression = np.flatnonzero(match.expression)
    for start, rows in file.chunks(matrix, CHOICE_CELLS):
        stop = start + rows.shape[0]
        rows = checked(rows, file, matrix, range(start, stop), scale=scale)
        kept = among[start:stop] & (np.asarray(rows[:, expression].sum(1)).ravel() > 0)
        rows = rows[kept].astype(np.float64)
        rows.data = undo_log(rows.data, scale)
        yield start + np.flatnonzero(kept), sp.csr_matrix(rows @ selector)


def preprocess_query(
    query: Query,
    panel_path: Source,
    *,
    gene_map: Path | None,
    min_coverage: float,
    output: Path,
    alignment: Path,
) -> dict[str, Any]:
    """Writes the cells over the panel, and how their genes were matched: aligned.h5ad and alignment.json.

    Memory does not grow with cells but for obs, coordinates, and CSC or mtx input.

    Parameters
    ----------
    query
        Its name, its file as the user has it, and where values, gene names, batches, coordinates and true labels are.
    panel_path
        panel.tsv of the reference or of a trained model.
    gene_map
        TSV of gene names, from and to.
    min_coverage
        Share of the panel that has to be measured.
    output, alignment
        What is written.

    Returns
    -------
    What alignment.json holds (see align.alignment_summary).

    Raises
    ------
    InputError
        For what the user can mend.
    """
    panel, origin = read_panel(panel_path), query.origin
    with CellFile(query.path) as file:
        names = read_gene_map(gene_map) if gene_map else {}
        found = match_query(file, panel, origin, gene_map=names, min_coverage=min_coverage)
        problems = column_problems(file, origin)
        if problems:
            raise InputError(problems)
        aligner = make_aligner(found.match, len(panel), found.values.scale)
        var = pd.DataFrame({"measured": False, "source_id": panel["source_id"].to_numpy()}, index=panel["gene"])
        var.iloc[found.match.measured, 0] = True
        made = provenance(
            step="preprocess_query",
            source=file_name(query.path),
            sample=query.sample,
            values_from=found.values.matrix,
            value_scale=found.values.scale,
            batch_key=origin.batch_key,
            truth_key=origin.truth_key,
            spatial_key=origin.spatial_key,
        )
        elements = {"var": var, f"uns/{RUN}": made, **coordinates(file, origin.spatial_key)}
        empty = _write_aligned(file, found.values.matrix, aligner, output, elements=elements)
        summary = alignment_summary(file, found, panel, sample=query.sample, empty=empty)
        if "spatial" in file.obsm and "obsm/spatial" not in elements:
            summary["messages"].append("obsm['spatial'] holds no places of cells, and was left out.")
    write_json(alignment, summary)
    return summary


def coordinates(file: CellFile, spatial_key: str | None) -> dict[str, np.ndarray]:
    """`obsm/spatial` of the cells: what spatial_key names, else `spatial` where the file has it and it holds places."""
    key = spatial_key
    if key is None and "spatial" in file.obsm and not place_problems(file, "spatial"):
        key = "spatial"
    return {"obsm/spatial": file.embedding(key)} if key else {}


def _write_aligned(
    file: CellFile,
    matrix: str,
    aligner: Aligner,
    output: Path,
    *,
    elements: Mapping[str, object],
    kept: np.ndarray | None = None,
) -> int:
    """Writes the aligned cells (all, or those `kept`) with obs and other elements; returns how many have no counts.

    `uns['cellmemory']['values_digest']` tells these values from others of cells that are named alike.
    """
    empty, digest = 0, hashlib.sha256()
    with replacing(output) as partial, H5adWriter(partial, aligner.selector.shape[1]) as writer:
        for start, rows in file.chunks(matrix):
            aligned, without = aligner(checked(rows, file, matrix, range(start, start + rows.shape[0]), scale=aligner.scale))
            here = slice(None) if kept is None else kept[start : start + rows.shape[0]]
            written = aligned[here]
            writer.append("X", written)
            for part in (np.diff(written.indptr), written.indices, written.data):
                digest.update(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).data)
            empty += int(without[here].sum())
        writer.write("obs", file.obs if kept is None else file.obs[kept])
        for name, value in elements.items():
            writer.write(name, value)
        writer.write(f"uns/{RUN}/values_digest", digest.hexdigest()[:16])
    return empty
