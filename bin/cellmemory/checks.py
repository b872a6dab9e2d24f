"""CHECK_INPUTS: every problem of every input, found before anything heavy runs, each as one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cellmemory.annotation.ontology import names_no_label, read_ontology_map
from cellmemory.cells import groups
from cellmemory.cells.labels import check_labels, label_notes, label_terms
from cellmemory.cells.named_columns import column_problems
from cellmemory.cells.reading import CellFile
from cellmemory.columns import MADE_BY_MAPPING, STATUS, STATUSES
from cellmemory.errors import InputError, Problems
from cellmemory.genes.align import match_query
from cellmemory.genes.choice import reference_genes
from cellmemory.genes.matching import no_shared_gene, panel_index
from cellmemory.genes.names import folded, id_type, normalise, read_gene_map
from cellmemory.genes.values import find_values
from cellmemory.io.gmt import read_gmt
from cellmemory.io.samplesheet import Origin, Query, read_samplesheet
from cellmemory.io.text import file_name, storable
from cellmemory.reference import trained_model
from cellmemory.reference.hierarchy import parse_levels, read_hierarchy

#: Genes that a panel needs: a cell's quantile bins are of several.
MIN_PANEL = 2


@dataclass(frozen=True)
class RunInputs:
    """What a run is given: queries, a reference to train on or a model, and what belongs to them.

    staged: where the files of the samplesheet's rows really are, in their order. label_key, label_levels, origin: of the
    reference. contrasts: COLUMN:A:B each, which every query must be able to answer.
    """

    samplesheet: Path
    staged: Sequence[Path] = ()
    reference: Path | None = None
    label_key: str | None = None
    label_levels: str | None = None
    origin: Origin = field(default_factory=Origin)
    model: Path | None = None
    gene_map: Path | None = None
    ontology_map: Path | None = None
    gmt: Sequence[Path] = ()
    contrasts: Sequence[str] = ()


def check_inputs(given: RunInputs, *, min_coverage: float, n_genes: int) -> tuple[dict, pd.DataFrame]:
    """What `inputs.json` and `query_genes.tsv` hold. Raises InputError with the problems of all inputs together.

    Reads names, columns and a sample of values of each file, no matrix in full.
    """
    reference, label_key, model = given.reference, given.label_key, given.model
    problems = Problems()
    if (reference is None) == (model is None):
        problems.append("Give either --reference (with --label_key), to train on it, or --model, to reuse a trained one.")
    if reference is not None and not label_key:
        problems.append("Give --label_key, the column of the reference's obs that holds the labels.")
    mapping: dict[str, tuple[str, ...]] = {}
    terms: dict[str, str] = {}
    queries: list[Query] = []
    trained = panel = found_reference = None
    rows, genes, sets = [], [], []
    with problems.collect():
        mapping = read_gene_map(given.gene_map) if given.gene_map else {}
    with problems.collect():
        terms = read_ontology_map(given.ontology_map) if given.ontology_map else {}
    with problems.collect():
        queries = read_samplesheet(given.samplesheet, list(given.staged))
    with problems.collect():
        if model:
            trained = trained_model.load(model)
            panel = trained.panel
    with problems.collect():
        if reference is not None and label_key:
            found_reference, panel = _check_reference(reference, label_key, given.label_levels, given.origin)
    for query in queries:
        with problems.collect():
            floor = 0.0 if trained is None else min_coverage
            row, measured = _check_query(query, panel, gene_map=mapping, contrasts=given.contrasts, floor=floor)
            rows.append(row)
            genes.append(measured)
    for path in given.gmt:
        with problems.collect():
            sets.append(_check_gmt(path, panel))
    query_genes = pd.concat(genes) if genes else pd.DataFrame({"sample": [], "gene": []})
    # The panel is made of the set of queries: another order of the samplesheet's rows must not train a reference again.
    query_genes = query_genes.sort_values("sample", kind="stable")
    if found_reference is not None and genes:
        problems += _coverage_problems(rows, query_genes, n_genes, min_coverage)
    problems.raise_any()
    labels = set(found_reference["labels"] if found_reference else trained.labels if trained else ())
    inputs = {
        "warnings": names_no_label(given.ontology_map, terms, labels) if given.ontology_map else [],
        "reference": found_reference,
        "model": None if trained is None else _describe_model(trained),
        "queries": rows,
        "gmt": sets,
    }
    return inputs, query_genes


def _coverage_problems(rows: list[dict], query_genes: pd.DataFrame, n_genes: int, min_coverage: float) -> list[str]:
    """A sentence for each query that cannot reach min_coverage, whichever n_genes of the queries' genes are chosen."""
    panel = min(n_genes, query_genes["gene"].nunique())
    return [
        f"{row['path']}: the query '{row['sample']}' shares {row['shared_genes']} genes with the reference, at most "
        f"{row['shared_genes'] / panel:.1%} of a panel of {panel:,} (--min_coverage {min_coverage:g}). Map it in a run of its "
        "own, whose panel is then made of its genes, or check its gene names (--gene_column, --gene_map)."
        for row in rows
        if row["shared_genes"] < min_coverage * panel
    ]


def _check_reference(path: Path, label_key: str, label_levels: str | None, origin: Origin) -> tuple[dict, pd.DataFrame]:
    """What inputs.json says of the reference, and its genes as a panel would name them."""
    with CellFile(path) as file:
        if not file.n_cells:
            raise InputError(f"{path}: this reference has no cells.")
        problems = Problems()
        with problems.collect():
            labels = check_labels(file, label_key, origin.batch_key)
        with problems.collect():
            levels = parse_levels(label_levels, label_key)
        with problems.collect():
            if not problems and levels:
                read_hierarchy(file, levels, labels)
        problems += column_problems(file, Origin(batch_key=origin.batch_key))
        with problems.collect():
            values = find_values(file, origin.counts_layer)
            var = file.var(values.matrix)
            genes = _genes_of(var, origin.gene_column, str(path))
        problems.raise_any()
        where = storable(str(path))
        summary = {
            "path": file_name(path),
            "cells": file.n_cells,
            "genes": len(var),
            "label_key": label_key,
            "batch_key": origin.batch_key,
            "label_levels": levels,
            "labels": {str(label): int(n) for label, n in labels.value_counts().items()},
            "unlabelled_cells": int(labels.isna().sum()),
            "id_type": id_type(genes["gene"].tolist()),
            "values_from": values.matrix,
            "value_scale": values.scale,
            "warnings": [
                *label_notes(file.obs[label_key], f"{where}, '{label_key}'"),
                *label_terms(file, label_key, labels)[1],
                *values.warnings(where),
            ],
        }
    return summary, genes


def _genes_of(var: pd.DataFrame, gene_column: str | None, where: str) -> pd.DataFrame:
    """The genes of a reference, each once, as a panel would name them."""
    genes, expression = reference_genes(var, gene_column, where)
    genes = genes[expression].drop_duplicates("gene").reset_index(drop=True)
    if len(genes) < MIN_PANEL:
        raise InputError(f"{where}: a reference needs {MIN_PANEL} genes or more, but has {len(genes)}.")
    return genes


def _check_query(
    query: Query, panel: pd.DataFrame | None, *, gene_map: dict, contrasts: Sequence[str], floor: float
) -> tuple[dict, pd.DataFrame]:
    """What inputs.json says of a query, and which of the panel's or reference's genes it measured, by their names.

    floor: the coverage that the query must reach. Of a whole reference, from whose genes the panel is yet to be chosen,
    anything shared will do at first.
    """
    with CellFile(query.path) as file:
        problems = Problems(column_problems(file, query.origin))
        if contrasts and file.n_cells:
            problems += _contrast_problems(file, contrasts)
        found = None
        with problems.collect():
            origin = query.origin
            if panel is not None:
                found = match_query(file, panel, origin, gene_map=gene_map, min_coverage=floor)
            elif file.n_cells:
                find_values(file, origin.counts_layer)
            else:
                problems.append(f"{file.path}: this query has no cells.")
        problems.raise_any()
        if panel is None or found is None:
            return {}, pd.DataFrame({"sample": [], "gene": []})
        match, (matrix, scale, _) = found
        summary = {
            "sample": query.sample,
            "path": file_name(query.path),
            "cells": file.n_cells,
            "genes": len(match.target),
            "shared_genes": len(match.measured),
            "id_type": match.id_type,
            "values_from": matrix,
            "value_scale": scale,
            "batch_key": query.origin.batch_key,
            "spatial_key": query.origin.spatial_key,
            "truth_key": query.origin.truth_key,
            "cluster_key": query.origin.cluster_key,
        }
        names = panel["gene"].to_numpy()[match.measured]
    return summary, pd.DataFrame({"sample": query.sample, "gene": names})


def _contrast_problems(file: CellFile, contrasts: Sequence[str]) -> list[str]:
    problems = Problems()
    for text in contrasts:
        if text.startswith(f"{STATUS}:"):
            problems += _status_problems(text)
        # Our other columns are there only when the query is mapped.
        elif not text.startswith(MADE_BY_MAPPING):
            with problems.collect():
                groups.check(file, text)
    return problems


def _status_problems(text: str) -> list[str]:
    asked = text.split(":")[1:]
    if len(asked) == 2 and set(asked) <= set(STATUSES) and asked[0] != asked[1]:
        return []
    return [f"--contrast {text}: write {STATUS}:A:B, with two of {', '.join(STATUSES)}."]


def _check_gmt(path: Path, panel: pd.DataFrame | None) -> dict:
    """What inputs.json says of a file of gene sets. panel: of the model, or the genes that it will be made of."""
    sets = read_gmt(path)
    if panel is not None:
        named = {gene for genes in sets.values() for gene in genes}
        known = {folded(name) for name in panel_index(panel)}
        if not any(folded(normalise(name)) in known for name in named):
            raise InputError(no_shared_gene(path, named, panel["gene"].tolist()))
    return {"name": Path(file_name(path)).stem, "sets": len(sets)}


def _describe_model(trained: trained_model.TrainedModel) -> dict:
    return {
        "path": file_name(trained.path),
        "digest": trained.config["digest"],
        "label_key": trained.config["label_key"],
        "labels": len(trained.labels),
        "panel_genes": len(trained.panel),
        "cells": trained.config["cells"],
    }
