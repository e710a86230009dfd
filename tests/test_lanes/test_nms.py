"""Line suppression."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsf.lanes.nms import line_nms


def plain_nms(scores, starts, lengths, xs, threshold, topk, quirk):
    """The kernel, lane by lane and row by row."""
    rows = xs.shape[1]

    def ends(lane):
        start = math.trunc(float(np.float32(starts[lane]) * np.float32(rows - 1) + np.float32(0.5)))
        short = lengths[lane] < 1 if quirk == "original" else xs[lane][2] < 1
        return start, min(
            math.trunc(float(np.float32(start) + lengths[lane] - 1 + np.float32(0.5) - np.float32(short))), rows - 1
        )

    def close(one, two):
        (first, last), (other_first, other_last) = ends(one), ends(two)
        begin, end = max(first, other_first), min(last, other_last)
        if end < begin:
            return False
        return sum(abs(xs[one][r] - xs[two][r]) for r in range(begin, end + 1)) < threshold * (end - begin + 1)

    kept = []
    for lane in sorted(range(len(scores)), key=lambda lane: -scores[lane]):
        if not any(close(other, lane) for other in kept):
            kept.append(lane)
    return kept[:topk]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from(["original", "pad"]), st.sampled_from([2, 4, None]))
def test_it_follows_the_kernel(seed, count, quirk, topk):
    generator = np.random.default_rng(seed)
    scores = generator.choice([0.5, 0.6, 0.7, 0.8, 0.9], count).astype(np.float32)
    starts = generator.choice([0, 0, 0.1, 0.5], count).astype(np.float32)
    lengths = generator.uniform(-1, 80, count).astype(np.float32)
    xs = (generator.uniform(0, 200, (count, 1)) + generator.integers(-9, 10, (count, 72)).cumsum(1)).astype(np.float32)
    kept = line_nms(scores, starts, lengths, xs, 50, topk, quirk)
    assert kept.tolist() == plain_nms(scores, starts, lengths, xs, 50, topk, quirk)


def lanes(*positions):
    count = len(positions)
    return (
        np.linspace(0.9, 0.5, count),
        np.zeros(count),
        np.full(count, 72.0),
        np.tile(np.array(positions)[:, None], (1, 72)),
    )


def test_of_neighbours_the_surest_stays_and_the_limit_is_exclusive():
    assert line_nms(*lanes(100.0, 149.9, 150.0, 300.0)).tolist() == [0, 2, 3]
    scores, *rest = lanes(100.0, 120.0)
    assert line_nms(scores[::-1], *rest).tolist() == [1]


def test_at_most_topk_lanes_stay_the_surest_first():
    many = lanes(*np.arange(6) * 100.0)
    assert line_nms(*many).tolist() == [0, 1, 2, 3]
    assert line_nms(*many, topk=None).tolist() == [0, 1, 2, 3, 4, 5]


def test_lanes_without_a_common_row_leave_each_other_alone():
    scores, starts, lengths, xs = lanes(100.0, 100.0)
    starts[1], lengths[0] = 0.5, 20
    assert line_nms(scores, starts, lengths, xs).tolist() == [0, 1]


def test_the_two_quirks_differ_where_the_columns_are_shifted():
    scores, starts, lengths, xs = lanes(100.0, 100.0)
    starts[:], lengths[:] = 0.5, 0.9  # one row, which the original takes off
    assert line_nms(scores, starts, lengths, xs).tolist() == [0, 1]
    assert line_nms(scores, starts, lengths, xs, length_quirk="pad").tolist() == [0]
    with pytest.raises(ValueError, match="length_quirk"):
        line_nms(scores, starts, lengths, xs, length_quirk="none")


def test_no_lanes_stay_no_lanes():
    assert line_nms(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, 72))).shape == (0,)
