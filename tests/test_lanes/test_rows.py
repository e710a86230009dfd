"""Lanes on common rows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsf.lanes import Lane, frames_to_rows, lanes_to_rows, row_grid


def test_rows_stand_on_the_bottom_of_the_image():
    rows = row_grid(590)
    assert rows[-1] == 589
    assert rows[0] == 9
    assert (np.diff(rows) == 20).all()
    assert row_grid(3, 1).tolist() == [0, 1, 2]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_monotonic_lane_is_interpolated_in_y_within_its_ends(seed):
    generator = np.random.default_rng(seed)
    lanes = []
    for _ in range(generator.integers(1, 6)):
        count = generator.integers(2, 9)
        lanes.append(np.stack([generator.normal(500, 300, count), np.sort(generator.uniform(-50, 700, count))], 1))
    rows = generator.uniform(-100, 750, 12)
    expected = [np.interp(rows, lane[:, 1], lane[:, 0], np.nan, np.nan) for lane in lanes]
    upwards = lanes_to_rows([lane[::-1] for lane in lanes], rows)
    np.testing.assert_allclose(lanes_to_rows(lanes, rows), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(upwards, expected, rtol=0, atol=1e-6)


def test_where_y_turns_back_a_row_takes_the_crossing_nearest_to_the_lower_end():
    lane = np.array([[0.0, 100], [10, 60], [20, 80], [30, 20]])  # listed from the lower end, up, down again, up
    rows = np.array([100.0, 70, 60, 40, 10])
    expected = [[0, 7.5, 10, 20 + 10 * 40 / 60, np.nan]]
    np.testing.assert_allclose(lanes_to_rows([lane], rows), expected)
    np.testing.assert_allclose(lanes_to_rows([lane[::-1]], rows), expected)


def test_a_level_part_gives_its_lower_end():
    lane = np.array([[0.0, 100], [10, 50], [20, 50], [30, 0]])
    assert lanes_to_rows([lane, lane[::-1]], np.array([50.0])).tolist() == [[10], [10]]


def test_lanes_of_one_point_or_none_and_points_that_are_not_finite():
    lanes = [
        np.array([[5.0, 50]]),
        np.zeros((0, 2)),
        np.array([[5.0, 50], [np.nan, 60], [15, 70]]),
        Lane(np.array([[1, 50]])),
    ]
    expected = [[5, np.nan], [np.nan, np.nan], [5, 10], [1, np.nan]]
    np.testing.assert_array_equal(lanes_to_rows(lanes, np.array([50.0, 60])), expected)
    assert lanes_to_rows([], np.array([1.0])).shape == (0, 1)
    assert lanes_to_rows(lanes, np.zeros(0)).shape == (4, 0)


def test_frames_are_filled_up_with_absent_lanes():
    lane = np.array([[1.0, 10], [2, 20]])
    table = frames_to_rows([[lane], [], [lane, lane]], np.array([10.0, 20]))
    assert table.shape == (3, 2, 2)
    np.testing.assert_array_equal(np.isfinite(table).all(-1), [[True, False], [False, False], [True, True]])
    assert frames_to_rows([[], []], np.array([1.0])).shape == (2, 0, 1)
