"""A query's cells are brought onto a panel, chunk by chunk."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellmemory import RUN
from cellmemory.cells.named_columns import column_problems, place_problems
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError
from cellmemory.genes.align import alignment_summary, make_aligner, match_query, write_aligned
from cellmemory.genes.names import read_gene_map
from cellmemory.genes.panel import read_panel
from cellmemory.genes.quality import quality_of
from cellmemory.io.atomic import write_json
from cellmemory.io.provenance import provenance
from cellmemory.io.samplesheet import Query
from cellmemory.io.text import Source, file_name


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

    Memory grows with cells only for obs, coordinates, and CSC or mtx input.

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
        quality = quality_of(file.var(found.values.matrix), found.match, found.values.scale, where=str(file.path))
        empty, digest = write_aligned(file, found.values.matrix, aligner, output, elements=elements, quality=quality)
        summary = alignment_summary(file, found, panel, sample=query.sample, empty=empty) | {"values_digest": digest}
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
