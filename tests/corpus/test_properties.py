"""Properties of what reads users' files: what is written is read, and whatever is in a file, an InputError is the worst."""

import csv
import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellmemory.cells.labels import clean_labels
from cellmemory.errors import InputError
from cellmemory.genes.names import read_gene_map
from cellmemory.genes.panel import COLUMNS, write_panel
from cellmemory.genes.query_cells import preprocess_query
from cellmemory.io.gmt import read_gmt
from cellmemory.io.samplesheet import Origin, Query, read_samplesheet
from tests.corpus import strategies

GENES = [f"GENE{i}" for i in range(8)]
once = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def problems_of(read: Callable, *arguments: object) -> list[str]:
    """What an InputError says of the arguments; nothing where they are read. Any other exception passes."""
    try:
        read(*arguments)
    except InputError as error:
        return error.problems
    return []


@once
@given(
    strategies.sheets(), st.sampled_from(",;\t"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.booleans(), st.booleans()
)
def test_a_sheet_is_read_however_it_was_saved(tmp_path, sheet, delimiter, encoding, quoted, padded):
    columns, rows = sheet
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerows([columns, *rows])
    if padded:
        writer.writerows([[""] * len(columns), []])
    path = tmp_path / "sheet.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    found = read_samplesheet(path, [])
    assert [query.sample for query in found] == [row[0] for row in rows]
    for query, row in zip(found, rows, strict=True):
        given_here = dict(zip(columns, row, strict=True))
        assert query.origin.truth_key == given_here.get("truth_key")
        assert query.path == path.parent / given_here["h5ad"]


@once
@given(strategies.gene_sets(), st.sampled_from(["\n", "\r\n", "\r"]))
def test_gene_sets_are_read_as_they_were_written(tmp_path, sets, end):
    path = tmp_path / "sets.gmt"
    path.write_bytes(end.join("\t".join([name, "about", *genes]) for name, genes in sets.items()).encode())
    assert read_gmt(path) == sets


@once
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_whatever_is_in_a_text_file(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in (read_gene_map, read_gmt, lambda file: read_samplesheet(file, [])):
        assert all(str(path) in problem for problem in problems_of(read, path))


@once
@given(st.lists(st.one_of(st.none(), st.text(max_size=6), st.integers(), st.floats(allow_nan=True)), max_size=12))
def test_clean_labels_are_clean(values):
    labels = clean_labels(pd.Series(values, dtype=object).map(lambda v: v if v is None or v != v else str(v)))
    for label in labels.dropna():
        assert label == label.strip() != ""
        assert not any(letter in label for letter in "\r\n\t\0")
    again = clean_labels(labels)
    assert again.where(again.notna(), None).tolist() == labels.where(labels.notna(), None).tolist()


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("panel") / "panel.tsv"
    table = pd.DataFrame({"gene": GENES, "source_id": "", "rank": range(1, len(GENES) + 1), "mean": 1.0, "dispersion": 1.0})
    write_panel(table[COLUMNS], path)
    return path


@once
@given(strategies.cells(GENES))
def test_any_cells_are_aligned_or_refused(tmp_path, panel, query):
    path, output, alignment = (tmp_path / name for name in ("q.h5ad", "a.h5ad", "a.json"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        query.write_h5ad(path)
    output.unlink(missing_ok=True)
    options = {"gene_map": None, "min_coverage": 0.0, "output": output, "alignment": alignment}
    problems = problems_of(partial(preprocess_query, Query("s", path, Origin()), panel, **options))
    if problems:
        assert all(str(path) in problem for problem in problems)
        assert not output.exists()
        return
    aligned = ad.read_h5ad(output)
    assert np.isfinite(aligned.X.data).all()
    assert (aligned.X.data >= 0).all()
    assert aligned.obs_names.tolist() == query.obs_names.tolist()
    assert aligned.obs.columns.tolist() == query.obs.columns.tolist()
    assert aligned.var_names.tolist() == GENES
    measured = set(query.var_names)
    assert aligned.var["measured"].tolist() == [gene in measured for gene in GENES]
