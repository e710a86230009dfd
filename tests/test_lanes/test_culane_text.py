"""CULane's text formats."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsf.errors import UserError
from mmsf.lanes.culane import (
    format_lines,
    frame_path,
    lines_path,
    parse_lines,
    read_lines,
    read_list,
    write_lines,
    write_list,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
lanes = st.lists(
    st.lists(st.tuples(numbers, numbers), max_size=5).map(lambda points: np.array(points).reshape(-1, 2)), max_size=4
)


@settings(max_examples=100, deadline=None)
@given(lanes)
def test_text_gives_back_the_same_numbers(lines):
    back = parse_lines(format_lines(lines).encode())
    assert len(back) == len(lines)
    for one, two in zip(lines, back):
        np.testing.assert_array_equal(one, two)


def test_files_give_back_the_same_numbers(tmp_path):
    lines = [np.array([[1.5, 590], [2.25, 580]]), np.zeros((0, 2)), np.array([[1 / 3, 7]])]
    write_lines(tmp_path / "clip" / "0.lines.txt", lines)
    for one, two in zip(lines, read_lines(tmp_path / "clip" / "0.lines.txt"), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("1 2 3 4 5", [[1, 2], [3, 4]]),  # a dangling x
        ("1 2 foo 3 4", [[1, 2]]),
        ("1 2 nan nan 3 4", [[1, 2]]),
        ("1 2 inf 3", [[1, 2]]),
        ("1 2 1e999 3 4 5", [[1, 2]]),
        ("1 2 1_0 3", [[1, 2]]),  # the 1 is read, then the stream stands before "_"
        ("1-2 3.5.25", [[1, -2], [3.5, 0.25]]),
        ("1 2 3e 4", [[1, 2]]),
        ("0x10 2", []),
        ("\t1\t2  +3 .5\r", [[1, 2], [3, 0.5]]),
        ("1.000e+02 -5e-1", [[100, -0.5]]),
        ("   ", []),
        ("", []),
        ("³ 4", []),
    ],
)
def test_a_line_is_read_as_by_a_cpp_stream(text, points):
    (lane,) = parse_lines((text + "\n").encode())
    np.testing.assert_array_equal(lane, np.array(points, float).reshape(-1, 2))
    assert lane.dtype == np.float64


def test_every_text_line_is_a_lane_the_last_one_without_a_newline_too():
    assert [len(lane) for lane in parse_lines(b"1 2\n\n3 4 5 6")] == [1, 0, 2]
    assert parse_lines(b"") == []
    assert [len(lane) for lane in parse_lines(b"\n")] == [0]


def test_a_missing_file_has_no_lanes_but_a_folder_is_a_mistake(tmp_path):
    assert read_lines(tmp_path / "no" / "0.lines.txt") == []
    with pytest.raises(UserError, match="cannot read"):
        read_lines(tmp_path)


def test_a_coordinate_that_is_not_finite_is_not_written():
    with pytest.raises(ValueError, match="not finite"):
        format_lines([np.array([[1.0, np.nan]])])


def test_a_list_line_names_frame_and_lanes(tmp_path):
    write_list(tmp_path / "list" / "test.txt", ["/a.b/clip.MP4/0.jpg", "", " d/1.jpg\r", "d/2"])
    names = read_list(tmp_path / "list" / "test.txt")
    assert names == ["/a.b/clip.MP4/0.jpg", "d/1.jpg", "d/2"]
    assert [lines_path("root", name).as_posix() for name in names] == [
        "root/a.b/clip.MP4/0.lines.txt",
        "root/d/1.lines.txt",
        "root/d/2.lines.txt",
    ]
    assert frame_path("root", names[0]).as_posix() == "root/a.b/clip.MP4/0.jpg"
    with pytest.raises(UserError, match=r"other\.txt"):
        read_list(tmp_path / "other.txt")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"1 2 ", b"-", b"1e9", b".", b"\n", b"nan", b"1_0", b"\xff", b"\0"]) | st.binary(max_size=4),
        max_size=12,
    )
)
def test_any_bytes_are_lanes_of_finite_points_and_written_again_are_the_same(parts):
    lanes = parse_lines(b"".join(parts))
    assert len(lanes) == len(b"".join(parts).removesuffix(b"\n").split(b"\n")) * bool(b"".join(parts))
    assert all(lane.shape[1:] == (2,) and np.isfinite(lane).all() for lane in lanes)
    back = parse_lines(format_lines(lanes).encode())
    assert all(np.array_equal(one, two) for one, two in zip(lanes, back, strict=True))


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\ufeff"), min_size=1)


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES.filter(lambda name: name == name.strip())))
def test_a_list_loses_no_name(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "names.txt"
    write_list(path, names)
    assert read_list(path) == names
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(names).encode())  # as an editor on Windows leaves it
    assert read_list(path) == names


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_list_of_names_of_files_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.txt"
    path.write_bytes(content)
    with suppress(UserError):
        for name in read_list(path):
            assert not frame_path(tmp_path_factory.getbasetemp() / "none", name).is_file()
            assert read_lines(lines_path(tmp_path_factory.getbasetemp() / "none", name)) == []
