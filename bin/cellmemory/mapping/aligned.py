"""The aligned query: opened, checked, and what its mapped file says of the run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cellmemory import RUN, __version__
from cellmemory.cells.faults import reading
from cellmemory.cells.named_columns import taken_columns
from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError, first_ids
from cellmemory.io.samplesheet import is_sample, sample_named
from cellmemory.reference.calibration import DoubtSettings
from cellmemory.reference.run_info import RunInfo
from cellmemory.reference.trained_model import TrainedModel


def open_aligned(path: Path, trained: TrainedModel) -> CellFile:
    """The aligned query. Raises InputError unless its genes are the model's panel, in order."""
    file = CellFile(path)
    genes = file.var().index.astype(str).tolist()
    panel = trained.panel["gene"].tolist()
    if genes != panel or "measured" not in file.var():
        raise InputError(
            f"{path}: the genes are not those of the model's panel ({trained.path / 'panel.tsv'}): found {first_ids(genes)}, "
            f"expected {first_ids(panel)}. Align the query first: preprocess_query.py --panel {trained.path / 'panel.tsv'}."
        )
    if file.var()["measured"].dtype != bool:
        raise InputError(
            f"{path}: var['measured'] is not true or false for each gene. Align the query again with preprocess_query.py."
        )
    if not file.n_cells:
        raise InputError(f"{path}: this query has no cells.")
    if taken := taken_columns(file):
        raise InputError(taken)
    return file


def sample_name(file: CellFile) -> str:
    """What the aligned query says its name is, else one made of its file's name. Raises InputError for any other name."""
    stored = _stored_text(file, "sample")
    if stored and not is_sample(stored):
        raise InputError(
            f"{file.path}: it says that its sample is {stored[:80]!r}, but a sample cannot be called so. Align the query "
            "again with preprocess_query.py."
        )
    return stored or sample_named(file.path)


def values_digest(file: CellFile) -> str:
    """The digest of the query's aligned values, or an empty text where preprocessing left none."""
    return _stored_text(file, "values_digest")


def _stored_text(file: CellFile, name: str) -> str:
    """What preprocessing left under a name, or an empty text."""
    with reading(file.path, f"uns/{RUN}/{name}"):
        return str(file.uns[RUN][name].asstr()[()]) if f"{RUN}/{name}" in file.uns else ""


def describe_run(file: CellFile, trained: TrainedModel, doubt: DoubtSettings, precision: str) -> RunInfo:
    """How the query is mapped."""
    from anndata.io import read_elem

    config = trained.config
    with reading(file.path, f"uns/{RUN}"):
        aligned = read_elem(file.uns[RUN]) if RUN in file.uns else {}
    sample = sample_name(file)
    if trained.adapted_to == sample and not trained.is_adapted_to_values(values_digest(file)):
        raise InputError(
            f"{trained.path}: this model is adapted to another query that is called '{sample}' as well. Give the trained one, or "
            "adapt it to this query."
        )
    if trained.adapted_to not in ("", sample):
        raise InputError(
            f"{trained.path}: this model is adapted to '{trained.adapted_to}', but the query is '{sample}'. Give the trained "
            "one, or adapt it to this query."
        )
    keep: dict[str, Any] = {
        k: str(aligned.get(k, "")) for k in ("truth_key", "batch_key", "spatial_key", "source", "value_scale", "values_digest")
    }
    return RunInfo(
        **keep,
        sample=sample,
        model_digest=trained.trained_digest,
        adapted_to=trained.adapted_to,
        adapting=trained.adapting,
        label_key=config["label_key"],
        slot_groups=trained.labels,
        label_terms=trained.label_terms or None,
        n_slots=trained.sizes.n_slots,
        label_levels=trained.hierarchy.levels if trained.hierarchy else [],
        **asdict(doubt),
        mode=config["mode"],
        binning=config["binning"],
        precision=precision,
        seed=config["seed"],
        version=__version__,
    )
