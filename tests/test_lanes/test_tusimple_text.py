"""TuSimple's JSON format."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsf.errors import UserError
from mmsf.lanes.tusimple import MISSING, TuSimpleFrame, lane_points, read_frames, resample, write_frames

ROWS = np.arange(240.0, 720, 10)
positions = st.one_of(st.just(MISSING), st.floats(0, 1280))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(positions, min_size=48, max_size=48), max_size=5))
def test_text_gives_back_the_same_numbers(tmp_path_factory, lanes):
    path = tmp_path_factory.mktemp("text") / "labels.json"
    frames = [TuSimpleFrame("clips/0/20.jpg", [np.array(lane) for lane in lanes], ROWS), TuSimpleFrame("b", [], None, 12.5)]
    write_frames(path, frames)
    back = read_frames(path, h_samples=False)
    assert [frame.raw_file for frame in back] == ["clips/0/20.jpg", "b"]
    assert [frame.run_time for frame in back] == [None, 12.5]
    np.testing.assert_array_equal(back[0].h_samples, ROWS)
    assert back[1].h_samples is None
    for one, two in zip(frames[0].lanes, back[0].lanes, strict=True):
        np.testing.assert_array_equal(one, two)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 47), st.integers(0, 47), st.integers(0, 2**32 - 1))
def test_a_lane_without_gaps_survives_points_and_resampling(first, last, seed):
    xs = np.full(48, MISSING)
    low, high = min(first, last), max(first, last) + 1
    xs[low:high] = np.random.default_rng(seed).uniform(0, 1280, high - low)
    points = lane_points(xs, ROWS)
    assert points.shape == (high - low, 2)
    np.testing.assert_array_equal(resample([points, points[::-1]], ROWS), np.stack([xs, xs]))


def test_points_are_the_rows_that_the_lane_reaches():
    frame = TuSimpleFrame("a", [np.array([-2, 0.0, 5]), np.array([-2.0, -2, -2])], np.array([10.0, 20, 30]))
    one, two = frame.lines()
    np.testing.assert_array_equal(one, [[0, 20], [5, 30]])
    assert two.shape == (0, 2)


def test_a_lane_left_of_the_image_is_absent():
    assert resample([np.array([[-10.0, 0], [10, 20]])], np.array([0.0, 5, 10, 15])).tolist() == [[MISSING, MISSING, 0, 5]]


def entry(**changes):
    return {"raw_file": "a", "lanes": [[1, 2]], "h_samples": [10, 20], "run_time": 1, **changes}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        (json.dumps({"raw_file": "a"}), "lanes and h_samples and run_time missing"),
        (json.dumps(entry(raw_file=3)), "raw_file"),
        (json.dumps(entry(lanes={})), "lanes"),
        (json.dumps(entry(lanes=[[1, "2"]])), "lane 0"),
        (json.dumps(entry(lanes=[[1, 2], [1]])), "lane 1 has 1 x-positions for 2"),
        (json.dumps(entry(h_samples=[10, float("nan")])), "h_samples"),
        (json.dumps(entry(h_samples=[], lanes=[])), "h_samples"),
        (json.dumps(entry(run_time="fast")), "run_time"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, text, message):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(entry()) + "\n\n" + text + "\n")
    with pytest.raises(UserError, match=message) as error:
        read_frames(path, run_time=True)
    assert "labels.json, line 3" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json"):
        read_frames(tmp_path / "none.json")
    (tmp_path / "picture.json").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match="not a text file"):
        read_frames(tmp_path / "picture.json")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "raw_file": st.sampled_from(["a", "a\0b", "\ud800"]) | VALUES,
        "lanes": st.lists(st.lists(st.floats(0, 9), max_size=2), max_size=2) | VALUES,
        "h_samples": st.just([1, 2]) | VALUES,
        "run_time": st.just(3) | VALUES,
    },
).map(json.dumps)
LINES = ENTRIES | st.text(max_size=8) | st.sampled_from(["[" * 100_000, "1" * 5000, "NaN", '{"lanes": [' + "9" * 400 + "]}"])


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, max_size=3), st.booleans(), st.booleans())
def test_any_text_is_frames_that_lose_nothing_or_refused_with_its_line(tmp_path_factory, lines, h_samples, run_time):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        frames = read_frames(path, h_samples, run_time)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017  either outcome is right
        return
    assert all(np.isfinite(lane).all() for frame in frames for lane in frame.lanes)
    assert all(not (path.parent / "none" / frame.raw_file).exists() for frame in frames)
    write_frames(path, frames)
    for one, two in zip(frames, read_frames(path, h_samples, run_time), strict=True):
        assert (one.raw_file, one.run_time) == (two.raw_file, two.run_time)
        assert all(np.array_equal(a, b) for a, b in zip(one.lanes, two.lanes, strict=True))
        assert (one.h_samples is None) == (two.h_samples is None)


def test_a_mark_at_the_beginning_is_no_part_of_the_file(tmp_path):
    path = tmp_path / "label.json"
    write_frames(path, [TuSimpleFrame("a", [ROWS], ROWS)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [frame.raw_file for frame in read_frames(path)] == ["a"]
