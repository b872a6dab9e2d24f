"""Columns of a user's obs: those that a samplesheet names, and those that mapping would write over."""

import numpy as np

from cellmemory import PREFIX
from cellmemory.cells.groups import group_codes
from cellmemory.cells.labels import clean_labels
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError, Problems, first_ids
from cellmemory.io.samplesheet import Origin

#: HDF5 keeps the names of columns in 64 KB, 16 bytes each, and ours come to them.
MOST_COLUMNS = 4000
#: No coordinate of a cell lies above it, in whichever unit.
LARGEST_PLACE = 1e30
#: Values of a column of clusters, at most: each is compared with all others, gene by gene.
MOST_CLUSTERS = 500
#: What the cells are in that a column of clusters has no value of.
NO_CLUSTER = "(none)"


def column_problems(file: CellFile, origin: Origin) -> list[str]:
    """A sentence for each column that a samplesheet names and the file lacks, and for those that mapping would write."""
    problems = Problems()
    for key, role, option in ((origin.batch_key, "batch", "batch_key"), (origin.truth_key, "truth", "truth_key")):
        with problems.collect():
            if key and not clean_labels(file.column(key, role, option)).notna().any():
                problems.append(f"{file.path}: the {role} column '{key}' (--{option}) holds no value. Name another one, or none.")
    if origin.cluster_key:
        with problems.collect():
            users_clusters(file, origin.cluster_key)
    if origin.spatial_key and origin.spatial_key not in file.obsm:
        found = ", ".join(file.obsm) or "(none)"
        problems.append(
            f"{file.path}: the coordinates '{origin.spatial_key}' (--spatial_key) are not in obsm; there are: {found}."
        )
    elif origin.spatial_key:
        with problems.collect():
            problems += place_problems(file, origin.spatial_key)
    return problems + taken_columns(file)


def users_clusters(file: CellFile, key: str) -> tuple[np.ndarray, list[str]]:
    """(N,) the cluster of each cell by a column of obs, from 0, the largest first, and their names; NO_CLUSTER where it has none.

    Raises InputError where there is no such column, and where it holds no value or more than MOST_CLUSTERS of them.
    """
    codes, names = group_codes(file.column(key, "cluster", "cluster_key"))
    if not names:
        raise InputError(f"{file.path}: the cluster column '{key}' (--cluster_key) holds no value. Name another one, or none.")
    if len(names) > MOST_CLUSTERS:
        raise InputError(
            f"{file.path}: the cluster column '{key}' (--cluster_key) holds {len(names):,} values, and may hold {MOST_CLUSTERS}. "
            "Name a column of clusters."
        )
    if (codes < 0).any():
        names = [*names, *([NO_CLUSTER] if NO_CLUSTER not in names else [])]
        codes = np.where(codes < 0, names.index(NO_CLUSTER), codes)
    sizes = np.bincount(codes, minlength=len(names))
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    place = np.zeros(len(names), np.int64)
    place[order] = np.arange(len(order))
    return place[codes], [names[i] for i in order]


def place_problems(file: CellFile, key: str) -> list[str]:
    """A sentence where coordinates in obsm are no places of cells."""
    problems = Problems()
    with problems.collect():
        places = file.embedding(key)
        known = places[np.isfinite(places).all(axis=1)] if places.ndim == 2 and places.shape[1] >= 2 else places[:0]
        known = known.astype(np.float64)  # half a number would overflow where it is compared
        if file.n_cells and (not len(known) or np.abs(known).max() > LARGEST_PLACE):
            problems.append(
                f"{file.path}: obsm['{key}'] does not hold two coordinates of cells or more, as numbers up to {LARGEST_PLACE:g}. "
                "Correct it, or name other coordinates (--spatial_key)."
            )
    return problems


def taken_columns(file: CellFile) -> list[str]:
    """A sentence where obs has columns, or an index, of the names that mapping writes, and where it has too many to add to."""
    taken = [name for name in (*file.columns, file.index_name) if name.startswith(PREFIX)]
    sentence = f"{file.path}: obs has columns that mapping writes ({first_ids(taken)}). Rename or remove them first."
    many = f"{file.path}: obs has {len(file.columns):,} columns; an h5ad with labels keeps {MOST_COLUMNS:,}. Remove some."
    return [sentence] * bool(taken) + [many] * (len(file.columns) > MOST_COLUMNS)
