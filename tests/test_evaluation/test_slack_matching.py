"""The official assignment, with its quirks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from test_evaluation.reference_culane import assign

from mmsf.evaluation.slack_matching import match_lanes

similarities = st.one_of(st.just(0.0), st.floats(0, 1), st.sampled_from([0.49, 0.5, 0.5049, 0.51, 1.0]))


@st.composite
def matrices(draw, element=similarities):
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    return np.array(draw(st.lists(element, min_size=rows * columns, max_size=rows * columns))).reshape(rows, columns)


@settings(max_examples=200, deadline=None)
@given(matrices(st.one_of(similarities, st.just(np.nan))))
def test_it_follows_the_reference_with_nan_too(similarity):
    swapped = similarity.shape[0] > similarity.shape[1]
    match = assign((similarity.T if swapped else similarity).tolist())
    expected = np.full(len(similarity), -1)
    for left, right in enumerate(match):
        if right >= 0:
            expected[right if swapped else left] = left if swapped else right
    np.testing.assert_array_equal(match_lanes(similarity), expected)


@settings(max_examples=100, deadline=None)
@given(matrices())
def test_it_is_the_best_assignment_up_to_the_slack(similarity):
    match = match_lanes(similarity)
    matched = np.flatnonzero(match >= 0)
    assert len(matched) == min(similarity.shape)
    assert len(set(match[matched].tolist())) == len(matched)
    best = similarity[linear_sum_assignment(similarity, maximize=True)].sum()
    assert similarity[matched, match[matched]].sum() >= best - 0.01 * (min(similarity.shape) + 1)


def test_of_two_that_are_equal_within_the_slack_the_first_wins():
    assert match_lanes(np.array([[0.4957, 0.5003]])).tolist() == [0]
    assert match_lanes(np.array([[0.5003, 0.4957]])).tolist() == [0]
    assert match_lanes(np.array([[0.48, 0.5003]])).tolist() == [1]


def test_a_side_without_lanes_matches_nothing():
    assert match_lanes(np.zeros((0, 3))).tolist() == []
    assert match_lanes(np.zeros((2, 0))).tolist() == [-1, -1]
