"""A reference becomes a panel of genes and its cells over it, chunk by chunk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory import RUN
from cellmemory.cells.labels import as_text, check_labels, label_notes, label_problems, label_terms
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError, first_ids
from cellmemory.genes.align import make_aligner, write_aligned
from cellmemory.genes.choice import queried, reference_genes, select_panel
from cellmemory.genes.matching import Match, match_own_genes
from cellmemory.genes.names import expression_rows
from cellmemory.genes.panel import write_panel
from cellmemory.genes.scales import LOG_BASES, undo_log
from cellmemory.genes.values import checked, find_values
from cellmemory.genes.variability import Chunk, Moments
from cellmemory.io.provenance import provenance
from cellmemory.io.samplesheet import Origin
from cellmemory.io.text import file_name

#: Cells that are read at once to choose genes: several copies of their values are in memory then.
CHOICE_CELLS = 1024
#: Batches that genes are chosen in, at most: a few tables of batches x genes are in memory.
MOST_BATCHES = 500


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
        warnings = label_notes(file.obs[label_key], f"{reference}, '{label_key}'") + label_terms(file, label_key, labels)[1]
        batch = file.column(origin.batch_key, "batch", "batch_key") if origin.batch_key else None
        matrix, scale, _ = found = find_values(file, origin.counts_layer)
        warnings += found.warnings(str(reference))
        genes, expression = reference_genes(file.var(matrix), origin.gene_column, str(reference))
        shared = queried(genes, query_genes) & expression
        candidates = genes[shared].drop_duplicates("gene").reset_index(drop=True)
        match = match_own_genes(genes["gene"], expression, candidates)
        of_batch = np.full(file.n_cells, "all", object) if batch is None else as_text(batch)
        batches, codes = _batches(of_batch)
        if (given := len(set(of_batch))) > len(batches):
            warnings.append(
                f"{reference}: '{origin.batch_key}' has {given:,} values. Genes are chosen in the {MOST_BATCHES:,} batches with "
                "the most cells, and in all other cells as one batch. Name a column of donors or runs."
            )
        kept = np.zeros(file.n_cells, bool)

        def cells() -> Iterator[Chunk]:
            for rows, values in _candidate_chunks(file, matrix, scale, match, n=len(candidates), among=labels.notna().to_numpy()):
                kept[rows] = True
                yield codes[rows], values

        if without := int((of_batch == "").sum()):
            warnings.append(f"{reference}: {without:,} cells have no '{origin.batch_key}'; they count as one batch.")
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
        write_aligned(file, matrix, aligner, output, elements={"var": var_out, f"uns/{RUN}": made}, kept=kept)
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


def _batches(of_cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Names of the batches that genes are chosen in, and (n,) the number of each cell's: of very many the smallest are one."""
    names, codes, sizes = np.unique(of_cell, return_inverse=True, return_counts=True)
    if len(names) <= MOST_BATCHES + 1:
        return names, codes
    largest = np.sort(np.argsort(-sizes, kind="stable")[:MOST_BATCHES])
    number = np.full(len(names), MOST_BATCHES)
    number[largest] = np.arange(MOST_BATCHES)
    return np.append(names[largest], "all others"), number[codes]


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
