"""What is known of the genes that a cluster expresses beyond the reference: sets of the user, markers of the reference's labels.

Letters: M panel genes, K clusters.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cellmemory.clusters.excess import markers_of_labels
from cellmemory.clusters.markers import largest_excess
from cellmemory.explanation.enrichment import over_representation
from cellmemory.genes.gene_sets import LEAST_MEASURED, Library
from cellmemory.reference.trained_model import TrainedModel

#: Genes of a cluster that are looked up, those of the largest excess.
TESTED_GENES = 20
#: A set is named from so many of these genes, and below this adjusted p-value.
LEAST_GENES, LARGEST_P = 2, 0.05
#: The name of the library that the reference's own labels make.
OWN_LABELS = "reference"


def reference_library(trained: TrainedModel, measured: np.ndarray) -> Library:
    """The reference's labels as gene sets: the measured (M,) marker genes of each."""
    genes = trained.panel["gene"].to_numpy(str)
    found = markers_of_labels(trained.states, measured)
    sets = {trained.labels[label]: genes[markers.genes].tolist() for label, markers in found.items()}
    kept = {label: markers for label, markers in sets.items() if len(markers) >= LEAST_MEASURED}
    named = {gene for markers in kept.values() for gene in markers}
    return Library(OWN_LABELS, kept, len(sets), len(named), len(named), case_folded=False)


def known_sets(
    excess: np.ndarray, candidates: np.ndarray, genes: list[str], *, libraries: Sequence[Library], background: set[str]
) -> pd.DataFrame:
    """For each candidate cluster the set in which its genes of the largest excess are most over-represented.

    excess: (K, M), NaN where a gene was not measured; candidates: (K,) bool; background: the genes that were. Columns: known_as,
    the set and in brackets its library; known_genes, those of them that the set has, joined by `;`; both '' where there is none.
    """
    rows = [
        _best(largest_excess(values, genes, TESTED_GENES), libraries, background) if candidate else ("", "")
        for values, candidate in zip(excess, candidates, strict=True)
    ]
    return pd.DataFrame(rows, columns=["known_as", "known_genes"])


def _best(tested: list[str], libraries: Sequence[Library], background: set[str]) -> tuple[str, str]:
    found = [
        over_representation(tested, library, background).assign(library=library.name) for library in libraries if library.sets
    ]
    table = pd.concat([part for part in found if len(part)] or [pd.DataFrame(columns=["adjusted_p_value", "genes"])])
    table = table[(table["adjusted_p_value"] < LARGEST_P) & (table["genes"].str.count(";") + 1 >= LEAST_GENES)]
    if not len(table):
        return "", ""
    best = table.sort_values("adjusted_p_value", kind="stable").iloc[0]
    return f"{best['term']} ({best['library']})", best["genes"]
