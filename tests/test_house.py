"""The library's walls: digests of code cover all that a step imports."""

import ast
import shutil
from functools import cache
from pathlib import Path

from cellmemory.training import checkpoints

ROOT = Path(__file__).parents[1]
BIN = ROOT / "bin"
LIBRARY = BIN / "cellmemory"


def name_of(path: Path) -> str:
    """`cellmemory.io.atomic` for bin/cellmemory/io/atomic.py."""
    return ".".join(path.relative_to(BIN).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(path): path for path in (*BIN.glob("*.py"), *LIBRARY.rglob("*.py"))}


@cache
def imported(name: str) -> frozenset[str]:
    """Our own modules that one imports, anywhere in it: inside functions and for type checkers, too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in FILES else node.module for alias in node.names
            }
    return frozenset(found & FILES.keys())


def part(name: str) -> str:
    """The part of the library that a module belongs to: `io` for cellmemory.io.atomic."""
    return [*name.split("."), "__init__"][1]


def parts_behind(name: str) -> set[str]:
    """The parts of the library in which anything is that running a module loads, or may load."""
    reached, ahead = set(), {name, "cellmemory"}
    while ahead:
        reached |= ahead
        ahead = {found for here in ahead for found in imported(here)} - reached
    return {part(found) for found in reached if found.startswith("cellmemory")}


def test_checkpoints_know_the_code_of_training(tmp_path: Path, monkeypatch):
    assert set(checkpoints.CODE) == parts_behind("cellmemory.training.train")
    copy = tmp_path / "library"
    shutil.copytree(LIBRARY, copy)
    monkeypatch.setattr(checkpoints, "LIBRARY", copy)

    def checkpoint() -> checkpoints.CheckpointFile:
        return checkpoints.CheckpointFile(tmp_path, {"code": checkpoints.code_digest()})

    checkpoint().write({}, {})
    (copy / "report" / "points.py").write_text("changed")
    assert checkpoint().read() == ({}, {})
    for changed in ("network/layers.py", "io/atomic.py", "training/step.py", "__init__.py"):
        checkpoint().write({}, {})
        with (copy / changed).open("a") as file:
            file.write("\n")
        assert checkpoint().read() is None, changed
        assert "(other code)" in checkpoint().others()[0]
