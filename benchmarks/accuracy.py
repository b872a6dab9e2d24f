#!/usr/bin/env python3
"""Accuracy side by side with peers on real data: `make bench-accuracy`, or the steps one by one.

    benchmarks/accuracy.py splits crossval curves novelty integration summarise

A run that was stopped goes on where it was. The results of single runs are kept in the work folder; `summarise` makes
benchmarks/results/*.json and docs/accuracy.md of them. `ours.py` names our variants, `peers.py` the peers.
"""

import signal
import sys
from itertools import product
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "bin"))
#: Runs of one fold, one part or one type are many: fewer seeds are enough there.
SEEDS = {"splits": 5, "crossval": 1, "curves": 3, "novelty": 1}
#: What a kind is run with where --methods does not say: learning curves and the rest are for ours and the fast peers.
SLOW = ("cellmemory_standard", "cellmemory_full", "cellmemory_adapt", "scanvi")
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(chain=True, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=FOLDER, envvar="CELLMEMORY_BENCH_DATA", help="Folder with splits.json and the files that it names.")
@click.option("--work", type=FOLDER, envvar="CELLMEMORY_BENCH_WORK", default=ROOT / "benchmarks" / "work",
              show_default="benchmarks/work", help="Folder of the single results.")  # fmt: skip
@click.option("--results", type=FOLDER, default=ROOT / "benchmarks" / "results", show_default="benchmarks/results",
              help="Folder of the summaries.")  # fmt: skip
@click.option("--docs", type=FOLDER, default=ROOT / "docs", show_default="docs", help="Folder of accuracy.md and its images.")
@click.option("--peers_python", type=click.Path(path_type=Path), default=ROOT / ".venv-bench" / "bin" / "python",
              show_default=".venv-bench/bin/python", help="The Python that has the peers (scripts/setup.sh bench).")  # fmt: skip
@click.pass_context
def main(context: click.Context, **folders: Path) -> None:
    """Accuracy of ours and of its peers, on splits of real data into a reference and a query."""
    context.obj = folders
    # A run that is ended ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def kind(name: str, help: str) -> None:
    """Adds the command that runs one kind of task."""

    @main.command(name, help=help)
    @click.option("--only", help="Splits, with commas; all if not given.")
    @click.option("--methods", "chosen", help="Methods, with commas.")
    @click.option("--seeds", type=click.IntRange(min=1), default=SEEDS[name], help="Seeds of each method that has any.")
    @click.option("--threads", type=click.IntRange(min=1), default=1, help="Threads of each method.")
    @click.option("--limit", type=float, default=1800, help="Seconds after which a run is stopped.")
    @click.option("--redo", is_flag=True, help="Repeat the runs that were made before.")
    @click.option("--train_option", "extra", multiple=True, help="Option that all our trainings get, as --max_epochs=2.")
    @click.pass_obj
    def command(folders: dict, only, chosen, seeds, threads, limit, redo, extra) -> None:
        import running

        if not _has_splits(name, folders):
            return
        slow = () if name == "splits" else SLOW
        wanted = _named(chosen, running.methods(), "method") or [m for m in running.methods() if m not in slow]
        settings = running.Settings(folders["peers_python"], threads, limit, extra)
        if any(method in running.PEERS for method in wanted):
            _need_peers(folders)
        run_kind(name, folders, only, wanted, seeds, settings, redo)


kind("splits", "The splits themselves.")
kind("crossval", "Five folds of every reference.")
kind("curves", "References of 50 cells and more, up to all.")
kind("novelty", "Every type in turn left out of the reference.")


@main.command(help="Reference and query of the splits in one embedding.")
@click.option("--only", help="Splits, with commas; all if not given.")
@click.option("--threads", type=click.IntRange(min=1), default=1, help="Threads of each method.")
@click.pass_obj
def integration(folders: dict, only: str | None, threads: int) -> None:
    from integration import run_integration

    if not _has_splits("integration", folders):
        return
    _need_peers(folders)
    splits = read_all(folders["data"])
    wanted = _named(only, [split.name for split in splits], "split")
    path = folders["results"] / "integration.json"
    for line in run_integration(splits, wanted, path, folders["peers_python"], threads):
        say(line)


def _has_splits(name: str, folders: dict) -> bool:
    """Whether there are data; a line of the log where there are none."""
    data = folders["data"]
    if data and (data / "splits.json").exists():
        return True
    what = f"{data} has no splits.json" if data else "no data were given"
    say(f"{name}: skipped, {what} (--data or CELLMEMORY_BENCH_DATA names their folder)")
    return False


def _need_peers(folders: dict) -> None:
    if not folders["peers_python"].exists():
        raise click.ClickException(f"{folders['peers_python']} is missing: run scripts/setup.sh bench, or give --peers_python.")


def run_kind(name: str, folders: dict, only: str | None, methods: list[str], seeds: int, settings, redo: bool) -> None:
    """Runs what is missing of one kind of task, split by split and seed by seed."""
    from running import Store, run_method, seeds_of
    from splits import cells_of, distinct, tasks

    store = Store(folders["work"], name)
    splits = read_all(folders["data"])
    if name in ("crossval", "novelty"):
        splits = distinct(splits)
    by_split = {split.name: tasks(name, split) for split in splits}
    store.expect([task for found in by_split.values() for task in found])
    wanted = _named(only, list(by_split), "split")
    for split in splits:
        if wanted and split.name not in wanted:
            continue
        for task, seed in product(by_split[split.name], range(seeds)):
            todo = [m for m in methods if seed in seeds_of(m, name, seeds) and (redo or not store.has(task, m, seed))]
            if not todo:
                continue
            reference, query = cells_of(task, split, seed)
            for method in todo:
                about, run, predictions = run_method(method, reference, query, seed, settings)
                store.add(task, method, seed, about | split.left_out, run, predictions)
                say(f"{name} {task.name} {method} seed {seed}: {_brief(run)}")


def read_all(data: Path) -> list:
    """The splits whose files are there; a line of the log for each one that is left out."""
    from splits import read_split, read_splits

    found = []
    for name, spec in read_splits(data).items():
        absent = [spec[key] for key in ("file", "query_file") if key in spec and not (data / spec[key]).exists()]
        if absent:
            say(f"{name}: skipped, {absent[0]} is not in {data}")
        else:
            found.append(read_split(name, spec, data))
    return found


def _named(names: str | None, known: list[str], what: str) -> list[str]:
    """The names of a list with commas; a ClickException for one that is not known."""
    wanted = [name for name in (names or "").split(",") if name]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise click.ClickException(f"there is no {what} '{unknown[0]}'; there are: {', '.join(known)}.")
    return wanted


def _brief(run: dict) -> str:
    if "error" in run:
        return run["error"]
    figures = [f"{name} {run[name]:.3f}" for name in ("macro_f1", "accuracy", "ece", "novelty_auroc") if run[name] is not None]
    return f"{', '.join(figures)}, {run['train_s']:.1f} + {run['predict_s']:.1f} s, {run['peak_mib']:.0f} MiB"


@main.command
@click.option("--unseen", is_flag=True, help="The splits are of data that no choice was made on: a section of their own.")
@click.pass_obj
def summarise(folders: dict, unseen: bool) -> None:
    """Tables and figures of all that was run; refused where a run is missing."""
    from cellmemory.errors import InputError
    from page import write_page
    from summary import summaries

    try:
        found = summaries(folders["work"])
    except InputError as error:
        raise click.ClickException(str(error)) from error
    if not found:
        say(f"nothing to summarise: {folders['work']} holds no results")
        return
    mixed = {m for one in found.values() for m, about in one["methods"].items() if len(about["versions"]) > 1}
    if mixed:
        say(f"runs of different versions are mixed, repeat the older ones with --redo: {', '.join(sorted(mixed))}")
    if unseen:
        found = {"unseen": found["accuracy"]} if "accuracy" in found else {}
    write_page(found, folders["results"], folders["docs"])
    say(f"wrote {folders['results']} and {folders['docs'] / 'accuracy.md'}")


def say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
