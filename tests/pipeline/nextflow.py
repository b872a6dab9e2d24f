"""Runs the real Nextflow, as a user does, and reads what it says."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
STUB_CONFIG = Path(__file__).with_name("stub.config")
NEXTFLOW = ROOT / ".venv" / "bin" / "nextflow"

STEPS = {
    "CHECK_INPUTS": 1,
    "PREPROCESS_REFERENCE": 1,
    "TRAIN": 1,
    "PREPROCESS_QUERY": 2,
    "MAP_QUERY": 2,
    "EXTRACT_TAGS": 2,
    "FAITHFULNESS": 2,
    "ENRICH": 2,
    "CLUSTER": 2,
    "ANNOTATE": 2,
    "EVALUATE": 2,
    "REPORT_SAMPLE": 2,
    "REPORT_RUN": 1,
    "CHECKSUMS_SAMPLE": 2,
    "CHECKSUMS_MODEL": 1,
}
"""Every step of the test profile, and how many tasks it has: the samplesheet names two queries."""


@dataclass
class Run:
    """A finished run: its status, all that it printed, and the tasks that it submitted or took from the cache."""

    status: int
    output: str

    @property
    def submitted(self) -> list[str]:
        return self._tasks("Submitted")

    @property
    def cached(self) -> list[str]:
        return self._tasks("Cached")

    @property
    def retried(self) -> list[str]:
        return self._tasks("Re-submitted")

    def _tasks(self, verb: str) -> list[str]:
        return sorted(re.findall(rf"\] {verb} process > (?:\w+:)*(.+)", self.output))


def command(*arguments: object) -> list[str]:
    return [str(NEXTFLOW), *map(str, arguments)]


def nextflow(*arguments: object, folder: Path, **environment: str) -> Run:
    """Runs `nextflow ARGUMENTS` in `folder`, where its work folder and results then are."""
    done = subprocess.run(
        command(*arguments), cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    return Run(done.returncode, done.stdout + done.stderr)


def pipeline(*arguments: object, folder: Path, project: Path = ROOT, **environment: str) -> Run:
    """Runs the pipeline; a line for each task instead of a screen that redraws itself."""
    return nextflow(*_words(project, arguments), folder=folder, **environment)


def start(*arguments: object, folder: Path) -> subprocess.Popen:
    """Starts the pipeline, in a session of its own, and leaves it running; its stdout is what it says."""
    words, streams = command(*_words(ROOT, arguments)), {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(words, cwd=folder, text=True, start_new_session=True, **streams)


def _words(project: Path, arguments: tuple[object, ...]) -> tuple[object, ...]:
    stub = ("-c", STUB_CONFIG) if {"-stub", "-stub-run"} & set(arguments) else ()
    return "run", project, "-ansi-log", "false", *arguments, *stub


def succeed(*arguments: object, folder: Path, project: Path = ROOT, **environment: str) -> Run:
    """Runs the pipeline, which must end well."""
    run = pipeline(*arguments, folder=folder, project=project, **environment)
    assert run.status == 0, run.output
    return run


def refused(*arguments: object, folder: Path, **environment: str) -> str:
    """Runs the pipeline, which must refuse its input before any task: status 1, no Groovy. Returns what it said."""
    run = pipeline(*arguments, folder=folder, **environment)
    assert run.status == 1, run.output
    assert run.submitted == []
    assert "Exception" not in run.output
    return run.output


def asked(functions: dict[str, str], groovy: str, given: object = None, *, folder: Path) -> Any:
    """What lines of Groovy leave in `found`, after a start of Nextflow in `folder`. functions: names of functions that they call,
    separated by semicolons, and the file of `functions/` that these are in. given: what the lines know by this name."""
    script = folder / "asked"
    script.mkdir()
    (script / "given.json").write_text(json.dumps(given))
    includes = [f"include {{ {names} }} from '{ROOT}/functions/{file}'" for names, file in functions.items()]
    (script / "main.nf").write_text(
        "\n".join(includes)
        + f"""
        workflow {{
            def given = new groovy.json.JsonSlurper().parse(file("${{projectDir}}/given.json"))
            {groovy}
            file("${{projectDir}}/found.json").text = groovy.json.JsonOutput.toJson(found)
        }}
        """
    )
    run = nextflow("run", script, folder=folder)
    assert run.status == 0, run.output
    return json.loads((script / "found.json").read_text())


def problems(*runs: dict[str, object], folder: Path) -> list[list[str]]:
    """What the functions that read parameters say of each run's, as `pipeline` would from `folder`; in one start of Nextflow."""
    groups = json.loads((ROOT / "nextflow_schema.json").read_text())["$defs"].values()
    defaults = {name: about.get("default") for group in groups for name, about in group["properties"].items()}
    given = [defaults | {name: str(value) for name, value in run.items()} for run in runs]
    groovy = "def found = given.collect { each -> readInputs(each)[1].collect { text -> text.toString() } }"
    return asked({"readInputs": "inputs.nf"}, groovy, given, folder=folder)


def counted(tasks: list[str]) -> dict[str, int]:
    """How many tasks each step has among `tasks`: `["MAP_QUERY (a)", "MAP_QUERY (b)"]` is `{"MAP_QUERY": 2}`."""
    steps = [task.split(" ")[0] for task in tasks]
    return {step: steps.count(step) for step in steps}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def lose(work: Path, name: str) -> None:
    """Removes what tasks made of this name, and leaves the links to it of the tasks that took it."""
    found = [path for path in work.glob(f"*/*/{name}") if not path.is_symlink() and not path.parent.is_symlink()]
    assert found, name
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
