"""The code of docs/references.md, run on files that are laid out as those of the places that it names."""

import gzip
import io
import re
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from tests.conftest import DATA, ROOT, succeed

BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "references.md").read_text(), re.MULTILINE | re.DOTALL)


def run(block: str, folder: Path) -> None:
    """A block of the page, by its own imports, in a folder."""
    done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def reference() -> tuple[ad.AnnData, sp.csr_matrix]:
    """The test data's reference and counts for it."""
    cells = ad.read_h5ad(DATA / "reference.h5ad")
    values = cells.X.toarray() if sp.issparse(cells.X) else np.asarray(cells.X)
    return cells, sp.csr_matrix(np.round(np.expm1(values)).astype(np.float32))


def preprocess(path: Path, *options: str) -> tuple[str, pd.DataFrame]:
    """What preprocess_reference.py says of a reference, and its panel."""
    log = succeed("preprocess_reference", "--reference", path, *options, "--output", "aligned.h5ad", "--panel", "panel.tsv",
                  folder=path.parent)  # fmt: skip
    return log, pd.read_csv(path.parent / "panel.tsv", sep="\t", dtype=str)


def test_a_file_of_discover(tmp_path: Path):
    cells, counts = reference()
    var = pd.DataFrame({"feature_name": cells.var_names}, index=[f"ENSG{i:011d}" for i in range(cells.n_vars)])
    var["feature_is_filtered"], var["feature_biotype"], var["feature_length"] = False, "gene", 1000
    var["feature_type"] = ["protein_coding", "lncRNA", "IG_C_gene", "transcribed_unitary_pseudogene", "Mt_tRNA"] * (len(var) // 5)
    file = ad.AnnData(counts, obs=cells.obs[["cell_type"]].astype(str), var=var)
    file.raw = file.copy()
    file.X = file.X.log1p()
    order = np.arange(file.n_obs)
    file.obs.loc[order < 20, "cell_type"] = "unknown"
    file.obs["donor_id"] = [f"donor {i % 3}" for i in order]
    file.obs["disease"] = np.where(order % 10 == 0, "COVID-19", "normal")
    file.obs["is_primary_data"] = order % 7 != 0
    file.write_h5ad(tmp_path / "discover.h5ad")
    log, _ = preprocess(tmp_path / "discover.h5ad", "--label_key", "cell_type", "--batch_key", "donor_id")
    assert "'unknown' is used as a label (20 cells). Empty it if it stands for no label." in log

    (block,) = [block for block in BLOCKS if "discover.h5ad" in block]
    run(block, tmp_path)
    log, panel = preprocess(tmp_path / "healthy.h5ad", "--label_key", "cell_type", "--batch_key", "donor_id")
    kept = (order >= 20) & (order % 10 != 0) & (order % 7 != 0)
    labels = file.obs["cell_type"][kept].nunique()
    assert f"Read {kept.sum()} cells x {file.n_vars} genes of {tmp_path}/healthy.h5ad (counts in raw); {labels} labels in" in log
    assert "Warning" not in log
    assert "left out" not in log
    assert set(panel["gene"]) <= set(cells.var_names)
    assert panel["source_id"].str.startswith("ENSG").all()


def test_the_data_behind_azimuth_s_reference_of_blood(tmp_path: Path):
    cells, counts = reference()
    matrix = io.BytesIO()
    scipy.io.mmwrite(matrix, counts.T)
    (tmp_path / "GSM5008737_RNA_3P-matrix.mtx.gz").write_bytes(gzip.compress(matrix.getvalue()))
    files = {"barcodes": cells.obs_names, "features": cells.var_names}
    for name, names in files.items():
        pd.Series(names).to_csv(tmp_path / f"GSM5008737_RNA_3P-{name}.tsv.gz", header=False, index=False)
    types = cells.obs["cell_type"].astype(str)
    obs = pd.DataFrame({"celltype.l1": types.str.split("/").str[0], "celltype.l2": types, "donor": "P1"}, index=cells.obs_names)
    obs.loc[obs.index[:5], ["celltype.l1", "celltype.l2"]] = "Doublet"
    obs[::-1].to_csv(tmp_path / "GSE164378_sc.meta.data_3P.csv.gz")
    (block,) = [block for block in BLOCKS if "GSE164378" in block]
    run(block, tmp_path)
    found = ad.read_h5ad(tmp_path / "pbmc.h5ad")
    assert found.obs["celltype.l2"].astype(str).tolist() == types.tolist()[5:]
    assert (sp.csr_matrix(found.X) != counts[5:]).nnz == 0
    log, _ = preprocess(tmp_path / "pbmc.h5ad", "--label_key", "celltype.l2", "--batch_key", "donor")
    assert "(counts in X); 9 labels in 'celltype.l2'." in log
