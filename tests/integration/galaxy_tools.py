"""All tests of the Galaxy tools in a real Galaxy server: `make test-galaxy`. Arguments go to galaxy-tool-test.

Prints pass or fail for each; ends with 1 if any test failed, or if a tool was not loaded.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from galaxy_server import Server, running, tools_in
from galaxy_workflow import test_workflow

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "galaxy" / "tools"
WORKFLOWS = ROOT / "galaxy" / "workflows"
TABLES = TOOLS / "cellmemory" / "tool_data_table_conf.xml.test"

#: Characters of what is shown of a failure.
LONGEST = 1500


def test_tools(server: Server, arguments: list[str]) -> bool:
    """Runs the tests in the tools' XML; whether all passed and none was left out."""
    results = server.folder / "results.json"
    command = [f"{sys.prefix}/bin/galaxy-tool-test", "--galaxy-url", server.url, "--key", server.user_key,
               "--admin-key", server.user_key, "--with-reference-data", "--output-json", results, "--parallel-tests", "2",
               "--history-per-test-case", *arguments]  # fmt: skip
    with (server.folder / "tests.log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=log, cwd=server.folder, check=False)
    if not results.exists():
        print((server.folder / "tests.log").read_text()[-3000:])
        return False
    tests = json.loads(results.read_text())["tests"]
    counts, seen = Counter(), set()
    for test in sorted(tests, key=lambda test: test["id"]):
        data = test["data"]
        status = data.get("status", "error")
        counts[status] += 1
        seen.add(data.get("tool_id"))
        print(f"{'PASS' if status == 'success' else status.upper():8}{test['id']} ({data.get('time_seconds') or 0:.0f} s)")
        if status != "success":
            _show(data)
    missing = [] if arguments else sorted(set(tools_in(TOOLS)) - seen)
    for name in missing:
        print(f"NOT RUN {name}: Galaxy did not load it, or it has no tests.")
        print("\n".join(line[:300] for line in server.log().splitlines() if name in line and "ERROR" in line))
    if counts["error"]:
        print("\n".join(re.findall(r"^\w*(?:Error|Exception)\b.*", server.log(), re.MULTILINE)[-20:]))
    print(f"{len(tests)} tests of tools: {dict(counts)}")
    return bool(tests) and not missing and set(counts) == {"success"}


def _show(data: dict) -> None:
    reason = data.get("execution_problem") or data.get("dynamic_tool_error") or "no reason given"
    for problem in data.get("output_problems") or [reason]:
        print("        " + str(problem)[:LONGEST].rstrip().replace("\n", "\n        "))
    job = data.get("job") or {}
    for name in ("command_line", "exit_code", "stderr"):
        if job.get(name) not in (None, ""):
            print(f"        {name}: " + str(job[name]).strip()[-LONGEST:].replace("\n", "\n        "))


def main() -> int:
    """Starts the server, runs all tests, and stops it."""
    python = ROOT / ".venv" / "bin" / "python"
    with tempfile.TemporaryDirectory(prefix="galaxy-") as name, running(TOOLS, python, Path(name) / "server", TABLES) as server:
        passed = [test_tools(server, sys.argv[1:])]
        if not sys.argv[1:]:
            passed += [test_workflow(server, path, ROOT) for path in sorted(WORKFLOWS.glob("*/*.gxwf.yml"))]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
