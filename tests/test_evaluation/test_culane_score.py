"""The fast evaluation against the official one's results, and against a plain reference."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluation.reference_culane import count_frame, frame_iou

from mmsf.evaluation.culane_files import count_files
from mmsf.evaluation.culane_score import LaneCounts, count_frames, count_matches, frame_ious, total
from mmsf.evaluation.slack_matching import match_lanes
from mmsf.lanes.culane import lines_path, read_lines, read_list

FRAME_CASES = [("edge", "frames_iou0.5"), ("edge", "frames_nan_list_iou0.5"), ("seed1", "frames_iou0.5")]


def lanes_of(folder, names):
    return [[read_lines(lines_path(folder / side, name)) for name in names] for side in ("gt", "pred")]


@pytest.mark.parametrize(("case", "frames"), FRAME_CASES)
def test_every_frame_is_counted_as_by_the_official_evaluator(culane_cases, culane_official, case, frames):
    official = culane_official[case][frames]
    labelled, predicted = lanes_of(culane_cases / case, [frame["frame"] for frame in official])
    assert len(official) == len(labelled) > 0
    for frame, ious in zip(official, frame_ious(labelled, predicted)):
        counts = count_matches(ious, 0.5)
        assert (counts.tp, counts.fp, counts.fn) == (frame["tp"], frame["fp"], frame["fn"]), frame["frame"]
        if frame["iou"]:
            expected = np.array([[np.nan if iou is None else iou for iou in row] for row in frame["iou"]])
            np.testing.assert_allclose(ious, expected, rtol=0, atol=1e-6, equal_nan=True)
            match = match_lanes(ious)
            agreed = [int(j) if j >= 0 and ious[i, j] > 0.5 else -1 for i, j in enumerate(match)]
            assert agreed == frame["match"], frame["frame"]


@pytest.mark.parametrize("case", ["edge", "seed1"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75])
def test_totals_equal_the_official_ones_at_every_threshold(culane_cases, culane_official, case, threshold):
    names = read_list(culane_cases / case / "list" / "test.txt")
    counts = total(count_files(names, culane_cases / case / "gt", culane_cases / case / "pred", threshold=threshold))
    official = culane_official[case][f"iou{threshold:g}"]
    assert (counts.tp, counts.fp, counts.fn) == (official["tp"], official["fp"], official["fn"])
    assert (counts.precision, counts.recall, counts.f1) == pytest.approx(
        (official["precision"], official["recall"], official["F1"]), abs=1e-12
    )


def test_categories_equal_the_official_runs(culane_cases, culane_official):
    folder = culane_cases / "seed1"
    for name, official in culane_official["seed1"]["per_category_iou0.5"].items():
        names = read_list(folder / "list" / "test_split" / f"{name}.txt")
        counts = total(count_files(names, folder / "gt", folder / "pred"))
        assert (counts.tp, counts.fp, counts.fn) == (official["tp"], official["fp"], official["fn"])
        printed = [float(official[f"{ratio}_printed"]) for ratio in ("precision", "recall", "F1")]
        assert [counts.precision, counts.recall, counts.f1] == pytest.approx(printed, abs=1e-6)


def test_the_reference_gives_the_same_counts(culane_cases):
    for case, most in (("edge", 43), ("seed1", 12)):
        names = read_list(culane_cases / case / "list" / "test.txt")[:most]
        labelled, predicted = lanes_of(culane_cases / case, names)
        assert count_frames(labelled, predicted) == [count_frame(*lanes) for lanes in zip(labelled, predicted)]


def test_the_number_of_processes_and_the_order_of_frames_change_no_count(culane_cases):
    folder = culane_cases / "seed1"
    names = read_list(folder / "list" / "test.txt")
    alone = count_files(names, folder / "gt", folder / "pred")
    assert count_files(names, folder / "gt", folder / "pred", processes=3) == alone
    assert count_files(names[::-1], folder / "gt", folder / "pred", processes=2) == alone[::-1]


def random_lane(generator, size):
    """A lane of one of many kinds, in the image or not."""
    height, width = size
    count = int(generator.choice([2, 2, 3, 5, 12, 30]))
    kind = generator.integers(4)
    if kind == 0:  # goes up and drifts
        y = np.linspace(height * generator.uniform(0.6, 1.1), height * generator.uniform(-0.1, 0.5), count)
        x = width * generator.uniform(-0.1, 1.1) + np.cumsum(generator.normal(0, 8, count))
    elif kind == 1:  # flat
        x = np.linspace(-20, width + 20, count)
        y = height * generator.uniform(0, 1.05) + generator.normal(0, 3, count)
    elif kind == 2:  # anywhere
        x, y = width * generator.uniform(-0.3, 1.3, count), height * generator.uniform(-0.3, 1.3, count)
    else:  # small, at a border or in the middle
        x = generator.choice([0, width / 2, width - 1]) + np.cumsum(generator.uniform(-4, 4, count))
        y = generator.choice([0, height / 2, height - 1]) + np.cumsum(generator.uniform(-4, 4, count))
    return np.stack([x, y], 1)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(90, 160), (120, 70), (64, 300)]),
    st.sampled_from([1, 2, 3, 8, 15, 30, 31, 47]),
)
def test_any_lane_covers_what_opencv_draws(seed, size, width):
    generator = np.random.default_rng(seed)
    one, two = ([random_lane(generator, size) for _ in range(generator.integers(0, 5))] for _ in range(2))
    np.testing.assert_array_equal(frame_ious([one], [two], size, width)[0], frame_iou(one, two, size, width))


def test_the_spans_are_the_drawn_pixels():
    from mmsf.evaluation.lane_raster import lane_spans

    lane = np.array([[30.0, 100], [60, 60], [110, 20]])
    spans = lane_spans([lane[:2]], (120, 160), 11)
    picture = np.zeros((120, 160), np.uint8)
    cv2.line(picture, (30, 100), (60, 60), 1, 11)
    column = np.arange(160)
    drawn = np.zeros_like(picture, bool)
    for left, right in zip(spans.left, spans.right):
        drawn |= (column >= left[:, None]) & (column <= right[:, None])
    np.testing.assert_array_equal(drawn, picture > 0)
    assert spans.areas.tolist() == [int(picture.sum())]


def test_frames_do_not_change_one_another():
    generator = np.random.default_rng(0)
    frames = [
        [[random_lane(generator, (590, 1640)) for _ in range(generator.integers(0, 5))] for _ in range(9)] for _ in "gp"
    ]
    together = frame_ious(*frames)
    for alone, ious in zip(zip(*frames), together):
        np.testing.assert_array_equal(frame_ious([alone[0]], [alone[1]])[0], ious)


def test_numbers_that_no_image_holds_are_counted_and_match_nothing():
    sane = np.array([[300.0, 590], [400, 300]])
    wild = [np.array([[1e30, 590], [400, 300]]), np.array([[3e9, 1], [2, 3e9], [5, 6]]), np.zeros((0, 2)), np.ones((1, 2))]
    assert count_frames([[sane]], [wild]) == [LaneCounts(0, 4, 1)]


def test_ratios_without_a_denominator_are_minus_one():
    assert (LaneCounts().precision, LaneCounts().recall, LaneCounts().f1) == (-1, -1, -1)
    assert (LaneCounts(0, 3, 0).precision, LaneCounts(0, 3, 0).recall, LaneCounts(0, 3, 0).f1) == (0, -1, 0)
    assert LaneCounts(0, 2, 2).f1 == 0
    assert LaneCounts(1, 1, 1).f1 == 0.5
    assert count_frames([], []) == []
