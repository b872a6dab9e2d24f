"""A few cases of the fuzzer, so that it keeps running; `make fuzz` runs thousands."""

import os
import subprocess
import sys

from tests.conftest import ROOT


def test_damaged_files_are_read_or_refused():
    """In a process of its own: libraries that have started threads do not bear to be split off."""
    command = [sys.executable, "-m", "tests.corpus.fuzz", "--cases", "40", "--seed", "1"]
    path = os.pathsep.join([str(ROOT / "bin"), str(ROOT)])
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 cases of seed 1" in done.stdout
