"""The file that a user gave, whole, with what mapping found of each of its cells.

The file is copied byte for byte, and only what is ours is added to it: all that was in it stays as it was, in whatever
encodings. Memory holds a chunk of cells.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from cellmemory import PREFIX, RUN
from cellmemory.cells.faults import reading
from cellmemory.cells.named_columns import taken_columns
from cellmemory.cells.reading import CHUNK_CELLS, CellFile
from cellmemory.cells.writing import H5adWriter
from cellmemory.columns import ASSIGNED, CLUSTER, CLUSTER_LABEL, EMBEDDING, LABEL, ONTOLOGY, REFERENCE_MAP, SLOT_USE, STATUS, UMAP
from cellmemory.errors import NO_ROOM, InputError
from cellmemory.io.atomic import replacing
from cellmemory.io.guarded import GuardedFile
from cellmemory.io.signature import sign
from cellmemory.io.tables import read_cells
from cellmemory.log import say
from cellmemory.mapping.mapped import ANNOTATE, MappedFile
from cellmemory.mapping.ontology import UNKNOWN, term_ids

#: What our embeddings are called in the user's file, by their keys in a mapped one: X_umap stays the user's own.
EMBEDDINGS = {EMBEDDING: EMBEDDING, SLOT_USE: SLOT_USE, UMAP: f"{EMBEDDING}_umap"}


def annotate(query: Path, mapped: Path, clusters: Path | None, *, output: Path) -> None:
    """Writes `<sample>.annotated.h5ad`: the query's own file, and in it our columns of obs, embeddings and uns.

    Parameters
    ----------
    query
        The file that was mapped, as the user has it: an h5ad, which is copied as it is, a 10x .h5 or an mtx folder, whose
        cells and genes become an h5ad.
    mapped
        What mapping made of it.
    clusters
        The clusters of its cells, cell_clusters.csv.
    output
        What is written.

    Raises
    ------
    InputError
        Where these are not the same cells, in the same order, or the file has things of our names.
    """
    with CellFile(query) as file, MappedFile(mapped) as found, replacing(output) as partial:
        _check(file, found)
        columns = _terms_of_labels(found)
        if clusters:
            columns = columns.join(_cluster_columns(clusters, file).set_axis(columns.index))
        if file.stored("obs") is None:
            _write_cells(file, partial)
        else:
            _copy(query, partial)
        with _edited(partial, query) as target:
            _add(target, file.columns, found, columns)
        say(f"Wrote {output}: {query} with {len(_our_columns(found)) + columns.shape[1]} columns of obs more.")


def _check(file: CellFile, found: MappedFile) -> None:
    """Raises InputError unless a mapped file is of the file's cells, and its names are free."""
    if taken := taken_columns(file):
        raise InputError(taken)
    if found.n_cells != file.n_cells:
        raise InputError(
            f"{file.path} has {file.n_cells:,} cells, but {found.path} has {found.n_cells:,}. Give the file that was mapped."
        )
    for start in range(0, file.n_cells, CHUNK_CELLS):
        stop = min(start + CHUNK_CELLS, file.n_cells)
        names, others = file.names(start, stop), found.names(start, stop)
        if (names != others).any():
            wrong = int(np.argmax(names != others))
            raise InputError(
                f"{file.path}: cell {start + wrong} is '{names[wrong]}', but '{others[wrong]}' in {found.path}. Give the file "
                "that was mapped."
            )


def _terms_of_labels(found: MappedFile) -> pd.DataFrame:
    """ONTOLOGY of each cell: UNKNOWN for a cell that is not assigned, or whose label has no term. Without any terms there is no
    column."""
    terms = term_ids(found.run.slot_groups)
    assigned = found.obs[STATUS].astype(str) == ASSIGNED
    values = found.obs[LABEL].astype(str).map(terms).where(assigned).fillna(UNKNOWN).astype("category")
    return pd.DataFrame({ONTOLOGY: values.array} if terms else {}, index=range(found.n_cells))


def _cluster_columns(path: Path, file: CellFile) -> pd.DataFrame:
    """CLUSTER and CLUSTER_LABEL of each cell. Raises InputError where the table is not of these cells, in their order."""
    try:
        table = read_cells(path, (CLUSTER, CLUSTER_LABEL))
    except ValueError as error:
        raise InputError(f"{path} (--cell_clusters) cannot be read: {error}. Give the file as it was written.") from None
    if len(table) != file.n_cells or (table.index != file.names(0, file.n_cells)).any():
        raise InputError(f"{path} (--cell_clusters) is not of the cells of {file.path}, in their order.")
    return table


def _copy(query: Path, path: Path) -> None:
    """The file as it is, byte for byte."""
    try:
        shutil.copyfile(query, path)
    except OSError as error:
        if error.errno in NO_ROOM:  # Python names the file that was read
            error.filename = str(path)
        raise


def _write_cells(file: CellFile, path: Path) -> None:
    """A 10x file or an mtx folder as an h5ad: all cells, all genes."""
    with H5adWriter(path, len(file.var())) as writer:
        for _, rows in file.chunks("X"):
            writer.append("X", rows)
        writer.write("obs", file.obs)
        writer.write("var", file.var())


@contextmanager
def _edited(path: Path, query: Path) -> Iterator[h5py.File]:
    """A copy of a query's file, to be added to and then signed.

    Raises OSError for a full disk, and InputError for what is wrong with the query.
    """
    disk = GuardedFile(path, "r+b")
    try:
        with reading(query), h5py.File(disk, "r+") as file:
            yield file
            sign(file)
    finally:
        disk.close()
        disk.check()


def _add(target: h5py.File, own: list[str], found: MappedFile, clusters: pd.DataFrame) -> None:
    """Our columns, embeddings and uns into a file with columns of its own, from disk to disk.

    What an earlier mapping left outside of obs is replaced.
    """
    obs = target["obs"]
    for name in _our_columns(found):
        _replace(target, f"obs/{name}", found.stored(f"obs/{name}"))
    for name, column in clusters.items():
        write_elem(obs, str(name), column.array)
    order = [*own, *_our_columns(found), *clusters.columns]
    obs.attrs.create("column-order", np.array(order, object), dtype=h5py.string_dtype())
    for kind in ("obsm", "uns"):
        if kind not in target:
            write_elem(target, kind, {})
    for key, name in EMBEDDINGS.items():
        _replace(target, f"obsm/{name}", found.obsm.get(key))
    for key in (RUN, REFERENCE_MAP):
        _replace(target, f"uns/{key}", found.uns.get(key))
    _replace(target, f"uns/{RUN}/step", None)
    write_elem(target, f"uns/{RUN}/step", ANNOTATE)


def _our_columns(found: MappedFile) -> list[str]:
    return [name for name in found.columns if name.startswith(PREFIX)]


def _replace(target: h5py.File, name: str, stored: h5py.Group | h5py.Dataset | None) -> None:
    if name in target:
        del target[name]
    if stored is not None:
        stored.file.copy(stored, target, name)
