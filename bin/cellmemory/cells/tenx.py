"""10x .h5 files of Cell Ranger: their genes, their barcodes, and their matrix, which is read in parts."""

from typing import Any

import h5py
import numpy as np
import pandas as pd

from cellmemory.cells.faults import ReadingError
from cellmemory.cells.matrices import CsrRows, unwritten


def several_genomes(genomes: list[str]) -> str:
    """The sentence, without the file's name, for a file of several genomes."""
    return f"this 10x file holds {len(genomes)} genomes ({', '.join(genomes)}). Write the cells and genes of one as .h5ad."


class TenX:
    """A 10x .h5: genes x cells in CSC, which is cells x genes in CSR. Cell Ranger 3 and later writes `features`."""

    obsm: dict[str, Any] = {}  # noqa: RUF012 - it never has any
    uns: dict[str, Any] = {}  # noqa: RUF012
    index_name = ""

    def __init__(self, file: h5py.File, group: h5py.Group):
        self.file, self._group = file, group
        self._barcodes = _text_list(group, "barcodes")
        self.n_cells = len(self._barcodes)
        self._var = _read_features(group)
        self.columns: list[str] = []
        self.matrices = {"X": group}
        shape = np.ravel(group["shape"][()] if "shape" in group else ()).tolist()
        if shape != [len(self._var), self.n_cells]:
            raise ReadingError(
                f"{group.name[1:]} has the shape ({', '.join(map(str, shape))}), but {len(self._var):,} features and "
                f"{self.n_cells:,} barcodes are listed. Get the file again, or give the mtx folder."
            )

    def names(self, start: int, stop: int) -> np.ndarray:
        return self._barcodes[start:stop]

    def obs(self) -> pd.DataFrame:
        return pd.DataFrame(index=self._barcodes)

    def var(self, _: str) -> pd.DataFrame:
        return self._var

    def open_matrix(self, _: str) -> CsrRows:
        return CsrRows(self._group, self._group.name[1:], self.n_cells, len(self._var))

    def stored(self, _: str) -> None:
        return None

    def close(self) -> None:
        self.file.close()


def _read_features(group: h5py.Group) -> pd.DataFrame:
    """The genes: symbols in the index, gene_ids, and feature_types and genome where the file has them."""
    stored = group.get("features")
    if isinstance(stored, h5py.Group):
        columns = {"gene_ids": "id", "feature_types": "feature_type", "genome": "genome"}
        names = _text_list(stored, "name")
        var = {column: _text_list(stored, part) for column, part in columns.items() if column == "gene_ids" or part in stored}
    elif "gene_names" in group:
        names, var = _text_list(group, "gene_names"), {"gene_ids": _text_list(group, "genes")}
    else:
        raise ReadingError("this 10x file lists no features (genes). Get the file again, or give the mtx folder.")
    lengths = {len(column) for column in (names, *var.values())}
    if len(lengths) > 1:
        raise ReadingError("this 10x file lists features whose names, ids and types differ in number. Get the file again.")
    # With several genomes Cell Ranger puts the genome before each name, so no name would match. A virus or a transgene beside
    # the genome may be a genome of its own, without that.
    genomes = sorted(set(var.get("genome", ())) - {""})
    if len(genomes) > 1 and any(name.startswith(f"{genome}_") for genome in genomes for name in names):
        raise ReadingError(several_genomes(genomes))
    return pd.DataFrame(var, index=names)


def _text_list(group: h5py.Group, part: str) -> np.ndarray:
    """Strings (n,) in an object array."""
    stored = group.get(part)
    name = f"{group.name}/{part}"[1:]
    if not isinstance(stored, h5py.Dataset) or stored.shape is None or len(stored.shape) != 1:
        raise ReadingError(f"{name} is missing or not a list, so this 10x file is damaged. Get it again, or give the mtx folder.")
    if unwritten(stored):
        raise ReadingError(
            f"{name} was not written to its end, so this 10x file is damaged. Get it again, or give the mtx folder."
        )
    return stored.asstr()[:].astype(object)
