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
import scipy.sparse as sp
from anndata.io import write_elem

from cellmemory import PREFIX, RUN
from cellmemory.annotation.ontology import UNKNOWN, names_no_label, read_ontology_map, term_ids
from cellmemory.cells.faults import reading
from cellmemory.cells.named_columns import taken_columns
from cellmemory.cells.reading import CHUNK_CELLS, CellFile
from cellmemory.cells.writing import H5adWriter
from cellmemory.columns import (
    ASSIGNED,
    EMBEDDING,
    LABEL,
    ONTOLOGY,
    REFERENCE_MAP,
    SLOT_USE,
    STATUS,
    UMAP,
)
from cellmemory.errors import NO_ROOM, InputError
from cellmemory.genes.align import make_aligner
from cellmemory.genes.matching import match_genes
from cellmemory.genes.names import name_columns
from cellmemory.io.atomic import replacing
from cellmemory.io.guarded import GuardedFile
from cellmemory.io.signature import sign
from cellmemory.log import say, warn
from cellmemory.mapping.clustered import clusters_of
from cellmemory.mapping.mapped import ANNOTATE, MappedFile

#: What our embeddings are called in the user's file, by their keys in a mapped one: X_umap stays the user's own.
EMBEDDINGS = {EMBEDDING: EMBEDDING, SLOT_USE: SLOT_USE, UMAP: f"{EMBEDDING}_umap"}

#: Cells whose values are compared, the genes that this takes, and the share of values that may differ.
COMPARED_CELLS, COMPARED_GENES, DIFFERENT_VALUES = 100, 5, 0.1


def annotate(query: Path, mapped: Path, clusters: Path | None, *, ontology_map: Path | None = None, output: Path) -> None:
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
    ontology_map
        Terms of labels, where they are not those of the reference or of the labels' names.
    output
        What is written.

    Raises
    ------
    InputError
        Where these are not the same cells, in the same order, or the file has things of our names.
    """
    own_terms = read_ontology_map(ontology_map) if ontology_map else {}
    with CellFile(query) as file, MappedFile(mapped) as found, replacing(output) as partial:
        _check(file, found)
        _check_values(file, found)
        for note in names_no_label(ontology_map, own_terms, found.run.slot_groups) if ontology_map else ():
            warn(note)
        columns = _terms_of_cells(found, own_terms)
        if clusters:
            columns = columns.join(clusters_of(found, clusters).set_axis(columns.index))
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


def _check_values(file: CellFile, found: MappedFile) -> None:
    """Raises InputError where the file's cells have other values than the mapped ones.

    Names alone may be those of another sample: some files number their cells.
    """
    cells = np.unique(np.linspace(0, file.n_cells - 1, COMPARED_CELLS).astype(int))
    mapped = _expressed(found, "X", cells)
    panel = found.var().reset_index(names="gene")[["gene", "source_id"]]
    compared = False
    for matrix in file.matrices:
        for agrees in _agreements(file, matrix, cells, panel=panel, mapped=mapped):
            if agrees:
                return
            compared = True
    if compared:
        raise InputError(
            f"{file.path}: its cells have the names of those in {found.path}, but other values. Give the file that was mapped."
        )
    warn(
        f"{file.path}: the names of its genes are not those of the model, so its values were not compared with those in "
        f"{found.path}. Only the cells' names say that it was mapped."
    )


def _agreements(file: CellFile, matrix: str, cells: np.ndarray, *, panel: pd.DataFrame, mapped: sp.csr_matrix) -> Iterator[bool]:
    """For each column of gene names: whether a matrix has values where the mapped cells (cells x panel) have some, and nowhere
    else. Nothing where that cannot be compared."""
    try:
        var, expressed = file.var(matrix), _expressed(file, matrix, cells)
        matches = [match_genes(var, panel, name, {}, where=str(file.path)) for name in name_columns(var, None, str(file.path))]
    except InputError:  # a damaged layer, which nobody asked for
        return
    for match in matches:
        columns = match.measured
        theirs = (expressed @ make_aligner(match, len(panel), "counts").selector > 0)[:, columns]
        ours = mapped[:, columns]
        if len(columns) >= COMPARED_GENES and ours.nnz:
            yield (theirs != ours).nnz <= DIFFERENT_VALUES * ours.nnz


def _expressed(file: CellFile, matrix: str, cells: np.ndarray) -> sp.csr_matrix:
    """Where some cells (sorted) of a matrix have values: 1 or 0 (cells x genes)."""
    return sp.csr_matrix(sp.vstack([file.rows(matrix, cell, cell + 1) for cell in cells], format="csr") > 0, dtype=np.float32)


def _terms_of_cells(found: MappedFile, own_terms: dict[str, str]) -> pd.DataFrame:
    """ONTOLOGY of each cell: UNKNOWN for a cell that is not assigned, or whose label has no term. Without any terms there is no
    column. A label's term is the user's own, else the reference's; where the reference has none at all, the one of its name."""
    labels, of_reference = found.run.slot_groups, found.run.label_terms
    terms = dict(zip(labels, of_reference, strict=True)) if of_reference else term_ids(labels)
    terms = {label: term for label, term in (terms | own_terms).items() if term}
    assigned = found.obs[STATUS].astype(str) == ASSIGNED
    values = found.obs[LABEL].astype(str).map(terms).where(assigned).fillna(UNKNOWN).astype("category")
    return pd.DataFrame({ONTOLOGY: values.array} if terms else {}, index=range(found.n_cells))


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
        _replace(obs, name, found.stored(f"obs/{name}"))
    for name, column in clusters.items():
        write_elem(obs, str(name), column.array if isinstance(column.dtype, pd.CategoricalDtype) else column.to_numpy())
    order = [*own, *_our_columns(found), *clusters.columns]
    obs.attrs.create("column-order", np.array(order, object), dtype=h5py.string_dtype())
    if (obsm := _group(target, "obsm")) is not None:
        for key, name in EMBEDDINGS.items():
            _replace(obsm, name, found.obsm.get(key))
    if (uns := _group(target, "uns")) is not None:
        for key in (RUN, REFERENCE_MAP):
            _replace(uns, key, found.uns.get(key))
        _replace(uns[RUN], "step", None)
        write_elem(uns[RUN], "step", ANNOTATE)


def _group(target: h5py.File, name: str) -> h5py.Group | None:
    """What is to be added to, made where it is not there; None where something else has its name, which stays.

    As a group, not by its path: it may be a link, and HDF5 copies nothing to a path through one.
    """
    if name not in target:
        write_elem(target, name, {})
    if isinstance(target[name], h5py.Group):
        return target[name]
    warn(f"{name} is an array and not a group of them: nothing was added to it.")
    return None


def _our_columns(found: MappedFile) -> list[str]:
    return [name for name in found.columns if name.startswith(PREFIX)]


def _replace(target: h5py.Group, name: str, stored: h5py.Group | h5py.Dataset | None) -> None:
    if name in target:
        del target[name]
    if stored is not None:
        stored.file.copy(stored, target, name)
