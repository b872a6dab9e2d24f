"""Configuration and code as text: profiles, the strict linter, the locks."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from cellmemory.reference import trained_model
from tests.pipeline.nextflow import ROOT, nextflow

PROFILES = ("local", "docker", "podman", "singularity", "apptainer", "charliecloud", "conda", "cuda", "test", "test,docker",
            "slurm,singularity,cuda", "awsbatch,cuda")  # fmt: skip
MODULES = sorted(path.parent.name for path in ROOT.glob("modules/*/main.nf"))
ENGINES = ("docker", "podman", "singularity", "apptainer", "charliecloud", "conda")
EXECUTORS = ("slurm", "lsf", "sge", "awsbatch", "googlebatch", "azurebatch", "k8s")


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_resolve(profile: str, tmp_path: Path):
    run = nextflow("config", "-profile", profile, "-flat", ROOT, folder=tmp_path)
    assert run.status == 0, run.output
    chosen = [engine for engine in ENGINES if engine in profile.split(",")]
    if chosen:
        enabled = re.findall(r"^(\w+)\.enabled = true", run.output, re.MULTILINE)
        assert [engine for engine in enabled if engine in ENGINES] == chosen


def resolved(folder: Path, *options: str) -> set[str]:
    """The configuration as Nextflow resolves it, offline: a line for each setting."""
    run = nextflow("config", *options, "-flat", ROOT, folder=folder)
    assert run.status == 0, run.output
    return set(re.sub(r"\n\s+", " ", run.output).splitlines())


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return resolved(tmp_path_factory.mktemp("config"))


def test_only_what_a_scheduler_or_the_system_ends_is_tried_again(tmp_path: Path):
    (tmp_path / "main.nf").write_text("""
        workflow {
            def strategy = nextflow.Global.session.config.process.errorStrategy.clone()
            strategy.resolveStrategy = Closure.DELEGATE_FIRST
            def retried = ((0..255) + [Integer.MAX_VALUE]).findAll { status ->
                strategy.delegate = [task: [exitStatus: status]]
                strategy.call() == 'retry'
            }
            println("retried: ${retried.join(' ')}.")
        }
        """)
    run = nextflow("-c", ROOT / "nextflow.config", "run", "main.nf", folder=tmp_path)
    assert run.status == 0, run.output
    # Not among them: ILL 132, TRAP 133, ABRT 134, BUS 135, FPE 136, SEGV 139.
    assert "retried: 104 130 137 138 140 143 175 176 177 2147483647." in run.output


@pytest.mark.parametrize("executor", EXECUTORS)
def test_executors_change_what_is_recorded(executor: str, usual: set[str], tmp_path: Path):
    """tests/pipeline/executors holds what each profile takes away and adds; RECORD=1 records a change that is meant."""
    own = resolved(tmp_path, "-profile", executor)
    lines = sorted([f"- {line}" for line in usual - own] + [f"+ {line}" for line in own - usual], key=lambda line: line[2:])
    changes = "\n".join(lines) + "\n"
    record = ROOT / "tests" / "pipeline" / "executors" / f"{executor}.diff"
    if os.environ.get("RECORD"):
        record.write_text(changes)
    assert changes == record.read_text()


def test_strict_linter_finds_nothing(tmp_path: Path):
    done = subprocess.run([ROOT / "scripts" / "lint-nextflow.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing():
    done = subprocess.run(["ruff", "check", "--quiet", ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_scripts_can_be_executed():
    scripts = [path for path in (ROOT / "bin").glob("*.py") if not path.name.startswith("_")]
    assert len(scripts) == 19
    for path in scripts:
        assert os.access(path, os.X_OK), f"{path.name} is not executable: git update-index --chmod=+x"
        assert path.read_text().startswith("#!/usr/bin/env python3\n"), path.name


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_complete(module: str):
    folder = ROOT / "modules" / module
    source = (folder / "main.nf").read_text()
    assert f"process {module.upper()} {{" in source
    # Once in the script and once in the stub: without it -resume serves results of old code.
    assert source.count("# code ${task.ext.code_digest}") == 2
    assert "params." not in source
    assert "publishDir" not in source
    assert (folder / "meta.yml").read_text().startswith(f"name: {module}\n")
    titles = re.findall(r'^    test\("(.*)"\)', (folder / "tests" / "main.nf.test").read_text(), re.MULTILINE)
    # With a stub, and for real.
    assert {title.startswith("stub: ") for title in titles} == {True, False}


@pytest.mark.parametrize("module", MODULES)
def test_the_description_of_a_module_is_that_of_its_code(module: str):
    folder = ROOT / "modules" / module
    about = yaml.safe_load((folder / "meta.yml").read_text())
    source = (folder / "main.nf").read_text()
    inputs, outputs = (re.sub(" //.*", "", part) for part in re.split("    (?:output|script):\n", source)[:2])
    named = re.findall(r"\b(?:val|path)[( ](\w+)", inputs.split("    input:\n")[1])
    described = [group if isinstance(group, list) else [group] for group in about["input"]]
    assert [name for group in described for each in group for name in each] == named
    assert all(each["description"] for group in described for entry in group for each in entry.values())
    assert list(about["output"]) == re.findall(r"emit: (\w+)", outputs)
    for tool in about["tools"]:
        assert all({"description", "homepage", "documentation", "licence"} <= part.keys() for part in tool.values())
    assert about["authors"] == about["maintainers"] != []


def pinned(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\s*(?:- )?([\w.-]+)==([\w.]+)", text, re.MULTILINE))


def test_the_pipeline_and_the_library_name_the_same_files_of_a_model():
    text = (ROOT / "functions" / "models.nf").read_text()
    assert set(re.findall(r"'([\w.]+)'", text)) == {"config.json", *trained_model.MODEL_FILES}


def test_locks_agree_and_name_no_host():
    runtime = pinned((ROOT / "requirements" / "runtime.lock").read_text())
    assert len(runtime) > 50
    for extra in ("test", "integration", "bench"):
        text = (ROOT / "requirements" / f"{extra}.lock").read_text()
        differ = dict(runtime.items() - pinned(text).items())
        # The peers of the benchmark need an older scikit-learn; they have an environment of their own.
        assert set(differ) == ({"scikit-learn"} if extra == "bench" else set())
        assert "://" not in text
    assert pinned((ROOT / "modules" / "environment.yml").read_text()).items() <= runtime.items()


def test_conda_environment_has_all_direct_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", requirement).group() for requirement in project["dependencies"]}
    assert names == set(pinned((ROOT / "modules" / "environment.yml").read_text()))
