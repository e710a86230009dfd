"""Transforms: the lanes go where their pixels go."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmsf.datasets import LoadImage, PackLaneInputs, PhotometricJitter, RandomAffine, RandomFlip
from mmsf.datasets.augmentation import flip, warp
from mmsf.errors import UserError


@pytest.fixture
def road(tmp_path):
    """A picture of one bright line, and that line; the file name and the points."""
    rows = np.arange(150, 590, dtype=np.float64)
    columns = 300 + 0.9 * (590 - rows) + 0.001 * (590 - rows) ** 2
    cover = np.clip(8.5 - np.abs(np.arange(1640) - columns[:, None]), 0, 1)
    image = np.zeros((590, 1640, 3), np.uint8)
    image[150:] = (255 * cover[..., None]).round()
    line = np.stack([columns, rows], axis=1)[::10]
    path = tmp_path / "road.png"
    cv2.imwrite(str(path), image)
    return {"img_path": str(path), "lines": [line]}


def centre_error(results: dict) -> float:
    """Largest distance in columns between the line drawn in the image and the lane's points."""
    image = results["img"].astype(float).mean(axis=2)
    sx, sy = results["scale_factor"]
    errors = []
    for x, y in results["input_lines"][0][2:-3]:
        # The pixel that shows the original's (x, y) has its middle at x s + (s - 1) / 2.
        column, row = x + (sx - 1) / 2, y + (sy - 1) / 2
        low = int(np.floor(row))
        mixed = image[low] * (low + 1 - row) + image[low + 1] * (row - low)
        window = np.arange(max(0, int(column) - 20), min(len(mixed), int(column) + 21))
        weight = mixed[window]
        errors.append(abs((window * weight).sum() / weight.sum() - column))
    assert len(errors) > 10
    return max(errors)


@pytest.mark.parametrize("backend", ["cv2", "cv2_cubic", "pil"])
@pytest.mark.parametrize("scale", [None, (820, 295), (400, 144)])
def test_the_lane_follows_its_pixels_through_resizing(road, backend, scale):
    results = LoadImage(scale, backend)(dict(road))
    assert results["ori_shape"] == (590, 1640)
    assert centre_error(results) < 0.4


def test_pil_resizing_is_pils_own(road):
    image = LoadImage(None)(dict(road))["img"]
    expected = np.asarray(Image.fromarray(image).resize((400, 144), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(LoadImage((400, 144), "pil")(dict(road))["img"], expected)
    assert not np.array_equal(LoadImage((400, 144), "cv2")(dict(road))["img"], expected)


def test_cubic_resizing_is_opencvs_own(road):
    image = LoadImage(None)(dict(road))["img"]
    expected = cv2.resize(image, (640, 360), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(LoadImage((640, 360), "cv2_cubic")(dict(road))["img"], expected)
    assert not np.array_equal(LoadImage((640, 360), "cv2")(dict(road))["img"], expected)


@pytest.mark.parametrize("scale", [None, (800, 320), (400, 160)])
def test_the_lane_follows_its_pixels_when_the_top_is_cut_off(road, scale):
    results = LoadImage(scale, crop_top=270)(dict(road))
    assert results["ori_shape"] == (590, 1640)
    assert results["img_shape"] == ((320, 1640) if scale is None else scale[::-1])
    road["lines"] = [line[line[:, 1] >= 275] for line in road["lines"]]
    assert centre_error(LoadImage(scale, crop_top=270)(dict(road))) < 0.4


def test_the_top_is_cut_off_before_resizing_and_by_its_share_of_the_image(road):
    whole = LoadImage()(dict(road))["img"]
    np.testing.assert_array_equal(
        LoadImage((800, 320), crop_top=270)(dict(road))["img"],
        cv2.resize(whole[270:], (800, 320), interpolation=cv2.INTER_LINEAR),
    )
    cv2.imwrite(road["img_path"], whole[::2, ::2])
    np.testing.assert_array_equal(LoadImage(crop_top=270)(dict(road))["img"], whole[270::2, ::2])


@pytest.mark.parametrize("crop_top", [-1, 590])
def test_a_crop_that_leaves_nothing_is_refused(crop_top):
    with pytest.raises(UserError, match=f"crop_top={crop_top}"):
        LoadImage(crop_top=crop_top)


@pytest.mark.parametrize("scale", [None, (400, 144)])
def test_the_lane_follows_its_pixels_into_the_mirror(road, scale):
    results = LoadImage(scale)(dict(road))
    flip(results)
    assert centre_error(results) < 0.4


def test_twice_mirrored_is_as_before(road):
    results = LoadImage((400, 144))(dict(road))
    image, line = results["img"].copy(), results["input_lines"][0].copy()
    flip(results)
    flip(results)
    np.testing.assert_array_equal(results["img"], image)
    np.testing.assert_allclose(results["input_lines"][0], line, atol=1e-12)


@pytest.mark.parametrize("scale", [None, (400, 144)])
@pytest.mark.parametrize(("angle", "factor", "shift"), [(5, 1.0, (0, 0)), (-4, 1.1, (12, -6)), (0, 0.9, (-20, 5))])
def test_the_lane_follows_its_pixels_through_an_affine_map(road, scale, angle, factor, shift):
    results = LoadImage(scale)(dict(road))
    height, width = results["img_shape"]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, factor)
    matrix[:, 2] += shift
    warp(results, matrix)
    assert centre_error(results) < 0.5


def test_points_that_leave_the_image_are_dropped(road):
    results = LoadImage((400, 144))(dict(road))
    warp(results, np.array([[1.0, 0, -100], [0, 1, 0]]))
    points = results["input_lines"][0]
    assert 0 < len(points) < len(road["lines"][0])
    assert (points[:, 0] >= 0).all()
    warp(results, np.array([[1.0, 0, -900], [0, 1, 0]]))
    assert results["input_lines"][0].shape == (0, 2)


def test_chance_repeats_with_its_seed(road):
    steps = [RandomFlip(), RandomAffine(), PhotometricJitter()]

    def run(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        results = LoadImage((400, 144))(dict(road))
        for step in steps:
            results = step(results)
        return results["img"]

    first = run(3)
    assert not np.array_equal(run(4), first)
    np.testing.assert_array_equal(run(3), first)


class Draws(Dataset):
    """What a transform's generator draws, in whichever process it runs."""

    def __init__(self) -> None:
        self.transform = RandomFlip()

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> float:
        return self.transform.generator.uniform()


def test_worker_processes_draw_different_numbers():
    dataset = Draws()
    dataset[0]  # the parent has used its generator before it forks
    drawn = [float(value) for value in DataLoader(dataset, num_workers=2, batch_size=1, multiprocessing_context="fork")]
    assert len(set(drawn)) == 4


def test_jitter_keeps_the_lanes_and_changes_the_picture(road):
    results = LoadImage((400, 144))(dict(road))
    lines, image = results["input_lines"], results["img"]
    step = PhotometricJitter()
    step.generator = np.random.default_rng(1)
    results = step(results)
    assert results["img"].dtype == np.uint8
    assert results["img"].shape == image.shape
    assert not np.array_equal(results["img"], image)
    assert results["input_lines"] is lines


def test_a_cached_image_is_the_same_and_is_read_once(road, tmp_path):
    load = LoadImage((400, 144), cache=True)
    first = load(dict(road))
    (tmp_path / "road.png").unlink()
    second = load(dict(road))
    assert second["img"] is first["img"]
    flipped = RandomFlip(1.0)(load(dict(road)))
    packed = PackLaneInputs()(RandomAffine(probability=1.0)(PhotometricJitter()(flipped)))
    assert packed["inputs"].shape == (3, 144, 400)
    np.testing.assert_array_equal(load(dict(road))["img"], first["img"])


def test_a_cached_image_can_be_packed_and_written_to(road):
    load = LoadImage((400, 144), cache=True)
    inputs = PackLaneInputs()(load(dict(road)))["inputs"]
    inputs.zero_()
    assert load(dict(road))["img"].any()


def test_an_unknown_backend_is_refused():
    with pytest.raises(UserError, match="backend="):
        LoadImage((400, 144), "turbo")
