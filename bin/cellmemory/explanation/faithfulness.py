"""Whether a ranking of a cell's genes is faithful to the model: its first genes are removed, or only they are kept.

Deletion: the first k genes of the ranking become absent, as genes that were not measured; the sooner the probability of
the cell's label falls, the more the model did read these genes. Insertion: all genes but the first k become absent; the
sooner the probability rises, the more these genes are enough. Nothing else of the cell changes: bins, square roots of
shares and what the cell does not express stay as they were.

The probability is that of the whole decision, or only of the CLS token's part, both at the calibrated temperature. A
curve is summarised by its area over log2(1 + k), divided by its width, so that it is a mean probability, in which the first
genes count as much as the many behind them.

Letters: B cells of a batch, T tokens (padded), C labels, K steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cellmemory.cells.labels import ALL_LABELS
from cellmemory.columns import FAITHFULNESS_COLUMNS
from cellmemory.explanation.attribution import cls_contributions
from cellmemory.mapping.mapper import Mapper
from cellmemory.network.batching import CellBatch, as_tensors, token_batches
from cellmemory.network.tokens import Tokens

STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200)
RANKINGS = ("attention", "cls_contribution", "linear_contribution", "both_contributions", "expression", "random")
PARTS, CURVES = ("whole", "cls"), ("deletion", "insertion")
#: Of more labels than these, fewer cells each are tested: a cell goes through the network a hundred times.
LABELS_IN_FULL = 20
#: Cells of each label however many labels there are: of one there is no standard error.
FEWEST_OF_LABEL = 2
COLUMNS = [*FAITHFULNESS_COLUMNS, *(f"k{k}" for k in STEPS)]


@dataclass(frozen=True)
class LabelledBatch:
    """Cells, the label (B,) of each, and its logits in the linear path: linear (B, T, C) of each token, rest (B, C), what is
    not of the tokens."""

    cells: CellBatch
    label: Tensor
    linear: Tensor
    rest: Tensor


def cells_of_each(cells_per_label: int, n_labels: int) -> int:
    """How many cells of each label are tested, at most: of more labels than LABELS_IN_FULL, as many in all as these have."""
    return min(cells_per_label, max(FEWEST_OF_LABEL, cells_per_label * LABELS_IN_FULL // max(1, n_labels)))


def curves(tokens: Tokens, mapper: Mapper, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (cells, parts, curves, rankings, K) of each cell's label, in the order of PARTS, CURVES, RANKINGS and
    STEPS, and the label (cells,) of each."""
    noise = torch.from_numpy(np.random.default_rng(seed).random(len(tokens.gene), np.float32))
    found = np.empty((len(tokens), len(PARTS), len(CURVES), len(RANKINGS), len(STEPS)), np.float32)
    label = np.empty(len(tokens), np.int64)
    for rows in token_batches(tokens):
        batch, attention = _prepare(mapper, tokens, rows)
        label[rows] = batch.label.cpu()
        random = torch.zeros(batch.cells.gene.shape)
        random[batch.cells.valid.cpu()] = noise[torch.from_numpy(tokens.positions(rows))]
        for place, score in enumerate(_scores(mapper, batch, attention, random.to(batch.cells.gene.device))):
            found[rows, :, :, place] = _curves(mapper, batch, score)
    return found, label


def summarise(found: np.ndarray, label: np.ndarray, labels: list[str]) -> pd.DataFrame:
    """Areas and curves of each label, then of all labels (each counting alike), columns COLUMNS.

    gain: how much smaller (deletion) or larger (insertion) the area is than that of random genes, and its standard error
    over cells; positive is more faithful than chance.
    """
    areas, random = area(found), RANKINGS.index("random")
    sign = np.array([-1, 1])[None, None, :, None]
    gains = sign * (areas - areas[..., random : random + 1])
    present = [g for g in range(len(labels)) if (label == g).any()]
    blocks = []
    for g in present:
        curve, mean_area, gain = (_mean(values[label == g]) for values in (found, areas, gains))
        error, n_cells = _error(gains[label == g]), int((label == g).sum())
        blocks.append(_rows(labels[g], n_cells, curve=curve, areas=mean_area, gains=gain, errors=error))
    if len(present) > 1:
        curve, mean_area, gain = (np.mean([_mean(v[label == g]) for g in present], 0) for v in (found, areas, gains))
        # Of a mean of independent means.
        error = np.sqrt(np.sum([np.nan_to_num(_error(gains[label == g])) ** 2 for g in present], 0)) / len(present)
        blocks.append(_rows(ALL_LABELS, len(label), curve=curve, areas=mean_area, gains=gain, errors=error))
    return pd.DataFrame([row for block in blocks for row in block], columns=COLUMNS)


def area(found: np.ndarray) -> np.ndarray:
    """The area (...) under curves (..., K) over log2(1 + k), divided by its width: a weighted mean, 0 to 1."""
    x = np.log2(1 + np.array(STEPS))
    return np.trapezoid(found.astype(np.float64), x, axis=-1) / x[-1]


def _prepare(mapper: Mapper, tokens: Tokens, rows: np.ndarray) -> tuple[LabelledBatch, Tensor]:
    """The cells `rows` with all that is kept over rankings, and the attention (B, T) that CLS pays to their tokens."""
    network, cells = mapper.network, as_tensors(tokens, rows).to(mapper.runtime.device)
    with torch.no_grad():
        output = network.decide(cells, attention=True)
        linear = network.linear.contributions(cells, cells.bins / network.config.n_bins) * cells.valid[..., None]
        rest = output.logits - output.cls_logits - linear.sum(1)
    assert output.attention is not None
    return LabelledBatch(cells, output.logits.argmax(1), linear, rest), output.attention.cls


def _scores(mapper: Mapper, batch: LabelledBatch, attention: Tensor, random: Tensor) -> Iterator[Tensor]:
    """What each of RANKINGS ranks the tokens by, (B, T) each."""
    of_cls = cls_contributions(mapper.network, batch.cells, batch.label)
    own = batch.linear.gather(2, batch.label[:, None, None].expand(-1, batch.linear.shape[1], 1))[..., 0]
    linear = own - batch.linear.mean(2)
    # Roots of shares have the order of the values, without ties by bins.
    yield from (attention, of_cls, linear, of_cls + linear, batch.cells.sqrt_share, random)


def _curves(mapper: Mapper, batch: LabelledBatch, score: Tensor) -> np.ndarray:
    """(B, parts, curves, K) probabilities of the cells' labels as the tokens go, and come, by falling score."""
    order = score.masked_fill(~batch.cells.valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
    width = order.shape[1]
    found = np.empty((len(order), len(PARTS), len(CURVES), len(STEPS)), np.float32)
    for step, k in enumerate(STEPS):
        for curve, kept in enumerate((order[:, min(k, width) :], order[:, : min(k, width)])):
            for part, values in enumerate(_probabilities(mapper, batch, kept)):
                found[:, part, curve, step] = values
    return found


def _probabilities(mapper: Mapper, batch: LabelledBatch, kept: Tensor) -> Iterator[np.ndarray]:
    """(B,) for each of PARTS: the probability of the cells' labels with the tokens at the places `kept` (B, n) only."""
    cells = batch.cells
    gene, bins, sqrt_share, valid = (v.gather(1, kept) for v in (cells.gene, cells.bins, cells.sqrt_share, cells.valid))
    linear = batch.rest + batch.linear.gather(1, kept[..., None].expand(-1, -1, batch.linear.shape[2])).sum(1)
    if not kept.shape[1]:  # one token of padding: the network's products need a token
        gene, bins, sqrt_share, valid = (torch.nn.functional.pad(v, (0, 1)) for v in (gene, bins, sqrt_share, valid))
    with torch.no_grad():
        cls = mapper.network.decide(CellBatch(gene, bins, sqrt_share, valid, cells.measured)).cls_logits
    for logits in (cls + linear, cls):
        probability = (logits.double() / mapper.trained.calibration.temperature).softmax(1)
        yield probability.gather(1, batch.label[:, None])[:, 0].cpu().numpy()


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(0, dtype=np.float64)


def _error(values: np.ndarray) -> np.ndarray:
    return values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def _rows(
    group: str, n_cells: int, *, curve: np.ndarray, areas: np.ndarray, gains: np.ndarray, errors: np.ndarray
) -> list[tuple]:
    rows = []
    for p, part in enumerate(PARTS):
        for c, name in enumerate(CURVES):
            for r, ranking in enumerate(RANKINGS):
                gain = (np.nan, np.nan) if ranking == "random" else (gains[p, c, r], errors[p, c, r])
                rows.append((group, part, name, ranking, areas[p, c, r], *gain, n_cells, *curve[p, c, r]))
    return rows
