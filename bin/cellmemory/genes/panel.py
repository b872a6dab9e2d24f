"""The gene panel of a reference: its highly variable genes among those that the queries measured."""

from pathlib import Path

import numpy as np
import pandas as pd

from cellmemory.errors import InputError, first_ids
from cellmemory.io.atomic import replacing
from cellmemory.io.checked import as_numbers, read_tsv, shown
from cellmemory.io.text import Source

#: Letters of a name of a gene, at most.
MAX_NAME = 500
COLUMNS = ["gene", "rank", "mean", "dispersion", "source_id"]


def read_panel(path: Source) -> pd.DataFrame:
    """panel.tsv, one gene a row in model order. Raises InputError where it is not a panel, with all that is wrong."""
    try:
        panel = read_tsv(path, COLUMNS)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a panel ({error}). Give the panel.tsv that preprocess_reference.py wrote.") from None
    other = [name for name in panel if name not in COLUMNS]
    genes, rank = panel["gene"], as_numbers(panel["rank"], whole=True)
    numbers = {name: as_numbers(panel[name]) for name in ("mean", "dispersion")}
    problems = [f"{name} is not numbers" for name, found in numbers.items() if found is None]
    problems += [f"it has other columns than a panel ({first_ids(other)})"] if other else []
    if (means := numbers["mean"]) is not None and not (means >= 0).all():
        problems.append(f"the mean of {shown(genes[~(means >= 0)].iloc[0])} is not 0 or more")
    if any(np.isinf(found).any() for found in numbers.values() if found is not None):
        problems.append("a mean or a dispersion is infinite")
    if rank is None or (rank != np.arange(1, len(panel) + 1)).any():
        problems.append("rank does not count up from 1")
    if not (fine := genes.map(is_name)).all():
        problems.append(f"a gene's name is empty, too long or not plain text ({shown(genes[~fine].iloc[0])})")
    if not panel["source_id"].map(lambda text: text == "" or is_name(text)).all():
        problems.append("a source_id is too long or not plain text")
    if genes.duplicated().any():
        problems.append(f"the same gene is there twice ({first_ids(genes[genes.duplicated()].unique())})")
    if not len(panel):
        problems.append("there is no gene")
    if problems:
        remedy = "Give the panel.tsv that preprocess_reference.py wrote, unchanged."
        raise InputError(f"{path}: {problem}. {remedy}" for problem in problems)
    return panel.assign(**numbers, rank=rank)


def panel_text(panel: pd.DataFrame) -> str:
    """What panel.tsv holds."""
    return panel[COLUMNS].to_csv(sep="\t", index=False, float_format="%.6g")


def write_panel(panel: pd.DataFrame, path: str | Path) -> None:
    """Writes panel.tsv."""
    with replacing(path) as partial:
        partial.write_text(panel_text(panel), encoding="utf-8")


def is_name(text: str) -> bool:
    """Whether a text can be the name of a gene in a panel: printable, no blanks around it, no text of a whole page."""
    return text == text.strip() != "" and text.isprintable() and len(text) <= MAX_NAME
