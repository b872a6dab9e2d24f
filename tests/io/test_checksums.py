"""checksums.py: the record of what a result was made from."""

import hashlib
import json
import os
from pathlib import Path

from cellmemory.io.outputs import replaceable
from cellmemory.io.signature import signed_object
from tests.conftest import succeed


def test_files_and_folders_are_listed_with_size_and_checksum(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"digest": "abc"}')
    (tmp_path / "mtx").mkdir()
    for name in ("matrix.mtx", "barcodes.tsv"):
        (tmp_path / "mtx" / name).write_text(name)
    (tmp_path / "real.csv").write_text("cell,label\n")
    (tmp_path / "labels.csv").symlink_to("real.csv")
    succeed("checksums", "--input", "mtx", "--result", "labels.csv", "--model", "model", "--output", "q.json", folder=tmp_path)
    assert json.loads((tmp_path / "q.json").read_text()) == signed_object(
        {
            "inputs": [
                {"name": f"mtx/{name}", "bytes": len(name), "sha256": hashlib.sha256(name.encode()).hexdigest()}
                for name in ("barcodes.tsv", "matrix.mtx")
            ],
            "results": [{"name": "labels.csv", "bytes": 11, "sha256": hashlib.sha256(b"cell,label\n").hexdigest()}],
            "model": "abc",
        }
    )


def test_names_that_are_not_utf8_are_only_names(tmp_path: Path):
    """As old file systems hold them."""
    (tmp_path / "mtx").mkdir()
    (tmp_path / "mtx" / os.fsdecode(b"a\xffb.txt")).write_text("a")
    (tmp_path / os.fsdecode(b"\xe9.csv")).write_text("cell\n")
    succeed("checksums", "--input", "mtx", "--result", os.fsdecode(b"\xe9.csv"), "--output", "q.json", folder=tmp_path)
    found = json.loads((tmp_path / "q.json").read_text())
    assert [file["name"] for file in found["inputs"] + found["results"]] == ["mtx/a\ufffdb.txt", "\ufffd.csv"]
    assert replaceable(tmp_path / "q.json", "checksums")


def test_what_is_of_no_model_names_none(tmp_path: Path):
    (tmp_path / "consensus.csv").write_text("cell\n")
    succeed("checksums", "--input", "consensus.csv", "--result", "consensus.csv", "--output", "q.json", folder=tmp_path)
    assert json.loads((tmp_path / "q.json").read_text())["model"] is None
