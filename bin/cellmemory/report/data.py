"""Reads what the report shows: the model's folder, the mapped queries and the tables that belong to them.

Columns of all cells are read; of the matrices only the rows of the cells that are drawn, chunk by chunk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import read_elem

from cellmemory import PREFIX
from cellmemory.cells.faults import reading
from cellmemory.cells.groups import group_codes
from cellmemory.cells.labels import ALL_LABELS, PERHAPS_NEW, LabelSets
from cellmemory.columns import (
    AMBIGUOUS,
    ATTENTION,
    CELL_COLUMNS,
    DOUBLET_SCORE,
    LABEL,
    REFERENCE_MAP,
    SLOT_READ,
    SLOT_USE,
    SLOT_WRITE,
    STATE,
    STATUS,
    STATUSES,
    TYPE,
    UMAP,
    UNASSIGNED,
)
from cellmemory.errors import InputError, Problems, first_ids
from cellmemory.genes.quality import QUALITY, QUALITY_COLUMNS
from cellmemory.io import checked
from cellmemory.mapping.mapped import MappedFile
from cellmemory.reference.hierarchy import column as level_column
from cellmemory.reference.run_info import RunInfo
from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report.colours import NOT_ASSIGNED
from cellmemory.report.tables import TABLES_OF_SAMPLES, are_of_one_clustering, is_of_mapping, read_result
from cellmemory.sampling import fair_quotas, sample_cells_to_draw

DRAWN_QUERY, DRAWN_REFERENCE = 20_000, 10_000
#: What the page calls the clusters of cells.
CLUSTER_TITLE = "Cluster"
#: What it calls the measures of quality: those of QUALITY_COLUMNS, and the doublet score.
QUALITY_TITLES = {
    "counts": "Counts",
    "genes": "Genes expressed",
    "mitochondrial": "Mitochondrial share",
    "doublet": "Doublet score",
}
MAX_COLUMNS, MAX_LEVELS = 24, 50


@dataclass
class Sample:
    """One mapped query. Arrays cover all n cells, except `drawn` (rows drawn as points) and what is made of these rows."""

    name: str
    run: RunInfo
    mappings: tuple[str, ...]  # what its tables call it (see MappedFile)
    cells: pd.DataFrame  # label (categorical), confidence, novelty, novelty_p, linear_share, status, reason, label_set
    columns: pd.DataFrame  # obs columns that can colour points: the user's, and labels of other levels
    truth: pd.Series | None  # true labels as categories, where known
    genes: list[str]
    measured: np.ndarray  # (genes,) whether the query measured it
    slot_use: np.ndarray | None  # (n, H): how much the cell's summary reads from each slot
    umap: np.ndarray | None  # (n, 2)
    spatial: np.ndarray | None  # (n, 2)
    quality: pd.DataFrame | None  # (n, 4): QUALITY_COLUMNS, and `doublet`, the score, where cells were clustered
    batch: pd.Series | None  # (n,) names of batches, None where a cell has none
    of_batches: pd.DataFrame  # (batches, columns): the value of each of the user's columns of names that has one in all its cells
    reference_umap: np.ndarray | None  # (r, 2)
    reference_labels: np.ndarray | None  # (r,)
    slot_write: np.ndarray | None  # (genes, G, H)
    slot_read: np.ndarray | None  # (genes, G, H)
    drawn: np.ndarray
    drawn_ids: list[str]
    expression: sp.csr_matrix  # (drawn, genes)
    attention: sp.csr_matrix | None  # (drawn, genes)
    tables: dict[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> list[str]:
        """The labels that the slot matrices are made for, in the order of their columns."""
        return self.run.slot_groups

    @property
    def n_mapped(self) -> int:
        """How many cells were mapped, of which some may have been taken away since."""
        return max(len(self.cells), self.run.n_cells or 0)


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run beside its samples and its model.

    inputs: what check_inputs.py wrote; provenance: names and values of the run, in groups or not, the day when it was `written`,
    and `links` to files next to its page; consensus: summaries of consensus.py; gene_sets: by the name of their file, the genes
    of each set as the panel writes them.
    """

    inputs: dict | None = None
    provenance: dict | None = None
    consensus: Sequence[dict] = ()
    gene_sets: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)


def read_samples(paths: Sequence[Path], trained: TrainedModel, tables: Mapping[str, Sequence[Path]]) -> list[Sample]:
    """Reads every mapped query and the tables (by option name) whose file names start with its sample's name and a dot, or as
    the name of its own file does: what is in `a.mapped.h5ad` and `a.tags.tsv` belongs together, whatever its sample is called.

    Raises InputError for files that map_query.py did not write, samples of one name, a query that another model mapped,
    and tables that belong to no sample: all of them at once.
    """
    problems, sizes = Problems(), []
    names: dict[str, Path] = {}
    for path in paths:
        with problems.collect(), MappedFile(path) as file:
            sizes.append(file.n_cells)
            problems += _check(path, file, trained, names)
    owners: dict[tuple[str, Path], str] = {}
    prefixes = {_prefix(path): name for name, path in names.items()} | {name: name for name in names}
    for option, path in dict.fromkeys((name, path) for name, paths in tables.items() for path in paths):
        owner = _owner(path, option, prefixes)
        if owner and (other := next((p for (kind, p), name in owners.items() if (kind, name) == (option, owner)), None)):
            problems.append(f"{path} and {other} are both --{option} of the sample '{owner}'. Give one of them.")
        elif owner:
            owners[option, path] = owner
        else:
            problems.append(
                f"{path} (--{option}) matches no sample ({', '.join(names)}). "
                "Rename it so that its name begins with a sample's name and a dot."
            )
    problems.raise_any()
    samples = [_read(path, quota, trained) for path, quota in zip(paths, fair_quotas(sizes, DRAWN_QUERY), strict=True)]
    by_name = {sample.name: sample for sample in samples}
    for (option, path), owner in owners.items():
        with problems.collect():
            by_name[owner].tables[option] = table = read_result(path, option)
            if isinstance(table, dict) and table.get("sample", owner) != owner:
                raise InputError(
                    f"{path} (--{option}) is of the sample {table['sample']!r}, not of '{owner}'. Give that of '{owner}'."
                )
            if not is_of_mapping(table, path, by_name[owner].run.values_digest, by_name[owner].mappings):
                raise InputError(
                    f"{path} (--{option}) was made of another mapped query than that of {owner}, of another mapping of "
                    "it, or of other cells of it. Give the table that was made of its mapped file."
                )
            _check_size(path, option, by_name[owner])
            if option == "slot_tags":
                _check_slots(path, by_name[owner])
            if option == "cell_clusters":
                _check_cells(path, by_name[owner])
    problems.raise_any()
    for sample in samples:
        with problems.collect():
            _add_clusters(sample, of_several=len(samples) > 1)
    problems.raise_any()
    return samples


def _check_size(path: Path, option: str, sample: Sample) -> None:
    """Raises InputError where a table is about other cells than the mapped query's: another query may have the same name."""
    table, n = sample.tables[option], len(sample.cells)
    if option in ("alignment", "metrics"):
        counted = table.get("cells", n)
        wrong = counted not in ({n} if option == "metrics" else {n, sample.n_mapped})
    elif option == "clusters":
        counted = int(table["n_cells"].sum())
        wrong = counted != n
    elif option == "tags":
        counted = int(table.drop_duplicates("group")["n_cells"].sum())
        wrong = counted > sample.n_mapped
    elif option == "faithfulness":
        of_labels = table.groupby("group")["n_cells"].max()
        counted = int(of_labels.drop(ALL_LABELS, errors="ignore").sum())
        wrong = n == sample.n_mapped and (of_labels > sample.cells["label"].value_counts().reindex(of_labels.index)).any()
    else:
        return
    if wrong:
        raise InputError(
            f"{path} (--{option}) is about {counted:,} cells, but {sample.name} has {n:,}. It is of another query, or of other "
            "cells of it: give the file that was made of its mapped file."
        )


def _check_slots(path: Path, sample: Sample) -> None:
    """Raises InputError where a table of slots has more of them than the mapped query."""
    slots = sample.tables["slot_tags"]["slot"].astype(int)
    if sample.slot_use is not None and len(slots) and slots.max() > sample.slot_use.shape[1]:
        raise InputError(
            f"{path} (--slot_tags): slot {slots.max()} is not one of the {sample.slot_use.shape[1]} of {sample.name}. Give the "
            "table that was made of its mapped file."
        )


def _check_cells(path: Path, sample: Sample) -> None:
    """Raises InputError where a table of cells is not of the sample's, in their order."""
    names = sample.tables["cell_clusters"].index
    if len(names) != len(sample.cells) or names[sample.drawn].tolist() != sample.drawn_ids:
        raise InputError(
            f"{path} (--cell_clusters) is not of the cells of {sample.name}, in their order. Cluster the mapped file again."
        )


def _add_clusters(sample: Sample, *, of_several: bool) -> None:
    """Lets clusters colour points and group bars. Those of several samples have nothing in common but their numbers.

    Raises InputError where the cells, the table of clusters and that of their markers are not of one clustering.
    """
    both = [sample.tables.get(name) for name in ("clusters", "cluster_markers")]
    if both[0] is not None and both[1] is not None and not are_of_one_clustering(*both):
        raise InputError(
            f"{sample.name}: its tables of clusters (--clusters) and of their markers (--cluster_markers) have other numbers of "
            "cells. Give both of one run of cluster.py."
        )
    if "cell_clusters" not in sample.tables:
        return
    if sample.quality is not None:
        sample.quality["doublet"] = sample.tables["cell_clusters"][DOUBLET_SCORE].to_numpy()
    clusters = sample.tables["cell_clusters"]["cluster"]
    if "clusters" in sample.tables:
        table = sample.tables["clusters"]
        if strange := set(clusters.cat.categories) - set(table["cluster"]):
            raise InputError(
                f"{sample.name}: the clusters {first_ids(sorted(strange))} of its cells (--cell_clusters) are not in its table "
                "of clusters (--clusters). Give both of one run of cluster.py."
            )
        found = clusters.value_counts().to_dict()
        if wrong := [name for name, n in zip(table["cluster"], table["n_cells"], strict=True) if found.get(name, 0) != n]:
            raise InputError(
                f"{sample.name}: cluster {wrong[0]} has {found.get(wrong[0], 0):,} of its cells (--cell_clusters), and another "
                "number in its table of clusters (--clusters). Give both of one run of cluster.py."
            )
        for column, kind in (("candidate", TYPE), ("new_state", STATE)):
            sample.cells[column] = clusters.isin(table.loc[table["candidate"] == kind, "cluster"]).to_numpy()
    names = [f"{sample.name}, {name}" if of_several else name for name in clusters.cat.categories]
    sample.columns[CLUSTER_TITLE] = clusters.cat.rename_categories(names).array


def _check(path: Path, file: MappedFile, trained: TrainedModel, names: dict[str, Path]) -> list[str]:
    """Problems of one mapped file; adds its sample to `names`."""
    name = file.run.sample
    problems = Problems()
    if name in names:
        problems.append(f"{path} and {names[name]} are both of sample {name!r}. Give each sample once.")
    names[name] = path
    with problems.collect():
        file.check_model(trained, adapted=True)
    return problems


def _prefix(mapped: Path) -> str:
    """What the names of a mapped query's tables may start with: its file's name, without `.mapped.h5ad`."""
    return mapped.name.removesuffix(".h5ad").removesuffix(".mapped")


def _owner(path: Path, option: str, prefixes: dict[str, str]) -> str | None:
    """The sample that a table belongs to: by a prefix that makes its file's name together with the option's, else by the longest
    prefix that the name starts with. A sample may be called `a.tags`, next to one called `a`."""
    exact = path.name.removesuffix(f".{option}{TABLES_OF_SAMPLES[option]}")
    if exact in prefixes and exact != path.name:
        return prefixes[exact]
    found = [prefix for prefix in prefixes if path.name.startswith(f"{prefix}.")]
    return prefixes[max(found, key=len)] if found else None


def _read(path: Path, quota: int, trained: TrainedModel) -> Sample:
    with MappedFile(path) as file:
        run, cells = file.run, _cells(file.obs, trained.labels)
        drawn = sample_cells_to_draw(cells["label"].cat.codes.to_numpy(), quota)
        with reading(file.path, f"uns/{REFERENCE_MAP}"):
            reference = read_elem(file.uns[REFERENCE_MAP]) if REFERENCE_MAP in file.uns else None
        return Sample(
            name=run.sample,
            run=run,
            mappings=file.mappings,
            cells=cells,
            columns=_colourings(file.obs, run.truth_key, [level_column(level) for level in run.label_levels or ()]),
            truth=_names(file.obs[run.truth_key]) if run.truth_key in file.obs else None,
            genes=file.genes,
            measured=file.var()["measured"].to_numpy(bool),
            slot_use=_embedding(file, SLOT_USE),
            umap=_embedding(file, UMAP),
            quality=_quality(file),
            batch=(batch := _batches(file.obs, run.batch_key)),
            of_batches=_values_of_batches(file.obs, batch, (run.truth_key, run.batch_key)),
            spatial=_coordinates(file, run.spatial_key or "spatial"),
            reference_umap=None if reference is None else np.asarray(reference[UMAP]),
            reference_labels=None if reference is None else np.asarray(reference["label"]).astype(str),
            slot_write=_slot_matrix(file, SLOT_WRITE),
            slot_read=_slot_matrix(file, SLOT_READ),
            drawn=drawn,
            drawn_ids=[str(name) for name in file.obs.index[drawn]],
            expression=file.picked("X", drawn),
            attention=file.picked(ATTENTION, drawn) if ATTENTION in file.matrices else None,
        )


def _cells(obs: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Our columns of obs under their short names."""
    cells = pd.DataFrame({name: _numbers(obs[name]) if limits else _names(obs[name]) for name, limits in CELL_COLUMNS.items()})
    cells[LABEL] = cells[LABEL].cat.set_categories(labels)
    cells[STATUS] = cells[STATUS].cat.set_categories(list(STATUSES))
    return cells.rename(columns=lambda name: name.removeprefix(PREFIX))


def counted(labels: pd.Series, cells: pd.DataFrame, *, finest: bool = True) -> pd.Series:
    """Labels (n,) as cells count under them: an unassigned cell under none, and of the finest labels an ambiguous one neither,
    but under what it is (see colours.NOT_ASSIGNED). Nor does a cell of a cluster that may be a new type."""
    found = labels.astype(object).reset_index(drop=True)
    for status in (AMBIGUOUS, UNASSIGNED) if finest else (UNASSIGNED,):
        found[(cells["status"] == status).to_numpy()] = f"({status})"
    if "candidate" in cells:
        found[cells["candidate"].to_numpy()] = PERHAPS_NEW
    return found


def counted_labels(cells: pd.DataFrame) -> pd.Series:
    """The finest labels (n,) as cells count under them: categories, the labels first and then what stands for none."""
    found = counted(cells["label"], cells)
    return found.astype(pd.CategoricalDtype([*cells["label"].cat.categories, *NOT_ASSIGNED]))


def label_set_sizes(sets: pd.Series, labels: list[str]) -> pd.Series:
    """How many labels each set (n,) holds."""
    known = LabelSets(labels)
    return sets.astype("category").map(lambda one: len(known.members(str(one)) or [])).astype(int)


def share_of(cells: pd.DataFrame, status: str) -> float:
    """The share of a sample's cells that have this status."""
    return float((cells["status"] == status).mean())


def _numbers(column: pd.Series) -> np.ndarray:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _names(column: pd.Series) -> pd.Series:
    """A column as categories that are text."""
    codes, names = group_codes(column)
    return pd.Series(pd.Categorical.from_codes(codes, names))


def _colourings(obs: pd.DataFrame, truth_key: str, levels: list[str]) -> pd.DataFrame:
    """The obs columns that can colour points: labels of coarser levels, and of the user's columns numbers that vary, and at
    most MAX_LEVELS categories."""
    ours = [*levels[:-1], "answer"] if levels else []
    kept = {level_title(key): _names(obs[PREFIX + key]).array for key in ours}
    if levels:  # a cell whose answer is '' has none
        kept["answer"] = kept["answer"].set_categories([name for name in kept["answer"].categories if name])
    for key, column in obs.items():
        if str(key).startswith(PREFIX) or key == truth_key or len(kept) == MAX_COLUMNS:
            continue
        if _is_measure(column):
            values = _numbers(column)
            if np.isfinite(values).any() and np.nanmin(values) < np.nanmax(values):
                kept[str(key)] = values
        elif column.nunique() <= MAX_LEVELS:
            kept[str(key)] = _names(column).array
    return pd.DataFrame(kept, index=range(len(obs)))


def _is_measure(column: pd.Series) -> bool:
    """Whether a column holds numbers, and no names."""
    return pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)


def level_title(key: str) -> str:
    """What the page calls `level_lineage`."""
    return key.replace("_", " ", 1)


def _embedding(file: MappedFile, key: str) -> np.ndarray | None:
    return file.embedding(key) if key in file.obsm else None


def _batches(obs: pd.DataFrame, key: str) -> pd.Series | None:
    """The name of each cell's batch (n,), where there is such a column."""
    if key not in obs:
        return None
    names = _names(obs[key])
    return names.astype(object).where(names.notna(), None)


def _values_of_batches(obs: pd.DataFrame, batch: pd.Series | None, left_out: tuple[str, ...]) -> pd.DataFrame:
    """The value that a column of names has in all cells of a batch, None where it has several or none; of all such columns but
    ours and `left_out`. Without batches all cells are one, which is called ''."""
    batches, names = pd.factorize(batch) if batch is not None else (np.zeros(len(obs), np.int64), np.array([""], object))
    found = {}
    for key, column in obs.items():
        if not _is_measure(column) and not str(key).startswith(PREFIX) and key not in left_out:
            codes, values = group_codes(column)
            of_batch = pd.Series(codes[batches >= 0]).groupby(batches[batches >= 0]).agg(["min", "max"])
            one = of_batch["min"].where(of_batch["min"] == of_batch["max"], -1).reindex(range(len(names)), fill_value=-1)
            found[str(key)] = [None if code < 0 else values[code] for code in one]
    return pd.DataFrame(found, index=names, dtype=object)


def _quality(file: MappedFile) -> pd.DataFrame | None:
    values = _embedding(file, QUALITY)
    return None if values is None else pd.DataFrame(values, columns=list(QUALITY_COLUMNS)).assign(doublet=np.nan)


def _coordinates(file: MappedFile, key: str) -> np.ndarray | None:
    values = _embedding(file, key)
    return None if values is None or values.ndim != 2 or values.shape[1] < 2 else values[:, :2].astype(np.float64)


def _slot_matrix(file: MappedFile, key: str) -> np.ndarray | None:
    values = None if file.is_part else file.per_gene(key)
    return None if values is None else values.reshape(len(values), len(file.run.slot_groups), file.run.n_slots)


def alignment_of(sample: Sample) -> dict | None:
    """What preprocessing said of the sample's genes: the file given, else the copy that the mapped file may hold."""
    if "alignment" in sample.tables:
        return sample.tables["alignment"]
    stored = sample.run.alignment
    try:
        return checked.parse_object(stored) if stored else None
    except ValueError as error:
        raise InputError(f"{sample.name}: uns['cellmemory'] holds an alignment that is not JSON ({error}).") from None
