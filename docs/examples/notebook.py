"""CellMemory in Python: trains on labelled cells, maps others, and looks at labels and at the genes behind them.

It runs as it stands, in under a minute, on the small data of the tests: `.venv/bin/python docs/examples/notebook.py`.
"""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]  # where nf-cellmemory lies
sys.path.insert(0, str(PROJECT / "bin"))

import anndata as ad  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

import cellmemory  # noqa: E402

reference = ad.read_h5ad(PROJECT / "tests" / "data" / "reference.h5ad")
query = ad.read_h5ad(PROJECT / "tests" / "data" / "unseen_type.h5ad")

# A real reference needs the default of 20 epochs; `genes` keeps to what the query measured.
model = cellmemory.train(reference, "cell_type", genes=query.var_names, max_epochs=2)
print(f"The model knows {len(model.labels)} labels by {len(model.genes)} genes: {', '.join(model.labels)}.")

mapped = model.map(query, sample="unseen_type", truth_key="author_label")
print(mapped.obs[["cellmemory_label", "cellmemory_confidence", "cellmemory_status"]].head())
print(pd.crosstab(mapped.obs["author_label"], mapped.obs["cellmemory_label"]))
for alarm in mapped.uns["cellmemory"]["alarms"]:
    print(f"Warning: {alarm}")

# The genes that cells of the commonest label attend to most.
label = mapped.obs["cellmemory_label"].value_counts().index[0]
attention = np.asarray(mapped[mapped.obs["cellmemory_label"] == label].layers["attention"].mean(0)).ravel()
print(f"{label} attends to {', '.join(mapped.var_names[np.argsort(-attention)[:5]])}.")
