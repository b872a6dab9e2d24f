"""The reference's map, and where cells of a query are placed on it."""

import numpy as np
import pytest

from cellmemory.reference.reference_map import ReferenceMap, fit_map

GROUPS = 3


@pytest.fixture(scope="module")
def groups() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (120, 8) of three groups far apart, and each cell's group."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, GROUPS, 120)
    return (np.eye(8)[group] * 5 + rng.normal(size=(120, 8)) * 0.3).astype(np.float32), group


@pytest.fixture(scope="module")
def reference_map(groups) -> ReferenceMap:
    return ReferenceMap(groups[0], fit_map(groups[0], seed=0))


def nearest_group(places: np.ndarray, reference_map: ReferenceMap, group: np.ndarray) -> np.ndarray:
    centres = np.array([reference_map.coordinates[group == g].mean(0) for g in range(GROUPS)])
    return np.linalg.norm(places[:, None] - centres[None], axis=2).argmin(1)


def test_cells_are_placed_among_their_like(groups, reference_map):
    rng = np.random.default_rng(1)
    group = rng.integers(0, GROUPS, 500)
    cells = (np.eye(8)[group] * 5 + rng.normal(size=(500, 8)) * 0.3).astype(np.float32)
    places = reference_map.place(cells)
    assert places.dtype == np.float32
    np.testing.assert_array_equal(nearest_group(places, reference_map, groups[1]), group)
    assert len(np.unique(places, axis=0)) == 500  # none hides another


def test_the_length_of_an_embedding_does_not_matter(groups, reference_map):
    """The map is one of cosine distances."""
    np.testing.assert_allclose(reference_map.place(groups[0][:9] * 7), reference_map.place(groups[0][:9]), atol=1e-3)


def test_a_cells_place_does_not_depend_on_the_others(groups, reference_map):
    cells = groups[0] + 0.1
    alone = np.concatenate([reference_map.place(cell[None]) for cell in cells])
    np.testing.assert_allclose(alone, reference_map.place(cells), atol=1e-3)


def test_the_reference_s_own_cells_keep_their_neighbourhood(groups, reference_map):
    placed = reference_map.place(groups[0])
    spread = np.linalg.norm(reference_map.coordinates - reference_map.coordinates.mean(0), axis=1).mean()
    assert np.linalg.norm(placed - reference_map.coordinates, axis=1).mean() < spread / 5


def test_the_same_seed_gives_the_same_map(groups, reference_map):
    np.testing.assert_array_equal(fit_map(groups[0], seed=0), reference_map.coordinates)
    assert (fit_map(groups[0], seed=1) != reference_map.coordinates).any()


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 5, 12])
def test_a_few_cells_have_a_map_too(cells):
    embedding = np.random.default_rng(0).normal(size=(cells, 4)).astype(np.float32)
    coordinates = fit_map(embedding, seed=0)
    assert coordinates.shape == (cells, 2)
    assert len(np.unique(coordinates, axis=0)) == cells
    assert np.isfinite(ReferenceMap(embedding, coordinates).place(embedding * 2 + 1)).all()


def test_a_cell_without_a_direction_is_placed_somewhere(groups, reference_map):
    assert np.isfinite(reference_map.place(np.zeros((1, 8), np.float32))).all()
