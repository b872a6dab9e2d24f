"""What to do with each cell's label, and why not to use it."""

import numpy as np
import pandas as pd

from cellmemory.columns import AMBIGUOUS, STATUSES, UNASSIGNED

#: Why a cell is unassigned. An ambiguous cell's reason is what it may be.
UNLIKE, LOW_QUALITY = "unlike the reference", "low quality"


def statuses(strange: np.ndarray, confidence: np.ndarray, min_confidence: float) -> pd.Categorical:
    """The status of each cell (n,), of STATUSES. strange: (n,) bool, what the reference does not know. A known cell is assigned
    where the probability of its label, its confidence, reaches min_confidence."""
    codes = np.where(strange, 0, np.where(confidence < min_confidence, 1, 2))
    return pd.Categorical.from_codes(codes, list(STATUSES))


def reasons(status: pd.Categorical, expressed: np.ndarray, fewest: float, candidates: np.ndarray) -> np.ndarray:
    """Why each cell (n,) is not assigned; empty where it is.

    expressed: (n,) the share of the measured genes that it expresses; a cell below `fewest` is too shallow to differ from others
    for sure. candidates: (n,) what an ambiguous cell may be.
    """
    of_strange = np.where(expressed < fewest, LOW_QUALITY, UNLIKE)
    return np.select([status == UNASSIGNED, status == AMBIGUOUS], [of_strange, candidates], "").astype(object)
