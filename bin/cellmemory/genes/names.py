"""Gene identifiers: which kind they are, and which gene of a panel each gene of a file is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.cells.labels import as_text
from cellmemory.errors import InputError, first_ids
from cellmemory.io.text import DELIMITERS, open_quote, read_text, tab_cells

ENSEMBL = re.compile(r"(ENS[A-Z]{0,6}G\d{11})(\.\d+)?")
#: Columns of var in which files of this field keep a second name of each gene, however they write them (Gene.Symbol, ID).
ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_id", "id", "feature_name", "gene_name", "gene_names",
              "gene_symbol", "gene_symbols", "symbol", "hgnc_symbol")  # fmt: skip
#: What var['feature_types'] says of genes, in the spellings in use, in lower case; nothing is no other type.
EXPRESSION_TYPES = ("gene expression", "gene", "genes", "gex", "rna", "mrna", "nan", "")
#: Below this share of matched names, names that differ in case alone are taken for another species' (Gfap, GFAP).
CASE_FOLD_BELOW = 0.1


#: A genome before the name, as Cell Ranger writes it where a reference has several.
GENOME = re.compile(r"(?:GRC[a-z]\d+(?:\.p\d+)?|hg\d\d|mm\d\d?|rn\d|human|mouse)(?:[-_]premrna)?_+(?=.)", re.IGNORECASE)
#: What stands between a symbol and an id in one name.
BETWEEN = re.compile(r"[_|:;]+")


def id_type(names: Sequence[str]) -> str:
    """`ensembl` if most names are Ensembl gene ids (with or without version), else `symbol`."""
    return "ensembl" if sum(bool(ENSEMBL.fullmatch(n)) for n in names) > len(names) / 2 else "symbol"


def normalise(name: str) -> str:
    """The name without blanks, quotes and byte order marks around it and, if it is an Ensembl id, without its version."""
    name = name.strip(' \t\r\n"\ufeff')
    match = ENSEMBL.fullmatch(name)
    return match[1] if match else name


def undecorated(name: str) -> tuple[str, str]:
    """What is left of a normalised name without a genome before it, as (symbol, Ensembl id) where both are in it, else
    (name, '')."""
    bare = GENOME.sub("", name, count=1) if GENOME.match(name) else name
    for mark in BETWEEN.finditer(bare):
        for symbol, ident in ((bare[: mark.start()], bare[mark.end() :]), (bare[mark.end() :], bare[: mark.start()])):
            if symbol and (found := ENSEMBL.fullmatch(ident)):
                return symbol, found[1]
    return bare, ""


def _variants(name: str) -> set[str]:
    """Other spellings of a normalised name: without what is around it, and as R's make.names writes it (HLA.DRA)."""
    found = {part for part in undecorated(name) if part}
    return found | {re.sub(r"^(?=[\d.]\d|_)", "X", re.sub(r"[^\w.]", ".", part)) for part in found}


def read_gene_map(path: str | Path) -> dict[str, tuple[str, ...]]:
    """A TSV of names (`from`, `to`; a header line is optional): aliases, orthologs, symbols of ids.

    Raises InputError, with the line's number, for a line that does not have two columns, and for another kind of file.
    """
    targets: dict[str, list[str]] = {}
    problems = []
    lines = read_text(path).split("\n")
    written = [line for line in lines if line.strip() and not line.startswith("#")]
    for mark in (",", ";"):
        if written and all(mark in line and "\t" not in line for line in written):
            raise InputError(
                f"{path}: its names are separated by {DELIMITERS[mark]}, not by tabs; save it with tabs between them."
            )
    for number, line in enumerate(lines, 1):
        cells = [normalise(cell) for cell in tab_cells(line)]
        if not line.strip() or line.startswith("#") or (number == 1 and [c.lower() for c in cells[:2]] == ["from", "to"]):
            continue
        if open_quote(line):
            problems.append(f'{path}: line {number} has a quote (") that is not closed.')
        elif len(cells) < 2 or not cells[0] or not cells[1]:
            problems.append(f"{path}: line {number} does not have two tab-separated names ('from' and 'to').")
        else:
            targets.setdefault(cells[0], []).append(cells[1])
    if not targets and not problems:
        problems.append(f"{path} holds no names; write two to a line, 'from' and 'to', with a tab between them.")
    if problems:
        raise InputError(problems)
    return {name: tuple(dict.fromkeys(found)) for name, found in targets.items()}


@dataclass(frozen=True)
class Match:
    """Which panel gene each gene of a file is.

    target: (file genes,) column of the panel, -1 for none. expression: (file genes,) bool, what is gene expression, and so
    counts towards a cell's total. column: where the names were found (`index` or a var column).
    """

    target: np.ndarray
    expression: np.ndarray
    column: str
    id_type: str
    renamed: int
    messages: list[str] = field(default_factory=list)

    @property
    def n_left_out(self) -> int:
        """Features that are not gene expression."""
        return int(np.sum(~self.expression))

    @property
    def measured(self) -> np.ndarray:
        """Panel columns that some gene of the file matches, sorted."""
        return np.unique(self.target[self.target >= 0])

    @property
    def summed(self) -> np.ndarray:
        """Panel columns that several genes of the file match, sorted."""
        columns, n = np.unique(self.target[self.target >= 0], return_counts=True)
        return columns[n > 1]


def expression_rows(var: pd.DataFrame, where: str) -> np.ndarray:
    """Rows of var (bool) that are gene expression: antibodies, guides and the like are left out where the file says so.

    Raises InputError where var['feature_types'] knows none. where: the file, for the message.
    """
    if "feature_types" not in var:
        return np.ones(len(var), bool)
    types = pd.Series(as_text(var["feature_types"]))
    known = types.str.strip().str.lower().str.replace("_", " ").isin(EXPRESSION_TYPES).to_numpy()
    if len(var) and not known.any():
        raise InputError(
            f"{where}: no feature is gene expression: var['feature_types'] holds {first_ids(sorted(types.unique()))}. Write "
            "'Gene Expression' (GEX and RNA are known, too) for the genes, or remove the column."
        )
    return known


def left_out(n: int) -> str:
    """The sentence for features that expression_rows leaves out."""
    return f"{n:,} features that are not gene expression were left out."


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
    return {c: [normalise(n) for n in as_text(var.index.to_series() if c == "index" else var[c])] for c in wanted}


def match_genes(
    var: pd.DataFrame, panel: pd.DataFrame, gene_column: str | None, gene_map: dict[str, tuple[str, ...]], where: str
) -> Match:
    """Finds the panel gene (`gene` or `source_id`) of each gene of a file.

    The column of names that matches most is taken. Names that match directly are left alone; others are looked up in
    `gene_map`; a name that leads to several panel genes is nobody's. Case is folded only if nearly nothing matches
    otherwise (another species' spelling). where: the file, for messages.
    """
    known = panel_index(panel)
    spellings = _by_variant(known)
    keep = expression_rows(var, where)
    candidates = name_columns(var, gene_column, where)
    found = {column: _lookup(names, known, gene_map, spellings) for column, names in candidates.items()}
    column = max(found, key=lambda c: len(np.unique(found[c][(found[c] >= 0) & keep])))
    names, target, messages = candidates[column], found[column], []
    if (target >= 0).sum() < CASE_FOLD_BELOW * len(panel):
        upper = {n.upper(): i for n, i in known.items()}
        folded = _lookup([n.upper() for n in names], upper, gene_map, _by_variant(upper))
        if (folded >= 0).sum() > 2 * (target >= 0).sum():
            messages.append("Gene names matched only with upper and lower case folded, as between human and mouse symbols.")
            target = folded
    target = np.where(keep, target, -1)
    respelt = [n for n, t in zip(names, target, strict=True) if t >= 0 and n not in known and not _mapped(n, known, gene_map)]
    if respelt and not messages:
        found_by = f"a part or another spelling of their names ({first_ids(respelt, 3)})"
        messages.append(f"{len(respelt):,} genes were recognised by {found_by}.")
    renamed = sum(t >= 0 and n != panel["gene"].iat[t] for n, t in zip(names, target, strict=True))
    if column != "index":
        messages.append(f"Gene names were taken from var['{column}'].")
    if not keep.all():
        messages.append(left_out(np.sum(~keep)))
    return Match(target, keep, column, id_type(names), int(renamed), messages)


def panel_index(panel: pd.DataFrame) -> dict[str, int]:
    """Every name of a panel gene, by `source_id` and `gene`, to its column; names of two genes are left out."""
    names: dict[str, int] = {}
    for column in ("source_id", "gene"):
        values = [normalise(n) for n in panel[column].fillna("").astype(str)]
        twice = {n for n, c in pd.Series(values).value_counts().items() if c > 1}
        names |= {n: i for i, n in enumerate(values) if n and n not in twice}
    return names


def _by_variant(known: dict[str, int]) -> dict[str, int]:
    """Every other spelling of the known names to its column; spellings of two genes are left out."""
    found: dict[str, set[int]] = {}
    for name, column in known.items():
        for variant in _variants(name):
            found.setdefault(variant, set()).add(column)
    return {variant: columns.pop() for variant, columns in found.items() if len(columns) == 1}


def _mapped(name: str, known: dict[str, int], gene_map: dict[str, tuple[str, ...]]) -> set[int]:
    return {known[target] for target in gene_map.get(name, ()) if target in known}


def _lookup(
    names: Sequence[str], known: dict[str, int], gene_map: dict[str, tuple[str, ...]], spellings: dict[str, int]
) -> np.ndarray:
    def find(name: str) -> int:
        if name in known:
            return known[name]
        targets = _mapped(name, known, gene_map) or {spellings[v] for v in _variants(name) if v in spellings}
        return targets.pop() if len(targets) == 1 else -1

    return np.array([find(n) for n in names], np.int64)


def no_overlap(where: str, names: Sequence[str], panel: Sequence[str], share: float, floor: float) -> str:
    """The sentence for a query that shares too few genes with the reference, with the first ids of both sides."""
    names = [str(name) for name in names]
    around = _common(names)
    return (
        f"{where}: only {share:.1%} of the reference's genes are in this query (--min_coverage {floor:g}). "
        f"Query: {first_ids(names)}{around}; reference: {first_ids(panel)}. Name the column that holds matching names with "
        f"--gene_column, or convert them with --gene_map."
    )


def _common(names: Sequence[str]) -> str:
    """What all names begin or end with, for a sentence about them."""
    start, end = _shared_start(names), _shared_start([name[::-1] for name in names])[::-1]
    found = [f"begin with {start!r}"] * (len(start) > 1) + [f"end with {end!r}"] * (len(end) > 1)
    return f" (all {' and '.join(found)})" if found and len(names) > 1 else ""


def _shared_start(names: Sequence[str]) -> str:
    first, last = min(names, default=""), max(names, default="")
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]
