"""Odd names that the first steps take, and so all later ones have to."""

from pathlib import Path

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from cellmemory.cells.labels import SEPARATOR, LabelSets
from tests.corpus import cells
from tests.corpus.runner import preload, run

STEPS = [
    ("preprocess_reference", "--reference reference.h5ad --label_key cell_type --output aligned.h5ad --panel panel.tsv"),
    ("train", "--reference aligned.h5ad --panel panel.tsv --label_key cell_type --output model --max_epochs 1 --d_model 16 "
     "--n_layers 1 --threads 1"),
    ("preprocess_query", "--query query.h5ad --sample q --panel panel.tsv --truth_key cell_type --output q.aligned.h5ad "
     "--alignment q.alignment.json"),
    ("map_query", "--query q.aligned.h5ad --model model --cells :50 --output s0.h5ad --threads 1"),
    ("map_query", "--query q.aligned.h5ad --model model --cells 50: --output s1.h5ad --threads 1"),
    ("gather", "--query q.aligned.h5ad --model model --slice s0.h5ad --slice s1.h5ad --output q.mapped.h5ad "
     "--labels q.labels.csv --threads 1"),
    ("extract_tags", "--mapped q.mapped.h5ad --model model --permutations 10 --tags q.tags.tsv --slot_tags q.slot_tags.tsv "
     "--threads 1"),
    ("faithfulness", "--mapped q.mapped.h5ad --model model --cells_per_label 3 --output q.faithfulness.tsv --threads 1"),
    ("cluster", "--mapped q.mapped.h5ad --model model --cell_clusters q.cell_clusters.csv --clusters q.clusters.tsv "
     "--cluster_markers q.cluster_markers.tsv --threads 1"),
    ("annotate", "--query query.h5ad --mapped q.mapped.h5ad --cell_clusters q.cell_clusters.csv --output q.annotated.h5ad"),
    ("evaluate", "--mapped q.mapped.h5ad --model model --truth_key cell_type --output q.metrics.json"),
    ("report", "--model model --mapped q.mapped.h5ad --tags q.tags.tsv --slot_tags q.slot_tags.tsv --metrics q.metrics.json "
     "--clusters q.clusters.tsv --cell_clusters q.cell_clusters.csv --output q.report.html"),
]  # fmt: skip
#: Labels that hold what joins the labels of a set, and words of the product's own.
NAMES = {"B": "CD4|CD8", "T": "all other cells", "NK": "unassigned"}


def test_labels_of_odd_names_go_through_all_steps(tmp_path: Path):
    for seed, name in enumerate(("reference", "query")):
        made = cells.good(seed)
        made.obs["cell_type"] = made.obs["cell_type"].cat.rename_categories(NAMES)
        made.write_h5ad(tmp_path / f"{name}.h5ad")
    preload()
    for script, options in STEPS:
        done = run(script, options.split(), tmp_path)
        assert done.status == 0, (script, done.output)
    assert set(pd.read_csv(tmp_path / "q.labels.csv")["cellmemory_label"]) <= set(NAMES.values())
    assert set(pd.read_csv(tmp_path / "q.tags.tsv", sep="\t")["group"]) <= set(NAMES.values())


@given(st.lists(st.text("ab|", min_size=1), min_size=1, max_size=5, unique=True), st.data())
def test_a_label_set_is_read_as_labels_that_make_it(labels, data):
    chosen = data.draw(st.lists(st.sampled_from(labels), min_size=1, max_size=4))
    found = LabelSets(labels).members(SEPARATOR.join(chosen))
    assert found is not None
    assert SEPARATOR.join(found) == SEPARATOR.join(chosen)
    assert set(found) <= set(labels)


def test_what_labels_do_not_make_is_no_label_set():
    assert LabelSets(["A|B", "C"]).members("A|B") == ["A|B"]
    assert LabelSets(["A|B", "C"]).members("A|B|C") == ["A|B", "C"]
    assert LabelSets(["A|B", "C"]).members("A") is None
    assert LabelSets(["A"]).members("") is None
