"""Which dtype `--precision auto` is, what a machine does not have, and how many threads there are."""

import os
import subprocess
import sys

import click
import pytest
import scipy.linalg  # noqa: F401  its BLAS is looked for
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import _cli
from _cli import THREAD_VARIABLES
from cellmemory.errors import InputError
from cellmemory.network.runtime import configure
from cellmemory.network.threads import one_thread_of_scipy
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("variant", "native", "found"), [("standard", True, "bf16"), ("standard", False, "fp32"), ("light", True, "fp32")]
)
def test_auto_is_bf16_where_the_processor_multiplies_it_itself(monkeypatch, variant, native, found):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    runtime = configure("cpu", "auto", 1, seed=0, variant=variant)
    assert runtime.precision == found
    assert runtime.dtype == (torch.bfloat16 if found == "bf16" else torch.float32)
    assert configure("cpu", "fp32", 1, seed=0, variant=variant).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_only_where_it_was_asked_for():
    assert configure("auto", "auto", 1, seed=0).device == "cpu"
    with pytest.raises(InputError, match="no usable GPU"):
        configure("cuda", "auto", 1, seed=0)


#: A script that prints the threads of each library that counts its own.
COUNTING = """
import click, _cli

@_cli.command
{option}
def main(**_):
    import numpy, scipy.linalg, sklearn.cluster, numba
    from threadpoolctl import threadpool_info
    print(sorted({{library["num_threads"] for library in threadpool_info()}} | {{numba.config.NUMBA_NUM_THREADS}}))

main()
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: there is nothing to leave alone")
@pytest.mark.parametrize(
    ("option", "arguments", "environment", "threads"),
    [
        ("@_cli.threads", ["--threads", "1"], {}, 1),
        ("@_cli.threads", ["--threads", "1"], {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}, 1),
        ("@_cli.threads", [], dict.fromkeys(THREAD_VARIABLES, "1"), 1),
        ("@_cli.threads", ["--threads", "2"], {}, 2),
        ("", [], {}, 1),
    ],
)
def test_libraries_start_no_more_threads_than_they_were_given(option, arguments, environment, threads):
    bare = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", COUNTING.format(option=option), *arguments]
    done = subprocess.run(command, cwd=ROOT / "bin", env=bare | environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[{threads}]"


@pytest.mark.parametrize(("said", "threads"), [("1", 1), ("3", 3), ("", None), ("0", None), ("4,2", None), ("many", None)])
def test_threads_are_as_many_as_the_environment_says_or_all(monkeypatch, said, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    command = click.command()(_cli.threads(lambda threads: threads))
    assert command.main([], standalone_mode=False) == (threads or len(os.sched_getaffinity(0)))


def test_only_the_blas_of_scipy_is_kept_to_one_thread():
    def threads() -> dict[str, int]:
        return {found["filepath"]: found["num_threads"] for found in threadpool_info()}

    with threadpool_limits(2):
        before = threads()
        with one_thread_of_scipy():
            within = threads()
        assert threads() == before
    limited = [file for file, number in within.items() if number != before[file]]
    assert [within[file] for file in limited] == [1]
    assert ["scipy.libs" in file for file in limited] == [True]
