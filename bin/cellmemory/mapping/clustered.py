"""The clusters of a query's cells, as cluster.py wrote them, beside a file of the same cells."""

from pathlib import Path

import pandas as pd

from cellmemory.cells.reading import CellFile
from cellmemory.columns import CELL_CLUSTER_COLUMNS
from cellmemory.errors import InputError
from cellmemory.io.tables import read_cells


def read_clusters(path: Path) -> pd.DataFrame:
    """cell_clusters.csv: CELL_CLUSTER_COLUMNS by the cells' names. Raises ValueError for another table."""
    return read_cells(path, CELL_CLUSTER_COLUMNS[:-1], shares=CELL_CLUSTER_COLUMNS[-1:])


def clusters_of(file: CellFile, path: Path) -> pd.DataFrame:
    """What `read_clusters` gives, a row for each cell of the file. Raises InputError where the table is not of these cells, in
    their order."""
    try:
        table = read_clusters(path)
    except ValueError as error:
        raise InputError(f"{path} (--cell_clusters) cannot be read: {error}. Give the file as it was written.") from None
    if len(table) != file.n_cells or (table.index != file.names(0, file.n_cells)).any():
        raise InputError(f"{path} (--cell_clusters) is not of the cells of {file.path}, in their order.")
    return table
