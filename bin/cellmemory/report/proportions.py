"""Whether labels have other shares of the cells under one condition than under another, with donors as what varies.

The propeller method (Phipson et al., Bioinformatics 2022, 38:4720): log odds of the shares of each donor, a linear model for
each label, and variances that labels share out among themselves by empirical Bayes (Smyth, Statistical Applications in Genetics
and Molecular Biology 2004, 3:3). Without propeller's optional robust variances.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import f, false_discovery_control, t

#: Added to each count, so that a label that a donor lacks has odds.
PSEUDO_COUNT = 0.5
#: The smallest variance, of the labels' median.
SMALLEST_VARIANCE = 1e-5
LEVEL = 0.95


class Prior(NamedTuple):
    """What the variances of all labels have in common: its size, and how many degrees of freedom it is worth."""

    variance: float
    freedom: float


def log_odds(counts: np.ndarray) -> np.ndarray:
    """The log odds of each label's share (donors, labels) of counts (donors, labels)."""
    more = counts + PSEUDO_COUNT
    shares = more / more.sum(1, keepdims=True)
    return np.log(shares / (1 - shares))


def compare_groups(values: np.ndarray, group: np.ndarray) -> pd.DataFrame:
    """A row for each label: how its values (donors, labels), such as log odds, differ between groups of donors (donors,).

    Columns: `statistic` (moderated t of the second group against the first, or F of several groups), `p_value`,
    `adjusted_p_value` (Benjamini and Hochberg); of two groups also `difference` of the means and its 95 % interval, `low` and
    `high`. Groups are codes from 0; one of them at least must have two donors.
    """
    member = np.eye(group.max() + 1)[group]
    donors, groups = member.sum(0), member.shape[1]
    means = member.T @ values / donors[:, None]
    freedom = len(values) - groups
    variance = ((values - member @ means) ** 2).sum(0) / freedom
    prior = variance_prior(variance, freedom)
    known = np.isfinite(prior.freedom)
    moderated = (freedom * variance + prior.freedom * prior.variance) / (freedom + prior.freedom) if known else prior.variance
    moderated = np.broadcast_to(moderated, variance.shape)
    total = min(freedom + prior.freedom, freedom * len(variance))
    if groups > 2:
        grand = values.mean(0)
        statistic = (donors[:, None] * (means - grand) ** 2).sum(0) / (groups - 1) / moderated
        found = {"statistic": statistic, "p_value": f.sf(statistic, groups - 1, total)}
    else:
        difference, error = means[1] - means[0], np.sqrt(moderated * (1 / donors).sum())
        reach = t.ppf((1 + LEVEL) / 2, total) * error
        found = {"difference": difference, "low": difference - reach, "high": difference + reach}
        found |= {"statistic": difference / error, "p_value": 2 * t.sf(np.abs(difference / error), total)}
    return pd.DataFrame(found | {"adjusted_p_value": false_discovery_control(found["p_value"])})


def variance_prior(variance: np.ndarray, freedom: int) -> Prior:
    """The prior of the labels' variances (labels,), each of `freedom` degrees of freedom, by the moments of their logarithms
    (Smyth 2004, section 6.2)."""
    if len(variance) == 1:
        return Prior(float(variance[0]), 0.0)
    variance = np.maximum(variance, SMALLEST_VARIANCE * (np.median(variance) or 1))
    logs = np.log(variance) - digamma(freedom / 2) + np.log(freedom / 2)
    excess = logs.var(ddof=1) - polygamma(1, freedom / 2)
    if excess <= 0:
        return Prior(float(variance.mean()), np.inf)
    half = np.exp(brentq(lambda log: polygamma(1, np.exp(log)) - excess, -20, 20))
    return Prior(float(np.exp(logs.mean() + digamma(half) - np.log(half))), 2 * half)
