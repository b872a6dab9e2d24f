"""What is filled into a form of Galaxy reaches the script's option of that name, and no other."""

import itertools
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import pytest
import yaml

import _cli
from tests.conftest import ROOT
from tests.galaxy.rendering import Datasets, Form, Step, called, name_of, path_of, steps, typed
from tests.galaxy.test_tools import LEFT_OUT, TOOLS, expanded, given, options

#: What a conditional may hold, by tool: every combination is a form.
KINDS = {
    "cellmemory_train": {"how": ["list", "name"]},
    "cellmemory_annotate": {"kind": ["history", "installed"], "adapt": ["false", "auto", "true"]},
    "cellmemory_enrich": {"kind": ["history"]},
    "cellmemory_extract_tags": {"by": ["key", "list"], "compute": ["no", "yes"]},
    "cellmemory_report": {"how": ["one", "several"]},
}
#: Params that stand for no option of their name; each has a test of its own here or in test_tools.py.
OTHERWISE = {"staged", "contrast", "labels"}
#: Options that a tool gives whatever is left out.
ALWAYS = {"sample"}
THREADS = "${GALAXY_SLOTS:-1}"


def forms(tool: str) -> Iterator[Form]:
    kinds = KINDS.get(tool, {})
    for values in itertools.product(*kinds.values()):
        yield Form(dict(zip(kinds, values, strict=True)))


FORMS = [(tool, form) for tool in TOOLS for form in forms(tool)]


def of_form(param: Element, form: Form) -> list[str]:
    """What may stand behind the option of a param: its own value, nothing else."""
    value = form.value(param)
    if param.find("options[@from_data_table]") is not None:
        return [value.fields.path]
    return [str(each) for each in value] if isinstance(value, Datasets) else [str(value)]


def values_of_form(tool: str) -> set[str]:
    """All that a user may have given, whatever the form."""
    found = set()
    for param in expanded(tool).iter("param"):
        found |= {*of_form(param, Form()), typed(name_of(param)), called(name_of(param)), called(name_of(param), 1)}
        found |= {path_of(name_of(param)), path_of(name_of(param), 1)}
    return found


@pytest.mark.parametrize(("tool", "form"), FORMS)
def test_an_option_gets_the_param_of_its_name(tool: str, form: Form):
    params, anyones, reached = given(tool), values_of_form(tool), set()
    for step in steps(expanded(tool), form):
        for name, option in options(step.script).items():
            if option.is_flag or name in ("called", *OTHERWISE):
                continue
            found = [value for (value,) in step.given(name)]
            if name == "threads":
                assert found == [THREADS]
                continue
            allowed = {value for param in params.get(name, []) for value in of_form(param, form)}
            strange = [value for value in found if value in anyones - allowed]
            assert not strange, f"--{name} of {step.script}.py gets {strange}"
            if found and set(found) <= allowed:
                reached.add(name)
    assert reached >= {name for name in present(tool, form) if name not in OTHERWISE}


def present(tool: str, form: Form) -> set[str]:
    """The params of a filled form that stand for an option with a value."""
    found = set()

    def walk(element: Element) -> None:
        for child in element:
            if child.tag == "param" and child.get("argument") and child.get("type") != "boolean":
                found.add(name_of(child))
            elif child.tag == "conditional":
                walk(form.when(child))
            elif child.tag in ("section", "inputs"):
                walk(child)

    walk(expanded(tool).find("inputs"))
    return found


def may_be_left_out(tool: str) -> list[str]:
    params = expanded(tool).iter("param")
    return sorted({name_of(param) for param in params if param.get("optional") == "true" and param.get("argument")})


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if may_be_left_out(tool)])
def test_what_is_left_out_of_a_form_is_not_given_and_nothing_else_goes_with_it(tool: str):
    every = frozenset(may_be_left_out(tool))
    for form in forms(tool):
        for name in every & present(tool, form):
            found = steps(expanded(tool), Form(form.chosen, every - {name} | {"contrast"}))
            scripts = [step for step in found if name in options(step.script) and name not in LEFT_OUT.get(step.script, {})]
            assert any(step.given(name) for step in scripts), f"--{name} needs another param of {tool}"
            others = {other for step in found for other in every - {name} if other in options(step.script) and step.given(other)}
            assert others <= ALWAYS, f"--{name} brings {others}"


@pytest.mark.parametrize(("tool", "form"), FORMS)
def test_a_file_is_called_as_its_dataset_is(tool: str, form: Form):
    params = list(expanded(tool).iter("param"))
    names = {path_of(name_of(param), n): called(name_of(param), n) for param in params for n in (0, 1)}
    for step in steps(expanded(tool), form):
        for path, name in step.given("called", 2):
            if path in names:
                assert name == names[path]
            else:
                assert name in names.values(), "a file that the tool made, which is called as what it was made of"


@pytest.mark.parametrize("tool", TOOLS)
def test_outputs_are_what_the_scripts_write_under_that_name(tool: str):
    for form in forms(tool):
        written = [
            (name, value)
            for step in steps(expanded(tool), form)
            for name, option in options(step.script).items()
            if isinstance(option.type, _cli.Output)
            for (value,) in step.given(name)
        ]
        names = {name for name, _ in written}
        for output in expanded(tool).findall("outputs/data"):
            if output.get("name") == "adapted" and form.chosen["adapt"] == "false":
                continue
            file, name = output.get("from_work_dir"), output.get("name")
            behind = {option for option, value in written if file == value or file.startswith(f"{value}/")}
            assert behind == ({name} if name in names and "/" not in file else {"output"}), f"{name} is {file}"


def by_script(tool: str, form: Form) -> dict[str, Step]:
    return {step.script: step for step in steps(expanded(tool), form)}


@pytest.mark.parametrize("adapt", ["false", "auto", "true"])
def test_a_query_is_mapped_by_the_model_that_was_adapted_to_it(adapt: str):
    found = by_script("cellmemory_annotate", Form({"adapt": adapt}))
    maker = found["copy_model" if adapt == "false" else "adapt"]
    assert found["map_query"].given("model") == maker.given("output")
    assert ("adapt" in found) == (adapt != "false")


def test_a_model_is_trained_on_what_was_preprocessed():
    found = by_script("cellmemory_train", Form())
    assert found["train"].given("reference") == found["preprocess_reference"].given("output")
    assert found["train"].given("panel") == found["preprocess_reference"].given("panel")
    assert found["preprocess_reference"].given("query_genes") == found["check_inputs"].given("query_genes")
    assert found["check_inputs"].given("staged") == [[path_of("queries", 0)], [path_of("queries", 1)]]
    assert found["copy_model"].given("model") == found["train"].given("output")
    assert "check_inputs" not in by_script("cellmemory_train", Form(without=frozenset({"queries"})))


def test_a_contrast_is_of_its_column_first_value_before_the_second():
    step = by_script("cellmemory_extract_tags", Form())["extract_tags"]
    assert step.given("contrast") == [[":".join(map(typed, ("column", "a", "b")))]] * 2


def test_labels_of_a_consensus_have_the_name_of_their_reference():
    step = by_script("cellmemory_consensus", Form())["consensus"]
    assert step.given("labels", 2) == [[typed("name"), path_of("table")]] * 2


def test_gene_sets_may_come_with_the_tool():
    step = by_script("cellmemory_enrich", Form({"kind": "bundled"}))
    assert step["enrich"].given("gmt") == [["blood_cell_markers.gmt"]]


WORKFLOW = yaml.safe_load((ROOT / "galaxy" / "workflows" / "cellmemory" / "cellmemory.gxwf.yml").read_text())
#: Connections of the workflow between an output and a param of another name.
OTHER_NAMES = {
    ("annotate", "model"): "model",
    ("faithfulness", "mapped"): "mapped",
    ("report", "faithfulness"): "curves",
}


def test_the_workflow_is_of_these_versions_and_joins_what_belongs_together():
    for step, made in WORKFLOW["steps"].items():
        assert made["tool_version"] == expanded(made["tool_id"]).get("version"), step
        for param, source in made["in"].items():
            name = param.split("|")[-1]
            if "/" in source:
                assert source.split("/")[1] == OTHER_NAMES.get((step, name), name), f"{name} of {step} is {source}"
    assert {name: out["outputSource"] for name, out in WORKFLOW["outputs"].items()} == {
        "trained model": "train/model",
        "model card": "train/card",
        "annotated cells": "annotate/mapped",
        "whole files with labels": "annotate/whole_file",
        "labels": "annotate/labels",
        "genes of each group": "genes/tags",
        "faithfulness of attention": "faithfulness/curves",
        "clusters": "clusters/clusters",
        "gene sets of each group": "gene set tests/enrichment",
        "report": "report/report",
        "figures": "report/figures",
    }
