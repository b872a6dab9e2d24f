"""Makes the small, real data set of the `test` profile: `python tests/made/make_data.py tests/data`.

The cells are the 700 PBMCs (765 genes, ten labels) that ship inside scanpy; `.raw` holds their log-normalised values.
`reference.h5ad` knows nine of the ten labels. Two queries hold other cells and carry their true labels in `author_label`:
`reduced_panel` measures 400 of the genes, in another order, beside genes that no panel knows and genes split over
duplicated rows; `unseen_type` measures all genes and holds every B cell, a type that the reference lacks.
"""

from pathlib import Path

import anndata as ad
import click
import numpy as np
import pandas as pd
import scipy.sparse as sp

UNSEEN = "CD19+ B"
LABEL_KEY, TRUTH_KEY = "cell_type", "author_label"
REFERENCE_CELLS, PANEL_GENES, UNKNOWN_GENES, SPLIT_GENES = 400, 400, 12, 8


def load_cells() -> ad.AnnData:
    """The PBMCs with their log-normalised values (700 cells, 765 genes) and nothing else but the label."""
    import scanpy

    cells = scanpy.datasets.pbmc68k_reduced()
    labels = pd.DataFrame({LABEL_KEY: cells.obs["bulk_labels"].astype(str).astype("category")}, index=cells.obs_names)
    return ad.AnnData(sp.csr_matrix(cells.raw.X), obs=labels, var=pd.DataFrame(index=cells.raw.var_names))


def split_cells(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of the reference and of the two queries: stratified, every cell used once, `UNSEEN` in the last."""
    share = REFERENCE_CELLS / np.sum(labels != UNSEEN)
    reference, first, second = [], [], list(np.flatnonzero(labels == UNSEEN))
    for label in np.unique(labels[labels != UNSEEN]):
        rows = rng.permutation(np.flatnonzero(labels == label))
        cut = round(len(rows) * share)
        half = cut + (len(rows) - cut + 1) // 2
        reference.extend(rows[:cut])
        first.extend(rows[cut:half])
        second.extend(rows[half:])
    return np.sort(reference), np.sort(first), np.sort(second)


def reduce_panel(query: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Keeps `PANEL_GENES` genes, splits some of them over two rows of the same name, adds unknown genes, shuffles all."""
    query = query[:, rng.permutation(query.n_vars)[:PANEL_GENES]].copy()
    linear = sp.csc_matrix(query.X)
    linear.data = np.expm1(linear.data)
    split = rng.permutation(PANEL_GENES)[:SPLIT_GENES]
    halves = linear[:, split] * 0.5
    keep = np.ones(PANEL_GENES, np.float32)
    keep[split] = 0.5
    unknown = sp.random(query.n_obs, UNKNOWN_GENES, density=0.2, random_state=1, format="csc", dtype=np.float32)
    values = sp.hstack([linear @ sp.diags(keep), halves, unknown]).tocsc()
    names = np.r_[query.var_names, query.var_names[split], [f"ENSG{99_000_000_000 + i}.1" for i in range(UNKNOWN_GENES)]]
    order = rng.permutation(len(names))
    values = sp.csr_matrix(values[:, order], dtype=np.float32)
    values.data = np.log1p(values.data)
    # Two rows of one gene are what alignment tools leave behind: anndata warns of them, readers must live with them.
    return ad.AnnData(values, obs=query.obs, var=pd.DataFrame(index=names[order]))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Writes reference.h5ad, reduced_panel.h5ad, unseen_type.h5ad and samplesheet.csv to FOLDER."""
    rng = np.random.default_rng(0)
    cells = load_cells()
    reference, first, second = split_cells(cells.obs[LABEL_KEY].to_numpy().astype(str), rng)
    parts = {
        "reference": cells[reference].copy(),
        "reduced_panel": cells[first].copy(),
        "unseen_type": cells[second].copy(),
    }
    parts["reduced_panel"] = reduce_panel(parts["reduced_panel"], rng)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        if name != "reference":
            part.obs = part.obs.rename(columns={LABEL_KEY: TRUTH_KEY})
        part.obs = part.obs.apply(lambda column: column.cat.remove_unused_categories())
        part.write_h5ad(folder / f"{name}.h5ad", compression="gzip")
        click.echo(f"{name}: {part.n_obs} cells x {part.n_vars} genes")
    rows = [f"{name},{name}.h5ad,{TRUTH_KEY}" for name in parts if name != "reference"]
    (folder / "samplesheet.csv").write_text("\n".join(["sample,h5ad,truth_key", *rows, ""]))


if __name__ == "__main__":
    main()
