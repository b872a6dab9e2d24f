"""A Galaxy server for tests, on this machine alone: one process, sqlite, local jobs; nothing is asked of a network.

Runs in Galaxy's own environment (requirements/galaxy.lock), apart from the pipeline's: both have versions of their own.
"""

import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import requests
import yaml
from galaxy.tool_util.loader import load_tool

#: Who runs the tests: an administrator, whom the first call makes.
USER = "test@example.org"
#: Seconds in which the server has to answer; it takes half a minute to two.
STARTUP = 300


@dataclass(frozen=True)
class Server:
    """A running server. key: of the administrator without a user; user_key: of the user who runs things."""

    url: str
    key: str
    user_key: str
    folder: Path

    def call(self, method: str, path: str, **arguments: object) -> object:
        """What the API answers. Raises RuntimeError with the server's words."""
        answer = requests.request(
            method, f"{self.url}/api/{path}", headers={"x-api-key": self.user_key}, timeout=120, **arguments
        )
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def log(self) -> str:
        """What the server has written."""
        return (self.folder / "server.log").read_text(errors="replace")


def tools_in(folder: Path) -> dict[str, Path]:
    """The tools below a folder, by their ids."""
    found = {}
    for path in sorted(folder.rglob("*.xml")):
        if ElementTree.parse(path).getroot().tag == "tool":
            found[load_tool(str(path)).getroot().get("id")] = path
    return found


@contextmanager
def running(tools: Path, python: Path, folder: Path, tables: Path, jobs: int = 2) -> Iterator[Server]:
    """Starts a server with the tools of a folder, and stops it and all its jobs at the end.

    python: the interpreter that the tools mean; tables: data tables; jobs: how many run at once.
    """
    for name in ("data", "dependencies", "home", "tmp"):
        (folder / name).mkdir(parents=True)
    key = secrets.token_hex(16)
    _write_settings(tools, python, folder, tables, jobs=jobs, key=key)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    # No proxy for loopback. A job activates the environment of the server for Galaxy's own steps.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"VIRTUAL_ENV": sys.prefix, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "NO_PROXY": "127.0.0.1"}
    environment |= {"no_proxy": "127.0.0.1", "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    os.environ |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    command = [f"{sys.prefix}/bin/galaxy-web", "--config", "galaxy.yml", "--bind", f"127.0.0.1:{port}"]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield Server(url := f"http://127.0.0.1:{port}", key, _user_key(url, key, process, folder), folder)
    finally:
        _stop(process)


def _user_key(url: str, key: str, process: subprocess.Popen, folder: Path) -> str:
    """Waits for the server, and makes the user who runs the tests."""
    begun = time.monotonic()
    while True:
        try:
            requests.get(f"{url}/api/version", timeout=5).raise_for_status()
            break
        except requests.RequestException:
            if process.poll() is not None or time.monotonic() - begun > STARTUP:
                raise RuntimeError(f"Galaxy did not start:\n{(folder / 'server.log').read_text()[-3000:]}") from None
            time.sleep(1)
    about = {"username": "tester", "email": USER, "password": secrets.token_hex(12)}
    user = requests.post(f"{url}/api/users", json=about, headers={"x-api-key": key}, timeout=60)
    user.raise_for_status()
    made = requests.post(f"{url}/api/users/{user.json()['id']}/api_key", headers={"x-api-key": key}, timeout=60)
    made.raise_for_status()
    return made.json()


def _stop(process: subprocess.Popen) -> None:
    """Ends the server and what it started, its jobs among it: each job is a session of its own."""
    below = _below(process.pid)
    for pid in (process.pid, *below):
        _kill(pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    for pid in (process.pid, *below):
        _kill(pid, signal.SIGKILL)
    process.wait()


def _below(pid: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            found += [*_below(child), child]
    return found


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _write_settings(tools: Path, python: Path, folder: Path, tables: Path, *, jobs: int, key: str) -> None:
    toolbox = ElementTree.Element("toolbox")
    section = ElementTree.SubElement(toolbox, "section", id="tools", name="CellMemory")
    for path in tools_in(tools).values():
        ElementTree.SubElement(section, "tool", file=str(path))
        for requirement in load_tool(str(path)).getroot().iter("requirement"):
            # Every package means the environment of the pipeline. Without one, a job would run in the server's own.
            place = folder / "dependencies" / requirement.text.strip() / requirement.get("version")
            place.mkdir(parents=True, exist_ok=True)
            path_line = f"PATH={shlex.quote(str(python.parent))}:$PATH; export PATH; unset PYTHONPATH PYTHONHOME VIRTUAL_ENV\n"
            (place / "env.sh").write_text(path_line)
    ElementTree.ElementTree(toolbox).write(folder / "tool_conf.xml")
    (folder / "dependency_resolvers_conf.xml").write_text(
        f'<dependency_resolvers><galaxy_packages base_path="{folder}/dependencies"/></dependency_resolvers>\n'
    )
    (folder / "container_resolvers.yml").write_text("- type: explicit\n")  # the usual ones ask a network
    runner = {"load": "galaxy.jobs.runners.local:LocalJobRunner", "workers": jobs}
    environment = {"runner": "local", "require_container": False}
    execution = {"default": "local", "environments": {"local": environment}}
    (folder / "job_conf.yml").write_text(yaml.safe_dump({"runners": {"local": runner}, "execution": execution}))
    settings = {
        "config_dir": str(folder),
        "data_dir": str(folder / "data"),
        "tool_config_file": str(folder / "tool_conf.xml"),
        "job_config_file": str(folder / "job_conf.yml"),
        "dependency_resolvers_config_file": str(folder / "dependency_resolvers_conf.xml"),
        "tool_data_table_config_path": str(tables),
        "container_resolvers_config_file": str(folder / "container_resolvers.yml"),
        # Two jobs may write at once: the second waits.
        "database_connection": f"sqlite:///{folder}/data/galaxy.sqlite?isolation_level=IMMEDIATE&timeout=120",
        "bootstrap_admin_api_key": key,
        "admin_users": USER,
        "id_secret": secrets.token_hex(16),
        "conda_auto_init": False,
        "conda_auto_install": False,
        "involucro_auto_init": False,
        "enable_celery_tasks": False,
        "enable_tool_shed_check": False,
        "use_heartbeat": False,
        "cleanup_job": "onsuccess",
        "job_handler_monitor_sleep": 0.2,
        "job_runner_monitor_sleep": 0.2,
        "carbon_emission_estimates": False,
    }
    (folder / "galaxy.yml").write_text(yaml.safe_dump({"galaxy": settings}))
