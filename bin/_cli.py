"""What all scripts do alike on the command line: options that they share, user errors, a log on standard error."""

import errno
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from cellmemory import __version__
from cellmemory.errors import NO_ROOM, InputError, shortened
from cellmemory.io.atomic import final_name
from cellmemory.io.text import is_url, url_for_a_file, url_for_an_output
from cellmemory.log import as_printed, show_on_standard_error
from cellmemory.log import say as say
from cellmemory.log import warn as warn


class _Path(click.Path):
    """A path of something that is read, whether it is there or not."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if is_url(str(value)):
            self.fail(url_for_a_file(str(value)), param, context)
        return super().convert(value, param, context)


class _Input(_Path):
    """A file or folder that is read. A pipe or a device is refused: it may never end, and cannot be read twice."""

    def __init__(self, **kwargs: Any):
        super().__init__(exists=True, path_type=Path, **kwargs)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, context)))
        if not (path.is_file() or path.is_dir()):
            self.fail(f"{str(path)!r} is a device or a pipe. Give a file.", param, context)
        return path


class Number(click.FloatRange):
    """A number within limits; NaN lies within none."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        number = super().convert(value, param, context)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, context)
        return number


FILE = _Input(dir_okay=False)
FILE_OR_FOLDER = _Input()
FOLDER = _Input(file_okay=False)
#: What may be missing, which the library then says with all other problems.
ANY_PATH = _Path(path_type=Path)

#: The status of a process that was killed for memory: schedulers, and our pipeline, give the next try more.
OUT_OF_MEMORY = 137

MOST_THREADS = 4096
#: Read by the libraries under numpy, scipy, scikit-learn and umap when they are loaded: how many threads each may start.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def _usual_threads() -> int:
    """OMP_NUM_THREADS, where it says a number, else one for each core: the network keeps to it as other libraries do."""
    number = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(number), MOST_THREADS) if re.fullmatch(r"0*[1-9]\d{0,8}", number) else len(os.sched_getaffinity(0))


threads = click.option(
    "--threads",
    type=click.IntRange(1, MOST_THREADS),
    default=_usual_threads,
    show_default="OMP_NUM_THREADS, or all",
    help="CPU threads.",
)
seed = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of everything random.")
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the model runs.",
)


class Output(click.Path):
    """A path that is written. kind: what is written there (see outputs.output_problems), and so what may be replaced."""

    def __init__(self, kind: str):
        super().__init__(path_type=Path)
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "":  # a path would make it the current folder
            self.fail("It is empty. Give the path to write to.", param, context)
        if is_url(str(value)):  # its parts would become folders
            self.fail(url_for_an_output(str(value)), param, context)
        return super().convert(value, param, context)


class _Command(click.Command):
    """A command whose user errors are a sentence each and status 1; `--debug` shows the traceback instead."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        # click leaves with 2 on a wrong option; a scheduler must see one status for all that a user can mend.
        try:
            status = super().main(*args, **{**kwargs, "standalone_mode": False})
            sys.exit(status if isinstance(status, int) else 0)
        except click.Abort as aborted:
            if isinstance(aborted.__cause__, EOFError):  # click takes it for a user who left
                raise RuntimeError("unexpected end of a file") from aborted
            sys.exit(130)
        except click.ClickException as error:
            error.show()
            sys.exit(1)

    def invoke(self, context: click.Context) -> Any:
        called = dict(context.params.pop("called"))
        show_on_standard_error(called)
        os.environ["MPLBACKEND"] = "Agg"  # Jupyter hands its own to all that it starts, and a script has no such module
        _limit_threads(context)
        if context.params.pop("debug"):
            _check_outputs(context)
            return super().invoke(context)
        try:
            _check_temporary_folder()
            _check_outputs(context)
            return super().invoke(context)
        except InputError as error:
            problems = error.problems
        except OSError as error:
            if error.errno is None:
                raise
            if error.errno == errno.ENOMEM:
                _out_of_memory()
            problems = [_io_sentence(error, context)]
        except MemoryError:
            _out_of_memory()
        except RuntimeError as error:
            # torch has no MemoryError: on a GPU a class of its own, on a CPU only these words.
            if type(error).__name__ != "OutOfMemoryError" and "can't allocate memory" not in str(error):
                raise
            _out_of_memory()
        for problem in shortened(problems):
            click.echo(f"Error: {as_printed(problem, called)}", err=True)
        sys.exit(1)


def _out_of_memory() -> NoReturn:
    click.echo("Error: there is not enough memory for this input. Run it where there is more.", err=True)
    sys.exit(OUT_OF_MEMORY)


def _check_temporary_folder() -> None:
    """Raises InputError where no temporary folder can be written: what steps load needs one."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise InputError("there is no temporary folder that can be written. Set TMPDIR to one.") from error


def _check_outputs(context: click.Context) -> None:
    """Raises InputError where an output would replace an input, another output, or what this script did not write."""
    from cellmemory.io.outputs import output_problems

    outputs = _outputs(context)
    given = {name: _paths(context.params.get(option.name)) for name, option in _options(context).items() if name not in outputs}
    problems = output_problems(outputs, given)
    if problems:
        raise InputError(problems)


def _outputs(context: click.Context) -> dict[str, tuple[Path, str]]:
    """Path and kind of each output that is written, by the option's name."""
    outputs = {}
    for name, option in _options(context).items():
        path = context.params.get(option.name)
        if isinstance(option.type, Output) and path:
            outputs[name] = (path, option.type.kind)
    return outputs


def _options(context: click.Context) -> dict[str, click.Option]:
    """The command's options by their names, as in `output`."""
    return {option.opts[0].removeprefix("--"): option for option in context.command.params if isinstance(option, click.Option)}


def _paths(value: object) -> list[Path]:
    """The paths in an option's value, which may be a tuple of values, and these tuples."""
    if isinstance(value, tuple):
        return [path for part in value for path in _paths(part)]
    return [value] if isinstance(value, Path) else []


def _io_sentence(error: OSError, context: click.Context) -> str:
    """What to say of a file that cannot be read or written. Where the error has no name, as one of a write has none, it is one
    of the command's outputs; not a checkpoint, without which a training goes on."""
    outputs = (str(path) for path, kind in _outputs(context).values() if kind != "checkpoints")
    path = final_name(error.filename) if error.filename else " or ".join(outputs) or "the output"
    if error.errno in NO_ROOM:
        return f"{path} could not be written ({os.strerror(error.errno or 0)}). Make room, and run the same again."
    return f"{path} cannot be read or written ({os.strerror(error.errno or 0)}). Check the path and its permissions."


def _limit_threads(context: click.Context) -> None:
    """Limits every library loaded later to `--threads` threads (1 where a script has no such option); left alone, each would use
    all cores of the machine, and the last digits of a result depend on their number.

    Variables that are set already win over the default of the option, but not over an option that was given.
    """
    given = context.get_parameter_source("threads") is ParameterSource.COMMANDLINE
    for name in THREAD_VARIABLES:
        number = str(context.params.get("threads", 1))
        os.environ[name] = number if given else os.environ.get(name, number)


def command(function: Callable[..., None]) -> click.Command:
    """Makes a function with click options into a script: adds `--debug`, `--version` and `-h`, and handles user errors.

    `--called` is for workflow managers, which put a user's files elsewhere: it is left out of the help.
    """
    function = click.option("--called", type=(str, str), multiple=True, hidden=True, metavar="PATH NAME",
                            help="In errors, PATH is called NAME.")(function)  # fmt: skip
    function = click.option("--debug", is_flag=True, help="Show the traceback of an error.")(function)
    function = click.version_option(__version__, prog_name="nf-cellmemory")(function)
    return click.command(cls=_Command, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})(function)
