"""A file that keeps the first failure of writing, for libraries that crash on one."""

from pathlib import Path


class GuardedFile:
    """A file for libraries that crash where a write fails, as HDF5 does on a full disk: they never see it.

    The first failure is kept, and all that is written after it is dropped. `check` raises it, an OSError. mode: a new file,
    or with `r+b` one that is there.
    """

    def __init__(self, path: str | Path, mode: str = "w+b"):
        self._file = Path(path).open(mode, buffering=0)  # noqa: SIM115 - closed by `close`
        self._failure: OSError | None = None
        self.seek, self.tell, self.read, self.readinto, self.flush = (
            getattr(self._file, name) for name in ("seek", "tell", "read", "readinto", "flush")
        )

    def write(self, data: bytes | memoryview) -> int:
        rest = memoryview(data).cast("B")
        try:
            while rest and not self._failure:
                rest = rest[self._file.write(rest) :]
        except OSError as failure:
            self._keep(failure)
        return len(data)

    def truncate(self, size: int) -> int:
        try:
            if not self._failure:
                self._file.truncate(size)
        except OSError as failure:
            self._keep(failure)
        return size

    def _keep(self, failure: OSError) -> None:
        failure.filename = self._file.name
        self._failure = failure

    def check(self) -> None:
        if self._failure:
            raise self._failure

    def close(self) -> None:
        self._file.close()
