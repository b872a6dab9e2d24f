"""Options of the scripts that no step can work with are refused before any work."""

import ast
import json
import os
import re
import subprocess
import sys

import anndata as ad
import h5py
import pytest

from tests.conftest import DATA, ROOT, refused, succeed


@pytest.mark.parametrize(
    ("script", "option", "value", "sentence"),
    [
        ("map_query", "--alpha", "nan", "nan is not a number."),
        ("map_query", "--novelty_alpha", "NaN", "NaN is not a number."),
        ("map_query", "--seed", "99999999999999999999", "is not in the range 0<=x<=4294967295."),
        ("map_query", "--threads", "100000000000", "is not in the range 1<=x<=4096."),
        ("train", "--learning_rate", "nan", "nan is not a number."),
        ("train", "--d_model", "4000000000", "is not in the range 8<=x<=4096."),
        ("train", "--n_layers", "100000000", "is not in the range 1<=x<=100."),
        ("extract_tags", "--permutations", "99999999999", "is not in the range 0<=x<=1000000."),
        ("train", "--seed", "-1", "is not in the range 0<=x<=4294967295."),
        ("preprocess_query", "--min_coverage", "nan", "nan is not a number."),
    ],
)
def test_numbers_that_are_none(script: str, option: str, value: str, sentence: str):
    (found,) = refused(script, option, value)
    assert sentence in found


#: A script whose only work is a tensor that no machine can hold.
GREEDY = "import sys, _cli, torch; sys.argv[:] = ['greedy']; _cli.command(lambda: torch.empty(10**15))()"


def test_memory_that_torch_does_not_get_is_said_as_other_memory_is():
    done = subprocess.run([sys.executable, "-c", GREEDY], cwd=ROOT / "bin", capture_output=True, text=True, check=False)
    said = "Error: there is not enough memory for this input. Run it where there is more.\n"
    assert (done.returncode, done.stderr) == (137, said)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (found,) = refused("copy_model", "--model", tmp_path / "pipe", "--output", tmp_path / "out")
    assert "is a device or a pipe. Give a file." in found
    (found,) = refused("preprocess_query", "--query", DATA / "unseen_type.h5ad", "--panel", "/dev/zero", "--output",
                       tmp_path / "o.h5ad", "--alignment", tmp_path / "o.json")  # fmt: skip
    assert "is a device or a pipe. Give a file." in found


def test_a_url_is_named_as_it_was_given(tmp_path):
    (found,) = refused("copy_model", "--model", "https://x.org/lung.zip", "--output", tmp_path / "out")
    assert "'https://x.org/lung.zip' is a URL, which only the pipeline fetches." in found


def test_nothing_is_written_to_a_url(tmp_path):
    inputs = ("--tags", DATA / "samplesheet.csv", "--slot_tags", DATA / "samplesheet.csv", "--panel", DATA / "samplesheet.csv")
    for url in ("https://x.org/e.tsv", "s3://bucket/e.tsv"):
        (found,) = refused("enrich", *inputs, "--output", url, folder=tmp_path)
        assert f"'--output': '{url}' is a URL. Outputs are written to a path: give one" in found
    assert not list(tmp_path.iterdir())


def test_a_model_is_not_looked_for_at_a_url(tmp_path):
    (found,) = refused("check_inputs", "--samplesheet", DATA / "samplesheet.csv", "--model", "https://x.org/lung.zip", "--output",
                       tmp_path / "i.json", "--query_genes", tmp_path / "g.tsv")  # fmt: skip
    assert "'--model': 'https://x.org/lung.zip' is a URL, which only the pipeline fetches." in found


def test_an_empty_output_is_no_folder(tmp_path):
    (found,) = refused("copy_model", "--model", tmp_path, "--output", "")
    assert "'--output': It is empty. Give the path to write to." in found


def test_what_a_name_would_make_a_terminal_do_is_written_out(tmp_path):
    (found,) = refused("preprocess_reference", "--reference", DATA / "reference.h5ad", "--label_key", "\x1b[2Jkind", "--output",
                       tmp_path / "o.h5ad", "--panel", tmp_path / "p.tsv")  # fmt: skip
    assert r"'\x1b[2Jkind'" in found


def test_a_file_name_that_is_not_utf8_is_only_a_name(tmp_path):
    """As old file systems hold them; the file's own results say it as far as text can."""
    reference = tmp_path / os.fsdecode(b"old\xff.h5ad")
    cells = ad.read_h5ad(DATA / "reference.h5ad")
    # One label stands for none: what is to be known of it names the file.
    cells.obs["cell_type"] = cells.obs["cell_type"].cat.rename_categories({cells.obs["cell_type"].iloc[0]: "NA"})
    cells.write_h5ad(tmp_path / "plain.h5ad")
    (tmp_path / "plain.h5ad").rename(reference)
    succeed("preprocess_reference", "--reference", reference, "--label_key", "cell_type", "--output", tmp_path / "o.h5ad",
            "--panel", tmp_path / "p.tsv")  # fmt: skip
    with h5py.File(tmp_path / "o.h5ad") as file:
        assert file["uns/cellmemory/source"].asstr()[()] == "old\ufffd.h5ad"
    (tmp_path / "sheet.csv").write_text(f"sample,h5ad\nq,{DATA / 'unseen_type.h5ad'}\n")
    succeed("check_inputs", "--samplesheet", tmp_path / "sheet.csv", "--reference", reference, "--label_key", "cell_type",
            "--output", tmp_path / "i.json", "--query_genes", tmp_path / "g.tsv")  # fmt: skip
    found = json.loads((tmp_path / "i.json").read_text())["reference"]
    assert found["path"] == "old\ufffd.h5ad"
    assert any("old\ufffd.h5ad, 'cell_type': 'NA' is used as a label" in warning for warning in found["warnings"])
    succeed("preprocess_query", "--query", reference, "--panel", tmp_path / "p.tsv", "--output", tmp_path / "q.h5ad",
            "--alignment", tmp_path / "a.json")  # fmt: skip


def run_script(*lines: str) -> subprocess.CompletedProcess:
    """Runs a script of these lines as one of ours."""
    code = "\n".join(lines)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "bin")}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_an_end_of_a_file_that_nobody_foresaw_is_not_silent():
    """click takes it for a user who left."""
    for options in ("[]", "['--debug']"):
        done = run_script("import _cli", "@_cli.command", "def main():", "    raise EOFError", f"main({options})")
        assert done.returncode == 1
        assert "RuntimeError: unexpected end of a file" in done.stderr


def test_without_a_temporary_folder_there_is_a_sentence():
    nowhere = ("import tempfile", "def none():", "    raise FileNotFoundError(2, 'none')", "tempfile.gettempdir = none")
    done = run_script(*nowhere, "import _cli", "@_cli.command", "def main():", "    print('done')", "main()")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: there is no temporary folder that can be written. Set TMPDIR to one.\n"


def test_messages_name_scripts_that_there_are():
    scripts = {path.name for path in (ROOT / "bin").glob("*.py")}
    named = {
        name
        for path in (ROOT / "bin").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"\b([a-z_]+\.py)\b", node.value)
    }
    assert len(named & scripts) > 10
    assert named <= scripts
