"""Adapts the linear path to a query that differs from the reference as a whole: another protocol, condition or species.

It learns from the query's cells that the model is sure of, as if their labels were known (self-training). Both parts of
the model say what these are, and one of them learns from it, so that each can correct the other. What it learned from the
reference is where it starts and what it is drawn back to. A cell's label then depends on the other cells of its query, so
this is off by default and said in all outputs. The CLS token's part, and with it embedding and attention, stay as they are.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import log_softmax, softmax

from cellmemory.errors import InputError
from cellmemory.genes.values import checked
from cellmemory.log import say, warn
from cellmemory.mapping.aligned import open_aligned, sample_name, values_digest
from cellmemory.mapping.mapper import Mapper
from cellmemory.network.linear_path import CLIP
from cellmemory.network.runtime import Runtime
from cellmemory.network.threads import one_thread_of_scipy
from cellmemory.network.tokens import Tokens, views
from cellmemory.reference.trained_model import TrainedModel, save_adapted
from cellmemory.sampling import evenly_spaced

#: A query's cells that are looked at, evenly spaced over its file: a linear path learns no more from more.
ADAPTING_CELLS = 5_000
#: Rounds of labelling and learning; the cells that are sure change little after the second.
ROUNDS = 4
#: Confidence above which a cell is learned from, if it is also like the reference's cells.
SURE_ENOUGH = 0.6
LIKE_REFERENCE = 0.05
#: Inverse strength of what draws the weights back to the reference's; of the order of `warm_start.PENALTIES`.
PENALTY = 0.03
#: Adapting is likelier to harm than to help where a label with this many cells loses this share of them.
FEWEST_LOST, LOST_SHARE = 5, 0.25
#: The mean cell of each label of the reference counts as this many cells, so that labels the query lacks are kept.
REFERENCE_CELLS = 10


@dataclass(frozen=True)
class Adapted:
    """weight: (2, genes, C), the linear path's new ones; temperature: the new one; label: (n,) what each cell was learned from
    as, -1 where not; before and after: (n,) what the trained and the adapted model call it."""

    weight: np.ndarray
    temperature: float
    label: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def losses(self, labels: list[str]) -> list[tuple[str, int, int]]:
        """The labels of a few cells or more that lose many of them: name, cells before, and how many of these are lost in all,
        the greatest share first."""
        had, has = (np.bincount(found, minlength=len(labels)) for found in (self.before, self.after))
        lost = np.where(had >= FEWEST_LOST, (had - has) / np.maximum(had, 1), 0)
        order = np.argsort(-lost, kind="stable")
        return [(labels[c], int(had[c]), int(had[c] - has[c])) for c in order[: (lost >= LOST_SHARE).sum()]]


def learn_query(tokens: Tokens, mapper: Mapper) -> Adapted:
    """Weights that fit the query's sure cells as well as the reference. Memory: cells x the genes that the linear path looks
    at, dense, twice."""
    network, calibration = mapper.network, mapper.trained.calibration
    path = {name: getattr(network.linear, name).cpu().numpy() for name in ("weight", "bias", "mean", "spread", "share")}
    genes = np.flatnonzero((path["weight"] != 0).any((0, 2)) & tokens.measured)
    seen = views(tokens, np.arange(len(tokens)), network.config.n_bins)[:, :, genes]
    seen[:, 1] *= np.sqrt(path["share"][tokens.measured].sum())
    cells, means = (
        np.clip((values - path["mean"][:, genes]) / path["spread"][:, genes], -CLIP, CLIP).reshape(len(values), -1)
        for values in (seen, mapper.trained.label_means.transpose(1, 0, 2)[:, :, genes])
    )
    mapped = mapper.run(tokens, attention=False)
    like_reference = mapper.novelty(mapped.logits, tokens)[1] >= LIKE_REFERENCE
    scale, temperature = calibration.linear_weight, calibration.temperature
    start = path["weight"][:, genes].reshape(cells.shape[1], -1)
    moved, label = np.zeros_like(start), np.full(len(cells), -1)
    for _ in range(ROUNDS):
        probability = softmax((mapped.logits + cells @ moved) / temperature, 1)
        sure = like_reference & (probability.max(1) > SURE_ENOUGH)
        label = np.where(sure, probability.argmax(1), -1)
        if not sure.any():
            break
        learned = np.concatenate([cells[sure], means]).astype(np.float64)
        offset = (learned @ start + path["bias"]) / scale
        moved = scale * _difference(learned, offset, *_weighted(label[sure], len(means)))
    weight, after = path["weight"].copy(), mapped.logits + cells @ moved
    weight[:, genes] += moved.reshape(2, len(genes), -1)
    temperature *= _temperature_correction(mapped.logits / temperature, after / temperature)
    return Adapted(weight, temperature, label, mapped.logits.argmax(1), after.argmax(1))


def _weighted(label: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and weights of cells, each label's with the same sum, followed by those of the labels' means."""
    size = np.bincount(label, minlength=n_labels)
    balanced = len(label) / (size > 0).sum() / size[label]
    return np.concatenate([label, np.arange(n_labels)]), np.concatenate([balanced, np.full(n_labels, REFERENCE_CELLS)])


def _difference(cells: np.ndarray, offset: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """D (features, C) that minimises |D|^2 / 2 + PENALTY sum_i weight_i cross-entropy(label_i, offset_i + cells_i D)."""
    shape, rows = (cells.shape[1], offset.shape[1]), np.arange(len(cells))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        difference = flat.reshape(shape)
        log_p = log_softmax(offset + cells @ difference, 1)
        error = np.exp(log_p)
        error[rows, labels] -= 1
        gradient = cells.T @ (error * (PENALTY * weight)[:, None]) + difference
        return (difference**2).sum() / 2 - PENALTY * (weight * log_p[rows, labels]).sum(), gradient.ravel()

    with one_thread_of_scipy():
        found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return found.x.reshape(shape)


def _temperature_correction(before: np.ndarray, after: np.ndarray) -> float:
    """What logits (n, C) are to be divided by, at least 1, to be no surer in the mean than they were: self-training raises
    confidence whether or not the labels are right."""

    def surer(log_factor: float) -> float:
        return softmax(after / np.exp(log_factor), 1).max(1).mean() - softmax(before, 1).max(1).mean()

    return float(np.exp(brentq(surer, 0, np.log(100)))) if surer(0) > 0 else 1.0


def adapt(query: Path, trained: TrainedModel, output: Path, runtime: Runtime, *, auto: bool = False) -> None:
    """Writes the model for an aligned query: adapted to it, or, with auto, as it was trained where adapting would likely harm.

    Raises InputError for a model that is adapted already: what it learned from another query must not pass for the
    reference's.
    """
    if trained.adapted_to:
        raise InputError(f"{trained.path}: this model is adapted to '{trained.adapted_to}' already. Give the trained one.")
    mapper = Mapper(trained, runtime)
    with open_aligned(query, trained) as file:
        rows = evenly_spaced(file.n_cells, ADAPTING_CELLS)
        cells = checked(file.picked("X", rows), file, "X", rows, scale="log1p")
        cells = cells[np.diff(cells.indptr) > 0]
        if not cells.shape[0]:
            raise InputError(f"{query}: no cell expresses a gene of the panel, so there is nothing to adapt to.")
        adapted = learn_query(mapper.tokenize(cells, file.var()["measured"].to_numpy(bool)), mapper)
        sample, values = sample_name(file), values_digest(file)
    losses = adapted.losses(trained.labels)
    refuse, found = auto and bool(losses), _found(adapted, losses)
    if refuse:
        save_adapted(output, trained, {}, temperature=trained.calibration.temperature, to="", values=values, found=found)
    else:
        weights = {"linear.weight": adapted.weight.astype(np.float32)}
        save_adapted(output, trained, weights, temperature=adapted.temperature, to=sample, values=values, found=found)
    learned = adapted.label[adapted.label >= 0]
    say(
        f"Looked at {cells.shape[0]:,} cells of '{sample}' and learned from the {len(learned):,} that the model is sure of and "
        f"that are like the reference's: {len(np.unique(learned))} of {len(trained.labels)} labels."
    )
    (warn if losses else say)(f"'{sample}': {found}")
    say(f"Wrote {output}{', the model as it was trained' if refuse else ''}.")


def _found(adapted: Adapted, losses: list[tuple[str, int, int]]) -> str:
    """What adapting does to the labels of the cells that were looked at, and what is to be expected of it."""
    n, changed = len(adapted.before), np.count_nonzero(adapted.before != adapted.after)
    said = f"Adapting changes the label of {changed:,} of {n:,} cells"
    if not losses:
        return f"{said}; no label with {FEWEST_LOST} cells or more loses a quarter. It is likelier to help than to harm."
    name, had, lost = losses[0]
    more = f", {len(losses) - 1:,} more labels a quarter or more" if losses[1:] else ""
    return f"{said}: '{name}' loses {lost:,} of its {had:,}{more}. It is likelier to harm than to help."
