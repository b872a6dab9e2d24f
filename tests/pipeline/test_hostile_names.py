"""Names with blanks, quotes, brackets and whatever else a shell takes for its own: used as they are, or refused by a sentence."""

import json
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from tests.pipeline.nextflow import DATA, ROOT, pipeline, refused, succeed

HOSTILE = 'it\'s "(a)"; & touch PWNED; `touch PWNED` #ü~!'
"""A file name of all that Nextflow's commands can take."""
TEXT = f"{HOSTILE} [b] {{c..d}} *? $(touch PWNED) $HOME \\"
"""A text that is no path, such as the name of a column, may hold more."""


def quoted(cell: object) -> str:
    return '"{}"'.format(str(cell).replace('"', '""'))


@pytest.mark.slow
def test_hostile_names_everywhere_are_only_names(tmp_path: Path):
    folder = tmp_path / HOSTILE
    folder.mkdir()
    reference = ad.read_h5ad(DATA / "reference.h5ad")
    reference.obs[f"label {TEXT}"] = [f"{label} {TEXT}" for label in reference.obs["cell_type"]]
    reference.obs[f"batch {TEXT}"] = [f"{number % 2} {TEXT}" for number in range(reference.n_obs)]
    reference.write_h5ad(folder / f"-reference {HOSTILE}.h5ad")
    query = ad.read_h5ad(DATA / "unseen_type.h5ad")
    query.obs[f"truth {TEXT}"] = query.obs["author_label"].astype(str)
    query.obs[f"state {TEXT}"] = [f"{'a' if number % 2 else 'b'} {TEXT}" for number in range(query.n_obs)]
    query.var[f"genes {TEXT}"] = query.var_names
    query.layers[f"counts {TEXT}"] = query.X.copy()
    query.obsm[f"place {TEXT}"] = np.zeros((query.n_obs, 2))
    query.write_h5ad(folder / f"-query {HOSTILE}.h5ad")
    cells = {
        "sample": "q",
        "h5ad": f"-query {HOSTILE}.h5ad",
        "truth_key": f"truth {TEXT}",
        "gene_column": f"genes {TEXT}",
        "counts_layer": f"counts {TEXT}",
        "spatial_key": f"place {TEXT}",
        "batch_key": f"state {TEXT}",
        "cluster_key": f"state {TEXT}",
    }
    (folder / f"-sheet {HOSTILE}.csv").write_text(",".join(cells) + "\n" + ",".join(map(quoted, cells.values())) + "\n")
    sets = (ROOT / "assets" / "genesets" / "blood_cell_markers.gmt").read_text()
    (folder / f"-sets {HOSTILE}.gmt").write_text(sets.replace("\t", f" {TEXT}\t", 1))
    (folder / f"-genes {HOSTILE}.tsv").write_text("from\tto\nLEU1\tCD19\n")
    (folder / f"-terms {HOSTILE}.tsv").write_text(f"label\tontology_term_id\nDendritic {TEXT}\tCL:0000451\n")

    results = f"results {TEXT}"
    run = succeed(
        "--input", f"./-sheet {HOSTILE}.csv", "--reference", f"./-reference {HOSTILE}.h5ad", "--label_key", f"label {TEXT}",
        "--batch_key", f"batch {TEXT}", "--gmt", f"./-sets {HOSTILE}.gmt", "--gene_map", f"./-genes {HOSTILE}.tsv",
        "--ontology_map", f"./-terms {HOSTILE}.tsv",
        "--contrast", f"state {TEXT}:a {TEXT}:b {TEXT}", "--outdir", results, "--checkpoint_dir", f"checkpoints {HOSTILE}",
        "--n_genes", 200, "--max_epochs", 1, "--permutations", 10, "--faithfulness_cells", 3, "--cells_per_task", 100,
        folder=folder,
    )  # fmt: skip
    assert "1 query mapped in" in run.output
    sample = folder / results / "samples" / "q"
    mapped = ad.read_h5ad(sample / "q.mapped.h5ad")
    assert mapped.n_obs == query.n_obs
    assert set(mapped.obs["cellmemory_label"]) <= set(reference.obs[f"label {TEXT}"])
    for kind in ("labels.csv", "tags.tsv", "contrasts.tsv", "faithfulness.tsv", "enrichment.tsv", "clusters.tsv", "metrics.json",
                 "report.html"):  # fmt: skip
        assert (sample / f"q.{kind}").stat().st_size > 0, kind
    record = json.loads((sample / "q.provenance.json").read_text())
    assert {Path(file["path"]).name for file in record["inputs"]} == {
        f"-query {HOSTILE}.h5ad",
        f"-sets {HOSTILE}.gmt",
        f"-genes {HOSTILE}.tsv",
        f"-terms {HOSTILE}.tsv",
    }
    assert not list(tmp_path.rglob("PWNED*"))


REFUSED = ("q$(touch PWNED)", "q[1]", "q{a..b}", "q\nx", "q\tx")


def test_what_nextflow_cannot_take_is_refused_by_a_sentence(tmp_path: Path):
    """In each place where a path may stand, all at once. A line break has no place in a sheet."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "model").mkdir()
    plain = [name for name in REFUSED if name.isprintable()]
    rows = ["sample,h5ad"]
    for number, name in enumerate(REFUSED):
        for path in (folder / f"{name}.h5ad", folder / f"{name}.gmt", folder / f"{name}.tsv", folder / "model" / f"{name}.h5ad"):
            path.touch()
        (folder / f"link{number}.h5ad").symlink_to(folder / f"{name}.h5ad")
        rows += [f"link{number},link{number}.h5ad"]
    rows += [f"own{number},{quoted(name + '.h5ad')}" for number, name in enumerate(REFUSED) if "\n" not in name]
    (folder / "queries.csv").write_text("\n".join(rows))
    output = refused(
        "--input", "queries.csv", "--model", "model", "--gmt", ",".join(f"{name}.gmt" for name in plain),
        "--gene_map", f"{plain[0]}.tsv", "-work-dir", f"work {plain[0]}", folder=folder,
    )  # fmt: skip
    found = [line for line in output.splitlines() if "which Nextflow cannot hand to the shell." in line]
    for number, name in enumerate(REFUSED):
        shown = name.replace("\n", r"\x0a").replace("\t", r"\x09")
        end = f"holds the character {shown[1:5] if shown[1] == chr(92) else shown[1]}, which Nextflow cannot hand to the shell."
        rename = f"{end} Rename the file or folder."
        assert f"queries.csv, line {2 + number}: the path {folder}/{shown}.h5ad {rename}" in found
        assert f"--model: the path {folder}/model/{shown}.h5ad {rename}" in found
        if "\n" not in name:
            assert f"queries.csv, line {7 + number - (number > 3)}: the path {folder}/{shown}.h5ad {rename}" in found
        if name in plain:
            assert f"--gmt: the path {folder}/{shown}.gmt {rename}" in found
        if number == 0:
            assert f"--gene_map: the path {folder}/{shown}.tsv {rename}" in found
            assert f"-work-dir {folder}/work {shown} {end} Use another folder." in found
    assert len(found) == 5 + 5 + 4 + 3 + 2
    assert not list(tmp_path.rglob("PWNED*"))


def test_parameters_that_reach_a_scheduler_or_an_engine_bare_are_held_to_plain_words(tmp_path: Path):
    names = ("queue", "gpu_queue", "gpu_request", "account", "parallel_environment", "registry")
    given = dict.fromkeys(names, "x; touch PWNED") | {"label_key": "a\nb", "gene_map": "a\tb", "outdir": "results"}
    (tmp_path / "params.json").write_text(json.dumps(given))
    output = refused("-params-file", "params.json", folder=tmp_path)
    for name in names:
        assert f"--{name} is 'x; touch PWNED', but must be without blanks, quotes and characters" in output
    for name, shown in (("label_key", r"a\x0ab"), ("gene_map", r"a\x09b")):
        assert f"--{name} is '{shown}', but must be text without line breaks or other control characters" in output
    assert "--input is missing" in output
    assert "Neither --reference" in output


def test_the_pipeline_may_not_be_in_a_folder_that_would_be_run(tmp_path: Path):
    project = tmp_path / "pipe $(touch PWNED)"
    project.mkdir()
    for path in ROOT.iterdir():
        if path.name in (
            "main.nf",
            "nextflow.config",
            "conf",
            "functions",
            "modules",
            "subworkflows",
            "workflows",
            "bin",
            "nextflow_schema.json",
            "assets",
            "tests",
        ):
            (project / path.name).symlink_to(path)
    run = pipeline("-profile", "test", folder=tmp_path, project=project)
    assert run.status == 1
    assert f"The pipeline's folder {project} holds the character $, which Nextflow cannot hand to the shell." in run.output
    assert run.submitted == []
    assert not list(tmp_path.rglob("PWNED*"))


SAFE = ("quoted(", "quotedAll(", "commandLine(", "repeated(", "eachOf(", "called(", "calledByOrigin(", "task.")
JOINED = {"check_inputs": ("own_names.join(", "checks.join("), "consensus": ("tables.join(",), "report": ("options.join(",)}
"""What is put together of parts that are quoted, by module."""


def expressions(text: str) -> list[str]:
    """What stands in the outermost `${...}` of a Groovy string."""
    found, depth = [], 0
    for token in re.split(r"(\$?\{|\})", text):
        if depth:
            found[-1] += token
        elif token == "${":
            found.append("")
        depth += (token.endswith("{") and (depth > 0 or token == "${")) - (token == "}" and depth > 0)
    return found


@pytest.mark.parametrize("module", sorted(path.parent.name for path in ROOT.glob("modules/*/main.nf")))
def test_what_modules_put_into_commands_passes_through_the_functions_that_quote(module: str):
    source = (ROOT / "modules" / module / "main.nf").read_text()
    commands = re.findall(r'"""(.*?)"""', source, re.DOTALL)
    assert len(commands) >= 2
    for command in commands:
        bare = [found for found in expressions(command) if not found.startswith(SAFE + JOINED.get(module, ()))]
        assert bare == []
