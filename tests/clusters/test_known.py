"""What the genes of a cluster that may be new are known as."""

import numpy as np
import pytest

from cellmemory.clusters.excess import markers_of_labels
from cellmemory.clusters.known import known_sets
from cellmemory.genes.gene_sets import Library
from cellmemory.reference.states import LabelStates

GENES = [f"g{i}" for i in range(200)]


def library(name: str, **sets: list[str]) -> Library:
    return Library(name, sets, len(sets), 0, 0, case_folded=False)


@pytest.fixture
def excess() -> np.ndarray:
    """Three clusters: the first and the last express the first genes most, the second those from 100 on."""
    found = np.full((3, len(GENES)), -1.0)
    found[[0, 2], :20] = np.linspace(5, 1, 20)
    found[1, 100:120] = 3
    return found


def test_the_set_with_more_of_the_genes_than_by_chance_is_named(excess):
    libraries = [
        library("own", A=GENES[:6], wide=GENES[:150]),
        library("others", B=GENES[100:104], few=[*GENES[:1], *GENES[150:152]]),
    ]
    candidates = np.array([True, True, False])
    found = known_sets(excess, candidates, GENES, libraries=libraries, background=set(GENES))
    assert found["known_as"].tolist() == ["A (own)", "B (others)", ""], "a cluster that is not new is not looked up"
    assert found["known_genes"].tolist() == [";".join(GENES[:6]), ";".join(GENES[100:104]), ""]


def test_what_fits_by_chance_has_no_name(excess):
    libraries = [library("a", one=[*GENES[:1], *GENES[180:200]], none=GENES[190:]), library("empty")]
    found = known_sets(excess, np.ones(3, bool), GENES, libraries=libraries, background=set(GENES))
    assert found["known_as"].tolist() == ["", "", ""]
    excess[:] = np.nan
    found = known_sets(excess, np.ones(3, bool), GENES, libraries=[library("a", A=GENES[:6])], background=set(GENES))
    assert found["known_as"].tolist() == ["", "", ""]


def test_the_markers_of_a_label_are_what_it_is_above_the_others_in():
    mean = np.zeros((4, 10), np.float32)
    mean[0, :3], mean[1, :3], mean[2, 3:6], mean[3, 6] = [3, 2, 1], [3, 2, 1], 2, 0.1
    states = LabelStates(mean, np.array([0, 0, 1, 2]), np.ones(10, np.float32))
    found = markers_of_labels(states, np.arange(10) != 1)
    assert found[0].genes.tolist() == [0, 2]
    assert sorted(found[1].genes) == [3, 4, 5]
    assert found[2].genes.tolist() == [], "0.1 is too little"
    assert markers_of_labels(LabelStates(mean[:2], np.zeros(2, int), np.ones(10, np.float32)), np.ones(10, bool)) == {}
