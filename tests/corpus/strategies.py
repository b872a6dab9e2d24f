"""What hypothesis draws files from: sheets, gene maps, gene sets and cells, good ones and others."""

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from hypothesis import strategies as st

#: Text as it stands in a cell of a table: no control characters, no blanks around it.
words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
#: A column of obs or var of any kind that users have.
KINDS = ("text", "category", "number", "whole", "flag", "gaps", "nullable")


@st.composite
def sheets(draw) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a samplesheet."""
    columns = ["sample", "h5ad", *draw(st.lists(st.sampled_from(["counts_layer", "gene_column", "truth_key"]), unique=True))]
    one = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", fullmatch=True)
    names = draw(st.lists(one, min_size=1, max_size=5, unique_by=str.casefold))
    return columns, [[name, *(draw(words) for _ in columns[1:])] for name in names]


@st.composite
def gene_sets(draw) -> dict[str, list[str]]:
    """Gene sets by name; a gene's name holds no comma, behind which Enrichr writes a weight."""
    plain = words.filter(lambda word: '"' not in word)  # quotes around a word go
    genes = plain.filter(lambda gene: "," not in gene)
    return draw(st.dictionaries(plain, st.lists(genes, min_size=1, max_size=6, unique=True), min_size=1, max_size=5))


@st.composite
def cells(draw, genes: list[str]) -> ad.AnnData:
    """Cells with some of the genes, and others: any scale, any storage, any columns."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, names = draw(st.integers(1, 12)), draw(st.lists(st.sampled_from(genes), min_size=1, max_size=len(genes)))
    names = [*names, *(f"other{i}" for i in range(draw(st.integers(0, 5))))]
    values = rng.poisson(draw(st.sampled_from([0.1, 1.0, 20.0])), (n, len(names))).astype(float)
    values = {"counts": lambda v: v, "log": np.log1p, "linear": lambda v: v * 0.37, "scaled": lambda v: v - 1}[
        draw(st.sampled_from(["counts", "log", "linear", "scaled"]))
    ](values)
    if draw(st.booleans()):
        values.flat[rng.integers(values.size)] = draw(st.sampled_from([np.nan, np.inf, -1.0, 1e30, 0.5]))
    stored = draw(st.sampled_from([np.asarray, sp.csr_matrix, sp.csc_matrix]))(values.astype(draw(st.sampled_from(["f4", "f8"]))))
    obs = {name: draw(columns(n)) for name in draw(st.lists(words.filter(lambda w: "/" not in w), max_size=3, unique=True))}
    return ad.AnnData(stored, obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(n)]), var=pd.DataFrame(index=names))


@st.composite
def columns(draw, n: int):
    """A column of n values of one kind."""
    kind, numbers = draw(st.sampled_from(KINDS)), np.arange(n)
    return {
        "text": lambda: [draw(words) for _ in range(n)],
        "category": lambda: pd.Categorical([draw(words) for _ in range(n)]),
        "number": lambda: numbers / 3,
        "whole": lambda: numbers,
        "flag": lambda: numbers % 2 == 0,
        "gaps": lambda: pd.Categorical([None if i % 2 else "x" for i in range(n)]),
        "nullable": lambda: pd.array([None if i % 2 else i for i in range(n)], dtype="Int64"),
    }[kind]()
