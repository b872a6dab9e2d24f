"""Labels that are numbers: their text is that of the integer, however a table holds them, also once a step wrote them again."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellmemory.cells.groups import group_codes
from cellmemory.cells.labels import clean_labels
from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import H5adWriter, plain_column

BIG = 2**53
COLUMNS = {
    "integers": (pd.Series([1, 2, 1]), ["1", "2", "1"]),
    "integers with a gap, as pandas reads a CSV": (pd.Series([1.0, np.nan, 2.0]), ["1", None, "2"]),
    "nullable": (pd.Series([1, 2, 1], dtype="Int64"), ["1", "2", "1"]),
    "nullable with a gap": (pd.Series([0, None, 8], dtype="Int64"), ["0", None, "8"]),
    "nullable and unsigned": (pd.Series([2**63, None, 2**63 + 1], dtype="UInt64"), [str(2**63), None, str(2**63 + 1)]),
    "nullable beyond floats": (pd.Series([BIG + 1, None, BIG + 2], dtype="Int64"), [str(BIG + 1), None, str(BIG + 2)]),
    "nullable and empty": (pd.Series([None, None, None], dtype="Int64"), [None, None, None]),
    "categories of integers": (pd.Series(pd.Categorical([3, 1, 3])), ["3", "1", "3"]),
    "categories of floats": (pd.Series(pd.Categorical([3.0, None, 1.0])), ["3", None, "1"]),
    "fractions": (pd.Series([1.5, 2.0, np.nan]), ["1.5", "2.0", None]),
    "an infinite number": (pd.Series([1.0, np.inf, 2.0]), ["1.0", "inf", "2.0"]),
    "floats too large to be integers": (pd.Series([1e300, 1.0, 2.0]), ["1e+300", "1.0", "2.0"]),
    "booleans": (pd.Series([True, False, True]), ["True", "False", "True"]),
    "nullable booleans": (pd.Series([True, False, True], dtype="boolean"), ["True", "False", "True"]),
    "nullable booleans with a gap": (pd.Series([True, None, False], dtype="boolean"), ["True", None, "False"]),
    "booleans with a gap, as pandas reads a CSV": (pd.Series([True, None, False], dtype=object), ["True", None, "False"]),
    "categories of booleans with a gap": (pd.Series(pd.Categorical([True, None, False])), ["True", None, "False"]),
    "categories of nullable booleans": (
        pd.Series([True, None, False], dtype="boolean").astype("category"),
        ["True", None, "False"],
    ),
    "categories of one text": (pd.Series(pd.Categorical([1, "1", None], [1, "1"])), ["1", "1", None]),
    "sparse": (pd.Series(pd.arrays.SparseArray([0, 2, 0])), ["0", "2", "0"]),
    "text of pandas with a gap": (pd.Series(["x", None, "7"], dtype="string"), ["x", None, "7"]),
    "text of arrow with a gap": (pd.Series(["x", None, "7"], dtype="string[pyarrow]"), ["x", None, "7"]),
    "periods with a gap": (pd.Series(pd.PeriodIndex(["2020-01", None, "2021-02"], freq="M")), ["2020-01", None, "2021-02"]),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_labels_are_the_same_before_and_after_a_step_wrote_them(column, tmp_path: Path):
    given, expected = column
    given.index = ["a", "b", "c"]
    assert clean_labels(given).tolist() == expected
    with H5adWriter(tmp_path / "cells.h5ad", 2) as writer:
        writer.append("X", sp.csr_matrix(np.eye(3, 2, dtype=np.float32)))
        writer.write("obs", given.to_frame("label"))
        writer.write("var", pd.DataFrame(index=["g1", "g2"]))
    with CellFile(tmp_path / "cells.h5ad") as file:
        assert clean_labels(file.column("label", "label", "label_key")).tolist() == expected
    assert clean_labels(ad.read_h5ad(tmp_path / "cells.h5ad").obs["label"]).tolist() == expected


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_groups_are_named_as_labels_are(column):
    """A donor is the same in a file where one of its cells has no value."""
    given, expected = column
    codes, names = group_codes(given)
    assert [None if code < 0 else names[code] for code in codes] == expected


def test_other_nullable_integers_stay_numbers():
    """A user's own counts with a gap are floats, which every reader knows."""
    assert plain_column(pd.Series([5, None], dtype="Int32")).dtype == np.float64
    assert plain_column(pd.Series([5, 7], dtype="UInt16")).dtype == np.uint16


def test_numbers_of_half_precision_are_read_as_others(tmp_path: Path):
    """pandas cannot group by them."""
    cells = ad.AnnData(np.ones((3, 2), np.float32), pd.DataFrame({"lane": np.array([1, 2, np.nan], np.float16)}, ["a", "b", "c"]))
    cells.write_h5ad(tmp_path / "half.h5ad")
    with CellFile(tmp_path / "half.h5ad") as file:
        lane = file.column("lane", "batch", "batch_key")
    assert clean_labels(lane).tolist() == ["1", "2", None]
    assert group_codes(lane)[1] == ["1", "2"]
