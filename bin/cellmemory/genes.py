"""Gene identifiers: which kind they are, and which gene of a panel each gene of a file is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.errors import InputError, first_ids

ENSEMBL = re.compile(r"(ENS[A-Z]{0,6}G\d{11})(\.\d+)?")
#: Columns of var in which files of this field keep a second name of each gene, however they write them (Gene.Symbol, ID).
ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_id", "id", "feature_name", "gene_name", "gene_names",
              "gene_symbol", "gene_symbols", "symbol", "hgnc_symbol")  # fmt: skip
#: Below this share of matched names, names that differ in case alone are taken for another species' (Gfap, GFAP).
CASE_FOLD_BELOW = 0.1


def id_type(names: Sequence[str]) -> str:
    """`ensembl` if most names are Ensembl gene ids (with or without version), else `symbol`."""
    return "ensembl" if sum(bool(ENSEMBL.fullmatch(n)) for n in names) > len(names) / 2 else "symbol"


def normalise(name: str) -> str:
    """The name without blanks around it and, if it is an Ensembl id, without its version."""
    name = name.strip()
    match = ENSEMBL.fullmatch(name)
    return match[1] if match else name


def read_gene_map(path: str | Path) -> dict[str, tuple[str, ...]]:
    """A TSV of names (`from`, `to`; a header line is optional): aliases, orthologs, symbols of ids.

    Raises InputError, with the line's number, for a line that has not two columns.
    """
    targets: dict[str, list[str]] = {}
    problems = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        cells = [normalise(cell) for cell in line.split("\t")]
        if not line.strip() or line.startswith("#") or (number == 1 and [c.lower() for c in cells[:2]] == ["from", "to"]):
            continue
        if len(cells) < 2 or not cells[0] or not cells[1]:
            problems.append(f"{path}: line {number} has not two tab-separated names ('from' and 'to').")
        else:
            targets.setdefault(cells[0], []).append(cells[1])
    if problems:
        raise InputError(problems)
    return {name: tuple(dict.fromkeys(found)) for name, found in targets.items()}


@dataclass(frozen=True)
class Match:
    """Which panel gene each gene of a file is.

    target: (file genes,) column of the panel, -1 for none. column: where the names were found (`index` or a var column).
    """

    target: np.ndarray
    column: str
    id_type: str
    renamed: int
    dropped_feature_types: int
    messages: list[str] = field(default_factory=list)

    @property
    def measured(self) -> np.ndarray:
        """Panel columns that some gene of the file matches, sorted."""
        return np.unique(self.target[self.target >= 0])

    @property
    def summed(self) -> np.ndarray:
        """Panel columns that several genes of the file match, sorted."""
        columns, n = np.unique(self.target[self.target >= 0], return_counts=True)
        return columns[n > 1]


def expression_rows(var: pd.DataFrame) -> np.ndarray:
    """Rows of var (bool) that are gene expression: antibodies, guides and the like are left out where the file says so."""
    if "feature_types" not in var:
        return np.ones(len(var), bool)
    return var["feature_types"].astype(str).isin(["Gene Expression", "nan", ""]).to_numpy()


def name_columns(var: pd.DataFrame, gene_column: str | None, where: str) -> dict[str, list[str]]:
    """The candidates for gene names, normalised: the column asked for alone, else the index and the usual columns.

    An index of mere numbers gives way to the usual columns, where there are some. Raises InputError, with the columns that
    exist, where the one asked for is missing.
    """
    if gene_column and gene_column not in ("index", *var.columns):
        columns = ", ".join(["index", *map(str, var.columns)])
        raise InputError(f"{where}: there is no gene column '{gene_column}' (--gene_column) in var; there are: {columns}.")
    usual = {column: re.sub(r"[ .-]", "_", str(column).lower()) for column in var}
    known = sorted((c for c in usual if usual[c] in ID_COLUMNS), key=lambda column: ID_COLUMNS.index(usual[column]))
    numbered = bool(known) and var.index.astype(str).str.isdigit().all()
    wanted = [gene_column] if gene_column else known if numbered else ["index", *known]
    return {c: [normalise(n) for n in (var.index if c == "index" else var[c]).astype(str)] for c in wanted}


def match_genes(
    var: pd.DataFrame, panel: pd.DataFrame, gene_column: str | None, gene_map: dict[str, tuple[str, ...]], where: str
) -> Match:
    """Finds the panel gene (`gene` or `source_id`) of each gene of a file.

    The column of names that matches most is taken. Names that match directly are left alone; others are looked up in
    `gene_map`; a name that leads to several panel genes is nobody's. Case is folded only if nearly nothing matches
    otherwise (another species' spelling). where: the file, for messages.
    """
    known = panel_index(panel)
    keep = expression_rows(var)
    candidates = name_columns(var, gene_column, where)
    found = {column: _lookup(names, known, gene_map) for column, names in candidates.items()}
    column = max(found, key=lambda c: len(np.unique(found[c][(found[c] >= 0) & keep])))
    names, target, messages = candidates[column], found[column], []
    if (target >= 0).sum() < CASE_FOLD_BELOW * len(panel):
        folded = _lookup([n.upper() for n in names], {n.upper(): i for n, i in known.items()}, gene_map)
        if (folded >= 0).sum() > 2 * (target >= 0).sum():
            messages.append("Gene names matched only with upper and lower case folded, as between human and mouse symbols.")
            target = folded
    target = np.where(keep, target, -1)
    renamed = sum(t >= 0 and n != panel["gene"].iat[t] for n, t in zip(names, target, strict=True))
    if column != "index":
        messages.append(f"Gene names were taken from var['{column}'].")
    if not keep.all():
        messages.append(f"{np.sum(~keep)} features that are no gene expression were left out.")
    return Match(target, column, id_type(names), int(renamed), int(np.sum(~keep)), messages)


def panel_index(panel: pd.DataFrame) -> dict[str, int]:
    """Every name of a panel gene, by `source_id` and `gene`, to its column; names of two genes are left out."""
    names: dict[str, int] = {}
    for column in ("source_id", "gene"):
        values = [normalise(n) for n in panel[column].fillna("").astype(str)]
        twice = {n for n, c in pd.Series(values).value_counts().items() if c > 1}
        names |= {n: i for i, n in enumerate(values) if n and n not in twice}
    return names


def _lookup(names: Sequence[str], known: dict[str, int], gene_map: dict[str, tuple[str, ...]]) -> np.ndarray:
    def find(name: str) -> int:
        if name in known:
            return known[name]
        targets = {known[t] for t in gene_map.get(name, ()) if t in known}
        return targets.pop() if len(targets) == 1 else -1

    return np.array([find(n) for n in names], np.int64)


def no_overlap(where: str, names: Sequence[str], panel: Sequence[str], share: float, floor: float) -> str:
    """The sentence for a query that shares too few genes with the reference, with the first ids of both sides."""
    return (
        f"{where}: only {share:.1%} of the reference's genes are in this query (--min_coverage {floor:g}). "
        f"Query: {first_ids(names)}; reference: {first_ids(panel)}. Name the column that holds matching names with "
        f"--gene_column, or convert them with --gene_map."
    )
