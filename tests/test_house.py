"""The library's walls: which part imports which (docs/architecture.md), and digests of code, which cover all that is imported."""

import ast
import re
import shutil
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from cellmemory import columns
from cellmemory.training import checkpoints

ROOT = Path(__file__).parents[1]
BIN = ROOT / "bin"
LIBRARY = BIN / "cellmemory"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
#: The parts of the library from the top: each imports only parts before it.
PARTS = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", PAGE.split("## The parts of the library")[1].split("\n## ")[0], re.MULTILINE)
APART = ({"training", "mapping"}, {"explanation", "report"})


def name_of(path: Path) -> str:
    """`cellmemory.io.atomic` for bin/cellmemory/io/atomic.py."""
    return ".".join(path.relative_to(BIN).with_suffix("").parts).removesuffix(".__init__")


#: What cellmemory.notebook gives under the name of the library.
DOORS = ("load", "train")
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
            # What `from cellmemory import load` asks for is loaded from there.
            found |= {"cellmemory.notebook" for alias in node.names if node.module == "cellmemory" and alias.name in DOORS}
    return frozenset(found & FILES.keys())


def packages(name: str) -> set[str]:
    """The packages that a module lies in: Python runs them first."""
    return {package for n in range(1, name.count(".") + 1) if (package := name.rsplit(".", n)[0]) in FILES}


def part(name: str) -> str:
    """The part of the library that a module belongs to: `io` for cellmemory.io.atomic."""
    return [*name.split("."), "__init__"][1]


def parts_behind(name: str) -> set[str]:
    """The parts of the library in which anything is that running a module loads, or may load."""
    reached, ahead = set(), {name, "cellmemory"}
    while ahead:
        reached |= ahead
        ahead = {found for here in ahead for found in imported(here) | packages(here)} - reached
    return {part(found) for found in reached if found.startswith("cellmemory")}


def test_the_page_lists_every_part_once():
    parts = [path.stem for path in LIBRARY.iterdir() if path.name not in ("__init__.py", "__pycache__")]
    assert sorted(PARTS) == sorted(parts)


def test_a_part_imports_only_parts_above_it():
    rank = {name: place for place, name in enumerate(["__init__", *PARTS])}
    wrong = [
        f"{name} imports {found}"
        for name in sorted(FILES.keys())
        if name.startswith("cellmemory")
        for found in sorted(imported(name))
        if part(found) != part(name) and (rank[part(found)] > rank[part(name)] or {part(name), part(found)} in APART)
    ]
    assert wrong == []


def test_modules_do_not_import_each_other_in_a_circle():
    TopologicalSorter({name: imported(name) for name in FILES}).prepare()  # raises CycleError, which shows the circle


def test_a_folder_holds_at_most_twelve_modules():
    folders = {path.parent for path in LIBRARY.rglob("*.py")} - {LIBRARY, LIBRARY / "report" / "sections"}
    crowded = {folder.name: n for folder in folders if (n := len(set(folder.glob("*.py")) - {folder / "__init__.py"})) > 12}
    assert crowded == {}


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


def test_steps_depend_on_the_parts_that_their_scripts_import():
    """`ext code` of a module, of which its tasks hold a digest: a part too few serves old results, one too many repeats work."""
    scripts = {path.stem for path in BIN.glob("[a-z]*.py")}
    listed, needed = {}, {}
    for path in ROOT.glob("modules/*/main.nf"):
        source, module = path.read_text(), path.parent.name
        behind = set().union(*map(parts_behind, scripts & set(re.findall(r"\b(\w+)\.py\b", source))))
        listed[module] = re.findall(r"'(\w+)'", re.search(r"^    ext code: \[(.*?)\]", source, re.MULTILINE)[1])
        needed[module] = [name for name in PARTS if name in behind]
    assert listed == needed


def test_pandas_is_given_open_files():
    """Of a path it would unpack by the suffix, write to a URL, and go to the home folder for `~`."""
    given = {
        f"{name}: {ast.unparse(node)}"
        for name, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("read_csv", "to_csv")
        if node.args and ast.unparse(node.args[0]) not in ("file", "io.BytesIO(block)")
    }
    assert given == set()


#: Contents of MultiQC's page, which has names of its own.
MULTIQC_IDS = {"cellmemory_confidence", "cellmemory_consensus"}
#: The doors of a notebook: each keyword is an option of a script, with the script's default.
MANY_KEYWORDS = {"notebook.Model.map", "notebook.train"}


def functions(node: ast.AST, name: str) -> Iterator[tuple[str, ast.FunctionDef, bool]]:
    """All functions in a module or class: name, definition, and whether its first parameter is self or cls."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            static = "staticmethod" in map(ast.unparse, child.decorator_list)
            yield f"{name}.{child.name}", child, isinstance(node, ast.ClassDef) and not static
        inner = f"{name}.{child.name}" if isinstance(child, ast.ClassDef | ast.FunctionDef) else name
        yield from functions(child, inner)


def test_signatures_are_read_at_the_call():
    """At most four parameters by position, no flag among them, and more than seven are an object."""
    wrong = []
    for module in sorted(name for name in FILES if name.startswith("cellmemory")):
        for name, function, bound in functions(ast.parse(FILES[module].read_text()), module.removeprefix("cellmemory.")):
            by_position = [*function.args.posonlyargs, *function.args.args][bound:]
            flags = [a.arg for a in by_position if a.annotation and ast.unparse(a.annotation).startswith("bool")]
            many = len(by_position) + len(function.args.kwonlyargs) > 7 and name not in MANY_KEYWORDS
            if len(by_position) > 4 or flags or many:
                wrong.append(f"{name}: {len(by_position)} by position, flags {flags}, too many {many}")
    assert wrong == []


#: Names of what a module is for, which are read with the module's name in front, as `profiles.load`.
OF_THE_MODULE = {"COLUMNS", "build", "load", "section", "summarise", "write", "text", "plain", "shown", "reasons"}
#: Two readers of one thing, one on top of the other.
LAYERED = {"read_json"}


def test_a_public_name_means_one_thing():
    """No two modules of the library define functions, classes or constants of one name."""
    places: dict[str, list[str]] = {}
    for module in sorted(name for name in FILES if name.startswith("cellmemory.")):
        for node in ast.parse(FILES[module].read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [found.id for target in targets for found in ast.walk(target) if isinstance(found, ast.Name)]
            else:
                continue
            for name in names:
                if not name.startswith("_"):
                    places.setdefault(name, []).append(module)
    twice = {name: found for name, found in places.items() if len(set(found)) > 1}
    assert {name: found for name, found in twice.items() if name not in OF_THE_MODULE | LAYERED} == {}
    assert set(twice) >= OF_THE_MODULE | LAYERED


def test_what_a_mapped_query_holds_is_named_once():
    """Names in obs, obsm, varm, uns and layers stand in columns.py, and nowhere else in the library."""
    names = {value for value in vars(columns).values() if isinstance(value, str) and "cellmemory_" in value}
    names |= {columns.EMBEDDING, columns.SLOT_USE, columns.UMAP, columns.ATTENTION}
    places = re.compile(r"(?:obs/|obsm/|varm/|uns/)?(.*)", re.DOTALL)
    wrong = [
        f"{module}:{node.lineno}: {node.value!r}"
        for module in sorted(FILES)
        if module.startswith("cellmemory.") and module != "cellmemory.columns"
        for node in ast.walk(ast.parse(FILES[module].read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if places.fullmatch(node.value)[1] in names
        if not (node.value in MULTIQC_IDS and module in ("cellmemory.report.multiqc", "cellmemory.consensus.summary"))
    ]
    assert wrong == []


def test_attributes_of_hdf5_are_looked_for_before_they_are_asked_for():
    """`attrs.get` raises and catches: now and then h5py cannot decode the words of HDF5 about an attribute that is missing."""
    assert [name for name, path in FILES.items() if ".attrs.get(" in path.read_text()] == []
