"""What a case of the corpus is, and ways to damage the good files of `made`: bytes, texts, tables, JSON and h5ad."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import h5py
import pandas as pd

#: What a case does to its folder, given the folder of good files, too.
Edit = Callable[[Path, Path], object]

COMMANDS = {
    "train": "--reference aligned.h5ad --panel panel.tsv --label_key cell_type --output out/model --max_epochs 1 --d_model 16 "
    "--n_layers 1 --threads 1 --checkpoint_every 0",
    "adapt": "--query q.aligned.h5ad --model model --output out/adapted --threads 1",
    "map_query": "--query q.aligned.h5ad --model model --output out/m.h5ad --labels out/l.csv --threads 1",
    "gather": "--query q.aligned.h5ad --model model --slice s0.h5ad --slice s1.h5ad --output out/m.h5ad --labels out/l.csv "
    "--threads 1",
    "extract_tags": "--mapped q.mapped.h5ad --permutations 10 --tags out/t.tsv --slot_tags out/s.tsv --threads 1",
    "faithfulness": "--mapped q.mapped.h5ad --model model --cells_per_label 2 --output out/f.tsv --threads 1",
    "cluster": "--mapped q.mapped.h5ad --model model --cell_clusters out/c.csv --clusters out/c.tsv "
    "--cluster_markers out/m.tsv --threads 1",
    "annotate": "--query query.h5ad --mapped q.mapped.h5ad --cell_clusters q.cell_clusters.csv --output out/a.h5ad",
    "enrich": "--tags q.tags.tsv --slot_tags q.slot_tags.tsv --panel panel.tsv --gmt sets.gmt --top 10 --output out/e.tsv",
    "evaluate": "--mapped q.mapped.h5ad --model model --truth_key cell_type --output out/m.json",
    "consensus": "--sample q --labels one q.labels.csv --labels two o.labels.csv --output out/c.csv --summary out/c.json",
    "compare_slots": "--profiles q.tag_profiles.h5ad --profiles o.tag_profiles.h5ad --output out/s.tsv",
    "report": "--model model --mapped q.mapped.h5ad --output out/r.html --mqc_dir out/mqc",
    "checksums": "--input query.h5ad --result q.mapped.h5ad --output out/c.json",
    "check_inputs": "--samplesheet sheet.csv --reference reference.h5ad --label_key cell_type --output out/i.json "
    "--query_genes out/g.tsv",
    "preprocess_reference": "--reference reference.h5ad --label_key cell_type --output out/r.h5ad --panel out/p.tsv",
    "preprocess_query": "--query query.h5ad --sample q --panel panel.tsv --output out/a.h5ad --alignment out/a.json",
}
"""The command of each script on good files."""


@dataclass(frozen=True)
class Case:
    """An input and what is expected: of a refusal, or of the log (`ok`), parts of one sentence; holds: a further look at
    the folder after the run."""

    script: str
    name: str
    edit: Edit
    says: tuple[str, ...]
    ok: bool = False
    more: str = ""
    instead: tuple[tuple[str, str], ...] = ()
    holds: Callable[[Path], bool] | None = None
    same: bool = False

    @property
    def options(self) -> str:
        options = COMMANDS[self.script]
        for old, new in self.instead:
            assert old in options, (self.name, old)
            options = options.replace(old, new)
        return f"{options} {self.more}"


# Edits.


def nothing(_folder: Path, _good: Path) -> None:
    """The files stay as they are; the command is odd."""


def content(name: str, change: bytes | Callable[[bytes], bytes]) -> Edit:
    """The bytes of a file made others."""

    def edit(folder: Path, _good: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()) if callable(change) else change)

    return edit


def text(name: str, change: Callable[[str], str], encoding: str = "utf-8") -> Edit:
    """The text of a file made another, or written in another encoding."""
    return content(name, lambda found: change(found.decode()).encode(encoding))


def unchanged(found: str) -> str:
    return found


def cut(name: str) -> Edit:
    """The second half of a file is missing; of a table, from before a cell: a number that lost digits is still one."""

    def half(found: bytes) -> bytes:
        middle = len(found) // 2
        return found[: found.rindex(b"\t", 0, middle)] if name.endswith(".tsv") else found[:middle]

    return content(name, half)


def empty(name: str) -> Edit:
    return content(name, b"")


def folder_for(name: str) -> Edit:
    """A folder in a file's place."""

    def edit(folder: Path, _good: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return edit


def file_for(name: str) -> Edit:
    """A file in a folder's place."""

    def edit(folder: Path, _good: Path) -> None:
        shutil.rmtree(folder / name)
        (folder / name).write_text("a file")

    return edit


def other(name: str, good_name: str) -> Edit:
    """Another good file or folder in the place of one."""

    def edit(folder: Path, good: Path) -> None:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
            shutil.copytree(good / good_name, folder / name)
        else:
            shutil.copy(good / good_name, folder / name)

    return edit


def renamed(old: str, new: str) -> Edit:
    def edit(folder: Path, _good: Path) -> None:
        (folder / old).rename(folder / new)

    return edit


def gone(name: str) -> Edit:
    return lambda folder, _good: (folder / name).unlink()


def h5(name: str, change: Callable[[h5py.File], object]) -> Edit:
    """A file changed by h5py."""

    def edit(folder: Path, _good: Path) -> None:
        with h5py.File(folder / name, "r+") as file:
            change(file)

    return edit


def data(name: str, change: Callable[[ad.AnnData], ad.AnnData | None]) -> Edit:
    """A file changed by anndata: in place, or to what is returned."""

    def edit(folder: Path, _good: Path) -> None:
        found = ad.read_h5ad(folder / name)
        changed = change(found)
        (found if changed is None else changed).write_h5ad(folder / name)

    return edit


def put(name: str, value: object) -> Callable[[h5py.File], None]:
    """An element of an HDF5 file made another, or left out (None); attributes stay."""

    def change(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        if value is not None:
            file[name] = value
            file[name].attrs.update(attributes)

    return change


def column(key: str, values: Callable[[int], object]) -> Callable[[ad.AnnData], None]:
    """A column of obs with values by the cells' numbers."""

    def change(found: ad.AnnData) -> None:
        found.obs[key] = [values(i) for i in range(found.n_obs)]

    return change


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame], separator: str = "\t") -> Edit:
    """A table changed as text by text, numbers as they stand."""

    def edit(folder: Path, _good: Path) -> None:
        found = pd.read_csv(folder / name, sep=separator, dtype=str, keep_default_na=False)
        change(found).to_csv(folder / name, sep=separator, index=False, lineterminator="\n")

    return edit


def fields(name: str, **values: object) -> Edit:
    """Fields of a JSON object made others; ... leaves one out."""

    def change(found: str) -> str:
        merged = json.loads(found) | values
        return json.dumps({key: value for key, value in merged.items() if value is not ...})

    return text(name, change)


def reversed_rows(found: pd.DataFrame) -> pd.DataFrame:
    return found.iloc[::-1]


def reversed_columns(found: pd.DataFrame) -> pd.DataFrame:
    return found[found.columns[::-1]]


def without(*names: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda found: found.drop(columns=list(names))


def with_values(**values: Callable[[str], str]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda found: found.assign(**{name: found[name].map(change) for name, change in values.items()})


#: How a text may have been saved without any of its cells being another.
SAVED: dict[str, Callable[[str], bytes]] = {
    "byte_order_mark": lambda found: b"\xef\xbb\xbf" + found.encode(),
    "utf_16": lambda found: found.encode("utf-16"),
    "line_ends_of_windows": lambda found: found.replace("\n", "\r\n").encode(),
    "line_ends_of_old_macs": lambda found: found.replace("\n", "\r").encode(),
    "no_line_end_at_the_end": lambda found: found.rstrip("\n").encode(),
    "empty_rows_at_the_end": lambda found: (found + "\n\n").encode(),
}


def saved(name: str, how: str) -> Edit:
    return content(name, lambda found: SAVED[how](found.decode()))


def quoted(separator: str) -> Callable[[str], str]:
    """Every cell in quotes."""
    return lambda found: "".join(
        separator.join(f'"{cell}"' for cell in line.split(separator)) + "\n" for line in found.splitlines()
    )
