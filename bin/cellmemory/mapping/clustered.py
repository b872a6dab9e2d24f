"""The clusters of a query's cells, as cluster.py wrote them, beside a file of the same cells."""

from pathlib import Path

import pandas as pd

from cellmemory.columns import CELL_CLUSTER_COLUMNS, DOUBLET_SCORE, MAPPING
from cellmemory.errors import InputError
from cellmemory.io.tables import mapping_of, read_cells
from cellmemory.mapping.mapped import MappedFile


def read_clusters(path: Path) -> pd.DataFrame:
    """cell_clusters.csv: CELL_CLUSTER_COLUMNS and MAPPING by the cells' names. Raises ValueError for another table."""
    names = [name for name in CELL_CLUSTER_COLUMNS if name != DOUBLET_SCORE]
    return read_cells(path, [*names, MAPPING], shares=[DOUBLET_SCORE])


def clusters_of(file: MappedFile, path: Path) -> pd.DataFrame:
    """CELL_CLUSTER_COLUMNS, a row for each cell of the file. Raises InputError where the table is not of these cells, in their
    order, or of another mapping of them."""
    try:
        table = read_clusters(path)
    except ValueError as error:
        raise InputError(f"{path} (--cell_clusters) cannot be read: {error}. Give the file that cluster.py wrote.") from None
    if len(table) != file.n_cells or (table.index != file.names(0, file.n_cells)).any():
        raise InputError(f"{path} (--cell_clusters) is not of the cells of {file.path}, in their order.")
    if mapping_of(table, path) not in file.mappings:
        raise InputError(
            f"{path} (--cell_clusters) was made of another mapping of the cells of {file.path}. Cluster the mapped file again "
            "with cluster.py."
        )
    return table.drop(columns=MAPPING)
