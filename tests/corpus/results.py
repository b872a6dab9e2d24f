"""Inputs of the scripts behind preprocessing, as hands, spreadsheets and mix-ups leave them, each with what is expected.

A case copies the files that its command names from a run that was made once (see `made`), changes them, and runs the
script. It is read or refused; where `says` is SAME, it is read as what it was before: all outputs have the same bytes.
Outputs stand in `out/`.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import write_elem

from tests.corpus.edits import (
    COMMANDS,
    SAVED,
    Case,
    Edit,
    column,
    content,
    cut,
    data,
    empty,
    fields,
    file_for,
    folder_for,
    gone,
    h5,
    nothing,
    other,
    put,
    quoted,
    renamed,
    reversed_columns,
    reversed_rows,
    saved,
    table,
    text,
    with_values,
    without,
)

SAME = "same"

CASES: list[Case] = []


def case(script: str, name: str, edit: Edit, *says: str, ok: bool = False, **options: object) -> None:
    """One case; SAME in place of words: it is read, and the outputs are as of the good files."""
    same = says == (SAME,)
    CASES.append(Case(script, name, edit, () if same else says, ok or same, same=same, **options))


# Text files that went through an editor or a spreadsheet: for one file of each reader every way to save it, then one way.
TEXTS = (
    ("enrich", "q.tags.tsv", "\t", ""),
    ("enrich", "sets.gmt", "\t", ""),
    ("consensus", "q.labels.csv", ",", ""),
    ("consensus", "map.tsv", "\t", "--label_map map.tsv"),
    ("extract_tags", "cells.tsv", "\t", "--cell_list cells.tsv"),
    ("preprocess_query", "panel.tsv", "\t", ""),
    ("preprocess_reference", "query_genes.tsv", "\t", "--query_genes query_genes.tsv"),
)
ALSO = (
    ("enrich", "q.slot_tags.tsv", ""),
    ("enrich", "q.contrasts.tsv", "--contrasts q.contrasts.tsv"),
    ("enrich", "panel.tsv", ""),
    ("enrich", "q.alignment.json", "--alignment q.alignment.json"),
    ("train", "panel.tsv", ""),
    ("report", "q.tags.tsv", "--tags q.tags.tsv"),
    ("report", "q.metrics.json", "--metrics q.metrics.json"),
)
for _script, _name, _separator, _more in TEXTS:
    for _how in SAVED:
        case(_script, f"{_name}_{_how}", saved(_name, _how), SAME, more=_more)
    case(_script, f"{_name}_all_quoted", text(_name, quoted(_separator)), SAME, more=_more)
    _latin = content(_name, lambda found: found + b"\xe9t\xe9\n")
    case(_script, f"{_name}_latin_1", _latin, _name, "not a text file in UTF-8 (line ", more=_more)
    case(_script, f"{_name}_a_folder", folder_for(_name), _name, "is a directory", more=_more)
for _script, _name, _more in ALSO:
    case(_script, f"{_name}_utf_16", saved(_name, "utf_16"), SAME, more=_more)
for _script, _name, _more in [(script, name, more) for script, name, _, more in TEXTS] + list(ALSO):
    case(_script, f"{_name}_empty", empty(_name), _name, more=_more)
    case(_script, f"{_name}_binary", content(_name, b"\x89HDF\r\n\x1a\n" + bytes(300)), _name, more=_more)

# h5ad files of every script that reads one of ours: empty, cut off, of another step, folders.
OF_STEPS = (
    ("train", "aligned.h5ad", ("query.h5ad",)),
    ("adapt", "q.aligned.h5ad", ("query.h5ad",)),
    ("map_query", "q.aligned.h5ad", ("query.h5ad", "q.mapped.h5ad")),
    ("gather", "s0.h5ad", ("q.mapped.h5ad", "q.aligned.h5ad")),
    ("extract_tags", "q.mapped.h5ad", ("q.aligned.h5ad", "s0.h5ad", "q.tag_profiles.h5ad")),
    ("cluster", "q.mapped.h5ad", ("q.aligned.h5ad", "s0.h5ad", "q.tag_profiles.h5ad")),
    ("annotate", "q.mapped.h5ad", ("q.aligned.h5ad", "s0.h5ad", "q.tag_profiles.h5ad")),
    ("faithfulness", "q.mapped.h5ad", ("q.aligned.h5ad", "s0.h5ad", "o.mapped.h5ad")),
    ("evaluate", "q.mapped.h5ad", ("q.aligned.h5ad", "s0.h5ad", "o.mapped.h5ad")),
    ("compare_slots", "q.tag_profiles.h5ad", ("q.mapped.h5ad", "query.h5ad")),
    ("report", "q.mapped.h5ad", ("q.aligned.h5ad", "s0.h5ad", "o.mapped.h5ad")),
)
for _script, _name, _others in OF_STEPS:
    case(_script, f"{_name}_empty", empty(_name), _name)
    case(_script, f"{_name}_cut_off", cut(_name), _name)
    case(_script, f"{_name}_a_folder", folder_for(_name), _name, "is a directory")
    for _other in _others:
        case(_script, f"{_other}_for_{_name}", other(_name, _other), _name)

# Model folders, for every script that reads one.
OF_MODELS = ("adapt", "map_query", "gather", "faithfulness", "evaluate", "report")
for _script in OF_MODELS:
    case(
        _script,
        "model_incomplete",
        gone("model/calibration.json"),
        "model: the trained model is incomplete",
        "calibration.json",
        "copy the whole model again",
    )
    case(
        _script,
        "model_changed",
        text("model/labels.tsv", lambda found: found.replace("NK", "KN")),
        "labels.tsv changed since the model was trained",
        "use an untouched copy",
    )
case("map_query", "model_a_file", file_for("model"), "model is not the archive of a trained model")
case(
    "map_query",
    "model_without_files",
    lambda folder, _: [path.unlink() for path in (folder / "model").iterdir()],
    "the trained model is incomplete",
    "config.json, model.safetensors",
)
case("map_query", "model_config_cut_off", cut("model/config.json"), "config.json of the trained model is damaged")
case("map_query", "model_weights_empty", empty("model/model.safetensors"), "model.safetensors changed since")
case(
    "check_inputs",
    "model_incomplete",
    gone("model/panel.tsv"),
    "incomplete",
    "panel.tsv",
    instead=(("--reference reference.h5ad --label_key cell_type", "--model model"),),
)
case("checksums", "model_incomplete", gone("model/config.json"), "model/config.json", more="--model model")
case("checksums", "model_without_a_digest", content("model/config.json", b"{}"), "digest is missing", more="--model model")
case("checksums", "model_config_cut_off", cut("model/config.json"), "model/config.json is not JSON", more="--model model")
case("checksums", "model_config_a_list", content("model/config.json", b"[1]"), "not an object", more="--model model")
case("checksums", "model_digest_a_list", content("model/config.json", b'{"digest": [1]}'), "digest", more="--model model")

# Names that begin with a hyphen.
for _script, _name in (
    ("map_query", "q.aligned.h5ad"),
    ("extract_tags", "q.mapped.h5ad"),
    ("gather", "s0.h5ad"),
    ("checksums", "q.mapped.h5ad"),
    ("enrich", "q.tags.tsv"),
    ("consensus", "q.labels.csv"),
    ("evaluate", "q.mapped.h5ad"),
    ("compare_slots", "o.tag_profiles.h5ad"),
):
    case(_script, "a_name_with_a_hyphen", renamed(_name, "-x.h5ad"), ok=True, instead=((_name, "-x.h5ad"),))


# Paths that are more than a name to some programs: a home folder, a packed file, a place in a network.
def called(old: str, new: str) -> Edit:
    """A good file under another name, in a folder that is made for it."""

    def edit(folder: Path, good: Path) -> None:
        (folder / new).parent.mkdir(exist_ok=True)
        shutil.copy(good / old, folder / new)

    return edit


for _script, _option, _old, _new in (
    ("enrich", "--tags", "q.tags.tsv", "~/t.tsv"),
    ("enrich", "--tags", "q.tags.tsv", "q.tags.zip"),
    ("enrich", "--slot_tags", "q.slot_tags.tsv", "q.slot_tags.tsv.gz"),
    ("consensus", "one", "q.labels.csv", "~/q.labels.csv"),
    ("consensus", "one", "q.labels.csv", "q.labels.csv.gz"),
    ("consensus", "one", "q.labels.csv", "q.labels.csv.zst"),
):
    _called = ((f"{_option} {_old}", f"{_option} {_new}"),)
    case(_script, f"{_old}_called_{_new.replace('/', '_')}", called(_old, _new), SAME, instead=_called)
case(
    "report",
    "tags_called_as_if_packed",
    called("q.tags.tsv", "q.tags.tsv.gz"),
    ok=True,
    instead=(("--model", "--tags q.tags.tsv.gz --model"),),
)
for _script, _command in COMMANDS.items():
    _output = next(name for name in ("--output", "--tags", "--clusters") if f"{name} out/" in _command)
    case(
        _script,
        "output_to_a_url",
        nothing,
        "'s3://b/",
        "is a URL. Outputs are written to a path",
        instead=((f"{_output} out/", f"{_output} s3://b/"),),
    )
for _suffix in ("gz", "zst"):
    case(
        "enrich",
        f"output_called_{_suffix}",
        nothing,
        ok=True,
        instead=(("out/e.tsv", f"out/e.tsv.{_suffix}"),),
        holds=lambda folder, suffix=_suffix: (folder / f"out/e.tsv.{suffix}").read_bytes().startswith(b"level\tcontrast"),
    )

# Names of files with bytes that are not UTF-8, as old file systems hold them.
ODD = os.fsdecode(b"\xff")
for _script, _name, _called in (
    ("enrich", "sets.gmt", f"{ODD}.gmt"),
    ("report", "q.mapped.h5ad", f"q{ODD}.mapped.h5ad"),
    ("checksums", "query.h5ad", f"{ODD}.h5ad"),
):
    case(_script, f"{_name}_of_a_name_not_utf_8", renamed(_name, _called), ok=True, instead=((_name, _called),))
case(
    "checksums",
    "a_name_in_a_folder_not_utf_8",
    lambda folder, _: (folder / "query_mtx" / ODD).touch(),
    ok=True,
    more="--input query_mtx",
)
case(
    "check_inputs",
    "sets.gmt_of_a_name_not_utf_8",
    called("sets.gmt", f"{ODD}.gmt"),
    ok=True,
    more=f"--staged query.h5ad --gmt {ODD}.gmt",
    holds=lambda folder: "\ufffd" in (folder / "out/i.json").read_text(),
)

# train
case("train", "panel_of_other_order", table("panel.tsv", reversed_rows), "panel")
case("train", "panel_of_fewer_genes", table("panel.tsv", lambda found: found.iloc[:-5]), "genes")
case("train", "panel_without_a_column", table("panel.tsv", without("dispersion")), "dispersion")
case("train", "panel_with_a_gene_twice", table("panel.tsv", with_values(gene=lambda g: "GENE0" if g == "GENE1" else g)), "GENE0")
case("train", "no_such_label_column", nothing, "the label column 'type' (--label_key)", instead=(("cell_type", "type"),))
case("train", "one_label", data("aligned.h5ad", column("cell_type", lambda _: "B")), "two labels")
case("train", "empty_labels", data("aligned.h5ad", column("cell_type", lambda i: "B" if i % 2 else "")), "label")
case("train", "levels_that_contradict", nothing, "has two parents", more="--label_levels donor,cell_type")
case("train", "nan_among_values", h5("aligned.h5ad", lambda file: file["X/data"].__setitem__(5, np.nan)), "X")

# adapt, map_query
case("adapt", "an_adapted_model", other("model", "adapted"), "is adapted to 'q' already", "Give the trained one")
case(
    "map_query",
    "a_model_adapted_to_another_query",
    data("q.aligned.h5ad", lambda f: f.uns["cellmemory"].update(sample="zz")),
    "is adapted to 'q', but the query is 'zz'",
    instead=(("--model model", "--model adapted"),),
)
case("adapt", "the_run_is_a_number", h5("q.aligned.h5ad", put("uns/cellmemory", 3)), ok=True)
case("map_query", "the_run_is_a_number", h5("q.aligned.h5ad", put("uns/cellmemory", 3)), "uns/cellmemory cannot be read")
for _script in ("adapt", "map_query"):
    case(_script, "nan_among_values", h5("q.aligned.h5ad", lambda file: file["X/data"].__setitem__(5, np.nan)), "X")
    case(_script, "negative_values", h5("q.aligned.h5ad", lambda file: file["X/data"].__setitem__(5, -3)), "X")
    case(_script, "genes_of_other_order", data("q.aligned.h5ad", lambda found: found[:, ::-1].copy()), "genes are not those")
    case(
        _script,
        "measured_is_text",
        data("q.aligned.h5ad", lambda found: setattr(found, "var", found.var.assign(measured="x"))),
        "measured",
    )
    case(_script, "no_cells", data("q.aligned.h5ad", lambda found: found[:0].copy()), "no cells")
    case(_script, "nothing_of_the_run", h5("q.aligned.h5ad", put("uns/cellmemory", None)), ok=True)
    case(
        _script,
        "the_sample_is_a_list",
        h5("q.aligned.h5ad", put("uns/cellmemory/sample", [1, 2])),
        "uns/cellmemory",
        "cannot be read",
    )
    case(
        _script,
        "the_sample_is_a_path",
        h5("q.aligned.h5ad", put("uns/cellmemory/sample", "../../evil")),
        "q.aligned.h5ad",
        "a sample cannot be called so",
    )
for _cells in ("0:0", "60:50", "500:600", "a:b", ":-5", "0:121", "5"):
    case("map_query", f"cells_{_cells}", nothing, "--cells", _cells, more=f"--cells {_cells}")
for _name, _names in (("formulas", "=1+1"), ("line_ends", "a\nb"), ("quotes", 'a"b'), ("commas", "a,b"), ("tabs", "a\tb")):
    case(
        "map_query",
        f"names_of_cells_with_{_name}",
        data(
            "q.aligned.h5ad", lambda found, text=_names: setattr(found, "obs_names", [f"{text}{i}" for i in range(found.n_obs)])
        ),
        ok=True,
    )

# gather
case(
    "gather",
    "slices_in_another_order",
    nothing,
    SAME,
    instead=(("--slice s0.h5ad --slice s1.h5ad", "--slice s1.h5ad --slice s0.h5ad"),),
)
case(
    "gather",
    "a_slice_is_missing",
    nothing,
    "No slice has the cells 50:120",
    "give all slices",
    instead=(("--slice s1.h5ad", ""),),
)
case("gather", "a_slice_twice", other("s1.h5ad", "s0.h5ad"), "s1.h5ad")
case("gather", "the_first_slice_is_missing", nothing, "cells", instead=(("--slice s0.h5ad ", ""),))
case(
    "gather",
    "a_slice_of_another_query",
    data("q.aligned.h5ad", lambda f: setattr(f, "obs_names", [f"n{i}" for i in range(120)])),
    "this slice comes from another query: cell 0 is 's1c0' here",
)
case("gather", "a_slice_of_a_longer_query", data("q.aligned.h5ad", lambda f: f[:100].copy()), "from a query of 120 cells")
case("gather", "slices_of_another_model", other("model", "other"), "this slice was mapped with another model")
case(
    "gather",
    "a_slice_of_other_settings",
    h5("s1.h5ad", put("uns/cellmemory/alpha", 0.2)),
    "s1.h5ad",
    "mapped otherwise (alpha 0.2, not 0.05)",
)
case("gather", "a_slice_without_attention", h5("s1.h5ad", put("layers/attention", None)), "s1.h5ad", "attention")
case("gather", "a_slice_whose_cells_are_shifted", h5("s1.h5ad", put("uns/cellmemory_slice/start", np.int64(40))), "s1.h5ad")

# extract_tags
MAPPED = "--mapped q.mapped.h5ad"
case("extract_tags", "another_model", nothing, "was mapped with another model than other", more="--model other")
case("extract_tags", "no_such_group", nothing, "the group column 'type' (--group_key)", more="--group_key type")
case(
    "extract_tags",
    "groups_without_a_value",
    data("q.mapped.h5ad", column("none", lambda _: " ")),
    "'none' holds no value",
    more="--group_key none",
)
case(
    "extract_tags",
    "groups_that_are_numbers",
    data("q.mapped.h5ad", column("n", lambda i: i % 2)),
    ok=True,
    more="--group_key n",
    holds=lambda folder: set(pd.read_csv(folder / "out/t.tsv", sep="\t")["group"]) == {0, 1},
)
case(
    "extract_tags",
    "groups_with_carriage_returns",
    data("q.mapped.h5ad", column("cond", lambda i: "ctrl\r" if i % 2 else " stim\r\nx")),
    ok=True,
    more="--group_key cond",
    holds=lambda folder: set(pd.read_csv(folder / "out/t.tsv", sep="\t")["group"]) == {"ctrl", "stim x"},
)
case(
    "extract_tags",
    "a_contrast_of_values_with_carriage_returns",
    data("q.mapped.h5ad", column("cond", lambda i: "ctrl\r" if i % 2 else "stim\r")),
    ok=True,
    more="--contrast cond:ctrl:stim --contrasts out/c.tsv",
    holds=lambda folder: set(pd.read_csv(folder / "out/c.tsv", sep="\t")["contrast"]) == {"cond: ctrl / stim"},
)
case(
    "extract_tags",
    "a_contrast_with_two_readings",
    data("q.mapped.h5ad", column("x", lambda i: ["a", "b:a", "a:b"][i % 3])),
    "--contrast x:a:b:a",
    "can be read in 2 ways ('a' and 'b:a' of 'x'; 'a:b' and 'a' of 'x')",
    more="--contrast x:a:b:a --contrasts out/c.tsv",
)
case(
    "extract_tags",
    "a_listed_group_called_as_the_rest",
    text("cells.tsv", lambda f: f.replace("second", "(all other cells)")),
    "cells.tsv: no group can be called '(all other cells)'",
    more="--cell_list cells.tsv",
)
case(
    "extract_tags",
    "a_list_of_a_name_not_utf_8",
    lambda folder, _: (folder / f"{ODD}.tsv").write_text("s1c0\ns1c1\n"),
    ok=True,
    more=f"--cell_list {ODD}.tsv",
    holds=lambda folder: "\ufffd" in (folder / "out/t.tsv").read_text(),
)
case(
    "extract_tags",
    "slots_of_labels_that_training_does_not_write",
    h5("q.mapped.h5ad", put("uns/cellmemory/slot_groups", np.array(["B", "NK", "T\r"], object))),
    "slot_groups",
    "a label as training writes it",
)
case("extract_tags", "no_attention", h5("q.mapped.h5ad", put("layers/attention", None)), "holds no attention: map it again")
case(
    "extract_tags",
    "cells_that_are_not_there",
    text("cells.tsv", lambda f: f + "ghost\tfirst\n"),
    "ghost",
    more="--cell_list cells.tsv",
)
case(
    "extract_tags",
    "a_cell_in_two_groups",
    text("cells.tsv", lambda f: f + "s1c0\tsecond\n"),
    "line 81",
    "'first' already",
    more="--cell_list cells.tsv",
)
case(
    "extract_tags",
    "a_cell_twice_in_one_group",
    text("cells.tsv", lambda f: f + "s1c0\tfirst\n"),
    SAME,
    more="--cell_list cells.tsv",
)
case(
    "extract_tags",
    "cells_between_commas",
    text("cells.tsv", lambda f: f.replace("\t", ",")),
    "are not in q.mapped.h5ad",
    more="--cell_list cells.tsv",
)
case(
    "extract_tags",
    "cells_with_blanks_around",
    text("cells.tsv", lambda f: f.replace("\t", " \t ")),
    SAME,
    more="--cell_list cells.tsv",
)
case(
    "extract_tags",
    "a_list_of_labels_csv",
    other("cells.tsv", "q.labels.csv"),
    "are not in q.mapped.h5ad",
    more="--cell_list cells.tsv",
)
for _name, _contrast, _words in (
    ("no_such_column", "sex:f:m", "write COLUMN:A:B"),
    ("no_such_value", "donor:d0:d9", "has no two such values"),
    ("one_part", "donor", "write COLUMN:A:B"),
    ("the_same_value", "donor:d0:d0", "has no two such values"),
    ("nothing", "", "write COLUMN:A:B"),
):
    case("extract_tags", f"contrast_{_name}", nothing, "--contrast", _words, more=f"--contrasts out/c.tsv --contrast={_contrast}")
case(
    "extract_tags",
    "against_another_model",
    nothing,
    "was mapped with another model",
    more="--contrasts out/c.tsv --against o.mapped.h5ad",
)
case(
    "extract_tags",
    "against_an_aligned_query",
    nothing,
    "q.aligned.h5ad",
    "has not been mapped",
    more="--contrasts out/c.tsv --against q.aligned.h5ad",
)
case(
    "extract_tags",
    "one_label_for_all",
    data("q.mapped.h5ad", column("cellmemory_label", lambda _: "B")),
    ok=True,
    holds=lambda folder: set(pd.read_csv(folder / "out/t.tsv", sep="\t")["group"]) == {"B"},
)
case(
    "extract_tags",
    "groups_with_gaps",
    data("q.mapped.h5ad", column("g", lambda i: ["a", "b", "", "  ", None][i % 5])),
    "Left out 72 cells that have no value in g",
    ok=True,
    more="--group_key g",
)
for _script in ("extract_tags", "cluster", "faithfulness", "report"):
    case(
        _script,
        "a_gene_twice",
        data("q.mapped.h5ad", lambda f: setattr(f, "var_names", ["GENE1", *f.var_names[1:]])),
        "q.mapped.h5ad: var holds genes more than once ('GENE1')",
    )
    case(
        _script,
        "measured_is_text",
        data("q.mapped.h5ad", lambda f: setattr(f, "var", f.var.assign(measured="no"))),
        "q.mapped.h5ad",
        "var['measured'] is not true or false",
    )
    case(
        _script,
        "nothing_is_said_to_be_measured",
        data("q.mapped.h5ad", lambda f: setattr(f, "var", f.var[[]])),
        "q.mapped.h5ad",
        "var['measured'] is not true or false",
    )
for _script, _matrix in (
    ("extract_tags", "layers/attention"),
    ("extract_tags", "X"),
    ("cluster", "X"),
    ("faithfulness", "X"),
    ("report", "X"),
):
    for _value in (np.nan, -1.0, np.inf):
        case(
            _script,
            f"{_value:g}_in_{_matrix.split('/')[-1]}",
            h5("q.mapped.h5ad", lambda file, m=_matrix, v=_value: file[f"{m}/data"].__setitem__(2, v)),
            f"{_matrix} holds {_value:g} in the cell 's1c0'",
            "Map the query again",
        )
for _script, _stored in (
    ("report", "obsm/X_cellmemory_slots"),
    ("report", "obsm/X_umap"),
    ("report", "uns/cellmemory_reference/X_umap"),
    ("extract_tags", "varm/cellmemory_slot_write"),
):
    case(
        _script,
        f"nan_in_{_stored.replace('/', '_')}",
        h5("q.mapped.h5ad", lambda file, s=_stored: file[s].__setitem__((2, 0), np.nan)),
        "holds NaN or infinite values",
        "Map the query again",
    )
case(
    "extract_tags",
    "cells_that_were_taken_out",
    data("q.mapped.h5ad", lambda f: f[:50].copy()),
    "No slot genes: slot attention is kept as means over the 120 cells that were mapped, and this file has 50.",
    ok=True,
    holds=lambda folder: len(pd.read_csv(folder / "out/s.tsv", sep="\t")) == 0,
)
case("report", "cells_that_were_taken_out", data("q.mapped.h5ad", lambda f: f[:50].copy()), "Read q: 50 cells", ok=True)
case("extract_tags", "labels_that_the_model_lacks", data("q.mapped.h5ad", column("cellmemory_label", lambda _: "alien")), "alien")


# Cells without what mapping gives to every cell.
def lost(name: str, key: str):
    """The column without its values in the first three cells."""

    def change(found) -> None:
        found.obs.iloc[:3, found.obs.columns.get_loc(key)] = None

    return data(name, change)


for _script, _file in (
    ("report", "q.mapped.h5ad"),
    ("evaluate", "q.mapped.h5ad"),
    ("cluster", "q.mapped.h5ad"),
    ("extract_tags", "q.mapped.h5ad"),
    ("faithfulness", "q.mapped.h5ad"),
    ("gather", "s0.h5ad"),
):
    for _column in ("cellmemory_label", "cellmemory_status", "cellmemory_reason", "cellmemory_label_set"):
        case(_script, f"cells_without_{_column}", lost(_file, _column), f"'{_column}' is empty for 3 of", "Map the query again")
    for _column in ("cellmemory_confidence", "cellmemory_novelty"):
        case(
            _script, f"cells_without_{_column}", lost(_file, _column), f"'{_column}' holds numbers out of its range", "lacks some"
        )
    case(_script, "label_sets_of_other_labels", data(_file, column("cellmemory_label_set", lambda _: "a|alien")), "a|alien")
for _stored in ("X_cellmemory", "X_cellmemory_slots"):
    case(
        "gather",
        f"nan_in_{_stored}",
        h5("s0.h5ad", lambda file, s=_stored: file[f"obsm/{s}"].__setitem__((2, 0), np.nan)),
        f"s0.h5ad: obsm['{_stored}'] holds NaN or infinite values",
    )
case(
    "extract_tags",
    "listed_cells_of_one_name",
    data("q.mapped.h5ad", lambda f: setattr(f, "obs_names", ["s1c0", "s1c0", *f.obs_names[2:]])),
    "1 of its names are those of several cells of q.mapped.h5ad ('s1c0')",
    more="--cell_list cells.tsv",
)

# faithfulness
case("faithfulness", "labels_that_the_model_lacks", data("q.mapped.h5ad", column("cellmemory_label", lambda _: "alien")), "alien")
case("faithfulness", "an_adapted_model_of_none", other("model", "other"), "another model")
case("faithfulness", "one_cell", data("q.mapped.h5ad", lambda f: f[:1].copy()), ok=True)
case("faithfulness", "cells_without_counts", h5("q.mapped.h5ad", lambda f: f["X/data"].__setitem__(slice(None), 0)), ok=True)

# enrich
TAGS = "q.tags.tsv"
case("enrich", "tags_of_other_column_order", table(TAGS, reversed_columns), SAME)
case("enrich", "tags_of_other_row_order", table(TAGS, lambda f: f.sort_values("gene", kind="stable")), ok=True)
case("enrich", "tags_with_columns_of_ones_own", table(TAGS, lambda f: f.assign(note="x")), SAME)
case("enrich", "tags_without_columns_that_are_not_needed", table(TAGS, lambda f: f[["group", "rank", "gene", "mapping"]]), SAME)
for _column in ("group", "rank", "gene", "mapping"):
    case("enrich", f"tags_without_{_column}", table(TAGS, without(_column)), TAGS, f"missing columns: {_column}")
case("enrich", "tags_with_words_for_ranks", table(TAGS, with_values(rank=lambda r: f"{r}st")), TAGS, "rank", "1st")
case("enrich", "tags_with_empty_ranks", table(TAGS, with_values(rank=lambda r: "" if r == "3" else r)), TAGS, "rank")
case("enrich", "tags_with_ranks_of_a_spreadsheet", table(TAGS, with_values(rank=lambda r: f"{r},0")), TAGS, "rank", "1,0")
case("enrich", "tags_with_ranks_with_a_point", table(TAGS, with_values(rank=lambda r: f"{r}.0")), SAME)
case(
    "enrich",
    "tags_without_a_gene",
    table(TAGS, with_values(gene=lambda g: "" if g == "GENE1" else g)),
    "1 genes that the panel lacks ('')",
)
case(
    "enrich",
    "tags_with_dates_for_genes",
    table(TAGS, with_values(gene=lambda g: "1-Mar" if g == "GENE1" else g)),
    "1 genes that the panel lacks ('1-Mar')",
)
case("enrich", "tags_with_semicolons", text(TAGS, lambda f: f.replace("\t", ";")), TAGS, "missing columns: group, rank, gene")
case("enrich", "tags_with_commas", text(TAGS, lambda f: f.replace("\t", ",")), TAGS, "missing columns: group, rank, gene")
case("enrich", "tags_columns_alone", text(TAGS, lambda f: f.splitlines()[0] + "\n"), ok=True)
case("enrich", "tags_cut_off", cut(TAGS), TAGS)
case("enrich", "tags_with_a_row_too_long", text(TAGS, lambda f: f.replace("\n", "\tx\ty\n", 3).replace("\tx\ty", "", 1)), TAGS)
case("enrich", "tags_with_an_open_quote", text(TAGS, lambda f: f.replace("GENE", '"GENE', 1)), TAGS)
case("enrich", "tags_with_a_column_twice", text(TAGS, lambda f: f.replace("score", "gene", 1)), TAGS, "gene")
case("enrich", "tags_with_zero_bytes", text(TAGS, lambda f: f.replace("GENE3", "GE\0NE3", 1)), TAGS)
case("enrich", "slot_tags_for_tags", other(TAGS, "q.slot_tags.tsv"), TAGS, "it has the column slot")
case("enrich", "tags_for_slot_tags", other("q.slot_tags.tsv", TAGS), "q.slot_tags.tsv", "missing columns: slot")
case(
    "enrich",
    "contrasts_without_direction",
    table("q.contrasts.tsv", without("direction")),
    "missing columns: direction",
    more="--contrasts q.contrasts.tsv",
)
case("enrich", "panel_of_other_genes", table("panel.tsv", with_values(gene=lambda g: f"X{g}")), "sets.gmt", "shares no gene")
case("enrich", "panel_without_some_genes", table("panel.tsv", lambda f: f.iloc[:-5]), "5 genes that the panel lacks")
case("enrich", "panel_of_another_table", other("panel.tsv", TAGS), "panel.tsv")
case(
    "enrich",
    "sets_of_another_species",
    text("sets.gmt", lambda f: f.replace("GENE", "FBgn")),
    "shares no gene with the panel",
    "ids of the same kind and species",
)
case(
    "enrich", "sets_in_lower_case", text("sets.gmt", lambda f: f.replace("GENE", "gene")), "upper and lower case ignored", ok=True
)
case("enrich", "sets_with_weights", text("sets.gmt", lambda f: re.sub(r"(GENE\d+)", r"\1,1.0", f)), SAME)
case(
    "enrich",
    "sets_of_few_genes",
    text("sets.gmt", lambda f: "\n".join("\t".join(line.split("\t")[:4]) for line in f.split("\n"))),
    "Dropped 3 sets of sets with fewer than 3 genes",
    ok=True,
)
case("enrich", "two_files_of_one_name", nothing, "another GMT file is also named 'sets'", more="--gmt sets.gmt")
case("enrich", "sets_a_gene_map", content("sets.gmt", b"a\tb\nc\td\n"), "sets.gmt, line 1", "has no genes")
ALIGNMENT, ALIGNED = "q.alignment.json", "--alignment q.alignment.json"
case("enrich", "alignment_cut_off", cut(ALIGNMENT), ALIGNMENT, "is not the alignment of a query", more=ALIGNED)
case("enrich", "alignment_a_list", content(ALIGNMENT, b"[]"), ALIGNMENT, "is not the alignment of a query", more=ALIGNED)
case("enrich", "alignment_without_its_genes", fields(ALIGNMENT, missing_genes=...), ALIGNMENT, "alignment", more=ALIGNED)
case("enrich", "alignment_of_numbers", fields(ALIGNMENT, missing_genes=[1, 2]), ALIGNMENT, "alignment", more=ALIGNED)
case("enrich", "alignment_without_ranked_genes", fields(ALIGNMENT, missing_genes=["GENE0"]), "GENE0", more=ALIGNED)
PROFILES = "--profiles q.tag_profiles.h5ad"
case("enrich", "profiles_cut_off", cut("q.tag_profiles.h5ad"), "q.tag_profiles.h5ad", more=PROFILES)
case("enrich", "profiles_a_mapped_query", other("q.tag_profiles.h5ad", "q.mapped.h5ad"), "lacks level", more=PROFILES)
case(
    "enrich",
    "profiles_of_other_genes",
    data("q.tag_profiles.h5ad", lambda f: setattr(f, "var_names", [f"X{g}" for g in f.var_names])),
    "hold no gene of the panel",
    more=PROFILES,
)
case(
    "enrich",
    "profiles_of_infinite_numbers",
    h5("q.tag_profiles.h5ad", lambda f: f["layers/ranking"].__setitem__((0, 0), np.inf)),
    "q.tag_profiles.h5ad",
    more=PROFILES,
)
case(
    "enrich",
    "profiles_of_text",
    h5("q.tag_profiles.h5ad", put("layers/ranking", np.full((30, 60), b"x"))),
    "q.tag_profiles.h5ad",
    "ranking is not finite numbers",
    more=PROFILES,
)

# evaluate
QUERY = "q.mapped.h5ad"
TRUTH = (("--truth_key cell_type", "--truth_key truth"),)


def accuracy(folder: Path) -> float | None:
    return json.loads((folder / "out/m.json").read_text())["accuracy"]


case("evaluate", "no_such_truth", nothing, "the truth column 'truth' (--truth_key) is not in obs", instead=TRUTH)
case("evaluate", "empty_truth", data(QUERY, column("truth", lambda _: " ")), "holds no value", instead=TRUTH)
case(
    "evaluate",
    "truth_of_other_types",
    data(QUERY, column("truth", lambda _: "b cell")),
    "No true label is one of the model's",
    ok=True,
    instead=TRUTH,
    holds=lambda folder: accuracy(folder) is None,
)
case(
    "evaluate",
    "truth_with_blanks_around",
    data(QUERY, lambda f: column("truth", lambda i: f" {f.obs['cell_type'].iloc[i]} ")(f)),
    ok=True,
    instead=TRUTH,
    holds=lambda folder: accuracy(folder) > 0.5,
)
case(
    "evaluate",
    "truth_that_is_numbers",
    data(QUERY, column("truth", lambda i: i % 3)),
    "No true label",
    ok=True,
    instead=TRUTH,
    holds=lambda folder: accuracy(folder) is None,
)
case(
    "evaluate",
    "truth_with_gaps",
    data(QUERY, column("truth", lambda i: "B" if i < 7 else None)),
    "7 of them with a true label",
    ok=True,
    instead=TRUTH,
)
case("evaluate", "no_such_batch", nothing, "the batch column 'lane' (--batch_key) is not in obs", more="--batch_key lane")
case("evaluate", "confidence_beyond_one", h5(QUERY, put("obs/cellmemory_confidence", np.full(120, 3.0))), "cellmemory_confidence")
case("evaluate", "labels_that_the_model_lacks", data(QUERY, column("cellmemory_label", lambda _: "alien")), "alien")
case("evaluate", "a_status_that_is_none", data(QUERY, column("cellmemory_status", lambda _: "maybe")), "cellmemory_status")

# consensus
LABELS = "q.labels.csv"


def sheet(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Edit:
    return table(LABELS, change, ",")


case("consensus", "labels_of_other_column_order", sheet(reversed_columns), SAME)
case("consensus", "labels_with_columns_of_ones_own", sheet(lambda f: f.assign(note="x")), SAME)
case("consensus", "labels_with_semicolons", text(LABELS, lambda f: f.replace(",", ";")), LABELS, "has no column cell")
case("consensus", "labels_with_tabs", text(LABELS, lambda f: f.replace(",", "\t")), LABELS, "has no column cell")
case("consensus", "labels_without_status", sheet(without("cellmemory_status")), LABELS, "has no column cellmemory_status")
case("consensus", "labels_of_other_row_order", sheet(reversed_rows), "are not of the same cells in the same order")
case("consensus", "labels_of_fewer_cells", sheet(lambda f: f.iloc[:-3]), "are not of the same cells in the same order")
case(
    "consensus",
    "labels_with_a_column_twice",
    text(LABELS, lambda f: f.replace("cellmemory_novelty,", "cellmemory_label,", 1)),
    LABELS,
    "has the column cellmemory_label twice",
)
case("consensus", "labels_of_no_cell", sheet(lambda f: f.iloc[:0]), LABELS)
case("consensus", "labels_of_other_cells", sheet(with_values(cell=lambda c: f"x{c}")), "are not of the same cells")
case(
    "consensus",
    "confidence_with_a_comma",
    sheet(with_values(cellmemory_confidence=lambda _: "0,98")),
    LABELS,
    "cellmemory_confidence",
    "'0,98', not a number from 0 to 1",
)
case(
    "consensus",
    "assigned_without_confidence",
    sheet(with_values(cellmemory_confidence=lambda _: "")),
    LABELS,
    "cellmemory_confidence",
    "'', not a number from 0 to 1",
)
case("consensus", "confidence_in_percent", sheet(with_values(cellmemory_confidence=lambda c: f"{float(c):.0%}")), LABELS, "%")
case(
    "consensus",
    "confidence_beyond_one",
    sheet(with_values(cellmemory_confidence=lambda c: f"{float(c) * 100:g}")),
    LABELS,
    "cellmemory_confidence",
)
case(
    "consensus",
    "a_status_that_is_none",
    sheet(with_values(cellmemory_status=lambda s: s.title())),
    LABELS,
    "cellmemory_status",
    "Assigned",
)
case("consensus", "an_empty_label", sheet(with_values(cellmemory_label=lambda _: "")), LABELS, "cellmemory_label")
case("consensus", "labels_cut_off", cut(LABELS), LABELS)
case("consensus", "a_workbook", content(LABELS, b"PK\x03\x04\x14\x00\x06\x00"), LABELS)
case(
    "consensus",
    "one_reference",
    nothing,
    "a consensus needs two references or more",
    instead=(("--labels two o.labels.csv", ""),),
)
case("consensus", "a_reference_twice", nothing, "two references or more, each once", instead=(("two", "one"),))
for _name, _called in (("a_path", "../x"), ("dots", "a.b"), ("81_letters", "a" * 81)):
    case(
        "consensus",
        f"a_reference_of_{_name}",
        nothing,
        "--labels names a reference",
        "may hold only",
        instead=(("one", _called),),
    )
case("consensus", "tags_for_labels", other(LABELS, "q.tags.tsv"), LABELS, "has no column")
MAP = "--label_map map.tsv"
case(
    "consensus",
    "map_of_another_reference",
    text("map.tsv", lambda f: f.replace("two", "three")),
    "line 3 names the reference 'three'",
    more=MAP,
)
case("consensus", "map_with_commas", text("map.tsv", lambda f: f.replace("\t", ",")), "with tabs between them", more=MAP)
case(
    "consensus", "map_without_its_first_line", text("map.tsv", lambda f: f.split("\n", 1)[1]), "the first line must be", more=MAP
)
case(
    "consensus",
    "map_of_a_label_twice",
    text("map.tsv", lambda f: f + "one\tNK\tT\n"),
    "line 4",
    "a second common label",
    more=MAP,
)
case("consensus", "map_with_a_line_too_short", text("map.tsv", lambda f: f + "one\tNK\n"), "line 4 does not have three", more=MAP)
case(
    "consensus",
    "map_of_labels_of_no_cell",
    text("map.tsv", lambda f: f + "one\talien\tT\n"),
    "not 'one alien'",
    ok=True,
    more=MAP,
)

# compare_slots
OWN = "q.tag_profiles.h5ad"
case("compare_slots", "one_file_twice", nothing, "at least twice, for two models", instead=(("o.tag", "q.tag"),))
case("compare_slots", "no_slots", data(OWN, lambda f: f[f.obs["level"] != "slot"].copy()), OWN, "holds no memory slots")
case(
    "compare_slots",
    "slots_of_other_labels",
    data(OWN, lambda f: setattr(f, "obs", f.obs.assign(group=[f"x{g}" for g in f.obs["group"]]))),
    "share 0 labels",
)
case("compare_slots", "other_genes", data(OWN, lambda f: setattr(f, "var_names", [f"X{g}" for g in f.var_names])), "and 0 genes")
case("compare_slots", "a_slot_is_missing", data(OWN, lambda f: f[f.obs["slot"] != "3"].copy()), ok=True)
case(
    "compare_slots",
    "a_slot_of_one_label_is_missing",
    data(OWN, lambda f: f[~((f.obs["slot"] == "3") & (f.obs["group"] == "B"))].copy()),
    OWN,
    "slot",
)
case("compare_slots", "a_slot_twice",
     data(OWN, lambda f: ad.concat([f, f[f.obs["slot"] == "3"]], merge="same", uns_merge="same")), OWN, "slot")  # fmt: skip
case("compare_slots", "a_ranking_of_text", h5(OWN, put("layers/ranking", np.full((3, 60), b"x"))), OWN)
case("compare_slots", "infinite_numbers", h5(OWN, lambda f: f["layers/ranking"].__setitem__(slice(None), np.inf)), OWN)

# report
_CLUSTERED = "--clusters q.clusters.tsv --cell_clusters q.cell_clusters.csv"
for _name, _edit, _words in (
    ("clusters_of_fewer_cells", table("q.cell_clusters.csv", lambda found: found.iloc[:-3], ","), "is not of the cells of q"),
    ("clusters_in_another_order", table("q.cell_clusters.csv", reversed_rows, ","), "is not of the cells of q"),
    (
        "clusters_without_a_column",
        table("q.cell_clusters.csv", without("cellmemory_cluster"), ","),
        "no column cellmemory_cluster",
    ),
    ("clusters_that_the_table_lacks", table("q.clusters.tsv", lambda found: found.iloc[1:]), "is about 80 cells, but q has 120"),
    (
        "clusters_of_another_run",
        table("q.cell_clusters.csv", with_values(cellmemory_cluster=lambda name: "1"), ","),
        "Give both of one run of cluster.py",
    ),
    ("clusters_empty", empty("q.cell_clusters.csv"), "q.cell_clusters.csv"),
    ("clusters_binary", content("q.cell_clusters.csv", b"\x89HDF\r\n\x1a\n" + bytes(300)), "q.cell_clusters.csv"),
):
    case("report", _name, _edit, _words, more=_CLUSTERED)
case("report", "clusters_utf_16", saved("q.cell_clusters.csv", "utf_16"), SAME, more=_CLUSTERED)
for _option, _name in (
    ("tags", "q.tags.tsv"),
    ("slot_tags", "q.slot_tags.tsv"),
    ("contrasts", "q.contrasts.tsv"),
    ("faithfulness", "q.faithfulness.tsv"),
    ("enrichment", "q.enrichment.tsv"),
    ("clusters", "q.clusters.tsv"),
    ("cluster_markers", "q.cluster_markers.tsv"),
):
    case("report", f"{_option}_cut_off", cut(_name), _name, more=f"--{_option} {_name}")
    case("report", f"{_option}_of_another_step", other(_name, "panel.tsv"), _name, "missing columns", more=f"--{_option} {_name}")
for _option, _name in (
    ("metrics", "q.metrics.json"),
    ("alignment", "q.alignment.json"),
    ("consensus", "q.consensus.json"),
    ("inputs", "inputs.json"),
    ("provenance", "provenance.json"),
):
    case(
        "report",
        f"{_option}_cut_off",
        cut(_name),
        f"{_name} (--{_option}) is not JSON with an object",
        more=f"--{_option} {_name}",
    )
    case(
        "report",
        f"{_option}_a_list",
        content(_name, b"[1, 2]"),
        f"{_name} (--{_option})",
        "not an object",
        more=f"--{_option} {_name}",
    )
for _option, _words in (("metrics", "known_cells is missing"), ("consensus", "sample is missing")):
    case(
        "report",
        f"{_option}_an_empty_object",
        content(f"q.{_option}.json", b"{}"),
        f"q.{_option}.json (--{_option})",
        _words,
        more=f"--{_option} q.{_option}.json",
    )
case(
    "report",
    "provenance_that_leads_out_of_the_folder",
    content("provenance.json", b'{"links": {"a": "//somewhere/a.html"}}'),
    "provenance.json (--provenance): links is",
    "not an object of relative paths",
    more="--provenance provenance.json",
)
case(
    "report",
    "provenance_with_half_a_pair",
    content("provenance.json", b'{"version": "\\udcff"}'),
    "provenance.json (--provenance)",
    "half a surrogate pair",
    more="--provenance provenance.json",
)
case(
    "report", "tags_of_another_sample", nothing, "o.tags.tsv (--tags) matches no sample (q). Rename it", more="--tags o.tags.tsv"
)
case("report", "metrics_of_another_sample", fields("q.metrics.json", sample="zz"), "is of the sample 'zz', not of 'q'",
     more="--metrics q.metrics.json")  # fmt: skip
case("report", "alignment_of_another_sample", fields("q.alignment.json", sample="zz"), "is of the sample 'zz', not of 'q'",
     more="--alignment q.alignment.json")  # fmt: skip
case("report", "the_sample_is_a_path", h5(QUERY, put("uns/cellmemory/sample", "../../evil")), QUERY, "the name of a sample")
case("report", "a_sample_twice", other("o.mapped.h5ad", "q.mapped.h5ad"), "are both of sample 'q'", more="--mapped o.mapped.h5ad")
case("report", "two_models", nothing, "was mapped with another model", more="--mapped o.mapped.h5ad")
for _name, _option, _file, _values, _words in (
    ("metrics_with_a_wrong_weighted_f1", "metrics", "q.metrics.json", {"weighted_f1": {"a": 1}}, "weighted_f1 is not"),
    ("metrics_with_a_wrong_label_set_mean_size", "metrics", "q.metrics.json", {"label_set_mean_size": "two"},
     "label_set_mean_size is not"),
    ("metrics_with_a_wrong_cells", "metrics", "q.metrics.json", {"cells": -1}, "cells is not"),
    ("metrics_with_a_wrong_accuracy", "metrics", "q.metrics.json", {"accuracy": 7}, "accuracy is not"),
    ("inputs_with_a_number_of_warnings", "inputs", "inputs.json", {"reference": {"warnings": 3}}, "reference is not an object"),
    ("inputs_with_a_number_for_a_path", "inputs", "inputs.json", {"reference": {"path": 7}}, "reference is not an object"),
    ("inputs_with_words_for_sets", "inputs", "inputs.json", {"gmt": [{"name": "a", "sets": "many"}]}, "gmt is not"),
    ("alignment_with_a_list_of_counts", "alignment", "q.alignment.json", {"matched": [1]}, "matched is not"),
):  # fmt: skip
    case("report", _name, fields(_file, **_values), f"{_file} (--{_option}): {_words}", more=f"--{_option} {_file}")
case(
    "report",
    "labels_of_the_reference_in_an_unknown_encoding",
    h5("q.mapped.h5ad", lambda file: file["uns/cellmemory_reference/label"].attrs.update({"encoding-type": "strange"})),
    "q.mapped.h5ad: uns/cellmemory_reference cannot be read",
)
case("report", "labels_that_the_model_lacks", data(QUERY, column("cellmemory_label", lambda _: "alien")), "alien")

# checksums
case(
    "checksums",
    "an_empty_file",
    empty("query.h5ad"),
    ok=True,
    holds=lambda folder: "e3b0c44298fc1c149afbf4c8996fb924" in (folder / "out/c.json").read_text(),
)
case(
    "checksums",
    "an_input_folder",
    nothing,
    ok=True,
    more="--input query_mtx",
    holds=lambda folder: "matrix.mtx.gz" in (folder / "out/c.json").read_text(),
)
case("checksums", "an_empty_folder", folder_for("query.h5ad"), ok=True)
case("checksums", "a_folder_for_a_result", folder_for("q.mapped.h5ad"), "is a directory")
case("checksums", "nothing_there", gone("query.h5ad"), "query.h5ad", "does not exist")
case(
    "checksums",
    "a_dangling_link",
    lambda folder, _: (gone("query.h5ad")(folder, _), (folder / "query.h5ad").symlink_to("nowhere")),
    "query.h5ad",
    "does not exist",
)
case(
    "checksums",
    "a_dangling_link_in_a_folder",
    lambda folder, _: (folder / "query_mtx/x").symlink_to("nowhere"),
    "query_mtx/x",
    more="--input query_mtx",
)

# check_inputs, preprocessing: files for folders and folders for files; 10x files and folders that are odd.
for _name in ("sheet.csv", "sets.gmt"):
    case("check_inputs", f"{_name}_a_folder", folder_for(_name), _name, "is a directory", more="--gmt sets.gmt")
case("check_inputs", "query_an_empty_folder", folder_for("query.h5ad"), "query.h5ad", more="--staged query.h5ad")
case("preprocess_query", "query_an_empty_folder", folder_for("query.h5ad"), "query.h5ad")
case("preprocess_query", "query_empty", empty("query.h5ad"), "query.h5ad")
case("preprocess_query", "a_panel_for_a_query", other("query.h5ad", "panel.tsv"), "query.h5ad")
case("preprocess_query", "a_mapped_query", other("query.h5ad", "q.mapped.h5ad"), "obs has columns that mapping writes")
case("preprocess_query", "a_model_for_a_query", nothing, "model", instead=(("--query query.h5ad", "--query model"),))
case("preprocess_query", "ten_x", nothing, "Matched 60 of 60", ok=True, instead=(("--query query.h5ad", "--query query.h5"),))
case("preprocess_query", "mtx", nothing, "Matched 60 of 60", ok=True, instead=(("--query query.h5ad", "--query query_mtx"),))
case(
    "preprocess_query",
    "mtx_without_genes",
    gone("query_mtx/features.tsv.gz"),
    "query_mtx",
    instead=(("--query query.h5ad", "--query query_mtx"),),
)
case(
    "preprocess_query",
    "mtx_cut_off",
    cut("query_mtx/matrix.mtx.gz"),
    "query_mtx",
    instead=(("--query query.h5ad", "--query query_mtx"),),
)
case("preprocess_query", "a_name_with_a_hyphen", renamed("query.h5ad", "-x.h5ad"), ok=True, instead=(("query.h5ad", "-x.h5ad"),))
case("preprocess_reference", "reference_a_folder", folder_for("reference.h5ad"), "reference.h5ad")
case(
    "preprocess_reference",
    "reference_mtx",
    nothing,
    "query_mtx",
    instead=(("--reference reference.h5ad", "--reference query_mtx"),),
)
case(
    "preprocess_reference",
    "query_genes_of_another_table",
    other("query_genes.tsv", "panel.tsv"),
    "query_genes.tsv",
    more="--query_genes query_genes.tsv",
)
case(
    "preprocess_reference",
    "query_genes_of_other_genes",
    text("query_genes.tsv", lambda f: f.replace("GENE", "X")),
    "genes",
    more="--query_genes query_genes.tsv",
)

# Edges of what is ordinary: tables without rows, groups of the user's own, cells that are all alike, names in use, pipes.


def _first_row_everywhere(found: ad.AnnData, of: str = "") -> ad.AnnData:
    """All cells, or those of one label, with the values of the first of them."""
    values = found.X.toarray()
    rows = np.flatnonzero(found.obs["cell_type"] == of) if of else np.arange(len(values))
    values[rows] = values[rows[0]]
    found.X = sp.csr_matrix(values)
    return found


def _with_label(old: str, new: str) -> Callable[[ad.AnnData], None]:
    def change(found: ad.AnnData) -> None:
        found.obs["cell_type"] = found.obs["cell_type"].astype(str).replace(old, new)

    return change


def _index_called(name: str) -> Callable[[ad.AnnData], None]:
    def change(found: ad.AnnData) -> None:
        found.obs.index.name = name

    return change


def _repeated_values(file: h5py.File) -> None:
    """Each value of a sparse matrix a hundred times in its place."""
    x = file["X"]
    for part in ("data", "indices"):
        values = np.repeat(x[part][:], 100)
        del x[part]
        x[part] = values
    x["indptr"][:] = x["indptr"][:] * 100


def _pipe_for(name: str) -> Edit:
    def edit(folder: Path, _good: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return edit


def _a_column_at(name: str) -> Edit:
    """A column of numbers anywhere in the file, listed as one of obs."""

    def change(file: h5py.File) -> None:
        obs = file["obs"]
        order = [*obs.attrs["column-order"], name]
        if name not in obs:
            write_elem(obs, name, np.arange(len(obs[obs.attrs["_index"]]), dtype=float))
        obs.attrs["column-order"] = np.array(order, object)

    return h5("query.h5ad", change)


case("report", "clusters_without_rows", table("q.clusters.tsv", lambda found: found.iloc[:0]), "is about 0 cells, but q has 120",
     more="--clusters q.clusters.tsv")  # fmt: skip
for _option in ("tags", "slot_tags", "contrasts", "faithfulness", "enrichment", "cluster_markers"):
    case("report", f"{_option}_without_rows", table(f"q.{_option}.tsv", lambda found: found.iloc[:0]), ok=True,
         more=f"--{_option} q.{_option}.tsv")  # fmt: skip
for _name, _groups in (("of_other_groups", {"B": "d1", "NK": "d2"}), ("of_other_groups_alone", None)):
    case(
        "report",
        f"enrichment_{_name}",
        table(
            "q.enrichment.tsv",
            lambda found, groups=_groups: found.assign(group=found["group"].replace(groups) if groups else "x"),
        ),
        ok=True,
        more="--enrichment q.enrichment.tsv",
    )
for _name, _slot in (("fractions", "1.0"), ("text", "first"), ("nothing", ""), ("0", "0"), ("99", "99")):
    case(
        "report",
        f"slots_called_{_name}",
        table("q.slot_tags.tsv", lambda found, slot=_slot: found.assign(slot=slot)),
        "q.slot_tags.tsv (--slot_tags)",
        "slot",
        more="--slot_tags q.slot_tags.tsv",
    )
_beyond_float = text("model/config.json", lambda found: found.replace("{", '{"x": 1e999, ', 1))
for _script in ("map_query", "report"):
    case(_script, "config_with_a_number_beyond_float", _beyond_float, "model", "1e999", "too large")
case("train", "a_label_of_cells_that_are_alike", data("aligned.h5ad", lambda f: _first_row_everywhere(f, "B")), ok=True)
case("cluster", "no_such_clusters", nothing, "the cluster column 'mine' (--cluster_key) is not in obs", more="--cluster_key mine")
case("cluster", "clusters_of_a_cell_each", data(QUERY, column("mine", lambda i: f"={i}")), "clusters", ok=True,
     more="--cluster_key mine")  # fmt: skip
case("cluster", "cells_that_are_all_alike", data(QUERY, lambda f: f[[0] * 25].copy()), "1 cluster", ok=True)
for _name in ("(all labels)", "(all other cells)", "(unassigned)"):
    case(
        "preprocess_reference",
        f"a_label_called_{_name.strip('()').replace(' ', '_')}",
        data("reference.h5ad", _with_label("B", _name)),
        "names that results give to other things",
        _name,
    )
case("preprocess_query", "an_index_called_as_a_column_of_ours", data("query.h5ad", _index_called("cellmemory_status")),
     "obs has columns that mapping writes ('cellmemory_status')")  # fmt: skip
for _name in ("/evil", "//Xx", "./donor", "donor/codes", "../var/x"):
    case("preprocess_query", f"a_column_called_{_name.replace('/', '_').replace('.', 'o')}", _a_column_at(_name),
         "obs has names that lead elsewhere in the file", _name)  # fmt: skip
case("preprocess_query", "more_values_than_places", h5("query.h5ad", _repeated_values), "far more than places")
case("extract_tags", "a_list_of_very_many_groups",
     content("cells.tsv", "".join(f"x{i}\tg{i}\n" for i in range(20_000)).encode()), "lists 20,000 groups",
     more="--cell_list cells.tsv")  # fmt: skip
case(
    "checksums", "a_pipe_in_the_model", _pipe_for("model/config.json"), "config.json is a device or a pipe", more="--model model"
)
case("consensus", "a_common_label_with_invisible_letters", text("map.tsv", lambda found: found.replace("\n", "\u200b\n")), SAME,
     more="--label_map map.tsv")  # fmt: skip


def _as_numbers(file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = np.zeros(3)


# The user's own file, given back: only for the cells that were mapped, and with what is theirs under its names.
for _name, _edit, _says in (
    (
        "fewer_cells",
        lambda f: f[:-1].copy(),
        "query.h5ad has 119 cells, but q.mapped.h5ad has 120. Give the file that was mapped",
    ),
    ("cells_in_another_order", lambda f: f[::-1].copy(), "query.h5ad: cell 0 is 's1c119', but 's1c0' in q.mapped.h5ad"),
    ("our_columns_in_it", column("cellmemory_mine", lambda i: i), "obs has columns that mapping writes"),
):
    case("annotate", _name, data("query.h5ad", _edit), _says)
case("annotate", "clusters_of_other_cells", text("q.cell_clusters.csv", lambda found: found.replace("s1c7,", "s1c7x,")),
     "q.cell_clusters.csv (--cell_clusters) is not of the cells of q.mapped.h5ad, in their order")  # fmt: skip
case("annotate", "labels_for_clusters", other("q.cell_clusters.csv", "q.labels.csv"), "it has no column cellmemory_cluster")
case("annotate", "a_query_cut_off", cut("query.h5ad"), "query.h5ad")
case("annotate", "from_mtx", nothing, "columns of obs more", ok=True, instead=(("query.h5ad", "query_mtx"),),
     holds=lambda folder: ad.read_h5ad(folder / "out/a.h5ad").shape == (120, ad.read_h5ad(folder / QUERY).n_vars))  # fmt: skip
for _stored in ("obsm", "uns"):
    case("annotate", f"{_stored}_that_is_no_group", h5("query.h5ad", lambda file, s=_stored: _as_numbers(file, s)),
         f"{_stored} is an array and not a group of them: nothing was added to it", ok=True)  # fmt: skip


def _others_of_the_same_names(found: ad.AnnData) -> ad.AnnData:
    others = found[::-1].copy()
    others.obs_names = found.obs_names
    return others


case("annotate", "other_values_under_the_same_names", data("query.h5ad", _others_of_the_same_names),
     "query.h5ad: its cells have the names of those in q.mapped.h5ad, but other values")  # fmt: skip


def _many_columns(found: ad.AnnData) -> None:
    found.obs = pd.concat([found.obs, pd.DataFrame(0, found.obs_names, [f"c{i}" for i in range(4050)])], axis=1)


for _script in ("preprocess_query", "annotate"):
    case(_script, "thousands_of_columns", data("query.h5ad", _many_columns), "query.h5ad: obs has 4,0", "keeps 4,000")
for _script in ("cluster", "extract_tags", "faithfulness", "evaluate", "report"):
    case(
        _script,
        "a_mapped_file_without_cells",
        data("q.mapped.h5ad", lambda f: f[:0].copy()),
        "q.mapped.h5ad: this mapped query has no",
    )
