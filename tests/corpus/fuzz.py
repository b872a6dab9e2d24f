"""Files that were damaged at random: `python -m tests.corpus.fuzz --cases 2000 --seed 0`, or `make fuzz`.

Each case takes a good file, damages it (bytes of the file, or an element of its structure), and gives it to a script. It
must end with status 0 and whole results, or with 1 and a sentence; never with a traceback, a signal, or an output that is
not whole. A case is repeated by its own number: `--seed 0 --first 123 --cases 1`.
"""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import anndata as ad
import click
import h5py
import numpy as np
import pandas as pd

from tests.corpus import cells
from tests.corpus.runner import Outcome, run

#: What stands in for a value, an index, a length or a text.
STRANGE = (np.nan, np.inf, -1.0, 1e30, 2**40, -(2**31), 0, 0.5)


def damage_bytes(path: Path, rng: np.random.Generator) -> str:
    """Changes a few bytes, cuts the end off, or adds to it."""
    content = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "zero", "cut", "add"])
    if kind == "cut":
        content = content[: rng.integers(0, len(content))]
    elif kind == "add":
        content += rng.bytes(rng.integers(1, 5000))
    else:
        for place in rng.integers(0, len(content), rng.integers(1, 12)):
            content[place] = 0 if kind == "zero" else content[place] ^ (1 << rng.integers(8))
    path.write_bytes(content)
    return f"bytes: {kind}"


def damage_structure(path: Path, rng: np.random.Generator) -> str:
    """Changes one element of an HDF5 file: removes it, or gives it other values, another length, shape, kind or encoding."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = str(rng.choice(names))
        kind = str(rng.choice(["remove", "values", "length", "shape", "text", "group", "attribute"]))
        element = file[name]
        if kind == "remove" or (kind != "attribute" and isinstance(element, h5py.Group)):
            del file[name]
        elif kind == "attribute":
            _damage_attribute(element, rng)
        else:
            _replace(file, name, kind, rng)
        return f"{kind} {name}"


def _damage_attribute(element: h5py.Group | h5py.Dataset, rng: np.random.Generator) -> None:
    if not len(element.attrs):
        return
    key = str(rng.choice(list(element.attrs)))
    choice = rng.integers(3)
    if choice == 0:
        del element.attrs[key]
    else:
        element.attrs[key] = [-1, 2**40] if choice == 1 else "strange"


def _replace(file: h5py.File, name: str, kind: str, rng: np.random.Generator) -> None:
    """A dataset of another content under the same name, with the same attributes."""
    old = file[name]
    values, attributes = old[()], dict(old.attrs)
    values = np.atleast_1d(values)
    if kind == "values":
        values = values.astype(object if values.dtype == object else np.float64 if values.dtype.kind == "f" else values.dtype)
        places = rng.integers(0, max(1, values.size), 3)
        strange = STRANGE[rng.integers(len(STRANGE))]
        for place in places[: values.size]:
            with np.errstate(all="ignore"):
                values.flat[place] = b"\xff\xfe" if values.dtype == object else np.array(strange).astype(values.dtype)
    elif kind == "length":
        values = values[: rng.integers(0, len(values) + 1)] if rng.integers(2) else np.concatenate([values, values])
    elif kind == "shape":
        values = values[:, None] if rng.integers(2) or not values.size else values.reshape(-1)[:1].reshape(())
    elif kind == "text":
        values = np.array(["strange"] * len(values), object)
    del file[name]
    if kind == "group":
        new = file.create_group(name)
    elif values.dtype == object:
        raw = np.vectorize(lambda v: v if isinstance(v, bytes) else str(v).encode(), otypes=[object])(values)
        new = file.create_dataset(name, data=raw, dtype=h5py.string_dtype())
    else:
        new = file.create_dataset(name, data=values)
    for key, value in attributes.items():
        new.attrs[key] = value


def problem(done: Outcome, outputs: list[Path]) -> str | None:
    """What is wrong with how a script ended; None where nothing is."""
    there = [path.exists() for path in outputs]
    if done.status not in (0, 1) or "Traceback" in done.output:
        return f"status {done.status}"
    if done.status == 1 and (any(there) or "Error: " not in done.output):
        return "refused, but with outputs or without a sentence"
    if done.status == 0 and not all(there):
        return "success without all outputs"
    return None


class Fuzzer:
    """Good files, made once, and one damaged case after another."""

    def __init__(self, folder: Path):
        self.folder = folder
        cells.good(0).write_h5ad(folder / "reference.h5ad")
        query = cells.good(1)
        query.layers["counts"] = query.X.copy()
        query.raw = query
        query.obsm["spatial"] = np.zeros((query.n_obs, 2))
        query.write_h5ad(folder / "query.h5ad")
        (folder / "sheet.csv").write_text("sample,h5ad\ns,query.h5ad\n")
        made = [
            ("preprocess_reference", "--reference reference.h5ad --label_key cell_type --output aligned.h5ad --panel panel.tsv"),
            (
                "train",
                "--reference aligned.h5ad --panel panel.tsv --label_key cell_type --output model --max_epochs 2 --threads 1",
            ),
            ("preprocess_query", "--query query.h5ad --panel panel.tsv --output q.aligned.h5ad --alignment q.json"),
            ("map_query", "--query q.aligned.h5ad --model model --output q.mapped.h5ad --labels q.csv --threads 1"),
        ]
        for script, options in made:
            done = run(script, options.split(), folder)
            assert done.status == 0, done.output

    def case(self, seed: int, number: int) -> tuple[str, Outcome, str | None]:
        """Runs one case: what was done, how it ended, and what is wrong with that."""
        rng = np.random.default_rng([seed, number])
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            file, script, options, outputs = KINDS[rng.integers(len(KINDS))]
            shutil.copy(self.folder / file, folder / file)
            damage = (damage_bytes if rng.integers(3) == 0 else damage_structure)(folder / file, rng)
            arguments = [part.replace("GOOD", str(self.folder)) for part in options.split()]
            done = run(script, arguments, folder)
            wrong = problem(done, [folder / output for output in outputs])
            if wrong is None and done.status == 0:
                wrong = _not_finite(folder)
            return f"{script} of {file}, {damage}", done, wrong


def _not_finite(folder: Path) -> str | None:
    """Whether a result holds what is not a number where one must be."""
    if (folder / "a.h5ad").exists():
        values = ad.read_h5ad(folder / "a.h5ad").X.data
        if not (np.isfinite(values).all() and (values >= 0).all()):
            return "aligned values that are not finite"
    if (folder / "l.csv").exists():
        table = pd.read_csv(folder / "l.csv")
        if not table[["cellmemory_confidence", "cellmemory_novelty_p"]].apply(np.isfinite).all(axis=None):
            return "a confidence that is not finite"
    return None


KINDS = [
    ("query.h5ad", "preprocess_query", "--query query.h5ad --panel GOOD/panel.tsv --output a.h5ad --alignment a.json",
     ["a.h5ad", "a.json"]),
    ("query.h5ad", "check_inputs", "--samplesheet GOOD/sheet.csv --staged query.h5ad --reference GOOD/reference.h5ad "
     "--label_key cell_type --output i.json --query_genes g.tsv", ["i.json", "g.tsv"]),
    ("reference.h5ad", "preprocess_reference", "--reference reference.h5ad --label_key cell_type --batch_key donor "
     "--output r.h5ad --panel p.tsv", ["r.h5ad", "p.tsv"]),
    ("q.aligned.h5ad", "map_query", "--query q.aligned.h5ad --model GOOD/model --output m.h5ad --cells 0:60 --labels l.csv "
     "--threads 1", ["m.h5ad", "l.csv"]),
    ("q.mapped.h5ad", "evaluate", "--mapped q.mapped.h5ad --model GOOD/model --truth_key cell_type --output e.json", ["e.json"]),
    ("q.mapped.h5ad", "extract_tags", "--mapped q.mapped.h5ad --permutations 10 --tags t.tsv --slot_tags s.tsv --threads 1",
     ["t.tsv", "s.tsv"]),
]  # fmt: skip
"""The file that is damaged, the script that gets it, its options, and its outputs."""


@click.command()
@click.option("--cases", type=click.IntRange(min=1), default=2000, show_default=True, help="Cases to run.")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first one.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all cases.")
def main(cases: int, first: int, seed: int) -> None:
    """Runs damaged files through the scripts; ends with status 1 if any case goes wrong."""
    ends, wrong = Counter(), 0
    with tempfile.TemporaryDirectory() as name:
        fuzzer = Fuzzer(Path(name))
        for number in range(first, first + cases):
            about, done, problem_found = fuzzer.case(seed, number)
            ends["refused" if done.status == 1 else "read" if done.status == 0 else "broken"] += 1
            if problem_found:
                wrong += 1
                click.echo(f"{number}: {about}: {problem_found}\n{done.output[-1500:]}")
    click.echo(f"{cases} cases of seed {seed}: {ends['read']} read, {ends['refused']} refused, {wrong} wrong.")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
