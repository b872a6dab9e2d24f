"""benchmarks/doubt.py: what is left out of a reference is in its query alone, and its page counts what it found."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import doubt
from tests.conftest import ROOT

SPECS = json.loads((ROOT / "benchmarks" / "left_out.json").read_text())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten cells of three types in each of two batches, and a single cell of a fourth type."""
    obs = pd.DataFrame({"type": list("abc" * 10) * 2 + ["d"], "lane": ["x"] * 30 + ["y"] * 30 + ["x"]})
    obs.index = [f"cell {i}" for i in range(len(obs))]
    counts = sp.csr_matrix(np.arange(1.0, len(obs) + 1)[:, None] * np.ones(3))
    ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=["A", "B", "C"])).write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path


def spec(**changed: object) -> dict:
    found = {"name": "n", "file": "cells.h5ad", "label": "type", "reference": {"lane": ["x"]}, "query": {"lane": ["y"]}}
    return found | {"new": ["b"]} | changed


def test_the_reference_lacks_the_new_type_and_the_query_has_it(data: Path):
    split = doubt.read_left_out(spec(), data)
    assert sorted(split.reference.obs["label"].unique()) == ["a", "c"]  # d has too few cells
    assert split.query.obs["label"].value_counts().to_dict() == {"a": 10, "b": 10, "c": 10}
    assert not set(split.reference.obs_names) & set(split.query.obs_names)


def test_equal_cells_are_halved_by_the_seed(data: Path):
    halved = spec(query={"lane": ["x"]}, reference={"lane": ["x"]}, new=[])
    first, again, other = (doubt.read_left_out(halved, data, seed) for seed in (0, 0, 1))
    assert set(first.query.obs_names) == set(again.query.obs_names) != set(other.query.obs_names)
    assert not set(first.reference.obs_names) & set(first.query.obs_names)


def test_the_references_of_the_page_are_not_queries_of_a_split():
    assert len({row["name"] for row in SPECS}) == len(SPECS) == 19
    assert all(row["new"] for row in SPECS)


def test_candidates_are_counted_by_hand():
    row = dict.fromkeys({name for name, *_ in doubt.ROWS}, 0.5)
    rows = [{"reference": "n", "way": way, "cells": 100, **row} for way in doubt.WAYS]
    candidates = [
        {"label": "a", "unlike": 0.5, "excess": None, "cells": 10, "new_cells": 9},
        {"label": "a", "unlike": 0.1, "excess": 3.0, "cells": 20, "new_cells": 12},
        {"label": "b", "unlike": 0.5, "excess": 1.0, "cells": 10, "new_cells": 0},
    ]
    group = {"reference": "n", "clusters": 7, "mostly_new": 2, "new_cells": 30, "known_cells": 90, "candidates": candidates}
    found = doubt.page_figures({"doubt": rows, "clusters": [group]})
    assert [list(row.values()) for row in found["candidates"]] == [
        ["a quarter unlike the reference", 2, 1, "30.0 %", "12.2 %"],
        ["these, and by their excess", 3, 2, "70.0 %", "21.1 %"],
    ]
    assert (found["single_new"], found["n_clusters"]) == ("50.0 %", 7)
