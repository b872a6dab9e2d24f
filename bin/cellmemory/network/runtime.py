"""Where and how the network runs: device, dtype, threads, memory, progress."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from cellmemory.errors import InputError
from cellmemory.log import say

#: Numbers that glibc's malloc.h gives to its options; blocks up to KEPT_BLOCK bytes (the most that it allows) come from
#: its own heap, of which up to KEPT_MEMORY bytes stay with the process when they are free.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BLOCK, KEPT_MEMORY = 32 << 20, 1 << 30
#: Tokens of a batch where nothing is learned. On a CPU: large enough for the matrix products, small enough for the cache. On
#: a GPU: as many as keep all of it busy; a batch of the standard variant then takes about 2 GB.
TOKEN_BUDGETS = {"cpu": 8192, "cuda": 1 << 18}
OUT_OF_MEMORY = ("can't allocate memory", "bad_alloc", "out of memory")

Part = TypeVar("Part", bound=Sized)


@dataclass(frozen=True)
class Runtime:
    """device: `cpu` or `cuda`; precision: `fp32` or `bf16`, the format of tokens and of the products with them."""

    device: str
    precision: str
    threads: int

    @property
    def dtype(self) -> torch.dtype:
        """What CellMemory.dtype has to be."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def token_budget(self) -> int:
        """Tokens that go through the network at once where nothing is learned."""
        return TOKEN_BUDGETS[self.device]

    def progress(self, parts: Iterable[Part], total: int, doing: str) -> Iterator[Part]:
        """The parts, with a line of the log after each where there are several; doing: such as `Mapped`."""
        done = 0
        for part in parts:
            yield part
            done += len(part)
            if len(part) < total:
                say(f"{doing} {done:,} of {total:,} cells.")

    def __str__(self) -> str:
        name = torch.cuda.get_device_name() if self.device == "cuda" else f"{self.threads} CPU threads"
        return f"{name}, {self.precision}"


def configure(device: str, precision: str, threads: int, *, seed: int, variant: str = "light") -> Runtime:
    """Sets threads, seed and determinism for this process and settles `auto`, for a network of a variant.

    Raises InputError for a missing GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda was asked for, but torch finds no usable GPU here; use --device auto or cpu.")
    device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms, which loads the compiler for a second
    deterministic: Any = torch.utils.deterministic  # of a property that its types leave out
    deterministic.fill_uninitialized_memory = False  # a guard against bugs that costs a third of the time
    _keep_freed_memory()
    return Runtime(device, _precision(device, precision, variant), threads)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU (torch.OutOfMemoryError) or for the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in str(error) for words in OUT_OF_MEMORY)


def in_halves(n: int, run: Callable[[slice], None], without_memory: str) -> None:
    """Runs on n cells; where memory runs out, on either half of them instead, and so on.

    Raises InputError with the sentence `without_memory` where a single cell is too much.
    """
    ahead = [slice(0, n)]
    while ahead:
        cells = ahead.pop()
        try:
            run(cells)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if cells.stop - cells.start == 1:
                raise InputError(without_memory) from error
            middle = (cells.start + cells.stop) // 2
            ahead += [slice(middle, cells.stop), slice(cells.start, middle)]


def _precision(device: str, precision: str, variant: str) -> str:
    """bf16 where it is faster: where the products are large, which they are not in the light variant, on GPUs and processors
    that multiply it themselves (AVX512-BF16, which all with AMX have too). Others have to bring each bf16 number to fp32
    first."""
    if precision != "auto":
        return precision
    if variant == "light":
        return "fp32"
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return "bf16" if native else "fp32"


def _keep_freed_memory() -> None:
    """Tells glibc to keep what a step frees for the next one: fetching zeroed pages anew costs a tenth of a training step,
    and half of a feed-forward network's time where products are in bf16. Elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY)
