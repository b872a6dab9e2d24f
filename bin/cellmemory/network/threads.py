"""Threads of libraries that get in each other's way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread_of_scipy() -> Iterator[None]:
    """scipy's L-BFGS with one thread, where scipy brings a BLAS of its own beside numpy's, as its wheels do.

    The threads of both wait for work on the same cores: a fit on two takes two to ten times as long as without those of
    scipy, whose share of the work is small.
    """
    every = ThreadpoolController()
    own = [file for found in every.info() if Path(file := found["filepath"]).parent.name == "scipy.libs"]
    with every.select(filepath=own).limit(limits=1):
        yield
