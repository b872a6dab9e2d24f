"""A query that differs as a whole is told so, one like the reference is not."""

import numpy as np

from cellmemory.reference.alarms import alarms, usual_share

RNG = np.random.default_rng(0)
UNIFORM = (np.arange(1000) + 1) / 1000
EVERY, HALF = np.ones(200, bool), np.arange(200) < 90


def test_a_query_like_the_reference_raises_no_alarm():
    expressed = RNG.integers(20, 60, 1000)
    assert alarms(UNIFORM, 0.05, expressed=expressed, measured=EVERY, usual=usual_share(expressed, 200)) == []


def test_each_difference_is_told_with_its_figures():
    expressed = np.full(1000, 40)
    usual = (0.1, 0.3)
    (far,) = alarms(np.where(UNIFORM <= 0.4, 0.01, UNIFORM), 0.05, expressed=expressed, measured=EVERY, usual=usual)
    assert far.startswith("40% of the cells are far from the reference (novelty p < 0.05;")
    (few,) = alarms(UNIFORM, 0.05, expressed=expressed // 3, measured=HALF, usual=usual)
    assert few.startswith("Only 45% of the panel's 200 genes were measured")
    (shallow,) = alarms(UNIFORM, 0.05, expressed=expressed // 4, measured=EVERY, usual=usual)
    assert "express fewer genes than the reference's: half of them 5% of the measured genes or less" in shallow
    (deep,) = alarms(UNIFORM, 0.05, expressed=expressed * 4, measured=EVERY, usual=usual)
    assert "express more genes than the reference's: half of them 80%" in deep


def test_the_usual_share_holds_nine_tenths_of_the_cells():
    low, high = usual_share(np.arange(1000), 1000)
    assert np.isclose((low, high), (0.05, 0.95), atol=0.001).all()
