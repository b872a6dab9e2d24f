"""Runs a workflow on a server as a user does, by the API, and holds what it makes to the assertions of its tests file."""

import json
import os
import subprocess
import time
from itertools import zip_longest
from pathlib import Path

import yaml
from galaxy.tool_util.parser.yaml import to_test_assert_list
from galaxy.tool_util.verify.asserts import verify_assertions
from galaxy_server import Server

#: States in which nothing more will happen.
ENDED = {"ok", "empty", "error", "discarded", "failed_metadata", "paused", "deleted"}
#: Variables that choose how libraries compute, and so the last digits: a job of Galaxy does not get them.
OF_LIBRARIES = ("OPENBLAS_", "MKL_", "OMP_", "NPY_", "ATEN_")
#: Seconds for all jobs of a run.
LONGEST = 3600


class Run:
    """A run of a workflow in a history of its own. job: the inputs by their names, as in a tests file."""

    def __init__(self, server: Server, workflow: Path, job: dict, folder: Path):
        self.server = server
        self.history = server.call("POST", "histories", json={"name": workflow.stem})["id"]
        inputs = {name: self._given(value, folder) for name, value in job.items()}
        about = {"workflow": yaml.safe_load(workflow.read_text())}
        self.workflow = server.call("POST", "workflows", json=about)["id"]
        # A workflow that lacks a value of a tool is refused here, as it is on the page.
        request = {"history_id": self.history, "inputs": inputs, "inputs_by": "name"}
        self.invocation = server.call("POST", f"workflows/{self.workflow}/invocations", json=request)["id"]

    def _given(self, value: object, folder: Path) -> object:
        """An input as an invocation takes it; files are uploaded."""
        if not isinstance(value, dict):
            return value
        if value["class"] == "File":
            (made,) = self._upload([value], folder)["outputs"]
            return {"src": "hda", "id": made["id"]}
        (made,) = self._upload(value["elements"], folder, value["collection_type"])["output_collections"]
        return {"src": "hdca", "id": made["id"]}

    def _upload(self, elements: list[dict], folder: Path, collection: str | None = None) -> dict:
        files, items = {}, []
        for number, element in enumerate(elements):
            path = folder / element["path"]
            files[f"files_{number}|file_data"] = (path.name, path.read_bytes())
            name = element.get("identifier", path.name)
            items.append({"src": "files", "name": name, "ext": element["filetype"], "auto_decompress": False})
        target: dict = {"destination": {"type": "hdas"}, "elements": items}
        if collection:
            target = {"destination": {"type": "hdca"}, "collection_type": collection, "name": "given", "elements": items}
        form = {"history_id": self.history, "targets": json.dumps([target])}
        made = self.server.call("POST", "tools/fetch", data=form, files=files)
        self._wait(lambda: [self.server.call("GET", f"jobs/{job['id']}")["state"] for job in made["jobs"]])
        return made

    def _wait(self, states) -> None:
        begun = time.monotonic()
        while not set(states()) <= ENDED:
            if time.monotonic() - begun > LONGEST:
                raise RuntimeError(f"Galaxy did not end: {states()}")
            time.sleep(2)

    def jobs(self) -> list[dict]:
        """All jobs of the run, in short."""
        return self.server.call("GET", f"jobs?invocation_id={self.invocation}")

    def wait(self) -> None:
        """Waits until all steps are scheduled and all jobs have ended."""
        begun = time.monotonic()
        path = f"invocations/{self.invocation}"
        while (state := self.server.call("GET", path)["state"]) in ("new", "ready"):
            if time.monotonic() - begun > LONGEST:
                raise RuntimeError(f"The workflow was not scheduled to its end: {state}")
            if self.failed():
                return
            time.sleep(2)
        self._wait(lambda: [job["state"] for job in self.jobs()])

    def failed(self) -> list[dict]:
        """The jobs that ended red."""
        return [self.server.call("GET", f"jobs/{job['id']}?full=true") for job in self.jobs() if job["state"] == "error"]

    def contents(self) -> dict[str, bytes | dict[str, bytes]]:
        """The content of each output by its label; of a collection by its elements' names."""
        found = self.server.call("GET", f"invocations/{self.invocation}")
        contents: dict = {name: self._content(output["id"]) for name, output in found["outputs"].items()}
        for name, output in found["output_collections"].items():
            collection = self.server.call("GET", f"dataset_collections/{output['id']}?instance_type=history")
            elements = collection["elements"]
            contents[name] = {each["element_identifier"]: self._content(each["object"]["id"]) for each in elements}
        return contents

    def _content(self, dataset: str) -> bytes:
        found = self.server.call("GET", f"histories/{self.history}/contents/{dataset}/display?raw=true")
        return found if isinstance(found, bytes) else json.dumps(found).encode()


def test_workflow(server: Server, workflow: Path, project: Path) -> bool:
    """Runs all tests of a workflow's tests file, and the same by Nextflow; prints pass or fail for each."""
    tests = workflow.with_name(f"{workflow.stem}-tests.yml")
    results = []
    for test in yaml.safe_load(tests.read_text()):
        begun = time.monotonic()
        run = Run(server, workflow, test["job"], tests.parent)
        run.wait()
        problems = [f"{job['tool_id']}: {job['stderr'].strip()[-1000:]}" for job in run.failed()]
        problems = problems or _problems(run.contents(), test["outputs"])
        results.append(_said(f"{workflow.name}: {test['doc']}", problems, begun))
        if not problems:
            begun = time.monotonic()
            problems = _other_labels(run.contents()["labels"], test["job"], tests.parent, server.folder, project)
            results.append(_said("the same queries by Nextflow: labels and confidence of every cell", problems, begun))
    return bool(results) and all(results)


def _said(what: str, problems: list[str], begun: float) -> bool:
    print(f"{'FAIL' if problems else 'PASS':8}{what} ({time.monotonic() - begun:.0f} s)")
    for problem in problems:
        print("        " + problem.replace("\n", "\n        "))
    return not problems


def _other_labels(labels: dict[str, bytes], job: dict, folder: Path, scratch: Path, project: Path) -> list[str]:
    """Runs the pipeline on the files of a workflow's test, and compares its tables of labels byte by byte."""
    place = scratch / "nextflow"
    place.mkdir()
    rows = [f"{each['identifier']},{(folder / each['path']).resolve()}\n" for each in job["queries"]["elements"]]
    (place / "sheet.csv").write_text("sample,h5ad\n" + "".join(rows))
    # As many threads as a job of Galaxy has here: the last digits of a result depend on their number.
    (place / "one.config").write_text("process { withName: 'TRAIN|MAP_QUERY' { cpus = 1 } }\n")
    command = [project / ".venv" / "bin" / "nextflow", "run", project, "-ansi-log", "false", "-c", "one.config", "--input",
               "sheet.csv", "--reference", (folder / job["reference"]["path"]).resolve(), "--label_key",
               job["column of the labels"], "--permutations", "0", "--faithfulness", "false"]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OF_LIBRARIES)}
    environment |= {"PATH": f"{project}/.venv/bin:{os.environ['PATH']}"}
    done = subprocess.run(list(map(str, command)), cwd=place, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"Nextflow ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}"]
    found = {name: (place / "results" / "samples" / name / f"{name}.labels.csv").read_bytes() for name in labels}
    return [f"{name}: {_difference(labels[name], found[name])}" for name in labels if labels[name] != found[name]]


def _difference(one: bytes, other: bytes) -> str:
    """How many lines of two tables differ, and the first that does."""
    pairs = list(zip_longest(one.decode().splitlines(), other.decode().splitlines()))
    first, second = next(((a, b) for a, b in pairs if a != b), ("", ""))
    return f"{sum(a != b for a, b in pairs)} of {len(pairs)} lines differ, the first: {first} / {second}"


def _problems(contents: dict, expected: dict) -> list[str]:
    problems = []
    for name, test in expected.items():
        if name not in contents:
            problems.append(f"there is no output '{name}'; there are: {', '.join(contents)}")
            continue
        parts = {"": test} if "asserts" in test else test["element_tests"]
        for element, part in parts.items():
            content = contents[name][element] if element else contents[name]
            try:
                verify_assertions(content, to_test_assert_list(part["asserts"]))
            except (AssertionError, KeyError) as error:
                problems.append(f"{name} {element}: {error}")
    return problems
