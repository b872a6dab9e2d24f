"""Files of cells as they come: queries and references, each with what is expected of the scripts that read it.

A builder gets a fresh copy of good cells and a folder, and returns the path of the file that it wrote there, or the changed
cells. Good cells are 120 cells of three types with 60 genes in counts; type i expresses ten genes of its own.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

TYPES, CELLS, GENES = ("B", "T", "NK"), 120, 60
LABEL = "cell_type"


def good(seed: int = 0) -> ad.AnnData:
    """Good cells, of another seed other ones."""
    rng = np.random.default_rng(seed)
    types = np.arange(CELLS) % len(TYPES)
    rates = np.full((len(TYPES), GENES), 0.6)
    for i in range(len(TYPES)):
        rates[i, 10 * i : 10 * i + 10] = 6
    rates = rates * rng.gamma(4, 0.25, GENES)
    counts = rng.poisson(rates[types]).astype(np.float32)
    counts[:, -1] = 1
    obs = pd.DataFrame({"cell_type": pd.Categorical(np.array(TYPES)[types])}, index=[f"s{seed}c{i}" for i in range(CELLS)])
    obs["donor"] = pd.Categorical([f"d{i // 40}" for i in range(CELLS)])
    return ad.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"GENE{i}" for i in range(GENES)]))


@dataclass(frozen=True)
class Case:
    """A file and what is expected. says: parts of one sentence of the refusal, or of the log where it is read (`ok`)."""

    name: str
    build: Callable
    says: tuple[str, ...]
    ok: bool
    options: tuple[str, ...] = ()
    label_key: str = "cell_type"
    at: str = "both"  # which script says so: `check` alone, `step` alone (what only a look at every value shows), or both


QUERIES: list[Case] = []
REFERENCES: list[Case] = []


def query(*says: str, ok: bool = False, options: tuple[str, ...] = (), at: str = "both") -> Callable:
    """Registers a builder of a query."""

    def register(build: Callable) -> Callable:
        QUERIES.append(Case(build.__name__, build, says, ok, options, at=at))
        return build

    return register


def reference(
    *says: str, ok: bool = False, options: tuple[str, ...] = (), label_key: str = "cell_type", at: str = "both"
) -> Callable:
    """Registers a builder of a reference."""

    def register(build: Callable) -> Callable:
        REFERENCES.append(Case(build.__name__, build, says, ok, options, label_key, at))
        return build

    return register


def written(case: Case, folder: Path, seed: int) -> Path:
    """The case's file."""
    made = case.build(good(seed), folder)
    if isinstance(made, ad.AnnData):
        path = folder / "cells.h5ad"
        made.write_h5ad(path)
        return path
    return made


def dense(cells: ad.AnnData) -> np.ndarray:
    return cells.X.toarray()


def many(cells: ad.AnnData, times: int = 20) -> ad.AnnData:
    """The cells again and again under other names: more of them than are looked at in a sample."""
    more = ad.concat([cells] * times)
    more.obs_names = [f"c{i}" for i in range(more.n_obs)]
    return more


def edited(cells: ad.AnnData, folder: Path, edit: Callable) -> Path:
    """The cells as a file that `edit` changed on disk."""
    path = folder / "cells.h5ad"
    cells.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


# Values: within the sample that tells what they are, and beyond it.


@query("holds NaN, infinite or impossibly large values", options=())
def nan_in_the_sample(cells, _):
    cells.X.data[3] = np.nan
    return cells


def _late(cells, value):
    cells = many(cells)
    cells.X = cells.X.tocsr()
    cells.X.data[cells.X.indptr[300] + 1] = value  # between the blocks of the sample
    return cells


for _name, _value in (("nan", np.nan), ("inf", np.inf), ("minus_one", -1.0), ("minus_inf", -np.inf), ("huge", 1e30)):
    for _register in (query, reference):

        def _build(cells, _, value=_value):
            return _late(cells, value)

        _build.__name__ = f"{_name}_beyond_the_sample"
        _register("X holds", "in cell 'c300' (row 301)", at="step")(_build)


for _value in (15, 50, 200, 1e30):

    def _wild(cells, _, value=_value):
        """It decides nothing: values stay log-normalised, and the cell is named where no logarithm is that large."""
        cells.X.data = np.log1p(cells.X.data * 1.1)
        cells.X.data[7] = value
        return cells

    _wild.__name__ = f"{_value:g}_among_log_values"
    if _value == 15:
        query("log1p in X", ok=True, at="step")(_wild)
    else:
        query(f"X holds {_value:g}", "log-normalised values", at="step")(_wild)


@query("counts in X", ok=True, at="step")
def raw_barcodes_mostly_empty(cells, _):
    """As raw_feature_bc_matrix: a sample of evenly spaced barcodes holds nothing."""
    barcodes = pd.DataFrame(index=[f"e{i}" for i in range(6000)])
    empty = ad.AnnData(sp.csr_matrix((6000, cells.n_vars), dtype=np.float32), obs=barcodes, var=cells.var)
    few = cells[:20]
    few.obs = few.obs[[]]
    return ad.concat([empty[:700], few, empty[700:]])


@query("holds no value but zero")
def all_zero(cells, _):
    cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
    return cells


@query("holds negative values (scaled data)")
def scaled(cells, _):
    cells.X = dense(cells) - dense(cells).mean(0)
    return cells


@query("counts in layers/counts", ok=True, at="step")
def scaled_with_counts_in_a_layer(cells, _):
    cells.layers["counts"] = cells.X.copy()
    cells.X = dense(cells) - dense(cells).mean(0)
    return cells


@query("counts in raw", ok=True, at="step")
def scaled_with_counts_in_raw(cells, _):
    cells.raw = cells.copy()
    cells.X = dense(cells) - dense(cells).mean(0)
    return cells


@query("log1p in X", ok=True, at="step")
def log_values(cells, _):
    total = np.asarray(cells.X.sum(1))
    cells.X = sp.csr_matrix(np.log1p(dense(cells) / total * 1e4))
    return cells


@query("there are the layers spliced", "--counts_layer")
def layers_alone(cells, folder):
    cells.layers["spliced"] = cells.X.copy()
    return edited(cells, folder, lambda file: file.__delitem__("X"))


@query("counts in layers/spliced", ok=True, at="step", options=("--counts_layer", "spliced"))
def layers_alone_and_named(cells, folder):
    return layers_alone(cells, folder)


@query("there is no layer 'spliced'", "--counts_layer", options=("--counts_layer", "spliced"))
def a_layer_that_is_not_there(cells, _):
    return cells


@query("this query has no cells")
def no_cells(cells, _):
    return cells[:0].copy()


@query("this file has no genes (var is empty)")
def no_genes(cells, _):
    cells = cells[:, :0].copy()
    cells.layers["counts"] = sp.csr_matrix(cells.shape, dtype=np.float32)
    return cells


@query("Read 1 cells", ok=True, at="step")
def one_cell(cells, _):
    return cells[:1].copy()


@query("cells have no counts", ok=True, at="step")
def some_cells_without_counts(cells, _):
    values = dense(cells)
    values[::7] = 0
    cells.X = sp.csr_matrix(values)
    return cells


for _type in ("float64", "int32", "int64", "uint8", "uint16", "bool"):

    def _typed(cells, _, kind=_type):
        cells.X = cells.X.astype(kind)
        return cells

    _typed.__name__ = f"values_of_type_{_type}"
    query("binary in X" if _type == "bool" else "counts in X", ok=True, at="step")(_typed)


@query("counts in X", ok=True, at="step")
def half_precision(cells, _):
    cells.X = dense(cells).astype(np.float16)
    return cells


@query("counts in X", ok=True, at="step")
def columns_compressed(cells, _):
    cells.X = cells.X.tocsc()
    return cells


@query("counts in X", ok=True, at="step")
def dense_values(cells, _):
    cells.X = dense(cells)
    return cells


# Genes and their names.


@query("none of the reference's genes is in this query", "begin with 'FBgn00000'")
def another_species(cells, _):
    cells.var_names = [f"FBgn{i:07d}" for i in range(cells.n_vars)]
    return cells


@query("Matched 60 of 60", "60 genes were recognised by a part or another spelling of their names", ok=True, at="step")
def genome_before_the_name(cells, _):
    cells.var_names = [f"GRCh38_{name}" for name in cells.var_names]
    return cells


@query("Matched 60 of 60", "recognised by a part", ok=True, at="step")
def two_genomes_before_the_names(cells, _):
    mouse = cells.copy()
    mouse.var_names = [f"mm10___{name.title()}" for name in mouse.var_names]
    cells.var_names = [f"GRCh38_{name}" for name in cells.var_names]
    both = ad.concat([cells, mouse], axis=1)
    both.obs = cells.obs
    return both


@query("Matched 60 of 60", "recognised by a part", ok=True, at="step")
def symbol_and_id_in_one_name(cells, _):
    cells.var_names = [f"{name}_ENSG{i:011d}" for i, name in enumerate(cells.var_names)]
    return cells


@query("Matched 60 of 60", "recognised by a part", ok=True, at="step")
def id_and_symbol_in_one_name(cells, _):
    cells.var_names = [f"ENSG{i:011d}.3|{name}" for i, name in enumerate(cells.var_names)]
    return cells


@query("Matched 60 of 60", ok=True, at="step")
def quotes_around_names(cells, _):
    cells.var_names = [f'"{name}"' for name in cells.var_names]
    return cells


@query("Matched 60 of 60", ok=True, at="step")
def blanks_around_names(cells, _):
    cells.var_names = [f" {name} " for name in cells.var_names]
    return cells


@query("there is no gene column 'symbol' (--gene_column)", options=("--gene_column", "symbol"))
def a_gene_column_that_is_not_there(cells, _):
    return cells


@query("Matched 60 of 60", "60 summed", ok=True, at="step")
def every_gene_twice(cells, _):
    both = ad.concat([cells, cells], axis=1)
    both.obs = cells.obs
    return both


@query("Matched 60 of 60", ok=True, at="step")
def numbers_for_names_and_symbols_in_a_column(cells, _):
    cells.var["Gene.Symbol"] = cells.var_names
    cells.var_names = [str(i) for i in range(cells.n_vars)]
    return cells


# Feature types: one rule for queries and references.


def _with_antibodies(cells, gene, antibody):
    tags = ad.AnnData(
        np.full((cells.n_obs, 3), 500, np.float32), obs=cells.obs, var=pd.DataFrame(index=["GENE0", "GENE1", "Isotype"])
    )
    both = ad.concat([cells, tags], axis=1)
    both.obs = cells.obs
    both.var["feature_types"] = [gene] * cells.n_vars + [antibody] * 3
    return both


for _gene, _antibody in (("Gene Expression", "Antibody Capture"), ("GEX", "ADT"), ("RNA", "ADT"), ("Gene expression", "protein"),
                         ("gene_expression", "CRISPR Guide Capture")):  # fmt: skip
    for _register in (query, reference):

        def _types(cells, _, gene=_gene, antibody=_antibody):
            return _with_antibodies(cells, gene, antibody)

        _types.__name__ = f"features_{_gene.replace(' ', '_')}_and_{_antibody.replace(' ', '_')}"
        _register("3 features that are not gene expression were left out", ok=True, at="step")(_types)


for _register in (query, reference):

    @_register("no feature is gene expression", "var['feature_types'] holds 'ADT', 'HTO'")
    def no_gene_expression_at_all(cells, _):
        cells.var["feature_types"] = ["ADT", "HTO"] * (cells.n_vars // 2)
        return cells


# Columns.


@query("the batch column 'lane' (--batch_key) is not in obs", options=("--batch_key", "lane"))
def a_batch_column_that_is_not_there(cells, _):
    return cells


@query("the coordinates 'spatial' (--spatial_key) are not in obsm", options=("--spatial_key", "spatial"))
def coordinates_that_are_not_there(cells, _):
    return cells


@query("the truth column 'cell_type' (--truth_key) holds no value", options=("--truth_key", "cell_type"))
def a_truth_column_without_a_value(cells, _):
    cells.obs["cell_type"] = pd.Categorical([" "] * cells.n_obs)
    return cells


def _placed(cells, places):
    cells.obsm["spatial"] = places
    return cells


for _name, _places in (
    ("unknown", np.full((CELLS, 2), np.nan)),
    ("of_one_axis", np.ones((CELLS, 1))),
    ("beyond_all_measure", np.full((CELLS, 2), 1e300)),
):

    def _build(cells, _, places=_places):
        return _placed(cells, places)

    _build.__name__ = f"named_places_{_name}"
    query("obsm['spatial'] does not hold two coordinates of cells", options=("--spatial_key", "spatial"))(_build)


@query("obsm['spatial'] holds no places of cells, and was left out.", ok=True, at="step")
def places_that_nobody_named_are_unknown(cells, _):
    return _placed(cells, np.full((CELLS, 2), np.nan))


@reference("50 genes were summed into another of their name", ok=True, at="step", options=("--n_genes", "5"))
def a_gene_of_fifty_rows_in_log_values(cells, _):
    cells = log_values(cells, _)
    cells.var_names = ["MANY"] * 51 + list(cells.var_names[51:])
    return cells


@reference("20 genes without a name", ok=True, at="step", options=("--gene_column", "symbol"))
def genes_without_a_name(cells, _):
    cells.var["symbol"] = [None] * 20 + [f"G{i}" for i in range(GENES - 20)]
    return cells


for _register in (query, reference):

    @_register("holds log-normalised values, but", "only whole numbers, as counts are", at="step")
    def counts_among_logarithms_beyond_the_sample(cells, _):
        cells.X.data = np.minimum(cells.X.data, 12)
        counts = many(cells, 60)
        values = log_values(counts.copy(), _).X.tolil()
        values[300:600] = counts.X[300:600]
        counts.X = sp.csr_matrix(values)
        return counts


@query("obs has columns that mapping writes ('cellmemory_label', 'cellmemory_status')")
def mapped_before(cells, _):
    cells.obs["cellmemory_label"], cells.obs["cellmemory_status"] = "B", "assigned"
    return cells


@query("Read 120 cells", ok=True, at="step")
def columns_of_every_kind(cells, _):
    n = cells.n_obs
    cells.obs["numbers"] = np.arange(n)
    cells.obs["flags"] = np.arange(n) % 2 == 0
    cells.obs["gaps"] = pd.Categorical([None if i % 3 else "x" for i in range(n)])
    cells.obs["nullable"] = pd.array([None if i % 3 else i for i in range(n)], dtype="Int64")
    cells.obs['a column\'s name, with "quotes" / and more'] = "x"
    cells.obs["größe"] = "µm"
    cells.obs = cells.obs.rename(columns={'a column\'s name, with "quotes" / and more': 'a column\'s name, with "quotes"'})
    return cells


@query("Read 120 cells", ok=True, at="step")
def one_name_for_all_cells(cells, _):
    cells.obs_names = ["cell"] * cells.n_obs
    return cells


def _with_fixed_text(name, values):
    """A builder that stores a list of text with a fixed length, which may hold anything: text of another kind ends at a NUL."""

    def build(cells, folder):
        path = folder / "cells.h5ad"
        cells.obs["site"] = "x"
        cells.write_h5ad(path)
        with h5py.File(path, "a") as file:
            attributes = dict(file[name].attrs)
            del file[name]
            file[name] = np.array(values(cells), "S")
            file[name].attrs.update(attributes)
        return path

    return build


def _named(name, build):
    build.__name__ = name
    return build


_NULS = {
    "nul_in_names_of_cells": ("obs/_index", lambda cells: [f"{name[:1]}\0{name[1:]}" for name in cells.obs_names], "the list of"),
    "nul_in_names_of_genes": ("var/_index", lambda cells: [f"{name}\0x" for name in cells.var_names], "the list of names in var"),
    "nul_in_a_category": ("obs/site/categories", lambda _: ["a\0b"], "the column 'site' of obs"),
}
for _name, (_place, _values, _where) in _NULS.items():
    # The check of the inputs reads no obs of queries: it may be as long as the query.
    query(_where, "a NUL character", at="both" if "genes" in _name else "step")(_named(_name, _with_fixed_text(_place, _values)))
    reference(_where, "a NUL character")(_named(_name, _with_fixed_text(_place, _values)))


def _with_a_column(stored, column="x", place="obs"):
    """A builder that adds a column as it is stored, or, of a name that is there, its name once more."""

    def build(cells, folder):
        path = folder / "cells.h5ad"
        cells.var["kind"] = "x"
        cells.write_h5ad(path)
        with h5py.File(path, "a") as file:
            table = file[place]
            if stored is not None:
                table[column] = stored
                table[column].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            table.attrs["column-order"] = np.array([*table.attrs["column-order"], column], object)
        return path

    return build


for _place, _column in (("obs", "donor"), ("obs", "cell_type"), ("var", "kind")):
    _twice = _with_a_column(None, _column, _place)
    query(f"{_place} has two columns of the name '{_column}'")(_named(f"{_column}_twice", _twice))
    reference(f"{_place} has two columns of the name '{_column}'")(_named(f"{_column}_twice", _twice))
for _kind in (">f8", ">i4"):
    _of_another_machine = _named(f"bytes_of_another_machine_{_kind[1:]}", _with_a_column(np.arange(CELLS).astype(_kind)))
    query("Read 120 cells", ok=True, at="step")(_of_another_machine)
    reference("Kept the 60", ok=True, at="step", options=("--batch_key", "x"))(_of_another_machine)


# References: labels.


def _labels(values):
    """A builder that sets the labels to what values(i, label) gives."""

    def build(cells, _):
        cells.obs["cell_type"] = [values(i, str(label)) for i, label in enumerate(cells.obs["cell_type"])]
        return cells

    return build


reference("Dropped 12 cells", ok=True, at="step")(_named("empty_labels", _labels(lambda i, label: label if i % 10 else "")))
reference("Dropped 12 cells", ok=True, at="step")(
    _named("blank_labels", _labels(lambda i, label: "  " if i % 10 == 0 else label))
)
reference("labels of 'cell_type' are longer than 1,000 letters")(
    _named("labels_without_end", _labels(lambda i, label: label * 2000 if i % 3 else label))
)
reference("3 labels in", "differ only in blanks or invisible characters were merged: 'B', 'NK', 'T'", ok=True)(
    _named("blanks_after_labels", _labels(lambda i, label: label + " " * (i % 4 // 3)))
)
reference("3 labels in", "were merged", ok=True)(
    _named("line_ends_in_labels", _labels(lambda i, label: label + "\r" * (i % 4 // 3)))
)
reference("3 labels in", "were merged", ok=True)(
    _named("letters_without_width_in_labels", _labels(lambda i, label: label + "\u200b" * (i % 4 // 3)))
)
reference("Dropped 12 cells", ok=True, at="step")(
    _named("labels_without_width", _labels(lambda i, label: label if i % 10 else "\ufeff"))
)
reference("differ only in case stay apart: 'NK' (30 cells), 'nk' (10 cells)", ok=True)(
    _named("labels_of_other_case", _labels(lambda i, label: "nk" if label == "NK" and i % 4 == 2 else label))
)
reference("'nan' is used as a label (12 cells)", ok=True)(
    _named("nan_as_a_text", _labels(lambda i, label: "nan" if i % 10 == 0 else label))
)
reference("holds only 'B'. A reference needs at least two labels")(_named("one_label", _labels(lambda _i, _label: "B")))
reference("holds no label. A reference needs at least two labels")(_named("no_label", _labels(lambda _i, _label: "")))
reference("labels of 'cell_type' with a single cell: 'odd' (1 in all)")(
    _named("a_label_of_one_cell", _labels(lambda i, label: "odd" if i == 5 else label))
)
reference("(120 in all)")(_named("a_column_of_names", _labels(lambda i, _label: f"cell {i}")))


@reference("the label column 'type' (--label_key) is not in obs", label_key="type")
def a_label_column_that_is_not_there(cells, _):
    return cells


@reference("3 labels in", ok=True, at="step")
def labels_that_are_numbers(cells, _):
    cells.obs["cell_type"] = cells.obs["cell_type"].cat.codes.to_numpy()
    return cells


@reference("no cell of 'NK' has counts; the model cannot give these labels", ok=True, at="step")
def a_label_without_counts(cells, _):
    values = dense(cells)
    values[(cells.obs["cell_type"] == "NK").to_numpy()] = 0
    cells.X = sp.csr_matrix(values)
    return cells


@reference("with a single cell: 'NK'", "Cells without counts do not count", at="step")
def a_label_of_one_cell_with_counts(cells, _):
    values = dense(cells)
    values[np.flatnonzero(cells.obs["cell_type"] == "NK")[1:]] = 0
    cells.X = sp.csr_matrix(values)
    return cells


@reference("this reference has no cells")
def reference_without_cells(cells, _):
    return cells[:0].copy()


@reference("a reference needs 2 genes or more, but has 1")
def reference_of_one_gene(cells, _):
    return cells[:, :1].copy()


@reference("ends with 'type', but the labels to train on (--label_key) are 'cell_type'",
           options=("--label_levels", "donor,type"), at="check")  # fmt: skip
def a_misspelt_last_level(cells, _):
    return cells


@reference("the label level column 'lineage' (--label_levels) is not in obs",
           options=("--label_levels", "lineage,cell_type"), at="check")  # fmt: skip
def a_level_that_is_not_there(cells, _):
    return cells


@reference("has two parents in 'lineage'", options=("--label_levels", "lineage,cell_type"), at="check")
def a_label_with_two_parents(cells, _):
    cells.obs["lineage"] = ["a" if i < 60 else "b" for i in range(cells.n_obs)]
    return cells


def _with_column(cells, folder, values):
    """The cells with a column of their obs as anndata reads it, but does not write it."""

    def edit(file):
        obs = file["obs"]
        obs["odd"] = values
        obs["odd"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        obs.attrs["column-order"] = [*obs.attrs["column-order"], "odd"]

    return edited(cells, folder, edit)


@reference("obs/odd holds neither text nor numbers. Remove the column", label_key="odd")
def labels_that_are_complex_numbers(cells, folder):
    return _with_column(cells, folder, np.arange(cells.n_obs) % 3 + 1j)


@reference("obs/odd holds neither text nor numbers. Remove the column", label_key="odd")
def labels_of_two_fields(cells, folder):
    return _with_column(cells, folder, np.array([(i % 3, i) for i in range(cells.n_obs)], [("a", "i4"), ("b", "i4")]))


# References: batches.


def _batches(values):
    def build(cells, _):
        cells.obs["donor"] = pd.Categorical([values(i) for i in range(cells.n_obs)])
        return cells

    return build


BATCH = ("--batch_key", "donor")
for _name, _says, _donor in (
    (
        "a_batch_of_one_cell",
        "1 of 3 batches has too few cells to choose genes in (lonely: 1)",
        lambda i: f"d{i % 2}" if i else "lonely",
    ),
    ("a_batch_for_each_cell", "120 of 120 batches have too few cells to choose genes in", lambda i: f"d{i:03d}"),
    ("batches_of_two_cells", "Kept the", lambda i: f"d{i // 2:03d}"),
    ("batches_with_gaps", "24 cells have no 'donor'; they count as one batch", lambda i: f"d{i % 2}" if i % 5 else None),
    ("one_batch", "Kept the", lambda _i: "d"),
    ("no_batch_at_all", "Kept the", lambda _i: None),
):
    reference(_says, ok=True, options=BATCH, at="step")(_named(_name, _batches(_donor)))


def _elsewhere(edit):
    """The cells with another file beside them, of which `edit` makes a part of theirs."""

    def build(cells, folder):
        other = folder / "other.h5ad"
        cells.write_h5ad(other)
        return edited(cells, folder, lambda file: edit(file, other))

    return build


@query("this file keeps parts of it in other files ('X'), which are not read")
def a_matrix_of_another_file(cells, folder):
    def edit(file, other):
        del file["X"]
        file["X"] = h5py.ExternalLink(str(other), "/X")

    return _elsewhere(edit)(cells, folder)


@query("this file keeps parts of it in other files ('obs/theirs'), which are not read")
def a_column_of_any_file(cells, folder):
    """As of /etc/passwd: its bytes would go into the results."""

    def edit(file, other):
        file["obs"].create_dataset("theirs", (cells.n_obs,), "S1", external=[(str(other), 0, cells.n_obs)])
        file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "theirs"]

    return _elsewhere(edit)(cells, folder)


@query("this file keeps parts of it in other files ('layers/theirs'), which are not read")
def a_virtual_layer(cells, folder):
    def edit(file, other):
        layout = h5py.VirtualLayout((10,), "f4")
        layout[:] = h5py.VirtualSource(str(other), "X/data", (10,))
        file["layers"].create_virtual_dataset("theirs", layout)

    return _elsewhere(edit)(cells, folder)


@query("this file keeps parts of it in other files ('X'), which are not read")
def a_matrix_that_is_a_pipe(cells, folder):
    """It would be waited for without end."""
    os.mkfifo(folder / "pipe")

    def edit(file):
        del file["X"]
        file["X"] = h5py.ExternalLink(str(folder / "pipe"), "/X")

    return edited(cells, folder, edit)


@query("obs/odd holds neither text nor numbers. Remove the column")
def records_in_a_column_that_nobody_asked_for(cells, folder):
    return _with_column(cells, folder, np.array([(i % 3, i) for i in range(cells.n_obs)], [("a", "i4"), ("b", "i4")]))


@query("obs lacks columns that it lists")
def a_column_called_dot(cells, folder):
    def edit(file):
        file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "."]

    return edited(cells, folder, edit)


@query("X holds counts in some cells and other values in others")
@reference("X holds counts in some cells and other values in others")
def data_sets_of_two_scales(cells, _):
    counts = sp.csr_matrix(dense(cells))
    logged = counts[: cells.n_obs // 2].copy()
    logged.data = np.log1p(logged.data)
    cells.X = sp.vstack([logged, counts[cells.n_obs // 2 :]], format="csr").astype(np.float32)
    return cells


@query("X holds NaN, infinite or impossibly large values")
def beyond_float32_in_the_sample(cells, _):
    cells.X = cells.X.astype(np.float64)
    cells.X.data[7] = 1e300
    return cells


@reference("the column 'donor' is named as the labels and as the batches", label_key="donor", options=("--batch_key", "donor"))
def labels_for_batches(cells, _):
    return cells


@reference("no gene has a name in var", "--gene_column")
def blank_gene_names(cells, _):
    cells.var_names = [" " * (1 + i) for i in range(cells.n_vars)]
    return cells


@query("X holds values that were normalised in different ways")
@reference("X holds values that were normalised in different ways")
def a_natural_and_a_binary_logarithm(cells, _):
    counts = dense(cells)
    values = 1e4 * counts / counts.sum(axis=1, keepdims=True)
    half = cells.n_obs // 2
    cells.X = sp.csr_matrix(np.vstack([np.log1p(values[:half]), np.log2(1 + values[half:])]).astype(np.float32))
    return cells


@query("(linear in X", ok=True, at="step")
def shares_of_all_counts(cells, _):
    counts = dense(cells)
    cells.X = sp.csr_matrix((counts / counts.sum(axis=1, keepdims=True)).astype(np.float32))
    return cells


@query("(binary in X", "There is one value other than zero (binarised data)", ok=True, at="step")
def binarised(cells, _):
    cells = many(cells)
    cells.X = (cells.X > 0).astype(np.float32)
    return cells


@query("Values were taken from layers/counts", ok=True, at="step")
def binarised_beside_counts(cells, _):
    cells = many(cells)
    cells.layers["counts"] = cells.X.copy()
    cells.X = (cells.X > 0).astype(np.float32)
    return cells


@query("its cells are named as genes are: rows and columns are exchanged. Transpose it")
def transposed(cells, _):
    return ad.AnnData(cells.X.T.tocsr(), cells.var[[]].copy(), cells.obs[[]].copy())


@query("cells share their name with another cell, such as 'same'", ok=True, at="step")
def cells_of_one_name(cells, _):
    cells.obs_names = ["same"] * cells.n_obs
    return cells


@reference("10 features that are not gene expression were left out", ok=True, at="step")
def counts_in_raw_whose_table_knows_no_types(cells, _):
    """The antibodies among them are known by var alone."""
    cells.raw = ad.AnnData(cells.X.copy(), cells.obs[[]], cells.var[[]])
    cells.var["feature_types"] = ["Gene Expression"] * (cells.n_vars - 10) + ["Antibody Capture"] * 10
    cells.X = dense(cells) - 1
    return cells


@query("hold values that are not whole", at="step")
def counts_of_which_some_are_logged(cells, _):
    """Outside of the cells that are looked at first."""
    cells = many(cells, 40)
    values = sp.csr_matrix(np.round(np.expm1(dense(cells))))
    logged = values[300:700].copy()
    logged.data = np.log1p(logged.data)
    cells.X = sp.vstack([values[:300], logged, values[700:]], format="csr").astype(np.float32)
    return cells


@reference("Kept the", ok=True, at="step")
def feature_types_in_other_spellings(cells, _):
    cells.var["feature_type"] = ["Gene  Expression", "gene-expression", "Gene\u00a0Expression"] * (cells.n_vars // 3)
    return cells


@reference("Fewer than 10 genes vary between cells", ok=True, at="step")
def a_reference_of_equal_cells(cells, _):
    """seurat_v3 ends by a signal where no gene varies, and where two do."""
    cells.X = sp.csr_matrix(np.ones(cells.shape, np.float32))
    return cells


@reference("Fewer than 10 genes vary between cells", ok=True, at="step")
def a_reference_of_two_genes_that_vary(cells, _):
    values = np.zeros(cells.shape, np.float32)
    values[:, 0], values[:, 1] = 1, np.arange(cells.n_obs) % 2
    cells.X = sp.csr_matrix(values)
    return cells


@reference("3 genes without a name, or with one that no table can hold", ok=True, at="step")
def genes_that_no_table_can_name(cells, _):
    cells.var_names = ["", "A\rB", "x" * 140_000, *cells.var_names[3:]]
    return cells


@reference("too few cells to choose genes in (twins: 2)", ok=True, options=BATCH, at="step")
def a_batch_of_equal_cells(cells, _):
    values = dense(cells)
    values[1] = values[0]
    cells.X = sp.csr_matrix(values)
    cells.obs["donor"] = ["twins"] * 2 + [f"d{i % 2}" for i in range(cells.n_obs - 2)]
    return cells


@reference("Kept the", ok=True, at="step")
def genes_that_do_not_vary(cells, _):
    values = np.ones(cells.shape, np.float32)
    values[:, :12] = dense(cells)[:, :12]
    cells.X = sp.csr_matrix(values)
    return cells
