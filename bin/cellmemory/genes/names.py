"""Names of genes: which kind they are, how they are written, and where a file keeps them."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.cells.labels import as_text
from cellmemory.cells.reading import type_column
from cellmemory.errors import InputError, first_ids
from cellmemory.io.text import DELIMITERS, open_quote, read_text, tab_cells

ENSEMBL = re.compile(r"(ENS[A-Z]{0,6}G\d{11})(\.\d+)?")
#: Columns of var in which files of this field keep a second name of each gene, however they write them (Gene.Symbol, ID).
ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_id", "id", "feature_name", "gene_name", "gene_names",
              "gene_symbol", "gene_symbols", "symbol", "hgnc_symbol")  # fmt: skip
#: What var['feature_types'] says of genes, in the spellings in use, in lower case; an empty one counts as gene expression.
#: Files of CELLxGENE have Ensembl's types of genes in var['feature_type'].
EXPRESSION_TYPES = re.compile(
    "(?:gene expression|genes?|gex|m?rna|nan|"
    "protein coding|processed transcript|non coding|antisense(?: rna)?|sense (?:intronic|overlapping)|nontranslating cds|"
    "(?:(?:bidirectional promoter|macro) )?lncrna|lincrna|(?:mi|sn|sno|sca|sc|s|nc|misc ?|vault ?|3prime overlapping nc)rna|"
    "(?:mt )?[rt]rna|ribozyme|tec|artifact|(?:.* )?pseudogene|(?:ig|tr) (?:.* )?gene)?"
)
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


def folded(name: str) -> str:
    """The name without regard to upper and lower case, in which the symbols of two species may differ (Gfap, GFAP)."""
    return name.casefold()


def alternatives(name: str) -> set[str]:
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
                f"{path}: its names are separated by {DELIMITERS[mark]}, not by tabs. Save it with tabs between them."
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
        problems.append(f"{path} holds no names. Write two to a line, 'from' and 'to', with a tab between them.")
    if problems:
        raise InputError(problems)
    return {name: tuple(dict.fromkeys(found)) for name, found in targets.items()}


def expression_rows(var: pd.DataFrame, where: str) -> np.ndarray:
    """Rows of var (bool) that are gene expression: antibodies, guides and the like are left out where the file says so.

    Raises InputError where its column knows none. where: the file, for the message.
    """
    column = type_column(var)
    if column is None:
        return np.ones(len(var), bool)
    types = pd.Series(as_text(var[column]))
    known = types.str.lower().str.replace(r"[\s_-]+", " ", regex=True).str.strip().str.fullmatch(EXPRESSION_TYPES).to_numpy(bool)
    if len(var) and not known.any():
        raise InputError(
            f"{where}: no feature is gene expression: var['{column}'] holds {first_ids(sorted(types.unique()))}. Write "
            "'Gene Expression' (GEX and RNA are also known) for the genes, or remove the column."
        )
    return known


def left_out(n: int) -> str:
    """The sentence for features that expression_rows leaves out."""
    return f"{n:,} features that are not gene expression were left out."


def name_columns(var: pd.DataFrame, gene_column: str | None, where: str) -> dict[str, list[str]]:
    """The candidates for gene names, normalised: only the column asked for, else the index and the usual columns.

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
    return {c: _names_of(var.index.to_series() if c == "index" else var[c]) for c in wanted}


def _names_of(column: pd.Series) -> list[str]:
    """A column's names, normalised; a missing one is empty, and no gene called `nan`."""
    return [normalise(name) for name in as_text(column)]
