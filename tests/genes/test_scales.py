"""What the numbers of cells are is told by the numbers alone, whatever a file keeps of the genes, and mixtures are refused."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmemory.errors import InputError
from cellmemory.genes.scales import Scale, scale_of
from cellmemory.genes.values import checked

#: Each way to normalise counts (cells, genes), and its scale.
WAYS = {
    "counts": (lambda v: v, "counts"),
    "per 10,000": (lambda v: 1e4 * shares(v), "linear"),
    "to the usual sum": (lambda v: np.median(v.sum(axis=1)) * shares(v), "linear"),
    "per hundred": (lambda v: 100 * shares(v), "linear"),
    "shares of ten": (lambda v: 10 * shares(v), "linear"),
    "shares": (lambda v: shares(v), "linear"),
    "log1p": (lambda v: np.log1p(1e4 * shares(v)), "log1p"),
    "log1p of shares": (lambda v: np.log1p(shares(v)), "log1p"),
    "log1p, two digits": (lambda v: np.log1p(1e4 * shares(v)).round(2), "log1p"),
    "log2": (lambda v: np.log2(1 + 1e4 * shares(v)), "log2"),
    "log1p, one digit": (lambda v: np.log1p(1e4 * shares(v / LENGTHS)).round(1), "log1p"),
    "corrected counts": (lambda v: corrected(v), "linear"),
    "by length": (lambda v: 1e6 * shares(v / LENGTHS), "linear"),
    "log1p by length": (lambda v: np.log1p(1e6 * shares(v / LENGTHS)), "log1p"),
    "log2 by length": (lambda v: np.log2(1 + 1e6 * shares(v / LENGTHS)), "log2"),
}
LENGTHS = np.random.default_rng(0).uniform(0.3, 5, 300)


def shares(values: np.ndarray) -> np.ndarray:
    return values / values.sum(axis=1, keepdims=True)


def corrected(values: np.ndarray) -> np.ndarray:
    """Counts without the ambient share of each gene, as SoupX leaves them: neither whole nor normalised."""
    ambient = 0.05 * values.sum(axis=1, keepdims=True) * values.mean(axis=0) / values.mean(axis=0).sum()
    return np.maximum(values - ambient, 0)


def counted(n: int, seed: int = 0) -> np.ndarray:
    """Counts of cells of different depths."""
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(0.5, 1, 300) * rng.lognormal(0, 0.4, (n, 1))).astype(float)


def written(way: str, n: int, seed: int = 0) -> sp.csr_matrix:
    return sp.csr_matrix(WAYS[way][0](counted(n, seed)).astype(np.float32))


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_normalise_is_told(way):
    assert scale_of(written(way, 400)).name == WAYS[way][1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 60), st.sampled_from(list(WAYS)))
def test_few_cells_of_one_kind_are_never_called_mixed(seed, n, way):
    assert scale_of(written(way, n, seed)).name not in ("mixed", "unlike")


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("log1p", "per 10,000", "unlike"),
        ("log1p", "log2", "unlike"),
        ("per 10,000", "log2", "unlike"),
        ("log1p by length", "by length", "unlike"),
        ("log1p by length", "per 10,000", "unlike"),
        ("log2 by length", "log1p", "unlike"),
        ("log1p", "counts", "mixed"),
        ("per 10,000", "counts", "linear"),  # which become the same once they are normalised
    ],
)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_two_ways_in_one_matrix_are_seen(one, other, verdict, share):
    n = int(400 * share)
    assert scale_of(sp.vstack([written(one, n), written(other, 400 - n, 1)], format="csr")).name == verdict


def test_reads_by_length_beside_counted_ones_are_one_scale():
    """Two technologies, each normalised as is usual for it, are what many references hold."""
    assert scale_of(sp.vstack([written("log1p by length", 200), written("log1p", 200)], format="csr")).name == "log1p"


@pytest.mark.parametrize(("depth", "verdict"), [(15, "log1p"), (60, "log2"), (120, "linear"), (500, "linear")])
def test_shallow_counts_that_are_not_whole_are_no_certain_logarithms(depth, verdict):
    """No value of such cells is as large as a count is usually. The deeper they are, the wilder would be the sums of what they
    would be logarithms of."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.6, 1, 300)
    values = corrected(rng.poisson(depth * rates / rates.sum() * rng.lognormal(0, 0.5, (1000, 1))).astype(float))
    cells = sp.csr_matrix(values[values.sum(axis=1) > 0].astype(np.float32))
    assert scale_of(cells) == Scale(verdict, guessed=depth < 500)


def test_what_nothing_tells_is_said_to_be_a_guess():
    """Logarithms of corrected counts that were divided by size factors."""
    rng = np.random.default_rng(0)
    values = np.log1p(corrected(counted(300)) / rng.lognormal(0, 0.3, (300, 1)))
    assert scale_of(sp.csr_matrix(values.astype(np.float32))) == Scale("log1p", guessed=True)
    assert scale_of(written("log1p", 300)) == Scale("log1p", guessed=False)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_wild_value_decides_nothing_and_warns_of_nothing():
    for way in ("log1p by length", "log1p"):
        cells = written(way, 300)
        cells.data[5] = 1200
        assert scale_of(cells).name == "log1p"


@pytest.mark.parametrize(("scale", "other"), [("log1p", "log2"), ("log1p", "counts"), ("linear", "log1p"), ("counts", "log1p")])
def test_what_the_sample_did_not_show_is_refused_when_it_is_read(scale, other):
    rows = sp.vstack([written({"linear": "per 10,000"}.get(scale, scale), 900), written(other, 100, 1)], format="csr")
    rows.data[:5] = 0  # zeros that are stored
    file = SimpleNamespace(path="q.h5ad", names=lambda start, stop: [f"c{start}"], var=lambda _: pd.DataFrame(index=range(300)))
    with pytest.raises(InputError, match=r"q\.h5ad: X holds .*, but .* cells from 'c9\d\d' .* on hold"):
        checked(rows, file, "X", range(1000), scale=scale)
    alone = rows[:900]
    assert checked(alone, file, "X", range(900), scale=scale) is alone
