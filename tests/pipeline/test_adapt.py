"""--adapt under Nextflow: each query is mapped with a model of its own, and all that follows uses that one."""

from pathlib import Path

import anndata as ad
import pytest

from cellmemory.reference import trained_model
from tests.pipeline.nextflow import DATA, STEPS, counted, succeed


def test_each_query_has_its_own_model(tmp_path: Path):
    run = succeed("-profile", "test", "-stub-run", "--adapt", folder=tmp_path)
    assert counted(run.submitted) == STEPS | {"ADAPT": 2}
    assert not list((tmp_path / "results" / "samples").rglob("*.model"))


@pytest.mark.slow
def test_a_query_is_mapped_with_its_own_model_in_slices_and_its_genes_are_explained_by_it(model: Path, tmp_path: Path):
    (tmp_path / "queries.csv").write_text(f"sample,h5ad\nq,{DATA / 'reduced_panel.h5ad'}\n")
    run = succeed("--model", model, "--input", "queries.csv", "--adapt", "auto", "--cells_per_task", "60",
                  "--faithfulness", "false", "--clusters", "false", "--annotated", "false",
                  "--permutations", "0", folder=tmp_path)  # fmt: skip
    assert counted(run.submitted)["ADAPT"] == 1
    assert counted(run.submitted)["GATHER"] == 1
    sample = tmp_path / "results" / "samples" / "q"
    mapped = ad.read_h5ad(sample / "q.mapped.h5ad")
    assert mapped.uns["cellmemory"]["adapted_to"] == "q"
    assert mapped.uns["cellmemory"]["model_digest"] == trained_model.load(model).config["digest"]
    page = (sample / "q.report.html").read_text()
    assert "--adapt" in page
    assert "It is likelier to help than to harm" in page
    assert (sample / "q.tags.tsv").exists()
