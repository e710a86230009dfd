"""Synthetic roads: the same bytes again, all categories, labels that lie on the paint."""

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from originals import ROOT

from mmsf.datasets.synthetic import SPLITS, category_of, draw_frame, frame_name, write_dataset
from mmsf.datasets.synthetic.frame import scene_lines
from mmsf.datasets.synthetic.ground import draw_ground
from mmsf.datasets.synthetic.paint import paint_road
from mmsf.datasets.synthetic.road import HEIGHT, WIDTH, Alignment, Camera, RoadView
from mmsf.datasets.synthetic.scene import sample_scene
from mmsf.errors import UserError
from mmsf.lanes.culane import CATEGORIES, lines_path, read_lines, read_list


def contents(root: Path, folder: str = "") -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in (root / folder).rglob("*") if path.is_file()}


def view(bend: float = 0.0, curvature: float = 0.0) -> RoadView:
    return RoadView(Camera(1000.0, 810.0, 248.0, 1.42), Alignment(0.1, 0.01, curvature, 0.0, bend))


def test_the_bytes_do_not_depend_on_the_number_of_processes(roads, tmp_path):
    write_dataset(tmp_path, frames=6, seed=5, workers=2)
    assert contents(tmp_path) == contents(roads)


def test_fewer_frames_are_a_prefix_and_a_run_is_continued(roads, tmp_path):
    write_dataset(tmp_path, frames=2, seed=5)
    first = contents(tmp_path, "driver_synthetic")
    assert first.items() <= contents(roads).items()
    write_dataset(tmp_path, frames=6, seed=5)
    assert contents(tmp_path) == contents(roads)


def test_another_seed_gives_other_roads():
    assert not np.array_equal(draw_frame(1, 0).image, draw_frame(2, 0).image)


def test_the_layout_is_culanes(roads):
    names = read_list(roads / "list" / "test.txt")
    assert names == ["/" + frame_name(index) for index in range(6)] == read_list(roads / "list" / "train.txt")
    split = [read_list(roads / "list" / "test_split" / f"test{i}_{name}.txt") for i, name in enumerate(CATEGORIES)]
    assert sorted(itertools.chain(*split)) == [name.lstrip("/") for name in names]
    image = cv2.imread(str(roads / frame_name(0)))
    assert image.shape == (HEIGHT, WIDTH, 3)


def test_the_written_labels_are_the_drawn_ones(roads):
    for index in (0, 3):
        written, drawn = read_lines(lines_path(roads, frame_name(index))), draw_frame(5, index).lines
        assert len(written) == len(drawn)
        for line, own in zip(written, drawn):
            np.testing.assert_allclose(line, own, atol=6e-4)


def test_fifty_frames_hold_all_nine_categories_and_most_are_normal():
    names = [category_of(9, index) for index in range(50)]
    assert set(names) == set(CATEGORIES)
    assert max(set(names), key=names.count) == "normal"


@pytest.mark.parametrize("category", CATEGORIES)
def test_labels_go_up_in_steps_of_ten_rows_from_left_to_right(category):
    counts = set()
    for seed in range(30):
        lines = scene_lines(sample_scene(np.random.default_rng(seed), category))
        counts.add(len(lines))
        for line in lines:
            np.testing.assert_array_equal(np.diff(line[:, 1]), -10)
            assert (line >= 0).all()
            assert (line <= (WIDTH - 1, HEIGHT)).all()
        common = [np.interp(320.0, line[::-1, 1], line[::-1, 0], left=np.nan, right=np.nan) for line in lines]
        common = [x for x in common if np.isfinite(x)]
        assert common == sorted(common)
    assert counts == ({0} if category == "cross" else counts & {2, 3, 4})
    assert (len(counts) > 1) == (category != "cross")


@pytest.mark.parametrize("seed", range(8))
def test_a_labelled_line_is_the_middle_of_its_paint(seed):
    """Across the line, the centre of mass of new paint is the label, to a fraction of a pixel."""
    scene = sample_scene(np.random.default_rng(seed), "curve" if seed % 2 else "normal")
    scene = replace(scene, stripes=[replace(stripe, wear=0.0) for stripe in scene.stripes])
    bare = draw_ground(scene, np.random.default_rng(0))
    painted = bare.copy()
    paint_road(painted, scene, np.random.default_rng(1))
    paint = np.abs(painted - bare).sum(axis=2)
    checked = 0
    for stripe in scene.stripes:
        if not (stripe.labelled and stripe.style == "solid"):
            continue
        for x, y in scene.view.line(stripe.offset, 25.0)[1:]:
            row = paint[int(y) - scene.view.top]
            reach = 30
            if reach < x < WIDTH - reach:
                columns = np.arange(int(x) - reach, int(x) + reach)
                weight = row[columns]
                if weight.sum() > 500:
                    # Wear takes paint from either side of a wide line.
                    assert abs((columns * weight).sum() / weight.sum() - x) < 2.0
                    checked += 1
    assert checked > 5 or not any(stripe.style == "solid" and stripe.labelled for stripe in scene.stripes)


@pytest.mark.parametrize(("bend", "curvature"), [(0.0, 0.0), (3e-4, 0.004), (-4e-4, -0.003)])
def test_a_pixel_sees_the_place_that_is_projected_to_it(bend, curvature):
    road = view(bend, curvature)
    distance = np.array([6.0, 12.0, 25.0, 40.0])
    pixels = road.project(1.75, distance)
    np.testing.assert_allclose(road.distance_at(pixels[:, 1]), distance, rtol=1e-3)
    rows = np.round(pixels[:, 1]).astype(int) - road.top
    exact = road.project(1.75, road.distance[rows])
    offsets = road.scale[rows] * exact[:, 0] + road.shift[rows]
    np.testing.assert_allclose(offsets, 1.75, atol=1e-6)


def test_nothing_is_seen_behind_a_crest():
    flat, crest = view(), view(bend=-4.5e-4)
    assert crest.visible < 90 < flat.visible
    assert crest.top > flat.top
    assert (np.diff(crest.distance) < 0).all()


def test_a_dazzled_frame_is_brighter_and_a_night_frame_darker():
    means = {name: [] for name in CATEGORIES}
    for index in range(50):
        if category_of(3, index) in ("normal", "hlight", "night") and len(means[category_of(3, index)]) < 3:
            means[category_of(3, index)].append(draw_frame(3, index).image.mean())
    assert max(means["night"]) < min(means["normal"])
    assert np.mean(means["hlight"]) > np.mean(means["normal"])


def test_a_foreign_folder_is_refused(roads, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_dataset(tmp_path, frames=1, seed=0)
    with pytest.raises(UserError, match="give another folder"):
        write_dataset(roads, frames=1, seed=6)
    with pytest.raises(UserError, match="is a file"):
        write_dataset(tmp_path / "notes.txt", frames=1, seed=0)


@pytest.mark.parametrize("content", [b"", b'{"generator": 1, "se', b"\xff\xfe"])
def test_a_folder_whose_mark_is_damaged_is_refused(content, tmp_path):
    (tmp_path / "synthetic.json").write_bytes(content)
    with pytest.raises(UserError, match=r"synthetic\.json cannot be read: .*give another folder, or empty this one"):
        write_dataset(tmp_path, frames=1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic.json"]


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"seed": -1}, {"workers": 0}])
def test_wrong_numbers_are_refused(wrong, tmp_path):
    with pytest.raises(UserError, match=next(iter(wrong))):
        write_dataset(tmp_path, **{"frames": 1, "seed": 0, "workers": 1, **wrong})
    assert not list(tmp_path.iterdir())


def test_the_four_splits_have_seeds_of_their_own_and_the_stated_sizes():
    assert len({split.seed for split in SPLITS.values()}) == len(SPLITS) == 4
    assert (SPLITS["calibration"].frames, SPLITS["scored"].frames) == (512, 500)


def test_the_tool_wants_either_splits_or_frames_and_seed(tmp_path):
    for arguments in (["--splits", "--seed", "1"], ["--frames", "3"], []):
        command = [sys.executable, str(ROOT / "tools" / "make_synthetic.py"), "--out", str(tmp_path / "out"), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
        assert result.returncode == 2
        assert result.stderr.strip() == "error: give either --splits, or --frames and --seed"
    assert not (tmp_path / "out").exists()
