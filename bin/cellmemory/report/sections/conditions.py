"""What donors are made of, and whether labels have other shares under one condition than under another."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cellmemory.report import drawing
from cellmemory.report.blocks import Block, Figure, Notes, Section, Selector, Table, bounded, category_axis
from cellmemory.report.data import Sample, counted_labels
from cellmemory.report.wording import listed

#: Donors that the heatmap is drawn for, at least, and at most.
FEWEST, MAX_DONORS = 3, 100
#: Donors under a condition, from which on it is compared.
TO_COMPARE = 2


class Donors(NamedTuple):
    """counts: cells of each label, NOT_ASSIGNED included, by donor (donors x labels). conditions: which donor is under which
    condition (donors x conditions); a condition is a column of obs with one value in all cells of each donor."""

    counts: pd.DataFrame
    conditions: pd.DataFrame


def section(samples: Sequence[Sample]) -> Section:
    """A heatmap of donors by label, and the labels' differences between conditions."""
    lead = (
        "What donors are made of, and whether conditions differ. A donor is a value of batch_key in the samplesheet, "
        "or a sample without one. Differences are held against those between donors of one condition: more cells of the same "
        "donors prove nothing."
    )
    donors = find_donors(samples)
    if len(donors.counts) < FEWEST:
        words = f"there are fewer than {FEWEST} donors (values of batch_key, or samples without one)"
        return Section("conditions", "Donors and conditions", lead, absent=words)
    compared = {name: column for name in donors.conditions if (column := _comparable(donors.conditions[name])) is not None}
    left_out = [sentence for name, column in compared.items() if (sentence := _left_out(name, donors.conditions[name], column))]
    notes = left_out if compared else [_too_few(donors)]
    blocks: list[Block] = [Notes(notes)] if notes else []
    return Section("conditions", "Donors and conditions", lead, [*blocks, _heatmaps(donors), *_differences(donors, compared)])


def find_donors(samples: Sequence[Sample]) -> Donors:
    """The donors of all samples, in the order of their first cells.

    A batch of one name is one donor, in whatever samples. A sample without batches is a donor of its own, also where a batch of
    another sample has its name.
    """
    batches = {name for sample in samples if sample.batch is not None for name in sample.batch.dropna()}
    whole = {sample.name: f"{sample.name} (sample)" if sample.name in batches else sample.name for sample in samples}
    of_cells = [
        sample.batch if sample.batch is not None else pd.Series([whole[sample.name]] * len(sample.cells)) for sample in samples
    ]
    donor, names = pd.factorize(pd.concat(of_cells))
    labels = [counted_labels(sample.cells) for sample in samples]
    codes, kinds = np.concatenate([own.cat.codes for own in labels]), list(labels[0].cat.categories)
    cells = np.zeros((len(names), len(kinds)), np.int64)
    np.add.at(cells, (donor[donor >= 0], codes[donor >= 0]), 1)
    counts = pd.DataFrame(cells, names, kinds)
    values = [s.of_batches if s.batch is not None else s.of_batches.set_axis([whole[s.name]]) for s in samples]
    keys = [key for key in values[0] if all(key in own for own in values)]
    found = {key: column for key in keys if (column := _condition(pd.concat([own[key] for own in values]), names)) is not None}
    return Donors(counts.loc[:, counts.sum() > 0], pd.DataFrame(found, names))


def _condition(values: pd.Series, donors: np.ndarray) -> list[str] | None:
    """The value of each donor (those named), where the column is a condition: each has one, and several donors have the same.

    values: by donor, once for each sample that the donor is in; None where a donor's cells have several values or none.
    """
    if values.isna().any():
        return None
    of_donor = values.groupby(level=0).agg(["first", "nunique"]).loc[donors]
    if (of_donor["nunique"] > 1).any() or not 2 <= of_donor["first"].nunique() <= len(donors) - 1:
        return None
    return of_donor["first"].tolist()


def _comparable(condition: pd.Series) -> pd.Series | None:
    """The donors (of one condition each) whose condition has TO_COMPARE of them; None where that is not so of two conditions."""
    kept = condition[condition.map(condition.value_counts()) >= TO_COMPARE]
    return kept if kept.nunique() >= 2 else None


def _left_out(name: str, condition: pd.Series, kept: pd.Series) -> str:
    """Which values of a condition are not compared, as a sentence; '' where all are."""
    alone = sorted(set(condition) - set(kept))
    have = "has" if len(alone) == 1 else "have"
    return f"'{name}': {listed(alone)} {have} one donor, and no part in the test." if alone else ""


def _too_few(donors: Donors) -> str:
    """Why nothing is compared."""
    if donors.conditions.empty:
        return (
            "No differences between conditions: no column of names in obs has one value in all cells of each donor, and the same "
            "value in several donors."
        )
    names = [f"'{name}'" for name in donors.conditions]
    return (
        f"No differences between conditions: of {listed(names)}, fewer than two values have {TO_COMPARE} donors. With one "
        "donor each, a condition looks like a difference between donors."
    )


def _heatmaps(donors: Donors) -> Figure:
    variants = {"": _heatmap(donors, None)}
    if not donors.conditions.empty:
        variants = {str(i): _heatmap(donors, name) for i, name in enumerate(donors.conditions)}
    selectors = [Selector("Order by", list(donors.conditions))] if not donors.conditions.empty else []
    caption = "The share of each donor's cells that counts under a label."
    if len(donors.counts) > MAX_DONORS:
        caption += f" The first {MAX_DONORS} of {len(donors.counts)} donors."
    return Figure("donors", "Donors by label", caption, variants, selectors)


def _heatmap(donors: Donors, condition: str | None) -> dict:
    counts = donors.counts.iloc[:MAX_DONORS]
    rows = list(counts.index)
    if condition is not None:
        of_donor = donors.conditions[condition].iloc[:MAX_DONORS]
        counts = counts.loc[of_donor.sort_values(kind="stable").index]
        rows = [f"{of_donor[name]}: {name}" for name in counts.index]
    shares = counts.div(counts.sum(axis=1), axis=0).to_numpy()
    labels, words = list(counts.columns), "{row}<br>{column}<br>{share} of the donor's cells"
    data = [drawing.heatmap(shares, rows, labels, words=words, scale="expression", title="share")]
    layout = {"xaxis": category_axis(labels, tickangle=-45), "yaxis": category_axis(rows, down=True)}
    return drawing.figure(data, layout, 200 + 22 * max(3, len(rows)), 240 + 26 * len(labels))


def _differences(donors: Donors, compared: dict[str, pd.Series]) -> list[Table]:
    """A row for each condition and label, the smallest p of each condition first."""
    from cellmemory.report.proportions import compare_groups, log_odds  # half a second, which other pages do without

    rows = []
    for name, condition in compared.items():
        counts = donors.counts.loc[condition.index]
        counts = counts.loc[:, counts.sum() > 0]
        if counts.shape[1] < 2:  # every donor has the same share of the only label: all
            continue
        groups, codes = np.unique(condition, return_inverse=True)
        found = compare_groups(log_odds(counts.to_numpy(float)), codes).set_axis(counts.columns)
        shares = counts.div(counts.sum(axis=1), axis=0).groupby(codes).mean()
        sizes = np.bincount(codes)
        for label, row in found.sort_values("p_value", kind="stable").iterrows():
            means = ", ".join(f"{group} {share:.1%} ({n})" for group, share, n in zip(groups, shares[label], sizes, strict=True))
            odds = [np.exp(row[key]) for key in ("difference", "low", "high")] if len(groups) == 2 else [None] * 3
            rows.append([name, label, means, *odds, row["p_value"], row["adjusted_p_value"]])
    columns = [("Condition", "text"), ("Label", "label"), ("Mean share (donors)", "text"), ("Odds ratio", "number")]
    columns += [("95 % from", "number"), ("to", "number"), ("p", "p"), ("Adjusted p", "p")]
    caption = (
        "Means over donors. Odds ratio: of the second of two values against the first, with its 95 % interval. p: moderated t of "
        "the log odds, or F of more than two values (propeller, Phipson et al. 2022), adjusted over the labels of a condition by "
        "Benjamini and Hochberg. Donors count as independent. Shares of a donor sum to 1: where one label grows, others shrink."
    )
    title = "Differences between conditions"
    return [bounded("differences", title, columns, rows, sort_column=6, caption=caption)] if rows else []
