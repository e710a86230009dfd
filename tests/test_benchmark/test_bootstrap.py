"""The bootstrap against what is known in closed form."""

import math

import numpy as np
import pytest

from mmsf.benchmark.bootstrap import f1_of_sums, resampled_f1
from mmsf.evaluation.culane_score import LaneCounts
from mmsf.evaluation.tusimple_score import TuSimpleScore

CULANE, TUSIMPLE = ("tp", "fp", "fn"), ("accuracy", "fp", "fn")


def one_lane_a_frame(found: np.ndarray) -> np.ndarray:
    """(N, 3) counts: a lane that is found, or seen elsewhere. F1 is then the share of the frames with 1."""
    return np.stack([found, 1 - found, 1 - found], -1)


def test_f1_is_that_of_the_metrics():
    for counts in (LaneCounts(7, 2, 4), LaneCounts(0, 3, 1), LaneCounts(5, 0, 0)):
        assert f1_of_sums(np.array([counts.tp, counts.fp, counts.fn]), 4, CULANE) == pytest.approx(counts.f1)
    for score in (TuSimpleScore(0.9, 0.2, 0.1), TuSimpleScore(0.0, 1.0, 1.0)):
        sums = 10 * np.array([score.accuracy, score.fp, score.fn])
        assert f1_of_sums(sums, 10, TUSIMPLE) == pytest.approx(score.f1)


def test_f1_without_any_lane_is_0():
    assert f1_of_sums(np.zeros((2, 3)), 4, CULANE).tolist() == [0, 0]


def test_the_standard_error_of_a_share_is_the_binomial_one():
    found = (np.arange(400) < 300).astype(int)
    drawn = resampled_f1(one_lane_a_frame(found)[None], CULANE, resamples=20000)
    # 20000 resamples leave 0.5 % of a standard error uncertain; four times that is a bound.
    assert drawn.std() == pytest.approx(math.sqrt(0.75 * 0.25 / 400), rel=0.02)
    assert drawn.mean() == pytest.approx(0.75, abs=0.001)


def test_the_standard_error_of_a_difference_is_the_paired_one():
    one, other = np.ones(400, int), np.ones(400, int)
    one[:100] = 0
    other[:80] = 0  # they differ in 20 frames of 400 only
    drawn = resampled_f1(np.stack([one_lane_a_frame(one), one_lane_a_frame(other)]), CULANE, resamples=20000)
    paired = np.std(other - one) / math.sqrt(400)
    assert (drawn[:, 1] - drawn[:, 0]).std() == pytest.approx(paired, rel=0.02)
    unpaired = math.hypot(drawn[:, 0].std(), drawn[:, 1].std())
    assert paired < unpaired / 2


def test_tusimples_rates_are_averaged_over_the_drawn_frames():
    rates = np.random.default_rng(1).uniform(0, 0.4, (200, 3))
    drawn = resampled_f1(rates[None], TUSIMPLE, resamples=4000)[:, 0]
    fp, fn = rates[:, 1].mean(), rates[:, 2].mean()
    assert drawn.mean() == pytest.approx(TuSimpleScore(0, fp, fn).f1, abs=0.002)
    # To first order: F1 = 2 p r / (p + r), dF1 = 2 (r^2 dp + p^2 dr) / (p + r)^2.
    p, r = 1 - fp, 1 - fn
    linear = 2 * (r**2 * -rates[:, 1] + p**2 * -rates[:, 2]) / (p + r) ** 2
    assert drawn.std() == pytest.approx(linear.std() / math.sqrt(200), rel=0.05)


def test_the_same_seed_draws_the_same_frames():
    scores = np.random.default_rng(2).integers(0, 4, (2, 50, 3))
    assert np.array_equal(resampled_f1(scores, CULANE), resampled_f1(scores, CULANE))
    assert not np.array_equal(resampled_f1(scores, CULANE), resampled_f1(scores, CULANE, seed=1))
