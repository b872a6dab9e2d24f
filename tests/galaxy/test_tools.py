"""The Galaxy tools say what the scripts say: options, choices, ranges, defaults and help; and Galaxy's linter finds nothing."""

import importlib
import json
import re
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from xml.etree.ElementTree import Element

import click
import pytest
import yaml
from Cheetah.Template import Template
from galaxy.tool_util.lint import LintContext, LintLevel, lint_tool_source_with
from galaxy.tool_util.loader import load_tool
from galaxy.tool_util.parser import get_tool_source

import _cli
import cellmemory
from cellmemory.io.samplesheet import is_sample
from tests.conftest import ROOT

SUITE = ROOT / "galaxy" / "tools" / "cellmemory"
TOOLS = sorted(path.stem for path in SUITE.glob("cellmemory_*.xml"))
#: Scripts that no tool calls, and why.
NO_TOOL = {
    "checksums": "writes a record of a run of Nextflow; Galaxy keeps its own history",
    "gather": "joins the slices of one query; Galaxy maps many queries in many jobs, each query in one",
    "versions": "writes the versions of a task of Nextflow",
}
#: Options that a tool leaves out or sets by itself, by script, and why.
LEFT_OUT = {
    "adapt": {
        "query": "what the same tool aligned",
        "adapt": "a choice of the tool's, which has 'no' as well",
    },
    "annotate": {
        "mapped": "what the same tool mapped",
        "cell_clusters": "the tool for clusters comes later",
    },
    "check_inputs": {
        "samplesheet": "written by the tool, from its datasets",
        "staged": "the datasets themselves",
        "model": "the tool trains",
        "gmt": "checked when they are used",
        "ontology_map": "checked when it is used",
        "contrast": "checked when they are used",
    },
    "copy_model": {
        "model": "the one that the tool trained, or that of the other scripts",
    },
    "consensus": {
        "mqc": "for the MultiQC of a run of Nextflow",
        "labels": "a repeat of a name and a dataset",
    },
    "enrich": {
        "enrichr": "needs a network",
        "panel": "taken from the model",
    },
    "extract_tags": {
        "contrast": "a repeat of a column and two values",
    },
    "map_query": {
        "query": "what the same tool aligned",
        "cells": "one job maps all cells of a query",
    },
    "preprocess_query": {
        "panel": "taken from the model",
    },
    "preprocess_reference": {
        "query_genes": "made from the queries by the tool",
    },
    "report": {
        "inputs": "of a run of Nextflow",
        "provenance": "of a run of Nextflow; Galaxy keeps its own history",
        "mqc_dir": "for the MultiQC of a run of Nextflow",
    },
    "train": {
        "reference": "what the same tool preprocessed",
        "panel": "what the same tool made",
        "checkpoint": "a job of Galaxy has no folder that outlives it",
        "checkpoint_every": "a job of Galaxy has no folder that outlives it",
        "devices": "a job has the machine that its administrator gives it",
        "strategy": "as for devices",
    },
}
#: On every script, and nobody's to set in Galaxy.
EVERYWHERE = {"called", "debug", "version", "help", "threads"}
#: Where a help text speaks of a thing that a tool handles otherwise, what the tool says.
OWN_HELP = {
    # A model is a dataset, and a query a file.
    ("cellmemory_annotate", "model"): "Trained model.",
    ("cellmemory_annotate", "query"): "Query: .h5ad or 10x .h5.",
    ("cellmemory_enrich", "model"): "The model that mapped the query: its genes are the background.",
    ("cellmemory_cluster", "model"): "The model that mapped the query.",
    ("cellmemory_evaluate", "model"): "The model that mapped the query.",
    ("cellmemory_extract_tags", "model"): "The model that mapped the query: adds what genes contribute, in logits.",
    ("cellmemory_faithfulness", "model"): "The model that mapped the query.",
    ("cellmemory_report", "model"): "Trained model.",
    # A form has labels, not options, and a dataset is known by the tool that it comes from.
    ("cellmemory_train", "label_levels"): (
        "Columns of obs with the labels at several levels, coarse to fine, with commas; the last is the column of the labels."
    ),
    ("cellmemory_compare_slots", "profiles"): "Two or more profiles of all genes of one query, each mapped with another model.",
    ("cellmemory_report", "mapped"): "Mapped query.",
    ("cellmemory_report", "alignment"): "Output of CellMemory annotate.",
    ("cellmemory_report", "tags"): "Output of CellMemory genes.",
    ("cellmemory_report", "slot_tags"): "Output of CellMemory genes.",
    ("cellmemory_report", "contrasts"): "Output of CellMemory genes.",
    ("cellmemory_report", "faithfulness"): "Output of CellMemory faithfulness.",
    ("cellmemory_report", "enrichment"): "Output of CellMemory enrich.",
    ("cellmemory_report", "clusters"): "Output of CellMemory clusters.",
    ("cellmemory_report", "cluster_markers"): "Output of CellMemory clusters.",
    ("cellmemory_report", "cell_clusters"): "Output of CellMemory clusters.",
    ("cellmemory_report", "metrics"): "Output of CellMemory evaluate.",
    ("cellmemory_report", "consensus"): "Output of CellMemory consensus.",
}
#: Words of the command line, which mean nothing in a form.
COMMAND_LINE = re.compile(r"\.py\b|--\w|\bfolder\b|<sample>")


@dataclass(frozen=True)
class Call:
    """A script's part of a tool's command."""

    script: str
    words: str


@cache
def expanded(tool: str) -> Element:
    return load_tool(str(SUITE / f"{tool}.xml")).getroot()


def calls(tool: str) -> list[Call]:
    """The scripts that a tool calls, each with the words up to the next one."""
    parts = re.split(r"bin/(\w+)\.py'", expanded(tool).find("command").text)
    return [Call(script, words) for script, words in zip(parts[1::2], parts[2::2], strict=True)]


@cache
def options(script: str) -> dict[str, click.Option]:
    """The options of a script, by their names on the command line."""
    command = importlib.import_module(script).main
    return {option.opts[0].removeprefix("--"): option for option in command.params}


def given(tool: str) -> dict[str, list[Element]]:
    """The params of a tool that stand for an option, by the option's name."""
    found: dict[str, list[Element]] = {}
    for param in expanded(tool).iter("param"):
        if argument := param.get("argument"):
            found.setdefault(argument.removeprefix("--"), []).append(param)
    return found


CALLS = [(tool, call.script) for tool in TOOLS for call in calls(tool)]


def test_every_script_has_a_tool_or_a_reason():
    scripts = {path.stem for path in (ROOT / "bin").glob("[a-z]*.py")}
    assert {script for _, script in CALLS} == scripts - set(NO_TOOL)
    assert set(NO_TOOL) <= scripts
    assert set(LEFT_OUT) <= scripts


@pytest.mark.parametrize(("tool", "script"), sorted(set(CALLS)))
def test_a_tool_has_the_options_of_its_scripts(tool: str, script: str):
    """An option is a param and stands in the command, or it is left out with a reason."""
    params, left_out, command = given(tool), LEFT_OUT.get(script, {}), expanded(tool).find("command").text
    assert set(left_out) <= set(options(script)), "a reason for an option that there is not"
    for words in (call.words for call in calls(tool) if call.script == script):
        for name, option in options(script).items():
            if isinstance(option.type, _cli.Output) or name in EVERYWHERE or name in left_out:
                continue
            assert name in params, f"--{name} of {script}.py is no param of {tool}, and LEFT_OUT has no reason"
            # A switch is a param whose value is the option. In a loop over datasets the option is a variable of the command.
            is_there = re.search(rf"--{name}\b|\$[\w.]*\b{name}\n", f"{words}\n") or f"'--{name}'" in command
            assert is_there, f"--{name} is not given to {script}.py"
        unknown = set(re.findall(r"--([a-z]\w+)", words)) - set(options(script))
        assert not unknown, f"{script}.py has no such options"


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("donor_1.h5ad", "donor_1"),
        ("donor 1.h5ad", "donor_1_[0-9a-f]{4}"),
        ("a.b-c.h5", "a.b-c"),
        ("_x", "x_[0-9a-f]{4}"),
        ("..h5ad", "query_[0-9a-f]{4}"),
        (".h5ad", "query_[0-9a-f]{4}"),
        ("проба.h5ad", "query_[0-9a-f]{4}"),
        ("Zöe 1.h5ad", "Z_e_1_[0-9a-f]{4}"),
        ("x" * 90, "x{70}_[0-9a-f]{4}"),
    ],
)
def test_a_sample_is_named_by_its_dataset(name: str, sample: str):
    command = expanded("cellmemory_annotate").find("command").text
    part = command[command.index("#set $own_name") : command.index("python '")]
    query = SimpleNamespace(element_identifier=name)
    text = "#import re\n#import zlib\n" + part + "$sample_name"
    found = str(Template(text, searchList=[{"query": query, "sample": ""}])).strip()
    assert re.fullmatch(sample, found)
    assert is_sample(found)


def test_a_table_of_the_report_is_given_as_what_it_is():
    command = expanded("cellmemory_report").find("command").text
    tables = re.findall(r"\(\$queries\.(\w+), '(?:0\.)?(\w+)\.\w+', '--(\w+)'\)", command)
    assert len(tables) == 21
    assert all(param == file == option for param, file, option in tables)


def test_every_param_is_an_option_that_a_script_has():
    for tool in TOOLS:
        known = set().union(*(options(call.script) for call in calls(tool)))
        assert set(given(tool)) <= known, tool


def meant(tool: str, name: str) -> list[click.Option]:
    """The options that a param stands for: of all scripts of the tool that are given it."""
    scripts = dict.fromkeys(call.script for call in calls(tool) if name in options(call.script))
    given_to = [script for script in scripts if name not in LEFT_OUT.get(script, {})]
    return [options(script)[name] for script in given_to or scripts]


PARAMS = [(tool, name) for tool in TOOLS for name in given(tool)]


@pytest.mark.parametrize(("tool", "name"), PARAMS)
def test_a_param_is_its_option(tool: str, name: str):
    helps = {option.help for option in meant(tool, name)}
    for param in given(tool)[name]:
        assert param.get("label")
        assert not COMMAND_LINE.search(param.get("help"))
        assert param.get("help") in ({OWN_HELP[tool, name]} if (tool, name) in OWN_HELP else helps)
        for option in meant(tool, name):
            agree(param, option, optional=all(not each.required for each in meant(tool, name)))


def agree(param: Element, option: click.Option, *, optional: bool) -> None:
    """Type, choices, range, default, and whether it may be left out."""
    kind, found = param.get("type"), option.type
    default = option.default if isinstance(option.default, str | int | float) else None
    if isinstance(found, click.Path):
        assert kind in ("data", "data_collection") or param.find("options") is not None
        assert option.multiple == (param.get("multiple") == "true" or kind == "data_collection") or option.name in REPORTED
    elif isinstance(found, click.Choice):
        assert kind == "select"
        assert [each.get("value") for each in param.findall("option")] == list(found.choices)
        assert [each.text for each in param.findall("option")] == list(found.choices)
        assert [each.get("value") for each in param.findall("option") if each.get("selected") == "true"] == [default]
    elif isinstance(found, click.IntRange | click.FloatRange):
        assert kind == ("integer" if isinstance(found, click.IntRange) else "float")
        limits = [param.get(end) for end in ("min", "max")]
        assert [None if limit is None else float(limit) for limit in limits] == [found.min, found.max]
        assert (None if param.get("value") is None else float(param.get("value"))) == default
        assert (param.get("optional") == "true") == (default is None)
    elif found is click.INT:
        assert (kind, int(param.get("value"))) == ("integer", default)
    elif option.is_flag:
        assert kind == "boolean"
        assert (param.get("truevalue"), param.get("falsevalue")) == (option.opts[0], option.secondary_opts[0])
        assert (param.get("checked") == "true") == default
    else:
        assert found is click.STRING
        assert kind in ("text", "select")
        if kind == "text":
            assert param.get("value") == default or option.required
            assert (param.get("optional") == "true") == (optional and default is None)


#: Options of report.py that come one for each query: for one query, a param takes one.
REPORTED = {
    "mapped",
    "alignment",
    "tags",
    "slot_tags",
    "contrasts",
    "faithfulness",
    "enrichment",
    "metrics",
    "clusters",
    "cluster_markers",
    "cell_clusters",
}


def without_quoted(text: str) -> str:
    """A line without its calls of quote()."""
    while (start := text.find("quote(")) >= 0:
        end, depth = start + len("quote("), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        text = text[:start] + text[end:]
    return text


@pytest.mark.parametrize("tool", TOOLS)
def test_all_that_comes_from_outside_is_quoted(tool: str):
    """Text and names of datasets, and what is made of them, reach the command line by quote() alone."""
    lines = [line.strip() for line in expanded(tool).find("command").text.splitlines()]
    texts = [param for param in expanded(tool).iter("param") if param.get("type") == "text"]
    outside = {param.get("name") or param.get("argument").removeprefix("--") for param in texts}
    outside |= {"element_identifier", "name"}
    for name, value in re.findall(r"#set \$(\w+) = (.*)", "\n".join(lines)):
        taken = set(re.findall(r"\w+", without_quoted(value))) & outside
        outside = outside | {name} if taken else outside - {name}
    for line in lines:
        if not line.startswith("#"):
            used = set(re.findall(r"\$\{?(?:\w+\.)*(\w+)", without_quoted(line)))
            assert not used & outside, line


@pytest.mark.parametrize("tool", TOOLS)
def test_the_linter_of_galaxy_finds_nothing(tool: str):
    context = LintContext(LintLevel.WARN)
    lint_tool_source_with(context, get_tool_source(str(SUITE / f"{tool}.xml")))
    assert [str(message) for message in (*context.error_messages, *context.warn_messages)] == []


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_is_tested_with_what_works_and_what_fails(tool: str):
    tests = expanded(tool).findall("tests/test")
    assert {test.get("expect_failure") == "true" for test in tests} == {True, False}
    for test in tests:
        if test.get("expect_failure") == "true":
            said = [*test.findall("assert_stderr/has_text"), *test.findall("assert_stderr/has_text_matching")]
            assert said
            assert "Traceback" in [each.get("text") for each in test.findall("assert_stderr/not_has_text")]


def test_versions_and_packages_are_those_of_the_pipeline():
    root = expanded("cellmemory_train")
    assert root.get("version") == f"{cellmemory.__version__}+galaxy0"
    pinned = yaml.safe_load((ROOT / "modules" / "environment.yml").read_text())["dependencies"]
    packages = dict(line.split("==") for line in pinned[-1]["pip"]) | {"python": "3.11"}
    renamed = {"torch": "pytorch", "matplotlib": "matplotlib-base", "igraph": "python-igraph"}  # as conda-forge calls them
    found = {each.text: each.get("version") for each in root.iter("requirement")}
    assert found == {renamed.get(name, name): version for name, version in packages.items()}
    image = re.search(r"'(nf-cellmemory:[\w.]+-cpu)'", (ROOT / "conf" / "containers.config").read_text())[1]
    assert root.find("requirements/container").text.endswith(f"/{image}")


#: What the workflow sets otherwise: the column of labels is typed, and there are several queries.
CHOSEN = {"how"}


def leaves(state: dict) -> dict:
    """The params of a step's state that are not sections."""
    found = {}
    for name, value in state.items():
        found |= leaves(value) if isinstance(value, dict) else {name: value}
    return found


@pytest.mark.parametrize("step", ["train", "annotate", "cluster", "extract_tags", "faithfulness", "enrich", "report"])
def test_the_workflow_knows_every_param_of_its_tools(step: str):
    """Galaxy runs no workflow that lacks one. Those of a conditional are of the case that was chosen."""
    workflow = yaml.safe_load((ROOT / "galaxy" / "workflows" / "cellmemory" / "cellmemory.gxwf.yml").read_text())
    (made,) = (one for one in workflow["steps"].values() if one.get("tool_id") == f"cellmemory_{step}")
    known = {*re.findall(r'"(\w+)": ', json.dumps(made["tool_state"])), *(name.split("|")[-1] for name in made["in"])}
    inputs = expanded(made["tool_id"]).find("inputs")
    params = [*inputs.findall("param"), *inputs.findall(".//section/param")]
    names = {(param.get("name") or param.get("argument", "")).lstrip("-") for param in params}
    assert names
    assert names - known == set()


@pytest.mark.parametrize("step", ["train", "annotate", "cluster", "extract_tags", "faithfulness", "enrich", "report"])
def test_the_workflow_has_the_defaults_of_its_tools(step: str):
    """A workflow keeps each tool's settings as they were when it was written."""
    workflow = yaml.safe_load((ROOT / "galaxy" / "workflows" / "cellmemory" / "cellmemory.gxwf.yml").read_text())
    (made,) = (one for one in workflow["steps"].values() if one.get("tool_id") == f"cellmemory_{step}")
    state, compared = leaves(made["tool_state"]), []
    for param in expanded(made["tool_id"]).iter("param"):
        name, kind = (param.get("name") or param.get("argument", "")).lstrip("-"), param.get("type")
        if name in state and kind in ("integer", "float") and param.get("value"):
            compared.append(name)
            assert float(state[name]) == float(param.get("value")), name
        elif name in state and kind == "boolean":
            compared.append(name)
            assert state[name] == (param.get("checked") == "true"), name
        elif name in state and kind == "select" and (choices := param.findall("option")):
            compared.append(name)
            usual = [one.get("value") for one in choices if one.get("selected") == "true"] or [choices[0].get("value")]
            assert name in CHOSEN or state[name] == usual[0], name
        elif name in state and kind == "text":
            compared.append(name)
            assert name in CHOSEN or (state[name] or "") == (param.get("value") or ""), name
    assert compared or step in ("enrich", "report")
