"""The library's API for notebooks: `cellmemory.load(folder).map(cells)` and `cellmemory.train(cells, label_key)`.

Both take the way of the scripts, from file to file in a temporary folder, so that the results are theirs to the last bit.
"""

import functools
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import anndata as ad
import numpy as np
import pandas as pd

from cellmemory.cells.writing import H5adWriter
from cellmemory.errors import NO_ROOM, InputError, first_ids
from cellmemory.genes.align import describe
from cellmemory.genes.query_cells import preprocess_query
from cellmemory.genes.reference_cells import preprocess_reference
from cellmemory.io.checked import choice, either, flag, integer, is_text, number, shown, text, wrong_fields
from cellmemory.io.outputs import checkpoints_beside, output_problems
from cellmemory.io.samplesheet import COLUMNS, SAMPLE_NAME, Origin, Query
from cellmemory.io.tables import write_table
from cellmemory.io.text import is_url, url_for_a_file, url_for_an_output
from cellmemory.log import say, warn
from cellmemory.mapping.mapper import MappingSettings, map_query
from cellmemory.network.runtime import Runtime, configure
from cellmemory.reference import trained_model
from cellmemory.reference.calibration import DoubtSettings
from cellmemory.reference.hierarchy import check_levels
from cellmemory.reference.trained_model import TrainedModel

P = ParamSpec("P")
R = TypeVar("R")


def _door(function: Callable[P, R]) -> Callable[P, R]:
    """The function as a notebook calls it: numbers of numpy, such as sums of columns, come to it as Python's own. What is wrong
    with a path is a sentence, and options have no dashes in sentences."""

    @functools.wraps(function)
    def called(*args: P.args, **options: P.kwargs) -> R:
        for name, value in options.items():
            if isinstance(value, np.generic):
                options[name] = value.item()
        try:
            return function(*args, **options)
        except InputError as error:
            raise InputError(map(_without_options, error.problems)) from error
        except OSError as error:
            if error.filename is None or error.errno in NO_ROOM:
                raise
            raise InputError(f"{shown(str(error.filename), 200)} cannot be used: {error.strerror}.") from error

    return called


Cells: TypeAlias = ad.AnnData | str | Path
_SHARE = number(0, 1)
_NAME = either(text(), None)
_OPTIONS = {
    **dict.fromkeys(("counts_layer", "gene_column", "batch_key", "spatial_key", "truth_key"), _NAME),
    "min_coverage": _SHARE,
    "novelty_alpha": _SHARE,
    "alpha": number(1e-9, 1 - 1e-9),
    "min_confidence": number(0.5, 1),
    "novelty_shift": flag(),
    "attention": flag(),
    "precision": choice(["auto", "fp32", "bf16"]),
    "device": choice(["auto", "cpu", "cuda"]),
    "threads": integer(1, 4096),
    "seed": integer(0, 2**32 - 1),
    "n_genes": integer(2, 10**9),
    "label_key": text(),
    "mode": choice(["fast", "full"]),
    "binning": choice(["quantile", "log"]),
    "max_epochs": integer(1, 10_000),
    "patience": integer(1, 10**9),
    "batch_size": integer(1, 100_000),
    "sampling": choice(["balanced", "natural"]),
    "learning_rate": number(1e-12, 1),
    "variant": choice(["light", "standard"]),
    "d_model": either(integer(8, 4096), None),
    "n_layers": integer(1, 100),
}


@dataclass(frozen=True)
class Model:
    """A trained model, ready to map cells. path: its folder or archive; trained: what is in it."""

    path: Path
    trained: TrainedModel
    _folder: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    @property
    def labels(self) -> list[str]:
        """The labels that cells can get."""
        return self.trained.labels

    @property
    def genes(self) -> list[str]:
        """The genes of the panel."""
        return [str(gene) for gene in self.trained.panel["gene"]]

    @_door
    def map(
        self,
        cells: Cells,
        *,
        sample: str = "query",
        counts_layer: str | None = None,
        gene_column: str | None = None,
        gene_map: str | Path | None = None,
        batch_key: str | None = None,
        spatial_key: str | None = None,
        truth_key: str | None = None,
        min_coverage: float = 0.2,
        novelty_alpha: float = 0.05,
        alpha: float = 0.05,
        min_confidence: float = 0.7,
        novelty_shift: bool = True,
        attention: bool = True,
        precision: str = "auto",
        device: str = "auto",
        threads: int | None = None,
    ) -> ad.AnnData:
        """Maps cells: labels, confidence, novelty, embeddings and attention of each.

        The result is what map_query.py writes for the same cells after preprocess_query.py, to the last bit. The temporary
        folder (see `tempfile`) holds the cells twice meanwhile.

        Parameters
        ----------
        cells
            An AnnData with counts or log-normalised values, which is not changed, or the path of an .h5ad, a 10x .h5 or an
            mtx folder. Genes may be named by symbols or Ensembl ids, in any order.
        sample
            The name of the cells, in results and messages.
        counts_layer, gene_column
            The layer with the values and the column of var with the genes' names; detected if not given.
        gene_map
            TSV of gene names, from and to: aliases, orthologs.
        batch_key, truth_key
            Columns of obs with batches and true labels.
        spatial_key
            Key of obsm with coordinates; `spatial` is detected.
        min_coverage
            Share of the panel that must be measured.
        novelty_alpha
            Cells with a smaller novelty p-value are unassigned.
        alpha
            Label sets miss the true label of at most this share of cells.
        min_confidence
            Cells whose label has a lower probability are ambiguous. With labels at several levels, a cell's answer is the
            deepest label that reaches it.
        novelty_shift
            Whether what the cells have in common, whatever their labels, is taken out of their novelty.
        attention
            Whether attention is computed and kept: a value for each cell and expressed gene.
        precision, device
            Number format of products, and where the model runs.
        threads
            CPU threads; all of them if not given.

        Returns
        -------
        AnnData
            The cells over the panel, with everything that docs/output.md says of `<sample>.mapped.h5ad`.

        Raises
        ------
        InputError
            For what is wrong with cells or options, a sentence for each problem.
        """
        threads = available_threads() if threads is None else threads
        _check_options(
            counts_layer=counts_layer,
            gene_column=gene_column,
            batch_key=batch_key,
            spatial_key=spatial_key,
            truth_key=truth_key,
            novelty_shift=novelty_shift,
            attention=attention,
            min_coverage=min_coverage,
            novelty_alpha=novelty_alpha,
            alpha=alpha,
            min_confidence=min_confidence,
            precision=precision,
            device=device,
            threads=threads,
        )
        if not isinstance(sample, str) or not SAMPLE_NAME.fullmatch(sample):
            raise InputError(f"The sample is called {shown(sample)}. {COLUMNS['sample']['errorMessage']}")
        origin = Origin(counts_layer, gene_column, batch_key, spatial_key, truth_key)
        with tempfile.TemporaryDirectory(prefix="cellmemory-") as name, _sentences_for(Path(name)):
            folder = Path(name)
            aligned, mapped = folder / "aligned.h5ad", folder / "mapped.h5ad"
            summary = preprocess_query(
                Query(sample, _as_file(cells, folder, sample), origin),
                self.trained.files / "panel.tsv",
                gene_map=None if gene_map is None else _file("gene_map", gene_map),
                min_coverage=min_coverage,
                output=aligned,
                alignment=folder / "alignment.json",
            )
            for sentence in describe(summary):
                say(sentence)
            settings = MappingSettings(DoubtSettings(novelty_alpha, alpha, min_confidence, novelty_shift), attention)
            with _running(device, precision, threads, seed=0, variant=self.trained.sizes.variant) as runtime:
                map_query(aligned, self.trained, settings, runtime, output=mapped)
            return ad.read_h5ad(mapped)


@_door
def load(path: str | Path) -> Model:
    """Opens a trained model: of train.py, of a run's results, or of `train`.

    Parameters
    ----------
    path
        The model's folder, with config.json in it, or its archive.

    Returns
    -------
    Model
        Ready to map cells.

    Raises
    ------
    InputError
        Where the model is incomplete, changed since training, or none.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"The model is of the type {type(path).__name__}. Give the path of its folder or archive.")
    if is_url(str(path)):
        raise InputError(url_for_a_file(str(path)))
    return Model(Path(path), trained_model.load(path))


@_door
def train(
    cells: Cells,
    label_key: str,
    *,
    folder: str | Path | None = None,
    batch_key: str | None = None,
    label_levels: Iterable[str] = (),
    counts_layer: str | None = None,
    gene_column: str | None = None,
    genes: Iterable[str] | None = None,
    n_genes: int = 2000,
    mode: str = "fast",
    binning: str = "quantile",
    max_epochs: int = 20,
    patience: int = 5,
    batch_size: int = 32,
    sampling: str = "balanced",
    learning_rate: float = 1e-3,
    variant: str = "light",
    d_model: int | None = None,
    n_layers: int = 4,
    precision: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
) -> Model:
    """Trains a model on labelled cells, to an early stop on held-out ones, and calibrates it on these.

    The model is what preprocess_reference.py and train.py write for the same cells and options, to the last bit.

    Parameters
    ----------
    cells
        An AnnData with counts or log-normalised values, which is not changed, or the path of a file, as for `Model.map`.
    label_key, batch_key
        Columns of obs with labels and batches; held-out cells are drawn from every batch.
    folder
        Where the model is kept. If not given, it is in a temporary folder, and gone with the Model.
    label_levels
        Columns of obs with labels at several levels, coarse to fine; the last is label_key.
    counts_layer, gene_column
        As for `Model.map`.
    genes
        Names of genes that the panel may hold: those that your queries measured. All genes of the cells if not given.
    n_genes
        Genes of the panel, at most.
    mode, binning, max_epochs, patience, batch_size, sampling, learning_rate, variant, d_model, n_layers
        As the options of train.py (docs/usage.md).
    precision, device, threads, seed
        Number format of products, where the model is trained, CPU threads, and the seed of everything random.

    Returns
    -------
    Model
        Ready to map cells.

    Raises
    ------
    InputError
        For what is wrong with cells or options, a sentence for each problem.
    """
    from cellmemory.training.aligned_reference import ReferenceFiles
    from cellmemory.training.settings import ModelSize, Sampling, Schedule, TrainingSettings
    from cellmemory.training.train import CheckpointFolder, train_reference

    threads = available_threads() if threads is None else threads
    _check_options(
        label_key=label_key,
        batch_key=batch_key,
        counts_layer=counts_layer,
        gene_column=gene_column,
        n_genes=n_genes,
        mode=mode,
        binning=binning,
        max_epochs=max_epochs,
        patience=patience,
        batch_size=batch_size,
        sampling=sampling,
        learning_rate=learning_rate,
        variant=variant,
        d_model=d_model,
        n_layers=n_layers,
        precision=precision,
        device=device,
        threads=threads,
        seed=seed,
    )
    levels, genes = _names("label_levels", label_levels), None if genes is None else _names("genes", genes)
    if genes == []:
        raise InputError("genes names no gene.")
    levels = check_levels(levels, label_key) if levels else []
    kept = None
    if folder is None:
        kept = tempfile.TemporaryDirectory(prefix="cellmemory-model-")
        folder = Path(kept.name) / "model"
    if not isinstance(folder, str | Path) or not is_text(str(folder)):
        raise InputError(f"folder is not a path ({shown(folder)}).")
    if is_url(str(folder)):
        raise InputError(url_for_an_output(str(folder)))
    output = Path(folder)
    checkpoints = checkpoints_beside(output)
    if problems := output_problems({"folder": (output, "model"), "checkpoints": (checkpoints, "checkpoints")}, {}):
        raise InputError(problems)
    settings = TrainingSettings(
        label_key=label_key,
        batch_key=batch_key,
        label_levels=tuple(levels),
        mode=mode,
        binning=binning,
        seed=seed,
        size=ModelSize(variant, d_model, n_layers),
        schedule=Schedule(max_epochs=max_epochs, patience=patience, learning_rate=learning_rate),
        sampling=Sampling(batch_size, sampling=sampling),
    )
    with tempfile.TemporaryDirectory(prefix="cellmemory-") as name, _sentences_for(Path(name)):
        work = Path(name)
        files = ReferenceFiles(work / "reference.h5ad", work / "panel.tsv")
        found = preprocess_reference(
            _as_file(cells, work, "reference"),
            label_key,
            Origin(counts_layer, gene_column, batch_key),
            query_genes=_gene_list(genes, work),
            n_genes=n_genes,
            output=files.h5ad,
            panel_path=files.panel,
        )
        for warning in found.warnings:
            warn(warning)
        with _running(device, precision, threads, seed=seed, variant=variant) as runtime:
            train_reference(files, output, settings, runtime, checkpoint=CheckpointFolder(checkpoints))
    return Model(output, trained_model.load(output), kept)


def available_threads() -> int:
    """The CPU threads that this process may use."""
    return len(os.sched_getaffinity(0))


def _check_options(**given: object) -> None:
    """Raises InputError for options that are not what they have to be."""
    if clauses := wrong_fields(given, {name: _OPTIONS[name] for name in given}):
        raise InputError(f"{clause}." for clause in clauses)


def _names(option: str, given: Iterable[str]) -> list[str]:
    """Several names: of a text alone each letter would be one."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"{option} is not a list of names ({shown(given)}).")
    names = list(given)
    if wrong := [name for name in names if not is_text(name)]:
        raise InputError(f"{option} holds {shown(wrong[0])}, which is not a name.")
    return [str(name) for name in names]


def _file(option: str, path: str | Path) -> Path:
    with suppress(OSError, ValueError):  # no path at all: too long, or with a NUL
        if isinstance(path, str | Path) and Path(path).is_file():
            return Path(path)
    raise InputError(f"{option}: there is no such file ({shown(str(path), 200)}).")


def _as_file(cells: Cells, folder: Path, name: str) -> Path:
    """The file of some cells; those in memory are written to `folder`, without changing them."""
    if isinstance(cells, str | Path):
        return Path(cells)
    if not isinstance(cells, ad.AnnData):
        raise InputError(f"The cells are of the type {type(cells).__name__}. Give an AnnData, or the path of a file.")
    path = folder / f"{name}.h5ad"
    try:
        _write(cells.to_memory() if cells.isbacked else cells, path)
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:  # anndata raises anything for what it cannot write
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise InputError(f"{path}: these cells cannot be written ({said}). Give an AnnData that write_h5ad can write.") from error
    return path


def _write(cells: ad.AnnData, path: Path) -> None:
    """Writes what the steps read of an AnnData. Not by write_h5ad, which changes columns of text in place.

    Raises InputError for columns that no file can hold.
    """
    for what, table in (("obs", cells.obs), ("var", cells.var)):
        _check_columns(what, table)
    with H5adWriter(path, cells.n_vars) as writer:
        writer.write("obs", cells.obs)
        writer.write("var", cells.var)
        matrices = {"X": cells.X} | {f"layers/{name}": layer for name, layer in cells.layers.items()}
        if cells.raw is not None:
            matrices["raw/X"] = cells.raw.X
            writer.write("raw/var", cells.raw.var)
        for name, values in (matrices | {f"obsm/{key}": values for key, values in cells.obsm.items()}).items():
            if values is not None:
                writer.write(name, values)


def _check_columns(what: str, table: pd.DataFrame) -> None:
    """Raises InputError for columns without a name, of one name, or of complex numbers."""
    names = table.columns.astype(str)
    if not all(names):
        raise InputError(f"{what} has a column without a name. Rename it.")
    if len(twice := names[names.duplicated()].unique()):
        raise InputError(f"{what} has more than one column called {first_ids(twice)}. Rename them.")
    if wrong := [name for name, dtype in zip(names, table.dtypes, strict=True) if pd.api.types.is_complex_dtype(dtype)]:
        raise InputError(f"{what} has complex numbers in {first_ids(wrong)}. Remove this column.")


def _gene_list(genes: list[str] | None, folder: Path) -> Path | None:
    """The genes that a panel may hold, as check_inputs.py writes them."""
    if genes is None:
        return None
    path = folder / "genes.tsv"
    write_table(pd.DataFrame({"sample": "query", "gene": genes}), path)
    return path


@contextmanager
def _running(device: str, precision: str, threads: int, *, seed: int, variant: str) -> Iterator[Runtime]:
    """The settings of the scripts' processes for a while; then those of the notebook again."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    deterministic: Any = torch.utils.deterministic  # of a property that its types leave out
    filled = deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(range(torch.cuda.device_count())), threadpool_limits(threads):
        try:
            yield configure(device, precision, threads, seed=seed, variant=variant)
        finally:
            torch.set_num_threads(before[0])
            torch.set_deterministic_debug_mode(before[1])
            deterministic.fill_uninitialized_memory = filled


@contextmanager
def _sentences_for(folder: Path) -> Iterator[None]:
    """Problems as a notebook's user knows them: cells without the temporary folder."""
    try:
        yield
    except InputError as error:
        raise InputError(problem.replace(f"{folder}/", "") for problem in error.problems) from error


def _without_options(sentence: str) -> str:
    return re.sub(r"(?<![\w-])--(?=[a-z])", "", sentence)
