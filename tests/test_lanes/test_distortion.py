"""The Lane Distortion Score."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsf.lanes import DistortionRule, frames_distortion, lane_distortion, row_grid

ROWS = row_grid(400, 20)  # 20 rows
RULES = [DistortionRule(), DistortionRule(bounding="arc", match_distance=60, penalty=0.5), DistortionRule(bounding_unit=100)]


def random_frames(seed, frames, lanes, absent=0.2):
    """(F, L, R) of slanted lanes, close to one another, with absent points."""
    generator = np.random.default_rng(seed)
    xs = generator.uniform(0, 200, (frames, lanes, 1)) + generator.normal(0, 1, (frames, lanes, 1)) * (ROWS - 200)
    xs = xs + generator.normal(0, 5, (frames, lanes, len(ROWS)))
    return np.where(generator.random(xs.shape) < absent, np.nan, xs)


def plain_score(one, two, rule):
    """Eq. 2 by loops: the smallest score of all one-to-one assignments of the lanes of one frame, (L, R) and (L2, R)."""

    def bounding(points):
        points = np.array(points)
        steps = np.diff(points, axis=0)
        length = np.hypot(*np.ptp(points, axis=0)) if rule.bounding == "diagonal" else np.hypot(*steps.T).sum()
        return length / (rule.bounding_unit or 20)

    def pair(first, second):
        rows = [r for r in range(len(ROWS)) if abs(first[r] - second[r]) <= rule.match_distance]
        if not rows:
            return 0, 0.0
        lengths = [bounding([(xs[r], ROWS[r]) for r in rows]) for xs in (first, second)]
        total = sum(abs(first[r] - second[r]) for r in rows)
        return len(rows), total / rule.match_distance / max(sum(lengths) / 2, 1)

    points = np.isfinite(one).sum() + np.isfinite(two).sum()
    if len(one) > len(two):
        one, two = two, one
    best = rule.penalty * points
    for count in range(1, len(one) + 1):
        for chosen in itertools.combinations(range(len(one)), count):
            for partners in itertools.permutations(range(len(two)), count):
                parts = [pair(one[i], two[j]) for i, j in zip(chosen, partners)]
                mismatched = points - 2 * sum(matched for matched, _ in parts)
                best = min(best, rule.penalty * mismatched + sum(cost for _, cost in parts))
    return best


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(0, 3), st.sampled_from(RULES))
def test_it_is_the_smallest_score_of_all_assignments(seed, lanes, others, rule):
    one, two = random_frames(seed, 3, lanes), random_frames(seed + 1, 3, others)
    score = lane_distortion(one, two, ROWS, rule).score
    np.testing.assert_allclose(score, [plain_score(a, b, rule) for a, b in zip(one, two)])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.sampled_from(RULES))
def test_a_decoding_is_not_distorted_against_itself(seed, lanes, rule):
    frames = random_frames(seed, 4, lanes)
    result = lane_distortion(frames, frames[:, ::-1], ROWS, rule)
    for part in (result.score, result.matched, result.mismatched, result.shift):
        np.testing.assert_array_equal(part, np.zeros(4))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(0, 5), st.sampled_from(RULES))
def test_the_decodings_may_change_places(seed, lanes, others, rule):
    one, two = random_frames(seed, 5, lanes), random_frames(seed + 1, 5, others)
    forth, back = lane_distortion(one, two, ROWS, rule), lane_distortion(two, one, ROWS, rule)
    np.testing.assert_allclose(forth.score, back.score)
    np.testing.assert_allclose(forth.matched, back.matched)
    np.testing.assert_array_equal(forth.mismatched, back.mismatched)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(RULES))
def test_score_is_the_matched_part_plus_the_penalties(seed, rule):
    result = lane_distortion(random_frames(seed, 3, 3), random_frames(seed + 1, 3, 4), ROWS, rule)
    np.testing.assert_allclose(result.score, result.matched + rule.penalty * result.mismatched)


def test_it_grows_with_noise():
    reference = random_frames(0, 200, 4)
    noise = np.random.default_rng(1).normal(0, 1, reference.shape)
    means = [lane_distortion(reference, reference + level * noise, ROWS).score.mean() for level in (0, 1, 3, 9, 27)]
    assert means[0] == 0
    assert (np.diff(means) > 0).all()


def test_the_matched_part_of_a_straight_lane_is_its_mean_shift_in_match_distances():
    lane = np.full((1, 1, len(ROWS)), 100.0)
    result = lane_distortion(lane, lane + 6, ROWS)
    assert result.matched[0] == pytest.approx(20 * 6 / 30 / 19)  # 20 points, 19 row steps long
    assert (result.mismatched[0], result.matched_points[0], result.shift[0]) == (0, 20, 120)


def test_every_point_without_a_match_counts_once():
    lane = np.full((1, 1, len(ROWS)), 100.0)
    shorter, bent = lane.copy(), lane.copy()
    shorter[..., :7] = np.nan
    bent[..., :3] += 31
    assert lane_distortion(lane, lane[:, :0], ROWS).mismatched.tolist() == [20]  # a lane is lost
    assert lane_distortion(lane[:, :0], lane, ROWS).mismatched.tolist() == [20]  # a lane is new
    assert lane_distortion(lane, shorter, ROWS).mismatched.tolist() == [7]
    assert lane_distortion(lane, bent, ROWS).mismatched.tolist() == [6]  # both points of three rows
    assert lane_distortion(lane, bent, ROWS, DistortionRule(match_distance=31)).mismatched.tolist() == [0]


def test_the_order_of_rows_and_the_number_of_frames_do_not_matter():
    one, two = random_frames(2, 700, 6), random_frames(3, 700, 7)
    together = lane_distortion(one, two, ROWS).score
    np.testing.assert_allclose(lane_distortion(one[..., ::-1], two[..., ::-1], ROWS[::-1]).score, together)
    alone = [lane_distortion(one[k : k + 1], two[k : k + 1], ROWS).score[0] for k in range(0, 700, 50)]
    np.testing.assert_allclose(together[::50], alone)
    assert lane_distortion(one[:0], two[:0], ROWS).score.shape == (0,)


def test_lists_of_lanes_are_put_on_the_rows():
    lane = np.array([[100.0, 399], [100, 0]])
    result = frames_distortion([[lane], []], [[lane + np.array([3, 0])], [lane]], ROWS)
    assert result.matched[0] == pytest.approx(0.1 * 20 / 19)
    assert result.mismatched.tolist() == [0, 20]


@pytest.mark.parametrize("wrong", [{"match_distance": 0}, {"penalty": -1}, {"bounding": "box"}, {"bounding_unit": 0}])
def test_a_rule_without_meaning_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DistortionRule(**wrong)
