"""Seurat objects by the lines of docs/usage.md, in a real R where there is one."""

import re
import shutil
import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellmemory.cells.reading import CellFile
from tests.conftest import DATA, ROOT

RSCRIPT = shutil.which("Rscript")


def in_r(lines: str, folder: Path) -> str:
    done = subprocess.run([RSCRIPT or "", "-e", lines], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def seurat() -> None:
    if not RSCRIPT or subprocess.run([RSCRIPT, "-e", "library(SeuratObject)"], capture_output=True, check=False).returncode:
        pytest.skip("R with SeuratObject is not installed (on Debian: apt-get install r-cran-seuratobject)")


def test_a_seurat_object_is_read_and_gets_its_labels(seurat: None, tmp_path: Path):
    page = (ROOT / "docs" / "usage.md").read_text().split("## From Seurat and back")[1].split("\n## ")[0]
    there, back = (re.sub(r"(?m)^    ", "", block) for block in re.findall(r"(?:^    .*\n)+", page, re.MULTILINE))
    cells = ad.read_h5ad(DATA / "unseen_type.h5ad")
    counts = pd.DataFrame(np.rint(cells.X.toarray()).astype(int).T, index=cells.var_names, columns=cells.obs_names)
    counts.to_csv(tmp_path / "counts.csv")
    in_r('library(SeuratObject); counts <- as.matrix(read.csv("counts.csv", row.names = 1, check.names = FALSE)); '
         'saveRDS(CreateSeuratObject(as(counts, "dgCMatrix")), "query.rds")', tmp_path)  # fmt: skip
    in_r(there, tmp_path)
    with CellFile(tmp_path / "query") as file:
        assert file.names(0, file.n_cells).tolist() == cells.obs_names.tolist()
        assert file.var().index.tolist() == cells.var_names.tolist()
        assert np.array_equal(file.rows("X", 0, file.n_cells).toarray(), counts.to_numpy().T)

    folder = tmp_path / "results" / "samples" / "query"
    folder.mkdir(parents=True)
    labels = pd.Series([f"label {i}" for i in range(cells.n_obs)], cells.obs_names, name="cellmemory_label").rename_axis("cell")
    labels[::-1].to_csv(folder / "query.labels.csv")
    said = in_r(
        f'object <- {{library(SeuratObject); readRDS("query.rds")}}\n{back}\ncat(object$cellmemory_label, sep = "\\n")', tmp_path
    )
    assert said.splitlines() == labels.tolist()
