"""Adapts the linear path to a query that differs from the reference as a whole: another protocol, condition or species.

What is taken off is the shift of each gene's mean, beyond what the query's own mix of labels explains. That mix is not
known: labels and shift are found in turn, from the query's cells, each weighing as much as it is like the reference
(novelty p-value), so that types which the reference lacks hardly count. A cell's label then depends on the other cells
of its query, so this is off by default and said in all outputs. The CLS token's part, and with it embedding and
attention, stay as they are.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from cellmemory import bundle
from cellmemory.bundle import Bundle
from cellmemory.device import Runtime
from cellmemory.errors import InputError
from cellmemory.linear import CLIP
from cellmemory.mapping import Mapper
from cellmemory.parts import open_aligned, sample_name
from cellmemory.sampling import evenly_spaced
from cellmemory.tokens import Tokens, views

#: A query's cells that are looked at, evenly spaced over its file: more would not move a mean.
MAX_CELLS = 5_000
ROUNDS = 5
#: The shift is drawn to none as if by so many cells without any.
PRIOR_CELLS = 10


@dataclass(frozen=True)
class Shift:
    """mean: (2, genes), what each gene's two views are larger by in the query; 0 where that was not asked. cells: (n,) weights
    of the cells that it was found from."""

    mean: np.ndarray
    cells: np.ndarray


def find_shift(tokens: Tokens, mapper: Mapper) -> Shift:
    """The shift of the genes that the linear path looks at, from the cells of `tokens`. Memory: cells x these genes, dense."""
    network, calibration = mapper.network, mapper.bundle.calibration
    path = {name: getattr(network.linear, name).cpu().numpy() for name in ("weight", "bias", "mean", "spread", "share")}
    genes = np.flatnonzero((path["weight"] != 0).any((0, 2)) & tokens.measured)
    seen = views(tokens, np.arange(len(tokens)), network.config.n_bins)[:, :, genes]
    seen[:, 1] *= np.sqrt(path["share"][tokens.measured].sum())
    mapped = mapper.run(tokens, attention=False)
    like_reference = mapper.novelty(mapped.logits, tokens)[1]
    means, logits = mapper.bundle.label_means[:, :, genes], mapped.logits
    weight = path["weight"][:, genes].reshape(-1, len(path["bias"]))
    shift = np.zeros((2, len(genes)))
    for _ in range(ROUNDS):
        share = softmax(logits / calibration["temperature"], 1) * like_reference[:, None]
        total = share.sum()
        found = np.einsum("n,nvg->vg", share.sum(1), seen) / total
        expected = np.einsum("c,vcg->vg", share.sum(0), means) / total
        shift = (found - expected) * total / (total + PRIOR_CELLS)
        scaled = np.clip((seen - shift - path["mean"][:, genes]) / path["spread"][:, genes], -CLIP, CLIP)
        logits = mapped.cls_logits + path["bias"] + scaled.reshape(len(seen), -1) @ weight
    mean = np.zeros_like(path["mean"])
    mean[:, genes] = shift
    return Shift(mean, like_reference)


def adapt(query: Path, trained: Bundle, output: Path, runtime: Runtime) -> list[str]:
    """Writes the model folder adapted to an aligned query; returns the lines of the log. Raises InputError for a model that is
    adapted already: shifts must not add up."""
    if trained.adapted_to:
        raise InputError(f"{trained.path}: this model is adapted to '{trained.adapted_to}' already; take the trained one.")
    mapper = Mapper(trained, runtime)
    with open_aligned(query, trained) as file:
        cells = file.picked("X", evenly_spaced(file.n_cells, MAX_CELLS))
        cells = cells[np.diff(cells.indptr) > 0]
        if not cells.shape[0]:
            raise InputError(f"{query}: no cell expresses a gene of the panel, so there is nothing to adapt to.")
        shift = find_shift(mapper.tokenize(cells, file.var()["measured"].to_numpy(bool)), mapper)
        sample = sample_name(file)
    moved = {"linear.mean": trained.weights["linear.mean"] + shift.mean.astype(np.float32)}
    bundle.save_adapted(output, trained, moved, sample)
    size = np.abs(shift.mean / trained.weights["linear.spread"])[shift.mean != 0]
    return [
        f"looked at {cells.shape[0]:,} cells of '{sample}', which weigh as much as {shift.cells.sum():,.0f} like the reference's",
        f"moved the means of {len(size):,} genes' views, half of them by {np.median(size) if len(size) else 0:.2f} standard "
        "deviations of the reference or more",
        f"wrote {output}",
    ]
