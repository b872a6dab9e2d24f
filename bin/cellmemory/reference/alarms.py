"""Is a query as a whole far from the reference? Sentences for whoever reads the results of single cells."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cellmemory.reference.calibration import Calibration
from cellmemory.reference.novelty import STRANGE

#: An alarm where this many times the expected share of cells is far from the reference.
MANY_FAR = 3.0
#: An alarm where evidence is weaker by this many standard deviations: most batches of references stay below.
MOVED = 1.0
#: An alarm where at least this share of the cells got one label, and at least this many cells.
ONE_LABEL, ONE_LABEL_CELLS = 0.95, 50
#: An alarm where fewer genes of the panel were measured.
COVERAGE = 0.5
#: A gene is silent that no cell expresses where at least this many cells were expected to.
EXPECTED_CELLS = 20
#: An alarm where a larger share of the measured genes is silent.
SILENT = 0.03


@dataclass(frozen=True)
class QueryFigures:
    """What alarms look at, of a whole query.

    novelty_p: (n,). expressed: (n,) genes of the panel that each cell expresses. measured, silent: (genes,) bool, what the query
    measured at all, and of this what silent_genes finds. labelled: the cells of each label of the model. weaker: what
    novelty.CommonShift says of the evidence, None where it was not looked at.
    """

    novelty_p: np.ndarray
    expressed: np.ndarray
    measured: np.ndarray
    silent: np.ndarray
    labelled: Mapping[str, int]
    weaker: float | None


def alarms(query: QueryFigures, *, novelty_alpha: float, usual: tuple[float, float]) -> list[str]:
    """What is unusual about a query, a sentence each; none for a query like the reference.

    usual: the shares of the panel's genes between which 90 % of the reference's cells express.
    """
    found = []
    if query.weaker is not None and query.weaker >= MOVED:
        found.append(_moved(query.weaker))
    far = float((query.novelty_p < novelty_alpha).mean())
    if far > MANY_FAR * novelty_alpha:
        found.append(
            f"{far:.0%} of the cells are far from the reference (novelty p < {novelty_alpha:g}; of cells like the reference's it "
            f"would be {novelty_alpha:.0%}): they belong to types that it lacks, or the query differs as a whole (technology, "
            "condition, species). See where these cells lie on the map; confidence is too high for cells that differ."
        )
    found += _one_label(query.labelled)
    measured, silent = int(query.measured.sum()), int(query.silent.sum())
    if query.measured.mean() < COVERAGE:
        found.append(
            f"Only {query.measured.mean():.0%} of the panel's {len(query.measured):,} genes were measured: labels rest on these. "
            "A model trained on the genes that both share (a run of this query with --reference) may do better."
        )
    if silent > SILENT * measured:
        found.append(
            f"{silent:,} of the {measured:,} measured genes are 0 in every cell, though cells of these labels express them in "
            "the reference: the file may have been filled up with zeros. Remove genes that were not measured from it; a gene "
            "that is absent is not held against a cell, and a zero is."
        )
    share = float(np.median(query.expressed)) / max(1, measured)
    if not usual[0] <= share <= usual[1]:
        found.append(_depth(share, usual))
    return found


def _moved(weaker: float) -> str:
    if weaker >= STRANGE:
        return (
            f"Less speaks for every label than for those of the reference's own cells (by {weaker:.1f} standard deviations, more "
            "than batches of one tissue differ): the query is of another tissue, or its values are not what they were taken "
            "for. Do not use its labels."
        )
    return (
        f"Less speaks for every label than for those of the reference's own cells (by {weaker:.1f} standard deviations): another "
        "technology, condition or species. Novelty is judged with this taken out, confidence is not. Check the labels by "
        "their markers."
    )


def _one_label(labelled: Mapping[str, int]) -> list[str]:
    commonest, cells = max(labelled, key=lambda label: labelled[label]), sum(labelled.values())
    if len(labelled) == 1 or cells < ONE_LABEL_CELLS or labelled[commonest] < ONE_LABEL * cells:
        return []
    return [
        f"{labelled[commonest] / cells:.0%} of the cells got one label, '{commonest}': either they were sorted, or the model "
        "cannot tell them apart. Look whether other types that you expect are missing, and at the markers of this one."
    ]


def silent_genes(cells: np.ndarray, expressing: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Genes (bool) that no cell of a query expresses, though at least EXPECTED_CELLS were to be expected.

    cells: (C,), of each label. expressing: (genes,), cells that express each gene. levels: (C, genes), the mean level (0 to 1,
    0 where it is not expressed) of each label's cells in the reference: at most the share of them that express a gene.
    A query that was sequenced less deeply is expected to express less in proportion.
    """
    expected = cells @ levels
    depth = min(1.0, expressing.sum() / max(expected.sum(), 1e-12))
    return (expressing == 0) & (depth * expected >= EXPECTED_CELLS)


def _depth(share: float, usual: tuple[float, float]) -> str:
    fewer = share < usual[0]
    more, less, why = (
        ("fewer", "less", "Sequencing was shallower, or cells have poor quality.")
        if fewer
        else ("more", "more", "Sequencing was deeper, cells are doublets, or zeros were filled in (imputed or denoised values).")
    )
    return (
        f"The cells express {more} genes than the reference's: half of them {share:.0%} of the measured genes or {less}, "
        f"while 90 % of the reference's cells express {usual[0]:.0%} to {usual[1]:.0%}. {why}"
    )


def own_cells_sentence(own: int, cells: int) -> str:
    """What to say of a query that holds cells that the model was trained on."""
    return (
        f"{own:,} of the {cells:,} cells are the reference's own (same name, same values): the model learned their labels, so "
        "that accuracy and confidence on them are worth nothing. Take them out of the query, or out of the reference."
    )


def unlearned(calibration: Calibration, label_key: str) -> list[str]:
    """A sentence where held-out cells show that the reference could not be learned."""
    accuracy, commonest = calibration.validation_accuracy, calibration.commonest_share
    if accuracy > commonest:
        return []
    return [
        f"This reference cannot be learned: on held-out cells accuracy is {accuracy:.3f}, and always giving the commonest label "
        f"would reach {commonest:.3f}. Do not use the labels; check '{label_key}' and the values of the reference."
    ]


def usual_share(expressed: np.ndarray, n_genes: int) -> tuple[float, float]:
    """The shares of the panel's genes between which 90 % of the reference's cells express. expressed: (n,) genes a cell."""
    low, high = np.quantile(expressed / n_genes, [0.05, 0.95])
    return float(low), float(high)
