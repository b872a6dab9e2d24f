"""Where and how the network runs: device, number format, threads, progress."""

import os
import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from cellmemory.errors import InputError

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Runtime:
    """device: `cpu` or `cuda`; precision: `fp32` or `bf16` (products in bf16, softmax, norms and losses in fp32)."""

    device: str
    precision: str
    threads: int

    def autocast(self) -> AbstractContextManager:
        """The context in which the network's products run."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")

    def progress(self, parts: Iterable[Sized], total: int, doing: str) -> Iterator:
        """The parts, with a line of progress on standard error after each where there are several."""
        done = 0
        for part in parts:
            yield part
            done += len(part)
            if len(part) < total:
                print(f"{doing}: {done:,} of {total:,} cells", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name() if self.device == "cuda" else f"{self.threads} CPU threads"
        return f"{name}, {self.precision}"


def start(device: str, precision: str, threads: int, seed: int) -> Runtime:
    """Sets threads, seed and determinism for this process and settles `auto`. Raises InputError for a missing GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda was asked for, but torch finds no usable GPU here; use --device auto or cpu.")
    device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a guard against bugs that costs a third of the time
    return Runtime(device, _precision(device, precision), threads)


def _precision(device: str, precision: str) -> str:
    if precision != "auto":
        return precision
    return "bf16" if device == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
