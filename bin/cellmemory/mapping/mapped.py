"""Reading a mapped query (`<sample>.mapped.h5ad`) in parts: its obs, what is kept per gene, and matrices by chunks."""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from anndata.io import read_elem

from cellmemory import RUN
from cellmemory.cells.faults import reading
from cellmemory.cells.reading import CellFile
from cellmemory.columns import EMBEDDING, LABEL, SLICE, SLOT_USE, UMAP
from cellmemory.errors import InputError
from cellmemory.mapping.mapped_checks import finite, problems_of_mapped, read_run
from cellmemory.reference.run_info import RunInfo
from cellmemory.reference.trained_model import TrainedModel

#: What `uns['cellmemory']` calls the step that gives a user's file back (see annotation/).
ANNOTATE = "annotate"


class MappedFile(CellFile):
    """A query that map_query.py has mapped. Raises InputError for a file that is not h5ad, that was not mapped,
    or that holds something else than mapping writes."""

    def __init__(self, path: str | Path):
        super().__init__(path)
        if SLICE in self.uns:
            self.close()
            raise InputError(f"{path}: this is a slice of a mapped query; join all slices first with gather.py.")
        if RUN not in self.uns or LABEL not in self.columns:
            self.close()
            raise InputError(f"{path}: this file has not been mapped (no {LABEL} in obs); run map_query.py first.")
        run = read_run(self)
        if run.get("step") == ANNOTATE:
            self.close()
            raise InputError(f"{path}: this is the query's own file with its labels. Give <sample>.mapped.h5ad.")
        problems = problems_of_mapped(self, run) if self.n_cells else [f"{path}: this mapped query has no cells."]
        if problems:
            self.close()
            raise InputError(problems)
        self.run = RunInfo.from_uns(run)
        for name in self.matrices:
            self.rows(name, 0, 0)  # its shape is looked at before hours of work

    @property
    def genes(self) -> list[str]:
        """The panel's genes, in panel order."""
        return [str(gene) for gene in self.var().index]

    @property
    def is_part(self) -> bool:
        """Whether cells were taken away since they were mapped: what is kept of all of them together is then not of these."""
        return self.run.n_cells not in (None, self.n_cells)

    @cached_property
    def mappings(self) -> tuple[str, ...]:
        """What tables call these cells (see RunInfo.mapping), and of a part those of all cells that were mapped with it."""
        whole = self.run.mapping
        if not whole or not self.is_part:
            return (whole,)
        names = hashlib.sha256("\n".join(self.names(0, self.n_cells)).encode("utf-8", "surrogatepass"))
        return (f"{whole}.{names.hexdigest()[:6]}", whole)

    @property
    def mapping(self) -> str:
        """What tables that are made of these cells call them, in their column MAPPING."""
        return self.mappings[0]

    def rows(self, matrix: str, start: int, stop: int) -> sp.csr_matrix:
        """As CellFile.rows. Raises InputError for values that mapping does not write: NaN, infinite or negative ones."""
        found = super().rows(matrix, start, stop)
        wrong = ~(np.isfinite(found.data) & (found.data >= 0))
        if wrong.any():
            cell = start + int(np.searchsorted(found.indptr, np.argmax(wrong), side="right")) - 1
            raise InputError(
                f"{self.path}: {matrix} holds {found.data[wrong][0]:g} in the cell '{self.names(cell, cell + 1)[0]}'; mapping "
                "writes numbers of 0 or more. Map the query again with map_query.py."
            )
        return found

    def embedding(self, key: str) -> np.ndarray:
        """As CellFile.embedding. Raises InputError for one of ours that holds NaN or infinite values; coordinates may."""
        values = super().embedding(key)
        return finite(self.path, f"obsm['{key}']", values) if key in (EMBEDDING, SLOT_USE, UMAP) else values

    def check_model(self, trained: TrainedModel, *, adapted: bool = False) -> None:
        """Raises InputError where another model mapped these cells; adapted: see TrainedModel.mapped."""
        if not trained.mapped(self.run, adapted=adapted):
            raise InputError(
                f"{self.path} was mapped with another model than {trained.path}{_adaptations(self.run, trained)}. Give the "
                "one that it was mapped with, or map it again."
            )
        if self.genes != trained.panel["gene"].tolist():
            raise InputError(f"{self.path}: var holds other genes than the panel of {trained.path}. Map the query again.")

    def per_gene(self, key: str) -> np.ndarray | None:
        """varm[key] in full as float64 (M, columns); None where it is not there."""
        stored = self.stored(f"varm/{key}")
        with reading(self.path, f"varm/{key}"):
            return None if stored is None else finite(self.path, f"varm['{key}']", np.asarray(read_elem(stored), np.float64))


def _adaptations(run: RunInfo, trained: TrainedModel) -> str:
    """What the model that mapped a run and this one were adapted to, where it is not the same."""
    if run.adapted_to == trained.adapted_to:
        return ", adapted to another query of the same name" if run.model_digest == trained.trained_digest else ""
    names = (run.adapted_to, trained.adapted_to)
    one, other = (f"one adapted to '{name}'" if name else "one that is not adapted" for name in names)
    return f" ({one}, not {other})"
