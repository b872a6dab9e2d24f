"""Makes the data of the Galaxy tools' own tests: python -m tests.made.galaxy_data FOLDER

By the scripts themselves, so that it is of the version of the code; nothing of it is committed.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import anndata as ad
import pandas as pd

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"


def make(folder: Path) -> None:
    """Writes reference, queries, a model, archives that are none, annotated cells and the tables made of them, and gene sets."""
    folder.mkdir(parents=True, exist_ok=True)
    reference = ad.read_h5ad(DATA / "reference.h5ad")
    reference.obs["Typ ä's [1]"] = reference.obs["cell_type"]
    reference.write_h5ad(folder / "reference.h5ad")
    query = ad.read_h5ad(DATA / "unseen_type.h5ad")
    query.obs["batch"] = pd.Categorical(["one", "two"] * (query.n_obs // 2) + ["one"] * (query.n_obs % 2))
    query.write_h5ad(folder / "query.h5ad")
    shutil.copy(DATA / "reduced_panel.h5ad", folder / "query2.h5ad")
    query.var_names = [f"FBgn{i:07d}" for i in range(query.n_vars)]
    query.write_h5ad(folder / "other_genes.h5ad")
    _train(folder, "model", seed=0)
    _train(folder, "other_model", seed=1)
    for name in ("query", "query2"):
        _map(folder, name, "model")
        _extract(folder, name)
        _run(folder, "cluster", "--mapped", f"{name}.mapped.h5ad", "--model", "model", "--threads", 1,
             "--cell_clusters", f"{name}.cell_clusters.csv", "--clusters", f"{name}.clusters.tsv",
             "--cluster_markers", f"{name}.cluster_markers.tsv")  # fmt: skip
    _map(folder, "query", "other_model", "query.other")
    _extract(folder, "query.other", profiles="query.other_profiles.h5ad")
    for name in ("model", "other_model"):
        _run(folder, "copy_model", "--model", name, "--output", f"{name}.zip")
        shutil.rmtree(folder / name)
    with zipfile.ZipFile(folder / "hostile.zip", "w") as archive:
        archive.writestr("../evil.txt", b"evil")
    genes = pd.read_csv(folder / "query.tags.tsv", sep="\t")["gene"].drop_duplicates().tolist()
    (folder / "some sets.gmt").write_text("FIRST_GENES\tof the rankings\t" + "\t".join(genes[:30]) + "\n")
    (folder / "other.gmt").write_text("LAST_GENES\tof the rankings\t" + "\t".join(genes[-30:]) + "\n")
    (folder / "cellmemory_models.loc").write_text("test\tA model for tests\t${__HERE__}/model.zip\n")


def _train(folder: Path, name: str, seed: int) -> None:
    _run(folder, "preprocess_reference", "--reference", "reference.h5ad", "--label_key", "cell_type", "--n_genes", 200,
         "--output", "aligned_reference.h5ad", "--panel", "panel.tsv")  # fmt: skip
    _run(folder, "train", "--reference", "aligned_reference.h5ad", "--panel", "panel.tsv", "--label_key", "cell_type",
         "--max_epochs", 2, "--d_model", 16, "--threads", 1, "--seed", seed, "--output", name)  # fmt: skip
    (folder / "aligned_reference.h5ad").unlink()
    (folder / "panel.tsv").unlink()


def _map(folder: Path, query: str, model: str, name: str = "") -> None:
    name = name or query
    _run(folder, "preprocess_query", "--query", f"{query}.h5ad", "--sample", query, "--panel", f"{model}/panel.tsv",
         "--output", "aligned.h5ad", "--alignment", f"{name}.alignment.json")  # fmt: skip
    _run(folder, "map_query", "--query", "aligned.h5ad", "--model", model, "--threads", 1,
         "--output", f"{name}.mapped.h5ad", "--labels", f"{name}.labels.csv")  # fmt: skip
    (folder / "aligned.h5ad").unlink()


def _extract(folder: Path, name: str, profiles: str = "") -> None:
    _run(folder, "extract_tags", "--mapped", f"{name}.mapped.h5ad", "--permutations", 20, "--tags", f"{name}.tags.tsv",
         "--slot_tags", f"{name}.slot_tags.tsv", "--profiles", profiles or f"{name}.profiles.h5ad", "--threads", 1)  # fmt: skip


def _run(folder: Path, script: str, *arguments: object) -> None:
    subprocess.run([sys.executable, ROOT / "bin" / f"{script}.py", *map(str, arguments)], cwd=folder, check=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
