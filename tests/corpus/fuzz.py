"""Files that were damaged at random: `python -m tests.corpus.fuzz --cases 2000 --seed 0`, or `make fuzz`.

Each case takes a good file or folder, damages it (its bytes, or an element of its structure), and gives it to a script. Model
folders are signed again after most damages, so that their contents are looked at, and not their checksums alone. A case must
end with status 0 and whole results, or with 1 and a sentence; never with a traceback, a signal, or an output that is not
whole. It is repeated by its own number: `--seed 0 --first 123 --cases 1`.
"""

import gzip
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import click
import h5py
import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save

from tests.corpus.made import make
from tests.corpus.runner import Outcome, preload, run
from tests.made.model_folders import sign

#: What stands in for a value, an index, a length or a text.
STRANGE = (np.nan, np.inf, -1.0, 1e30, 2**40, -(2**31), 0, 0.5)
TEXTS = ("", " ", "nan", "NA", "-1", "1e999", "0,5", "x" * 300, '"', "\\", "=1+1", "\u00e9", "1.5", "99999999999999999999")
JSON_VALUES = (None, True, -1, 0, 1, 0.5, 1e30, 10**40, "", "text", "\u0000", [], {}, [[]], [1, 2], {"a": 1}, "x" * 300)


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


def damage_text(path: Path, rng: np.random.Generator, separator: str) -> str:
    """Changes one line or cell of a text file."""
    lines = path.read_text().split("\n")
    kind, place = str(rng.choice(["cell", "drop", "twice", "swap", "column", "separator", "encoding"])), rng.integers(len(lines))
    cells_of_line = lines[place].split(separator)
    if kind == "cell":
        cells_of_line[rng.integers(len(cells_of_line))] = str(rng.choice(TEXTS))
        lines[place] = separator.join(cells_of_line)
    elif kind == "drop":
        del lines[place]
    elif kind == "twice":
        lines.insert(place, lines[place])
    elif kind == "swap":
        other = rng.integers(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == "column":
        column = rng.integers(max(1, len(lines[0].split(separator))))
        lines = [separator.join(c for i, c in enumerate(line.split(separator)) if i != column) for line in lines]
    elif kind == "separator":
        lines = [line.replace(separator, ";") for line in lines]
    path.write_text("\n".join(lines), encoding="utf-16" if kind == "encoding" else None)
    return f"text: {kind}, line {place + 1}"


def damage_json(path: Path, rng: np.random.Generator, _separator: str = "") -> str:
    """Changes one value of a JSON file, however deep, or leaves it out."""
    value = json.loads(path.read_text())
    places = list(_places(value))
    inner, key = places[rng.integers(len(places))]
    if rng.integers(4) == 0:
        del inner[key]
    else:
        inner[key] = JSON_VALUES[rng.integers(len(JSON_VALUES))]
    path.write_text(json.dumps(value))
    return f"value {key}"


def _places(value: object) -> Iterator[tuple[dict | list, str | int]]:
    """Where a value stands: each object or list in it, and each key or number."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def damage_tensors(path: Path, rng: np.random.Generator, _separator: str = "") -> str:
    """Changes one tensor of a safetensors file: its numbers, shape or type, or leaves it out."""
    tensors = load_file(path)
    name, kind = str(rng.choice(sorted(tensors))), str(rng.choice(["remove", "values", "shape", "type"]))
    found = tensors.pop(name)
    if kind == "values":
        found = found.copy()
        with np.errstate(all="ignore"):
            found.flat[rng.integers(0, found.size, 3)] = np.array(STRANGE[rng.integers(len(STRANGE))]).astype(found.dtype)
    elif kind == "shape":
        found = found[..., None] if rng.integers(2) else found[:-1]
    elif kind == "type":
        found = found.astype(np.float64 if found.dtype == np.float32 else np.float32)
    if kind != "remove":
        tensors[name] = found
    path.write_bytes(save({key: np.ascontiguousarray(values) for key, values in tensors.items()}))
    return f"{kind} {name}"


def damage_model(folder: Path, rng: np.random.Generator) -> str:
    """Damages one file of a model folder, and signs the folder again in most cases."""
    name = str(rng.choice(["config.json", "calibration.json", "labels.tsv", "panel.tsv", "history.tsv", "model.safetensors"]))
    done = _damage_by_kind(folder / name, rng)
    if signed := bool(rng.integers(8)):
        sign(folder)
    return f"{name}: {done}{', signed again' if signed else ''}"


def damage_mtx(folder: Path, rng: np.random.Generator) -> str:
    """Damages one file of an mtx folder: the packed one, or what is in it; or takes it away."""
    path = folder / str(rng.choice(sorted(path.name for path in folder.iterdir())))
    kind = str(rng.choice(["packed", "text", "text", "text", "gone"]))
    if kind == "gone":
        path.unlink()
        return f"{path.name}: gone"
    if kind == "packed":
        return f"{path.name}: {damage_bytes(path, rng)}"
    plain = path.with_suffix("")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    done = damage_text(plain, rng, " " if plain.suffix == ".mtx" else "\t")
    path.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return f"{path.name}: {done}"


def _damage_by_kind(path: Path, rng: np.random.Generator) -> str:
    """A file's bytes in a third of the cases, else what it holds."""
    if rng.integers(3) == 0:
        return damage_bytes(path, rng)
    if path.suffix in (".h5ad", ".h5"):
        return damage_structure(path, rng)
    change, separator = {
        ".json": (damage_json, ""),
        ".safetensors": (damage_tensors, ""),
        ".csv": (damage_text, ","),
    }.get(path.suffix, (damage_text, "\t"))
    return change(path, rng, separator)


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damages a file or folder; says how."""
    if path.is_dir():
        return damage_model(path, rng) if (path / "config.json").exists() else damage_mtx(path, rng)
    return _damage_by_kind(path, rng)


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
        self.folder = make(folder)

    def case(self, seed: int, number: int) -> tuple[str, Outcome, str | None]:
        """Runs one case: what was done, how it ended, and what is wrong with that."""
        rng = np.random.default_rng([seed, number])
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            file, script, options, outputs = KINDS[rng.integers(len(KINDS))]
            (shutil.copytree if (self.folder / file).is_dir() else shutil.copy)(self.folder / file, folder / file)
            how = damage(folder / file, rng)
            arguments = [part.replace("GOOD", str(self.folder)) for part in options.split()]
            done = run(script, arguments, folder)
            wrong = problem(done, [folder / output for output in outputs])
            if wrong is None and done.status == 0:
                wrong = _not_finite(folder)
            return f"{script} of {file}, {how}", done, wrong


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
    ("q.mapped.h5ad", "cluster", "--mapped q.mapped.h5ad --model GOOD/model --cell_clusters c.csv --clusters c.tsv "
     "--cluster_markers m.tsv --threads 1", ["c.csv", "c.tsv", "m.tsv"]),
    ("q.cell_clusters.csv", "report", "--model GOOD/model --mapped GOOD/q.mapped.h5ad --clusters GOOD/q.clusters.tsv "
     "--cell_clusters q.cell_clusters.csv --output r.html --mqc_dir mqc", ["r.html", "mqc"]),
    ("q.clusters.tsv", "report", "--model GOOD/model --mapped GOOD/q.mapped.h5ad --clusters q.clusters.tsv "
     "--cell_clusters GOOD/q.cell_clusters.csv --cluster_markers GOOD/q.cluster_markers.tsv --output r.html --mqc_dir mqc",
     ["r.html", "mqc"]),
    ("query.h5ad", "annotate", "--query query.h5ad --mapped GOOD/q.mapped.h5ad --output b.h5ad", ["b.h5ad"]),
    ("q.mapped.h5ad", "annotate", "--query GOOD/query.h5ad --mapped q.mapped.h5ad --output b.h5ad", ["b.h5ad"]),
    ("q.cell_clusters.csv", "annotate", "--query GOOD/query.h5ad --mapped GOOD/q.mapped.h5ad --cell_clusters q.cell_clusters.csv "
     "--output b.h5ad", ["b.h5ad"]),
    ("q.mapped.h5ad", "extract_tags", "--mapped q.mapped.h5ad --permutations 10 --tags t.tsv --slot_tags s.tsv --threads 1",
     ["t.tsv", "s.tsv"]),
    ("model", "map_query", "--query GOOD/q.aligned.h5ad --model model --output m.h5ad --cells 0:60 --labels l.csv --threads 1",
     ["m.h5ad", "l.csv"]),
    ("model", "evaluate", "--mapped GOOD/q.mapped.h5ad --model model --truth_key cell_type --output e.json", ["e.json"]),
    ("model", "faithfulness", "--mapped GOOD/q.mapped.h5ad --model model --cells_per_label 2 --output f.tsv --threads 1",
     ["f.tsv"]),
    ("s0.h5ad", "gather", "--query GOOD/q.aligned.h5ad --model GOOD/model --slice s0.h5ad --slice GOOD/s1.h5ad --output m.h5ad "
     "--labels l.csv --threads 1", ["m.h5ad", "l.csv"]),
    ("q.mapped.h5ad", "report", "--model GOOD/model --mapped q.mapped.h5ad --output r.html --mqc_dir mqc", ["r.html", "mqc"]),
    ("q.tags.tsv", "enrich", "--tags q.tags.tsv --slot_tags GOOD/q.slot_tags.tsv --panel GOOD/panel.tsv --gmt GOOD/sets.gmt "
     "--top 10 --output e.tsv", ["e.tsv"]),
    ("q.tags.tsv", "report", "--model GOOD/model --mapped GOOD/q.mapped.h5ad --tags q.tags.tsv --output r.html --mqc_dir mqc",
     ["r.html", "mqc"]),
    ("sets.gmt", "enrich", "--tags GOOD/q.tags.tsv --slot_tags GOOD/q.slot_tags.tsv --panel GOOD/panel.tsv --gmt sets.gmt "
     "--top 10 --output e.tsv", ["e.tsv"]),
    ("q.tag_profiles.h5ad", "compare_slots", "--profiles q.tag_profiles.h5ad --profiles GOOD/o.tag_profiles.h5ad --output s.tsv",
     ["s.tsv"]),
    ("q.labels.csv", "consensus", "--sample q --labels one q.labels.csv --labels two GOOD/o.labels.csv --output c.csv "
     "--summary c.json", ["c.csv", "c.json"]),
    ("q.alignment.json", "enrich", "--tags GOOD/q.tags.tsv --slot_tags GOOD/q.slot_tags.tsv --panel GOOD/panel.tsv "
     "--gmt GOOD/sets.gmt --alignment q.alignment.json --top 10 --output e.tsv", ["e.tsv"]),
    ("q.alignment.json", "report", "--model GOOD/model --mapped GOOD/q.mapped.h5ad --alignment q.alignment.json --output r.html "
     "--mqc_dir mqc", ["r.html", "mqc"]),
    ("q.metrics.json", "report", "--model GOOD/model --mapped GOOD/q.mapped.h5ad --metrics q.metrics.json --output r.html "
     "--mqc_dir mqc", ["r.html", "mqc"]),
    ("q.consensus.json", "report", "--model GOOD/model --mapped GOOD/q.mapped.h5ad --consensus q.consensus.json --output r.html "
     "--mqc_dir mqc", ["r.html", "mqc"]),
    ("inputs.json", "report", "--model GOOD/model --mapped GOOD/q.mapped.h5ad --inputs inputs.json --output r.html --mqc_dir mqc",
     ["r.html", "mqc"]),
    ("query.h5", "preprocess_query", "--query query.h5 --panel GOOD/panel.tsv --output a.h5ad --alignment a.json",
     ["a.h5ad", "a.json"]),
    ("query_mtx", "preprocess_query", "--query query_mtx --panel GOOD/panel.tsv --output a.h5ad --alignment a.json",
     ["a.h5ad", "a.json"]),
]  # fmt: skip
"""The file that is damaged, the script that gets it, its options, and its outputs."""


@click.command()
@click.option("--cases", type=click.IntRange(min=1), default=2000, show_default=True, help="Cases to run.")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first one.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all cases.")
def main(cases: int, first: int, seed: int) -> None:
    """Runs damaged files through the scripts; ends with status 1 if any case goes wrong."""
    ends, wrong = Counter(), 0
    preload()
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
