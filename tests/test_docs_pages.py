"""The pages, the contributor files and the workflows: links lead somewhere, lists are whole, YAML is YAML."""

import ast
import json
import re
import shlex
import subprocess
import tokenize
import tomllib
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

from cellmemory.columns import CELL_COLUMNS
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md")])
YAML = [*ROOT.glob(".github/**/*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / "mkdocs.yml", ROOT / "CITATION.cff"]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
#: What a native reader stumbles on, and what to write instead.
ODD = {
    r"(?<![Tt]here )\bis no (?!longer|more\b|better\b)": "is not a",
    r"\bis of use\b|\bof little use\b|\bof no use\b": "is useful",
    r"\blest\b": "so that ... not",
    r", too[.,;:)]": "also, as well",
    r"\bso (?:many|much) (?=[a-z]+s\b)": "this number of",
    r"\b(?:is|are) (?:of a|of the) [a-z]+, ": "belongs to",
    r"\bhas not (?:two|three|one|the|a)\b": "does not have",
    r"\b(?:It|That) is said\b": "logs, reports",
    r"\b[Ww]hat is of\b": "what belongs to",
    r"\bbeside (?:it|them|these)\b": "next to",
    r"\bgoes on (?:where|at|to)\b": "continues",
    r"\bfound by itself\b": "detected",
    r"\b(?:be|are|is) told (?:apart|from)\b": "be distinguished, differ",
    r"\btells? (?:a|one|none|this|these|which|a cell)\b": "shows",
}

#: Of files other than Python whose English is looked at.
ENDINGS = ("nf", "config", "xml", "yml", "json")


def prose(page: Path) -> str:
    """A page without blocks of code and code in lines."""
    text = re.sub(r"^(?: {4}|\t).*$", "", page.read_text(), flags=re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, named as GitHub names them."""
    headings = re.findall(r"^#{1,6} (.*)$", page.read_text(), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings)


class _Loader(yaml.SafeLoader):
    """YAML with mkdocs' tags for Python objects."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, tag, node: loader.construct_mapping(node))


def load(path: Path) -> dict:
    return yaml.load(path.read_text(), _Loader)


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_anchors_lead_somewhere(page: Path):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_code_names_pages_that_are_there():
    files = [path for folder in ("bin", "benchmarks", "functions", "subworkflows") for path in (ROOT / folder).rglob("*.[pn]*")]
    named = {name for path in files if path.suffix in (".py", ".nf") for name in re.findall(r"docs/[\w/]+\.md", path.read_text())}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_site_has_every_page_once():
    listed = [page for group in load(ROOT / "mkdocs.yml")["nav"] for entry in group.values()
              for page in ([entry] if isinstance(entry, str) else [name for one in entry for name in one.values()])]  # fmt: skip
    from_root = re.findall(r'"(\w+\.md)": "(\w+\.md)"', (ROOT / "scripts" / "docs_hooks.py").read_text())
    assert {name for name, _ in from_root} == {page.name for page in ROOT.glob("*.md")}
    assert sorted(listed) == sorted([page for _, page in from_root] + [page.name for page in ROOT.glob("docs/*.md")])


def oddities(text: str) -> list[str]:
    return [f"{match[0]!r}: {better}" for odd, better in ODD.items() for match in re.finditer(odd, " ".join(text.split()))]


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("benchmarks/*.j2")], ids=lambda page: page.name)
def test_english_reads_as_a_native_writes_it(page: Path):
    assert oddities(prose(page)) == []


def comments(path: Path) -> str:
    """The comments of a Python file; those that follow each other are one text."""
    with path.open("rb") as file:
        found = [token.string.lstrip("#: ") for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    return "\n".join(found)


def test_english_of_messages_and_docstrings_does_too():
    found = [
        f"{path.name}, line {node.lineno}: {oddity}"
        for path in sorted((ROOT / "bin").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for oddity in oddities(node.value)
    ]
    assert found == []


def test_english_of_comments_workflows_and_forms_does_too():
    texts = {path: comments(path) for path in sorted((ROOT / "bin").rglob("*.py"))}
    folders = ("functions", "modules", "subworkflows", "workflows", "conf", "galaxy", "assets", "tests")
    for pattern in ("*.nf", "*.config", "*.json", *(f"{folder}/**/*.{ending}" for folder in folders for ending in ENDINGS)):
        texts |= {path: re.sub(r"^\s*(?://|\*)", "", path.read_text(), flags=re.MULTILINE) for path in sorted(ROOT.glob(pattern))}
    assert len({path.suffix for path in texts}) == 6
    assert [f"{path.relative_to(ROOT)}: {oddity}" for path, text in texts.items() for oddity in oddities(text)] == []


def test_every_column_of_a_cell_is_described():
    section = (ROOT / "docs" / "output.md").read_text().split("\n### obs\n")[1].split("\n### ")[0]
    assert [name for name in CELL_COLUMNS if f"\n| `{name}` |" not in section] == []


def test_every_package_that_a_run_needs_is_cited():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = re.sub(r"\W", "", (ROOT / "CITATIONS.md").read_text().lower())
    known = {"torch": "pytorch"}
    names = [re.match(r"[\w-]+", need)[0] for need in project["dependencies"]]
    assert [name for name in names if re.sub(r"\W", "", known.get(name, name)) not in text] == []


def test_the_notebook_of_the_tutorial_says_what_the_page_says():
    spec = spec_from_file_location("make_tutorial", ROOT / "scripts" / "make_tutorial.py")
    maker = module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert maker.notebook((ROOT / "docs" / "tutorial.md").read_text()) == maker.NOTEBOOK.read_text()


def test_the_loop_over_the_scripts_gives_options_that_there_are():
    loop = (ROOT / "docs" / "usage.md").read_text().split("\n    mkdir -p out\n")[1].split("\n    done\n")[0].replace("\\\n", " ")
    commands = [shlex.split(line) for line in loop.splitlines() if ".py " in line]
    assert len(commands) == 12
    for script, *options in commands:
        known = {option.opts[0]: option for option in import_module(script.removesuffix(".py")).main.params}
        given = {option for option in options if option.startswith("--")}
        assert given <= known.keys(), script
        assert {name for name, option in known.items() if option.required} <= given, script


def test_the_glossary_has_each_term_once():
    terms = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    terms = [term for term in terms if term not in ("term", "---")]
    assert len(terms) == len(set(terms)) >= 40


def test_decisions_are_made_of_their_results():
    from ablations import page_text

    names = ("ablations", "doubt", "doublets")
    found = [json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text()) for name in names]
    assert page_text(*found) == (ROOT / "docs" / "decisions.md").read_text()


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_yaml(path: Path):
    assert load(path)


def test_json_has_each_key_once():
    """Readers take the last of two, or refuse them."""

    def once(pairs: list[tuple[str, object]]) -> dict:
        assert len({key for key, _ in pairs}) == len(pairs), [key for key, _ in pairs]
        return dict(pairs)

    paths = [*ROOT.glob("*.json"), *ROOT.glob("assets/*.json"), *ROOT.glob("docs/**/*.ipynb")]
    assert len(paths) > 3
    for path in paths:
        json.loads(path.read_text(), object_pairs_hook=once)


def test_actions_are_pinned_to_a_major_version():
    used = [step["uses"] for path in WORKFLOWS for step in steps(load(path)) if "uses" in step]
    assert [name for name in used if not re.fullmatch(r"[\w.-]+/[\w./-]+@v\d+", name)] == []
    assert used


def test_workflows_call_what_is_there():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in WORKFLOWS:
        workflow = load(path)
        for job in workflow["jobs"].values():
            assert (ROOT / job["uses"]).exists() if "uses" in job else job["timeout-minutes"], path.name
        for step in steps(workflow):
            for target in re.findall(r"^make ([\w-]+)", step.get("run", ""), re.MULTILINE):
                assert target in targets, path.name
            for script in re.findall(r"^((?:scripts|containers)/\S+)", step.get("run", ""), re.MULTILINE):
                assert (ROOT / script).exists(), path.name


def test_hooks_do_what_make_lint_does():
    recipe = re.search(r"^lint:\n(?:\t.*\n)+", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].splitlines()[-1]
    linted = [command.strip().removesuffix(" .") for command in recipe.replace("@$(run)", "").split("&&")]
    hooks = [hook["entry"] for repo in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert [hook.removeprefix(".venv/bin/").removesuffix(" --force-exclude") for hook in hooks] == linted


def test_a_bug_report_asks_for_command_versions_and_log():
    form = load(ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml")
    needed = {field["id"] for field in form["body"] if field.get("validations", {}).get("required")}
    assert {"command", "versions", "log"} <= needed


def test_the_release_takes_its_text_from_the_changelog(tmp_path: Path):
    """The command of the workflow, on a changelog of two versions."""
    (tmp_path / "CHANGELOG.md").write_text("# Log\n\n## [1.1.0] - 2026-02-01\n\n- new\n\n## [1.0.0] - 2026-01-01\n\n- old\n")
    (tmp_path / "bin" / "cellmemory").mkdir(parents=True)
    (tmp_path / "bin" / "cellmemory" / "__init__.py").write_text('__version__ = "1.1.0"\n')
    run = next(step["run"] for step in steps(load(ROOT / ".github" / "workflows" / "release.yml")) if "run" in step)
    commands = "set -e\n" + "\n".join(line for line in run.splitlines() if not line.startswith("gh "))

    def release(tag: str) -> int:
        environment = {"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"}
        return subprocess.run(["bash", "-c", commands], cwd=tmp_path, env=environment, check=False).returncode

    assert release("v1.1.0") == 0
    assert (tmp_path / "notes.md").read_text().strip() == "- new"
    assert release("v1.0.0") != 0
