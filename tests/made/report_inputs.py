"""Inputs of the report made by code: a model folder and mapped queries in the pipeline's format, on real PBMC cells.

Nothing here was mapped by the model: labels come from class centroids, coordinates from the UMAP that ships inside
scanpy, attention and slots from how specific genes are to a label. It is enough for every part of the page to have
something true to its format, and labels may be made as nasty as a test wants.
"""

import hashlib
import json
import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellmemory import evaluation
from cellmemory.clusters.clustering import ClusterSettings, cluster_query
from cellmemory.explanation import attribution, contrasts, enrichment, faithfulness, grouping, profiles, tags
from cellmemory.genes.gene_sets import read_libraries
from cellmemory.io.atomic import write_json
from cellmemory.io.spreadsheet import write_csv
from cellmemory.io.tables import write_table
from cellmemory.mapping.mapped import MappedFile
from cellmemory.mapping.status import reasons, statuses
from cellmemory.reference import trained_model
from cellmemory.reference.calibration import likeliest
from tests.conftest import succeed
from tests.made.model_folders import write_placeholder

DATA = Path(__file__).parents[1] / "data"
GENE_SETS = Path(__file__).parents[2] / "assets" / "genesets" / "blood_cell_markers.gmt"
TRUTH_KEY, N_SLOTS, TOP = "author_label", 8, 100
LINEAGE, LABEL = "lineage", "cell_type"  # levels, coarse to fine
UNSEEN = "CD19+ B"
#: Labels that try to be markup, a formula, a template and a number.
NASTY = {
    "CD34+": '<script>window.hacked = 1</script>"',
    "CD56+ NK": "</script><img src=x onerror='window.hacked=1'>" + " long" * 31,
    "Dendritic": "=cmd+'/C calc'!A0 & <b>bold</b>, $x$ {{ 7*7 }}",
    "CD14+ Monocyte": "007",
}
#: Names of cells that try the same.
NASTY_CELLS = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=1>\"'`${1}",
    "=1+1\n",
    "long" * 500,
]


@dataclass
class Inputs:
    """Files of a run, as the options of report.py take them."""

    model: Path
    mapped: list[Path] = field(default_factory=list)
    options: dict[str, list[Path]] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """The command line of report.py without its outputs."""
        rows = ["--model", self.model, *[part for path in self.mapped for part in ("--mapped", path)]]
        rows += [part for name, paths in self.options.items() for path in paths for part in (f"--{name}", path)]
        return [str(part) for part in rows]


def make_inputs(
    folder: Path,
    samples: tuple[str, ...] = ("reduced_panel", "unseen_type"),
    rename: dict[str, str] | None = None,
    attention: bool = True,
    truth: bool = True,
    spatial: bool = False,
    extras: bool = True,
    levels: bool = False,
) -> Inputs:
    """Writes a model folder and everything of every sample to `folder`.

    rename changes labels (and the names of cells' types) before anything is made. Without attention, truth or extras
    (alignment, tags, slot tags, enrichment, metrics, inputs.json) their files do not exist. With levels, the labels are
    the finer of two.
    """
    rng = np.random.default_rng(0)
    rename = rename or {}
    reference = ad.read_h5ad(DATA / "reference.h5ad")
    types = reference.obs["cell_type"].astype(str).replace(rename).to_numpy()
    labels = sorted(set(types))
    inputs = Inputs(folder / "model")
    digest = _write_model(inputs.model, reference, types, labels, rng, levels)
    if extras:
        inputs.options |= {"inputs": [_write_inputs(folder, reference, types, samples)], "gmt": [GENE_SETS]}
    for sample in samples:
        query = ad.read_h5ad(DATA / f"{sample}.h5ad")
        query.obs[TRUTH_KEY] = query.obs[TRUTH_KEY].astype(str).replace(rename).astype("category")
        mapped = _map(sample, query, reference, types, labels, rng, attention=attention, truth=truth, spatial=spatial)
        mapped.uns["cellmemory"]["model_digest"] = digest
        if rename:
            mapped.obs_names = [*NASTY_CELLS, *mapped.obs_names[len(NASTY_CELLS) :]]
        if levels:
            _add_levels(mapped)
        inputs.mapped.append(folder / f"{sample}.mapped.h5ad")
        mapped.write_h5ad(inputs.mapped[-1])
        if extras:
            _write_extras(folder, sample, inputs.mapped[-1], inputs.model, inputs.options)
    return inputs


def write_page(folder: Path, **options: object) -> Path:
    """The page of a run that make_inputs makes with these options; beside it MultiQC's content in mqc, and figures."""
    made = make_inputs(folder, **options)
    outputs = ("--output", folder / "report.html", "--mqc_dir", folder / "mqc", "--figures_dir", folder / "figures")
    succeed("report", *made.arguments(), *outputs)
    return folder / "report.html"


def _scanpy_obs(names: pd.Index) -> tuple[pd.DataFrame, np.ndarray]:
    """obs and UMAP of the PBMCs inside scanpy's package, for the cells in `names`."""
    path = Path(find_spec("scanpy").origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy's file is of an old format
        cells = ad.read_h5ad(path)
    rows = cells.obs_names.get_indexer(names)
    return cells.obs.iloc[rows][["n_genes", "percent_mito"]], cells.obsm["X_umap"][rows].astype(np.float32)


def lineage_of(label: str) -> str:
    """The coarser label of one of the test data's."""
    if label.startswith(("CD4+", "CD8+")):
        return "T cells"
    return "monocytes and kin" if label in ("CD14+ Monocyte", "Dendritic") else "others"


def _add_levels(mapped: ad.AnnData) -> None:
    """What MAP_QUERY adds where the labels have levels; a doubtful cell is answered by its lineage, or not at all."""
    label, confidence = mapped.obs["cellmemory_label"].astype(str), mapped.obs["cellmemory_confidence"].to_numpy()
    lineage = label.map(lineage_of)
    mapped.obs[f"cellmemory_level_{LINEAGE}"], mapped.obs[f"cellmemory_level_{LABEL}"] = lineage, label
    mapped.obs["cellmemory_answer"] = np.select([confidence > 0.5, confidence > 0.3], [label, lineage], "")
    mapped.obs["cellmemory_answer_level"] = np.select([confidence > 0.5, confidence > 0.3], [LABEL, LINEAGE], "")
    mapped.uns["cellmemory"]["label_levels"] = np.array([LINEAGE, LABEL], object)


def _write_model(
    folder: Path, reference: ad.AnnData, types: np.ndarray, labels: list[str], rng: np.random.Generator, levels: bool
) -> str:
    folder.parent.mkdir(parents=True, exist_ok=True)
    counts = pd.Series(types).value_counts().reindex(labels)
    table = pd.DataFrame({"label": labels, "n_cells": counts.to_numpy()})
    table["n_validation"] = (table["n_cells"] * 0.15).round().astype(int)
    table["n_train"] = table["n_cells"] - table["n_validation"]
    table["rare"] = table["n_cells"] < 20
    if levels:
        table[f"level:{LINEAGE}"], table[f"level:{LABEL}"] = [lineage_of(label) for label in labels], labels
    mean = np.asarray(reference.X.mean(axis=0)).ravel()
    panel = pd.DataFrame({"gene": reference.var_names, "rank": np.arange(reference.n_vars) + 1, "mean": mean})
    panel = panel.assign(dispersion=mean, source_id=panel["gene"])
    epochs = np.arange(1, 19)
    history = pd.DataFrame({"epoch": epochs, "step": epochs * 6, "learning_rate": 3e-4 * (1 + np.cos(epochs / 7)) / 2})
    history["train_loss"] = 2.1 * np.exp(-epochs / 4) + 0.12 + rng.normal(0, 0.02, len(epochs))
    history["validation_loss"] = 2.0 * np.exp(-epochs / 4) + 0.45 + rng.normal(0, 0.03, len(epochs))
    history["validation_accuracy"] = 0.86 - 0.6 * np.exp(-epochs / 4)
    history["validation_macro_f1"] = 0.8 - 0.65 * np.exp(-epochs / 5)
    history["seconds"] = 1.3
    calibration = {
        "temperature": 1.32,
        "ece": 0.034,
        "validation_cells": 60,
        "commonest_share": 0.3,
        "validation_accuracy": 0.9,
    }
    calibration |= {
        "conformal_scores": sorted(rng.random(int(table["n_validation"].sum())).tolist()),
        "novelty_null": sorted(rng.random(60).tolist()),
        "panel_accuracy": [[1.0, 0.9], [0.5, 0.8], [0.1, 0.5]],
    }
    training = {"max_epochs": 50, "batch_size": 64, "learning_rate": 3e-4, "precision": "fp32", "epochs_run": 18}
    return write_placeholder(folder, table, panel, history, calibration, {"training": training}, N_SLOTS)


def _align(query: ad.AnnData, genes: pd.Index) -> tuple[sp.csr_matrix, np.ndarray]:
    """The query's values on the panel's genes (rows of one gene summed) and which genes it measured."""
    column = genes.get_indexer(query.var_names)
    known = np.flatnonzero(column >= 0)
    linear = query.X[:, known].tocsr().astype(np.float32)
    linear.data = np.expm1(linear.data)
    place = sp.csr_matrix((np.ones(len(known), np.float32), (np.arange(len(known)), column[known])), (len(known), len(genes)))
    values = (linear @ place).tocsr()
    values.data = np.log1p(values.data)
    values.sort_indices()
    return values, np.isin(np.arange(len(genes)), column)


def _map(
    sample: str,
    query: ad.AnnData,
    reference: ad.AnnData,
    types: np.ndarray,
    labels: list[str],
    rng: np.random.Generator,
    attention: bool,
    truth: bool,
    spatial: bool,
) -> ad.AnnData:
    genes = reference.var_names
    values, measured = _align(query, genes)
    centroids = np.vstack([np.asarray(reference.X[types == label].mean(axis=0)) for label in labels])
    centred = centroids - centroids.mean(axis=0)
    logits = 0.05 * (values @ centred.T) + rng.normal(0, 0.3, (len(query), len(labels)))
    logits -= logits.max(axis=1, keepdims=True)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    best = probability.argmax(axis=1)
    unseen = (query.obs[TRUTH_KEY] == UNSEEN).to_numpy()
    novelty = rng.gamma(3, 0.4, len(query)) + np.where(unseen, 1.6, 0)
    novelty_p = np.clip(np.exp(-0.9 * novelty) * 1.9 * rng.uniform(0.6, 1, len(query)), 1 / 61, 1)

    extra, umap = _scanpy_obs(query.obs_names)
    obs = query.obs.copy()
    obs["n_genes"], obs["percent_mito"] = extra["n_genes"].to_numpy(), extra["percent_mito"].to_numpy()
    obs["donor"] = pd.Categorical(rng.choice(["donor 1", "donor 2", "donor 3"], len(obs)))
    obs["condition"] = pd.Categorical(rng.choice(["control", "stimulated"], len(obs)))
    obs["cellmemory_label"] = pd.Categorical([labels[i] for i in best], categories=labels)
    obs["cellmemory_confidence"] = probability.max(axis=1).astype(np.float32)
    obs["cellmemory_status"] = statuses(novelty_p < 0.05, probability.max(axis=1), 0.7)
    obs["cellmemory_reason"] = reasons(
        obs["cellmemory_status"].array, rng.random(len(obs)), 0.05, np.array(likeliest(probability, list(labels), 0.7), object)
    )
    obs["cellmemory_novelty"] = novelty.astype(np.float32)
    obs["cellmemory_linear_share"] = rng.uniform(0, 1, len(query)).astype(np.float32)
    obs["cellmemory_novelty_p"] = novelty_p.astype(np.float32)
    order = np.argsort(-probability, axis=1)
    size = 1 + (np.take_along_axis(probability, order, 1).cumsum(axis=1) < 0.9).sum(axis=1)
    obs["cellmemory_label_set"] = ["|".join(labels[j] for j in order[i, : size[i]]) for i in range(len(obs))]

    cells = ad.AnnData(values, obs=obs, var=pd.DataFrame({"measured": measured}, index=genes))
    cells.obsm["X_cellmemory"] = rng.normal(size=(len(obs), 16)).astype(np.float32)
    usage = rng.dirichlet(np.ones(N_SLOTS) * 0.8, len(labels))
    slots = usage[best] * rng.uniform(0.7, 1.3, (len(obs), N_SLOTS))
    cells.obsm["X_cellmemory_slots"] = (slots / slots.sum(axis=1, keepdims=True)).astype(np.float32)
    cells.obsm["X_umap"] = umap + rng.normal(0, 0.05, umap.shape).astype(np.float32)
    shallow = np.where(unseen, 0.5, 1.0)
    quality = [1500 * shallow * rng.uniform(0.5, 2, len(obs)), extra["n_genes"] * shallow, extra["percent_mito"]]
    cells.obsm["cellmemory_quality"] = np.column_stack(quality).astype(np.float32)
    if spatial:
        cells.obsm["spatial"] = rng.uniform(0, 2000, (len(obs), 2))
    if attention:
        specificity = np.exp(np.clip(centred, -2, 3))
        weights = values.multiply(specificity[best]).tocsr()
        total = np.asarray(weights.sum(axis=1)).ravel()
        cells.layers["attention"] = (sp.diags(0.7 / np.maximum(total, 1e-6)) @ weights).tocsr().astype(np.float32)
        write = rng.gamma(0.15, 1.0, (len(genes), len(labels) * N_SLOTS)) * np.repeat(specificity.T, N_SLOTS, axis=1)
        write *= measured[:, None]
        cells.varm["cellmemory_slot_write"] = (write / write.sum(axis=0)).astype(np.float32)
        read = rng.dirichlet(np.ones(N_SLOTS), (len(genes), len(labels))).reshape(len(genes), -1)
        cells.varm["cellmemory_slot_read"] = read.astype(np.float32)
    _, reference_umap = _scanpy_obs(reference.obs_names)
    cells.uns["cellmemory_reference"] = {"X_umap": reference_umap, "label": types}
    cells.uns["cellmemory"] = {
        "sample": sample,
        "version": "0.1.0",
        "model_digest": "",
        "values_digest": hashlib.sha256(sample.encode()).hexdigest()[:16],
        "label_key": "cell_type",
        "batch_key": "donor",
        "truth_key": TRUTH_KEY if truth else "",
        "spatial_key": "spatial" if spatial else "",
        "slot_groups": np.array(labels),
        "n_slots": N_SLOTS,
        "novelty_alpha": 0.05,
        "alpha": 0.1,
        "mode": "fast",
        "binning": "quantile",
        "precision": "fp32",
        "seed": 0,
        "alignment": json.dumps(_alignment(sample, query, measured)),
    }
    return cells


def _alignment(sample: str, query: ad.AnnData, measured: np.ndarray) -> dict:
    missing = int((~measured).sum())
    return {
        "sample": sample, "cells": query.n_obs, "genes_in_file": query.n_vars, "panel_genes": len(measured),
        "matched": int(measured.sum()), "coverage": float(measured.mean()), "id_type": "symbol", "value_scale": "log1p",
        "values_from": "X", "renamed": 0, "summed": 8 if missing else 0, "dropped_feature_types": 0,
        "unknown": 12 if missing else 0, "missing_genes": [f"GENE{i}" for i in range(missing)],
        "summed_genes": ["CD3D", "LYZ"] if missing else [], "empty_cells": 0,
        "messages": [f"{measured.sum()} of {len(measured)} panel genes were measured."],
    }  # fmt: skip


def _write_inputs(folder: Path, reference: ad.AnnData, types: np.ndarray, samples: tuple[str, ...]) -> Path:
    counts = {str(k): int(v) for k, v in pd.Series(types).value_counts().items()}
    value = {
        "reference": {"path": "reference.h5ad", "cells": reference.n_obs, "genes": reference.n_vars},
        "model": None,
    }
    value["reference"] |= {"label_key": "cell_type", "labels": counts, "id_type": "symbol", "value_scale": "log1p"}
    value["queries"] = [{"sample": s, "path": f"{s}.h5ad", "cells": 1, "genes": 1, "id_type": "symbol"} for s in samples]
    value["gmt"] = [{"name": "blood", "sets": 20}, {"name": "enrichr.GO_Biological_Process_2021", "sets": 6036}]
    (folder / "inputs.json").write_text(json.dumps(value))
    return folder / "inputs.json"


def _write_extras(folder: Path, sample: str, mapped: Path, model: Path, options: dict[str, list[Path]]) -> None:
    """What the other steps make of a mapped query, by their own code."""

    def output(option: str, name: str) -> Path:
        path = folder / f"{sample}.{name}"
        options.setdefault(option, []).append(path)
        return path

    trained = trained_model.load(model)
    with MappedFile(mapped) as file:
        output("alignment", "alignment.json").write_text(
            json.dumps(json.loads(file.run.alignment) | {"values_digest": file.run.values_digest})
        )
        if file.run.truth_key:
            truth = evaluation.true_labels(file.obs[TRUTH_KEY], trained.labels)
            rare = trained.label_table.loc[trained.label_table["rare"], "label"].tolist()
            scores = {
                "sample": sample,
                "mapping": file.mapping,
                "truth_key": TRUTH_KEY,
                **evaluation.evaluate(file.obs, truth, trained.labels, rare),
            }
            write_json(output("metrics", "metrics.json"), scores)
    clustered = cluster_query(mapped, trained, ClusterSettings())
    write_table(clustered.clusters, output("clusters", "clusters.tsv"))
    write_table(clustered.markers, output("cluster_markers", "cluster_markers.tsv"))
    with output("cell_clusters", "cell_clusters.csv").open("w", newline="", encoding="utf-8") as table:
        write_csv(clustered.cells, table, header=True)
    with MappedFile(mapped) as file:
        if "layers/attention" not in file.matrices:
            return
        codes, groups = grouping.group_of_cells(file, "cellmemory_label")
        sums, cells = grouping.accumulate([file], codes, groups, budget=1000)
        tests = tags.tests_of_groups(cells, len(groups), 200, 0)
        rng = np.random.default_rng(1)
        contributions = attribution.Contributions(*(sums.effect() * rng.uniform(0, 0.1, (2, *sums.attention.shape))))
        of_groups = tags.group_tags(sums, file.genes, TOP, tests=tests, contributions=contributions)
        question = contrasts.by_column(file, "condition:stimulated:control")
        answers = [contrasts.contrast_groups(question, codes, groups, budget=1000, permutations=50, seed=0)]
        of_slots = tags.slot_tags(tags.read_slots(file), sums, file.genes, TOP)
        genes, background, found = file.genes, set(file.genes), file.obs["cellmemory_label"]
        mapping = file.run.mapping
    libraries = read_libraries([GENE_SETS], trained.panel, background)
    compared = contrasts.table(answers, genes, TOP)
    rankings = enrichment.rankings_of(of_groups, of_slots, compared)
    parts = [enrichment.over_represented(rankings, libraries, background, 50)]
    parts.append(
        enrichment.preranked(profiles.build(sums, None, answers, genes), libraries, background, permutations=100, seed=0)
    )
    terms = pd.concat(parts, ignore_index=True)
    tables = {"tags": of_groups, "slot_tags": of_slots, "contrasts": compared, "enrichment": terms}
    for name, made in (tables | {"faithfulness": _faithfulness(trained.labels, found)}).items():
        write_table(made.assign(mapping=mapping), output(name, f"{name}.tsv"))


def _faithfulness(labels: list[str], found: pd.Series) -> pd.DataFrame:
    """Curves of up to five cells of each label that was found that fall, or rise, at a rate that depends on the ranking."""
    cells = found.value_counts().reindex(labels, fill_value=0).clip(upper=5).to_numpy()
    x, rng = np.log2(1 + np.array(faithfulness.STEPS)), np.random.default_rng(2)
    rate = np.array([0.3, 0.6, 0.7, 0.8, 0.15, 0.08])[:, None] * rng.uniform(0.8, 1.2, (cells.sum(), 2, 1, 6, 1))
    falling = np.exp(-rate * x)
    curves = np.concatenate([falling, 1 - falling], axis=2)
    return faithfulness.summarise(curves, np.repeat(np.arange(len(labels)), cells), labels)
