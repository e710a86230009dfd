"""Overlays: what is drawn, where, and what is left alone."""

import cv2
import numpy as np
import pytest
from test_visualization.inputs import road, straight

from mmsf.errors import UserError
from mmsf.lanes.lane import Lane
from mmsf.visualization import PALETTE, Frame, draw_lanes, draw_marks, side_by_side, write_image, write_overlays


def changed(before, after):
    return (before != after).any(axis=2)


def test_drawing_leaves_the_picture_given_as_it_was():
    image = road()
    draw_lanes(image, [straight(100)])
    assert np.array_equal(image, road())


def test_a_lane_is_drawn_where_it_is_and_nowhere_else():
    mask = changed(road(), draw_lanes(road(), [straight(100)], thickness=2))
    rows, columns = np.nonzero(mask)
    assert mask[90:180, 100].all()
    assert columns.min() >= 96
    assert columns.max() <= 104
    assert rows.min() >= 86


def test_a_lane_between_two_pixels_colours_both_alike():
    image = draw_lanes(
        np.zeros((40, 40, 3), np.uint8), [np.array([[19.5, -5.0], [19.5, 45.0]])], (255, 255, 255), thickness=2
    )
    assert np.array_equal(image[20, 19], image[20, 20])


def test_lanes_go_through_a_palette_in_turn():
    colors = [(0, 0, 255), (0, 255, 0)]
    image = draw_lanes(road(), [straight(60), straight(160), straight(260)], colors, thickness=4)
    assert [tuple(image[140, x].tolist()) for x in (60, 160, 260)] == [(0, 0, 255), (0, 255, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    "points", [np.empty((0, 2)), np.full((3, 2), np.nan), np.array([[1e30, 5.0], [-1e30, 5.0]])], ids=["none", "nan", "far"]
)
def test_wild_points_do_no_harm(points):
    assert draw_lanes(road(), [Lane(points)], scores=True).shape == road().shape


def test_no_lanes_leave_the_picture_unchanged():
    assert np.array_equal(draw_lanes(road(), []), road())


def test_scores_stand_at_the_lowest_point_of_the_lane():
    lane = straight(160)
    mask = changed(draw_lanes(road(), [lane]), draw_lanes(road(), [lane], scores=True))
    assert mask[150:].any()
    assert not mask[:140].any()


def test_an_upright_lane_is_found_in_its_panel_only():
    panels = {"float": [], "quantized": [straight(160)]}
    picture = side_by_side(np.zeros((360, 640, 3), np.uint8), panels, panel_width=640)
    color = (picture == PALETTE["quantized"]).all(axis=2)[60:]
    assert not color[:, :640].any()
    assert color[:, 640:].any()
    assert np.abs(np.nonzero(color)[1].mean() - (640 + 8 + 160)) < 1


def test_a_lane_that_moved_leaves_its_float_lane_in_sight():
    def white(moved):
        panels = {"float": [straight(160)], "quantized": [straight(160 + moved)]}
        picture = side_by_side(road(), panels, columns=1, panel_width=640)
        return (picture[picture.shape[0] // 2 + 50 :] == 255).all(axis=2).sum()

    assert white(moved=0) == 0
    assert white(moved=20) > 100


@pytest.mark.parametrize(("height", "width"), [(590, 1640), (720, 1280), (90, 160)])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_comparisons_keep_a_size_that_screens_show(height, width, number):
    panels = {title: [straight(width / 2, height)] for title in list(PALETTE)[:number]}
    picture = side_by_side(road(height, width), panels, {"float": "words without end " * 30})
    assert picture.dtype == np.uint8
    assert 640 <= picture.shape[1] <= 1960


def test_a_comparison_of_nothing_is_refused():
    with pytest.raises(UserError, match="at least one panel"):
        side_by_side(road(), {})


def test_overlays_are_written_in_the_order_given(tmp_path):
    frames = (Frame(f"clip/{name}.jpg", road(), {"float": [straight(90)]}, {"float": "1 lane"}) for name in ("b", "a"))
    written = write_overlays(tmp_path / "overlays", frames, panel_width=320)
    assert [(title, path.name) for title, path in written] == [
        ("clip/b.jpg", "00_clip_b.jpg"),
        ("clip/a.jpg", "01_clip_a.jpg"),
    ]
    assert cv2.imread(str(written[0][1])).shape[1] == 320


def test_any_name_of_a_frame_is_a_name_of_a_file(tmp_path):
    titles = ["x" * 300, "deep/" * 80 + "20.jpg", "\u00e4" * 200, "bad\udce9name.jpg"]
    written = write_overlays(tmp_path, [Frame(title, road(), {"float": []}) for title in titles])
    assert [title for title, _ in written] == titles
    assert all(path.is_file() for _, path in written)


def test_overlays_of_an_earlier_run_go_and_other_files_stay(tmp_path):
    for name in ("00_old.jpg", "07_clip.jpg", "123_clip.jpg", "0_mine.jpg", "00_mine.png", "mine.jpg"):
        (tmp_path / name).write_text(name)
    (tmp_path / "00_folder.jpg").mkdir()
    write_overlays(tmp_path, [Frame("new.jpg", road(), {"float": []})])
    left = ["00_folder.jpg", "00_mine.png", "00_new.jpg", "0_mine.jpg", "mine.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    assert write_overlays(tmp_path, []) == []
    assert not (tmp_path / "00_new.jpg").exists()


def test_a_picture_of_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="ending"):
        write_image(tmp_path / "frame.xyz", road())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["bends", "spikes", "missing", "extra"])
def test_damage_is_marked_where_it_is(kind):
    mask = changed(road(), draw_marks(road(), {kind: np.array([[100.0, 120.0], [np.nan, 5.0]])}))
    rows, columns = np.nonzero(mask)
    assert mask.any()
    assert np.abs(rows - 120).max() <= 8
    assert np.abs(columns - 100).max() <= 8


def test_kinds_of_damage_look_different():
    point = np.array([[100.0, 120.0]])
    pictures = [draw_marks(road(), {kind: point}) for kind in ("bends", "spikes", "missing", "extra")]
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_marks_stand_in_the_panel_of_their_model_only():
    panels = {"float": [straight(160)], "quantized": [straight(160)]}
    marks = {"quantized": {"extra": np.array([[50.0, 150.0]])}}
    plain, marked = (side_by_side(road(), panels, panel_width=320, marks=given) for given in (None, marks))
    columns = np.nonzero(changed(plain, marked))[1]
    assert columns.min() > 320
    assert np.abs(columns.mean() - (320 + 8 + 50)) < 1
