"""Frames under the names that onedl-mmdetection's line detectors read, and some frames of any dataset."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsf.datasets import CULaneDataset, LoadImage, PackAs, PackLaneInputs, SpreadDataset, ToLineDetection
from mmsf.registry import DATASETS


def frame() -> dict:
    lines = [np.array([[100.0, 580.0], [200.0, 300.0]]), np.array([[5.0, 5.0]])]
    return LoadImage(scale=(200, 60))({"img": np.zeros((590, 1640, 3), np.uint8), "img_path": "a.jpg", "lines": lines})


def test_labels_are_there_in_both_images_and_lanes_of_one_point_are_left_out():
    found = ToLineDetection()(frame())
    assert (found["org_height"], found["org_width"]) == (590, 1640)
    assert found["org_lines"] == [[[100.0, 580.0], [200.0, 300.0]]]
    (seen,) = found["lines"]
    np.testing.assert_allclose(seen, np.array(found["org_lines"][0]) * (200 / 1640, 60 / 590))
    assert "gt_seg_map" not in found


def test_the_mask_is_one_where_a_lane_is():
    found = ToLineDetection(mask_width=3)(frame())
    mask = found["gt_seg_map"]
    assert mask.shape == (60, 200)
    assert set(np.unique(mask)) == {0, 1}
    for x, y in found["lines"][0]:
        assert mask[round(y), round(x)] == 1
    assert mask[:, 100:].sum() == 0


def test_a_frame_without_labels_gets_its_size_alone():
    bare = LoadImage(scale=(200, 60))({"img": np.zeros((590, 1640, 3), np.uint8)})
    found = ToLineDetection(mask_width=3)(bare)
    assert found["org_width"] == 1640
    assert not {"org_lines", "lines", "gt_seg_map"} & set(found)


def test_another_projects_packing_keeps_mmsfs_metainfo():
    packed = PackAs(dict(type="mmsf.PackLaneInputs"))(frame())
    alone = PackLaneInputs()(frame())
    assert packed["data_samples"].img_path == "a.jpg"
    assert packed["data_samples"].ori_shape == (590, 1640)
    assert packed["inputs"].shape == alone["inputs"].shape


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    (folder / "list").mkdir()
    for number in range(7):
        cv2.imwrite(str(folder / f"{number}.jpg"), np.zeros((8, 8, 3), np.uint8))
        (folder / f"{number}.lines.txt").write_text("1 2 3 4\n")
    (folder / "list" / "test.txt").write_text("".join(f"/{number}.jpg\n" for number in range(7)))
    return folder


@given(st.integers(1, 12))
def test_frames_are_spread_over_the_whole_dataset(folder, count):
    every = dict(type="mmsf.CULaneDataset", data_root=str(folder))
    some = DATASETS.build(dict(type="mmsf.SpreadDataset", dataset=every, count=count))
    assert isinstance(some, SpreadDataset)
    assert isinstance(some.dataset, CULaneDataset)
    names = [some[index]["relative_path"] for index in range(len(some))]
    assert len(set(names)) == len(names) == min(count, 7)
    assert names[0] == "0.jpg"
    assert count == 1 or names[-1] == "6.jpg"
