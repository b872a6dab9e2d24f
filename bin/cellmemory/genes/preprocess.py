"""The two preprocessing steps: a reference becomes panel and matrix, a query is aligned to a panel, both chunk by chunk."""

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory.cells.labels import clean_labels, label_notes
from cellmemory.cells.reading import CellFile
from cellmemory.cells.taken_columns import taken_columns
from cellmemory.cells.writing import H5adWriter
from cellmemory.columns import RUN
from cellmemory.errors import InputError, first_ids
from cellmemory.genes.align import Aligner, alignment_summary, describe, make_aligner, match_query
from cellmemory.genes.names import Match, left_out, read_gene_map
from cellmemory.genes.panel import queried, read_panel, reference_genes, select_panel, write_panel
from cellmemory.genes.values import LOG_BASES, checked, find_values
from cellmemory.io.atomic import replacing, write_json
from cellmemory.io.provenance import provenance
from cellmemory.io.samplesheet import Origin

#: One cell trains, one validates.
MIN_CELLS_PER_LABEL = 2


def check_labels(file: CellFile, label_key: str) -> pd.Series:
    """The labels of a reference as strings, missing ones as None (see labels.clean_labels).

    Raises InputError, one sentence a problem, for a missing column, fewer than two labels, and labels of a single cell.
    """
    labels = clean_labels(file.column(label_key, "label", "label_key"))
    problems = label_problems(labels, str(file.path), label_key)
    if problems:
        raise InputError(problems)
    return labels


def label_problems(labels: pd.Series, where: str, label_key: str) -> list[str]:
    """A sentence for what keeps labels from being learned: fewer than two of them, or labels of a single cell."""
    counts = labels.value_counts()
    problems = []
    if len(single := counts.index[counts < MIN_CELLS_PER_LABEL]):
        problems.append(
            f"{where}: labels of '{label_key}' with a single cell: {first_ids(single, 20)} ({len(single):,} in all). "
            f"Each needs at least {MIN_CELLS_PER_LABEL}, one to train and one to validate. Remove such cells, or merge their "
            "labels into others."
        )
    if len(counts) < 2:
        found = f"only '{counts.index[0]}'" if len(counts) else "no label"
        problems.append(f"{where}: the label column '{label_key}' holds {found}; a reference needs at least two labels.")
    return problems


def preprocess_reference(
    reference: Path,
    label_key: str,
    origin: Origin,
    query_genes: Path | None,
    n_genes: int,
    output: Path,
    panel_path: Path,
) -> list[str]:
    """Writes reference.h5ad and panel.tsv; returns the lines of the log.

    Cells without a label or without counts are left out. Memory: the reference's counts over the genes that the
    queries measured, as CSR. Raises InputError for what the user can mend.
    """
    with CellFile(reference) as file:
        labels = check_labels(file, label_key)
        notes = label_notes(file.obs[label_key], f"{reference}, '{label_key}'")
        batch = file.column(origin.batch_key, "batch", "batch_key") if origin.batch_key else None
        matrix, scale = find_values(file, origin.counts_layer)
        genes, expression = reference_genes(file.var(matrix), origin.gene_column, str(reference))
        shared = queried(genes, query_genes) & expression
        candidates = genes[shared].drop_duplicates("gene").reset_index(drop=True)
        match = match_genes_by_name(genes["gene"], expression, candidates)
        values, kept = _candidate_values(file, matrix, scale, match, len(candidates), labels.notna().to_numpy())
        notes += _gone(labels, kept, str(reference), label_key)
        if scale in LOG_BASES:
            values *= np.float32(np.log(LOG_BASES[scale]))
        of_kept = None if batch is None else batch[kept]
        panel, batch_notes = select_panel(values, candidates, of_kept, n_genes, scale in LOG_BASES)
        onto_panel = match_genes_by_name(genes["gene"], expression, panel)
        made = provenance(
            step="preprocess_reference",
            source=reference.name,
            label_key=label_key,
            batch_key=origin.batch_key,
            values_from=matrix,
            value_scale=scale,
        )
        var_out = pd.DataFrame({"measured": True, "source_id": panel["source_id"].to_numpy()}, index=panel["gene"])
        _write_aligned(file, matrix, make_aligner(onto_panel, len(panel), scale), var_out, made, output, kept, {})
        write_panel(panel, panel_path)
    unlabelled = int(labels.isna().sum())
    dropped = {"a label": unlabelled, "counts": len(labels) - int(kept.sum()) - unlabelled}
    return [
        f"read {len(labels):,} cells x {len(genes):,} genes of {reference.name} ({scale} in {matrix}); "
        f"{labels.nunique()} labels in '{label_key}'",
        *([left_out(match.n_left_out)] if match.n_left_out else []),
        *(f"dropped {number:,} cells without {what}" for what, number in dropped.items() if number),
        *(f"Warning: {note}" for note in notes),
        f"matched {int(shared.sum()):,} of {len(genes):,} genes with the queries'" if query_genes else "no queries given",
        *batch_notes,
        f"kept the {len(panel):,} most variable genes as the panel",
        f"wrote {output} and {panel_path}",
    ]


def _gone(labels: pd.Series, kept: np.ndarray, where: str, label_key: str) -> list[str]:
    """A sentence where labels have no cell with counts. Raises InputError where what is left cannot be learned."""
    left = labels[kept]
    gone = sorted(set(labels.dropna()) - set(left))
    notes = [f"{where}: no cell of {first_ids(gone)} has counts; the model cannot give these labels."] if gone else []
    problems = label_problems(left, where, label_key)
    if problems:
        raise InputError([*notes, *(f"{problem} Cells without counts do not count." for problem in problems)])
    return notes


def match_genes_by_name(names: pd.Series, expression: np.ndarray, panel: pd.DataFrame) -> Match:
    """The match of a reference's own genes to a panel that was made of them: by equal name alone."""
    column = pd.Series(np.arange(len(panel)), index=panel["gene"])
    target = column.reindex(names).fillna(-1).astype(np.int64).to_numpy()
    return Match(np.where(expression, target, -1), expression, "index", "symbol", 0)


def _candidate_values(
    file: CellFile, matrix: str, scale: str, match: Match, n: int, labelled: np.ndarray
) -> tuple[sp.csr_matrix, np.ndarray]:
    """Values as stored over the n candidate genes (duplicates summed), and the cells that are kept (bool)."""
    as_stored = make_aligner(match, n, "counts").selector
    expression = np.flatnonzero(match.expression)
    blocks, kept = [], labelled.copy()
    for start, rows in file.chunks(matrix):
        rows = checked(rows, file, matrix, start, scale)
        stop = start + rows.shape[0]
        kept[start:stop] &= np.asarray(rows[:, expression].sum(1)).ravel() > 0
        blocks.append(sp.csr_matrix(rows @ as_stored, dtype=np.float32)[kept[start:stop]])
    return sp.vstack(blocks, format="csr"), kept


def preprocess_query(
    query: Path,
    sample: str,
    panel_path: Path,
    origin: Origin,
    gene_map: Path | None,
    min_coverage: float,
    output: Path,
    alignment: Path,
) -> list[str]:
    """Writes `<sample>.aligned.h5ad` and `<sample>.alignment.json`; returns the lines of the log.

    Memory does not grow with cells but for obs, coordinates, and CSC or 10x input. Raises InputError for what the user
    can mend.
    """
    panel = read_panel(panel_path)
    with CellFile(query) as file:
        match, matrix, scale = match_query(
            file,
            panel,
            origin.counts_layer,
            origin.gene_column,
            read_gene_map(gene_map) if gene_map else {},
            min_coverage,
        )
        problems = column_problems(file, origin)
        if problems:
            raise InputError(problems)
        aligner = make_aligner(match, len(panel), scale)
        var = pd.DataFrame({"measured": False, "source_id": panel["source_id"].to_numpy()}, index=panel["gene"])
        var.iloc[match.measured, 0] = True
        made = provenance(
            step="preprocess_query",
            source=query.name,
            sample=sample,
            values_from=matrix,
            value_scale=scale,
            batch_key=origin.batch_key,
            truth_key=origin.truth_key,
            spatial_key=origin.spatial_key,
        )
        empty = _write_aligned(file, matrix, aligner, var, made, output, None, coordinates(file, origin.spatial_key))
        summary = alignment_summary(sample, file, match, matrix, scale, panel, empty)
    write_json(alignment, summary)
    return [*describe(summary), f"wrote {output} and {alignment}"]


def column_problems(file: CellFile, origin: Origin) -> list[str]:
    """A sentence for each column that a samplesheet names and the file lacks, and for those that mapping would write."""
    problems = []
    for key, role, option in (
        (origin.batch_key, "batch", "batch_key"),
        (origin.truth_key, "truth", "truth_key"),
    ):
        if key and key not in file.obs:
            try:
                file.column(key, role, option)
            except InputError as error:
                problems += error.problems
    if origin.spatial_key and origin.spatial_key not in file.obsm:
        found = ", ".join(file.obsm) or "(none)"
        problems.append(
            f"{file.path}: the coordinates '{origin.spatial_key}' (--spatial_key) are not in obsm; there are: {found}."
        )
    return problems + taken_columns(file)


def coordinates(file: CellFile, spatial_key: str | None) -> dict[str, np.ndarray]:
    """obsm['spatial'] of the cells: what spatial_key names, else `spatial` where the file has it."""
    key = spatial_key or ("spatial" if "spatial" in file.obsm else None)
    return {"spatial": file.embedding(key)} if key else {}


def _write_aligned(
    file: CellFile,
    matrix: str,
    aligner: Aligner,
    var: pd.DataFrame,
    made: dict,
    output: Path,
    kept: np.ndarray | None,
    obsm: dict[str, np.ndarray],
) -> int:
    """Writes the aligned cells (all, or those `kept`); returns how many of them have no counts."""
    empty = 0
    with replacing(output) as partial, H5adWriter(partial, len(var)) as writer:
        for start, rows in file.chunks(matrix):
            aligned, without = aligner(checked(rows, file, matrix, start, aligner.scale))
            here = slice(None) if kept is None else kept[start : start + rows.shape[0]]
            writer.append("X", aligned[here])
            empty += int(without[here].sum())
        writer.write("obs", file.obs if kept is None else file.obs[kept])
        writer.write("var", var)
        writer.write(f"uns/{RUN}", made)
        for key, value in obsm.items():
            writer.write(f"obsm/{key}", value)
    return empty
