"""The clusters of a query's cells, as cluster.py wrote them, beside a file of the same cells."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError
from cellmemory.io.tables import read_cells


def cluster_columns(path: Path, file: CellFile, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of cell_clusters.csv, a row for each cell of the file. Raises InputError where the table is not of these cells, in
    their order."""
    try:
        table = read_cells(path, columns)
    except ValueError as error:
        raise InputError(f"{path} (--cell_clusters) cannot be read: {error}. Give the file as it was written.") from None
    if len(table) != file.n_cells or (table.index != file.names(0, file.n_cells)).any():
        raise InputError(f"{path} (--cell_clusters) is not of the cells of {file.path}, in their order.")
    return table
