"""Pre-ranked gene set enrichment analysis (Subramanian et al. 2005): whether a set's genes crowd at an end of a ranking.

The statistic is that of gseapy.prerank, to which the tests hold it; the null is made once for each size of a set and serves
all sets of that size, where gseapy makes one for every set: on a library of 2,000 sets that is seconds against minutes.

Letters: N ranked genes, P permutations, k genes of a set that are ranked.
"""

from functools import lru_cache

import numpy as np
import pandas as pd

#: Sets with fewer or more ranked genes are not tested: too few say nothing, too many nothing in particular.
MIN_SET, MAX_SET = 5, 500
#: Random sets that every set is compared with; all of them where fewer than FEW of the first are as far out.
FIRST_PERMUTATIONS, FEW = 1000, 10
COLUMNS = ["term", "overlap", "p_value", "nes", "genes"]


def scores(weights: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(n,) enrichment scores of n sets of k genes at rising positions (n, k) of a ranking with weights (N,), at least 0.

    The running sum rises at a gene of the set by its share of the set's weights, and falls at any other by an equal step;
    the score is its largest deviation from 0, with its sign.
    """
    k, missing = positions.shape[1], len(weights) - positions.shape[1]
    hits = weights[positions]
    total = hits.sum(axis=1, keepdims=True)
    # Where all of a set's weights are 0 its genes count alike.
    risen = np.cumsum(np.where(total > 0, hits / np.where(total > 0, total, 1), 1 / k), axis=1)
    fallen = (positions - np.arange(k)) / max(1, missing)
    highest = (risen - fallen).max(axis=1)
    lowest = (np.pad(risen[:, :-1], ((0, 0), (1, 0))) - fallen).min(axis=1)
    return np.where(highest >= -lowest, highest, lowest)


def prerank(values: pd.Series, sets: dict[str, list[str]], permutations: int, seed: int) -> pd.DataFrame:
    """Tests every set that has MIN_SET to MAX_SET genes in the ranking; columns COLUMNS, by rising p-value.

    values: what each gene (index) is ranked by, signed; equal values keep their order. nes is the score over the mean of
    the null's scores of its sign, p_value the share of the null whose nes is at least as far from 0, counting the set
    itself. The null is FIRST_PERMUTATIONS random sets, or `permutations` for sets that hardly any of the first reach. overlap is
    leading edge / ranked genes of the set, genes the leading edge in the order of the ranking, joined by ';'.
    """
    order = np.argsort(-values.to_numpy(), kind="stable")
    names, weights = values.index.to_numpy()[order], np.abs(values.to_numpy()[order])
    place = {name: i for i, name in enumerate(names)}
    found = {term: np.sort([place[gene] for gene in dict.fromkeys(genes) if gene in place]) for term, genes in sets.items()}
    by_size: dict[int, list[str]] = {}
    for term, at in found.items():
        if MIN_SET <= len(at) <= min(MAX_SET, len(names) - 1):
            by_size.setdefault(len(at), []).append(term)
    random = _random_sets(len(names), permutations, seed)
    rows = []
    for k, terms in by_size.items():
        observed = scores(weights, np.stack([found[term] for term in terms]))
        null = scores(weights, np.sort(random[:FIRST_PERMUTATIONS, :k], axis=1))
        nes, hits = _compare(observed, null)
        p_values, few = (1 + hits) / (1 + len(null)), hits < FEW
        if few.any() and permutations > FIRST_PERMUTATIONS:
            null = np.concatenate([null, scores(weights, np.sort(random[FIRST_PERMUTATIONS:, :k], axis=1))])
            further, hits = _compare(observed, null)
            nes, p_values = np.where(few, further, nes), np.where(few, (1 + hits) / (1 + len(null)), p_values)
        for term, score, own_nes, p_value in zip(terms, observed, nes, p_values, strict=True):
            edge = _leading_edge(weights, found[term], score)
            rows.append((term, f"{len(edge)}/{k}", p_value, own_nes, ";".join(names[edge])))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.iloc[np.lexsort((table["term"], -table["nes"].abs(), table["p_value"]))].reset_index(drop=True)


@lru_cache(maxsize=1)
def _random_sets(n_genes: int, permutations: int, seed: int) -> np.ndarray:
    """(P, at most MAX_SET) positions without repetition: the first k of a row are a random set of k genes.

    Kept for the next ranking of as many genes: drawing takes longer than testing.
    """
    rng = np.random.default_rng(seed)
    blocks = [min(1000, permutations - start) for start in range(0, permutations, 1000)]
    drawn = [np.argsort(rng.random((size, n_genes), np.float32), axis=1)[:, :MAX_SET].astype(np.int32) for size in blocks]
    return np.concatenate(drawn)


def _compare(observed: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised scores of sets (n,), and how many of the null (P,) have one that is at least as far from 0."""
    above, below = null[null >= 0], -null[null < 0]
    up, down = (side.mean() if len(side) else np.inf for side in (above, below))
    normal = np.sort(np.concatenate([above / up, below / down]))
    nes = np.where(observed >= 0, observed / up, observed / down)
    return nes, len(normal) - np.searchsorted(normal, np.abs(nes) * (1 - 1e-12), side="left")


def _leading_edge(weights: np.ndarray, at: np.ndarray, score: float) -> np.ndarray:
    """The positions of the set's genes up to where the running sum peaks, or for a negative score from there on."""
    total = weights[at].sum()
    risen = np.cumsum(weights[at] / total if total > 0 else np.full(len(at), 1 / len(at)))
    fallen = (at - np.arange(len(at))) / max(1, len(weights) - len(at))
    if score >= 0:
        return at[: (risen - fallen).argmax() + 1]
    return at[(np.r_[0, risen[:-1]] - fallen).argmin() :]
