"""A small run of everything, made once: good cells, a model, and what each script made of them, for cases to damage."""

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np

from tests.corpus import cells
from tests.corpus.runner import run

#: What makes the files, in this order. `q` is the query; `other` is a model of another seed, `o` the query mapped with it.
STEPS = [
    ("preprocess_reference", "--reference reference.h5ad --label_key cell_type --batch_key donor --output aligned.h5ad "
     "--panel panel.tsv"),
    ("check_inputs", "--samplesheet sheet.csv --reference reference.h5ad --label_key cell_type --output inputs.json "
     "--query_genes query_genes.tsv"),
    ("train", "--reference aligned.h5ad --panel panel.tsv --label_key cell_type --output model --max_epochs 2 --d_model 16 "
     "--n_layers 1 --threads 1"),
    ("train", "--reference aligned.h5ad --panel panel.tsv --label_key cell_type --output other --max_epochs 1 --d_model 16 "
     "--n_layers 1 --threads 1 --seed 1"),
    ("preprocess_query", "--query query.h5ad --sample q --panel panel.tsv --truth_key cell_type --output q.aligned.h5ad "
     "--alignment q.alignment.json"),
    ("adapt", "--query q.aligned.h5ad --model model --output adapted --threads 1"),
    ("map_query", "--query q.aligned.h5ad --model model --output q.mapped.h5ad --labels q.labels.csv --threads 1"),
    ("map_query", "--query q.aligned.h5ad --model other --output o.mapped.h5ad --labels o.labels.csv --threads 1"),
    ("map_query", "--query q.aligned.h5ad --model model --cells :50 --output s0.h5ad --threads 1"),
    ("map_query", "--query q.aligned.h5ad --model model --cells 50: --output s1.h5ad --threads 1"),
    ("extract_tags", "--mapped q.mapped.h5ad --model model --permutations 10 --tags q.tags.tsv --slot_tags q.slot_tags.tsv "
     "--contrast donor:d0:d1 --contrasts q.contrasts.tsv --profiles q.tag_profiles.h5ad --threads 1"),
    ("extract_tags", "--mapped o.mapped.h5ad --permutations 0 --tags o.tags.tsv --slot_tags o.slot_tags.tsv "
     "--profiles o.tag_profiles.h5ad --threads 1"),
    ("enrich", "--tags q.tags.tsv --slot_tags q.slot_tags.tsv --panel panel.tsv --gmt sets.gmt --top 10 "
     "--output q.enrichment.tsv"),
    ("cluster", "--mapped q.mapped.h5ad --model model --cell_clusters q.cell_clusters.csv --clusters q.clusters.tsv "
     "--cluster_markers q.cluster_markers.tsv --threads 1"),
    ("evaluate", "--mapped q.mapped.h5ad --model model --truth_key cell_type --output q.metrics.json"),
    ("faithfulness", "--mapped q.mapped.h5ad --model model --cells_per_label 3 --output q.faithfulness.tsv --threads 1"),
    ("consensus", "--sample q --labels one q.labels.csv --labels two o.labels.csv --output q.consensus.csv "
     "--summary q.consensus.json"),
]  # fmt: skip


def write_10x(data: ad.AnnData, path: Path) -> None:
    """The cells as Cell Ranger writes them to a filtered_feature_bc_matrix.h5."""
    counts, genes = data.X.tocsr(), list(data.var_names)
    parts = {
        "matrix/barcodes": list(data.obs_names),
        "matrix/data": counts.data.astype(np.int32),
        "matrix/indices": counts.indices.astype(np.int64),
        "matrix/indptr": counts.indptr.astype(np.int64),
        "matrix/shape": np.array(counts.shape[::-1], np.int32),
        "matrix/features/id": [f"ENSG{i:011d}" for i in range(len(genes))],
        "matrix/features/name": genes,
        "matrix/features/feature_type": ["Gene Expression"] * len(genes),
        "matrix/features/genome": ["GRCh38"] * len(genes),
    }
    with h5py.File(path, "w") as file:
        for name, values in parts.items():
            file[name] = np.array(values, "S") if isinstance(values, list) else values


def write_mtx(data: ad.AnnData, folder: Path) -> None:
    """The cells as a folder with matrix.mtx.gz, features.tsv.gz and barcodes.tsv.gz."""
    folder.mkdir()
    counts = data.X.tocoo()
    entries = [f"{gene + 1} {cell + 1} {value:g}" for cell, gene, value in zip(counts.row, counts.col, counts.data, strict=True)]
    size = f"{data.n_vars} {data.n_obs} {counts.nnz}"
    lists = {
        "matrix.mtx.gz": ["%%MatrixMarket matrix coordinate integer general", size, *entries],
        "features.tsv.gz": [f"ENSG{i:011d}\t{gene}\tGene Expression" for i, gene in enumerate(data.var_names)],
        "barcodes.tsv.gz": list(data.obs_names),
    }
    for name, lines in lists.items():
        (folder / name).write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0))


def make(folder: Path) -> Path:
    """Writes all of it to the folder; returns the folder."""
    cells.good(0).write_h5ad(folder / "reference.h5ad")
    query = cells.good(1)
    query.layers["counts"] = query.X.copy()
    query.raw = query
    query.obsm["spatial"] = np.zeros((query.n_obs, 2))
    query.write_h5ad(folder / "query.h5ad")
    write_10x(cells.good(1), folder / "query.h5")
    write_mtx(cells.good(1), folder / "query_mtx")
    (folder / "sheet.csv").write_text("sample,h5ad\nq,query.h5ad\n")
    sets = {name: [f"GENE{10 * i + k}" for k in range(10)] for i, name in enumerate(cells.TYPES)}
    (folder / "sets.gmt").write_text("".join("\t".join([name, "made", *genes]) + "\n" for name, genes in sets.items()))
    (folder / "map.tsv").write_text("reference\tlabel\tcommon_label\none\tNK\tB\ntwo\tNK\tB\n")
    (folder / "cells.tsv").write_text("".join(f"s1c{i}\t{'first' if i < 40 else 'second'}\n" for i in range(80)))
    (folder / "provenance.json").write_text('{"version": "1"}\n')
    for script, options in STEPS:
        done = run(script, options.split(), folder)
        assert done.status == 0, done.output
    return folder
