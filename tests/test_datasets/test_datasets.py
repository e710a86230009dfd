"""Datasets: which frames they hold, what a sample says, and what happens to bad files."""

import json
import logging

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger

from mmsf.datasets import CalibrationDataset, CULaneDataset, ImageFolderDataset, LoadImage, PackLaneInputs, TuSimpleDataset
from mmsf.datasets.images import read_image
from mmsf.datasets.synthetic import category_of, frame_name
from mmsf.errors import UserError
from mmsf.lanes.culane import CATEGORIES
from mmsf.registry import DATASETS

PIPELINE = [dict(type="LoadImage", scale=(80, 60)), dict(type="PackLaneInputs")]


def write_image(path, size=(64, 48), value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 40, (size[1], size[0], 3)).astype(np.uint8)
    cv2.imwrite(str(path), noise + np.uint8(value))
    return path


def cut(path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.fixture
def tusimple(tmp_path):
    """Six frames with two lanes each; the second lane of frame 2 is absent on all rows."""
    root = tmp_path / "tusimple"
    labels = []
    for number in range(6):
        write_image(root / "clips" / f"{number}.jpg", (128, 72), number)
        second = [-2, -2, -2] if number == 2 else [-2, 80, 90 + number]
        labels.append({"raw_file": f"clips/{number}.jpg", "lanes": [[10, 20, 30], second], "h_samples": [40, 50, 60]})
    (root / "label_data.json").write_text("\n".join(json.dumps(label) for label in labels))
    return root


@pytest.fixture
def folders(tmp_path):
    """Two folders of images of several sizes, one with a folder inside."""
    sizes = {"a/2.jpg": (64, 48), "a/10.jpg": (100, 50), "a/deep/1.png": (30, 60), "b/0.JPG": (64, 48)}
    for number, (name, size) in enumerate(sizes.items()):
        write_image(tmp_path / name, size, number)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    return tmp_path


@pytest.fixture
def warnings(caplog):
    """What MMEngine's logger says."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_culane_samples_carry_labels_category_and_their_place(roads):
    dataset = DATASETS.build(dict(type="CULaneDataset", data_root=str(roads), pipeline=PIPELINE))
    assert len(dataset) == 6
    for index in range(6):
        packed = dataset[index]
        sample = packed["data_samples"]
        assert packed["inputs"].shape == (3, 60, 80)
        assert (sample.sample_idx, sample.relative_path) == (index, frame_name(index))
        assert (sample.ori_shape, sample.img_shape) == ((590, 1640), (60, 80))
        assert sample.category == category_of(5, index)
        for line, scaled in zip(sample.gt_instances.lines, sample.gt_instances.input_lines, strict=True):
            np.testing.assert_allclose(scaled, line * (80 / 1640, 60 / 590))


def test_every_text_line_is_a_lane_even_an_empty_one(tmp_path):
    write_image(tmp_path / "c" / "0.jpg")
    (tmp_path / "c" / "0.lines.txt").write_text("1 2 3 4\n\n5 6\n")
    (tmp_path / "train_gt.txt").write_text("/c/0.jpg /laneseg_label_w16/c/0.png 1 1 0 0\n")
    dataset = CULaneDataset(str(tmp_path), "train_gt.txt", PIPELINE)
    sample = dataset[0]["data_samples"]
    assert [len(line) for line in sample.gt_instances.lines] == [2, 0, 1]
    assert sample.relative_path == "c/0.jpg"
    assert "category" not in sample


def test_a_frame_without_labels_has_no_lanes_but_a_set_without_any_is_refused(tmp_path):
    for number in range(2):
        write_image(tmp_path / f"{number}.jpg")
    (tmp_path / "list.txt").write_text("0.jpg\n1.jpg\n")
    with pytest.raises(UserError, match=r"0\.lines\.txt"):
        CULaneDataset(str(tmp_path), "list.txt")
    (tmp_path / "1.lines.txt").write_text("1 2 3 4\n")
    dataset = CULaneDataset(str(tmp_path), "list.txt", PIPELINE)
    assert [len(dataset[index]["data_samples"].gt_instances.lines) for index in range(2)] == [0, 1]
    assert len(CULaneDataset(str(tmp_path), None)) == 1


def test_culane_names_what_is_missing(roads, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        CULaneDataset(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"list/val\.txt"):
        CULaneDataset(str(roads), "list/val.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=r"empty\.txt is empty"):
        CULaneDataset(str(tmp_path), "empty.txt")


def test_tusimple_slices_share_no_frame_and_leave_none_out(tusimple):
    first = TuSimpleDataset(str(tusimple), pipeline=PIPELINE, frames=(1, 2))
    rest = TuSimpleDataset(str(tusimple), pipeline=PIPELINE, frames=(3, None))
    names = [[dataset.get_data_info(i)["relative_path"] for i in range(len(dataset))] for dataset in (first, rest)]
    assert names == [["clips/0.jpg", "clips/1.jpg"], [f"clips/{number}.jpg" for number in range(2, 6)]]
    sample = rest[0]["data_samples"]
    assert sample.sample_idx == 0
    np.testing.assert_array_equal(sample.h_samples, [40, 50, 60])
    assert [line.tolist() for line in sample.gt_instances.lines] == [[[10, 40], [20, 50], [30, 60]], []]


@pytest.mark.parametrize("frames", [(0, 2), (3, 2), (7, None)])
def test_a_slice_without_frames_is_refused(tusimple, frames):
    with pytest.raises(UserError, match="frames="):
        TuSimpleDataset(str(tusimple), frames=frames)


def test_a_count_is_spread_evenly(tusimple):
    dataset = TuSimpleDataset(str(tusimple), count=3)
    assert [dataset.get_data_info(i)["relative_path"][6] for i in range(3)] == ["0", "2", "5"]
    assert len(TuSimpleDataset(str(tusimple), count=60)) == 6


def test_tusimple_names_what_is_missing(tusimple):
    with pytest.raises(UserError, match=r"other\.json"):
        TuSimpleDataset(str(tusimple), "other.json")
    (tusimple / "bad.json").write_text('{"raw_file": "a.jpg"}\n')
    with pytest.raises(UserError, match=r"bad\.json, line 1"):
        TuSimpleDataset(str(tusimple), "bad.json")
    (tusimple / "clips" / "0.jpg").unlink()
    with pytest.raises(UserError, match=r"0\.jpg"):
        TuSimpleDataset(str(tusimple), pipeline=PIPELINE)[0]


def test_folders_are_searched_in_a_fixed_order_whatever_the_sizes(folders):
    dataset = ImageFolderDataset([str(folders / "b"), str(folders / "a")], PIPELINE)
    samples = [dataset[index] for index in range(len(dataset))]
    assert [each["data_samples"].relative_path for each in samples] == ["0.JPG", "10.jpg", "2.jpg", "deep/1.png"]
    assert {each["inputs"].shape for each in samples} == {(3, 60, 80)}
    assert samples[3]["data_samples"].ori_shape == (60, 30)
    assert "gt_instances" not in samples[0]["data_samples"]


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for root, message in ((tmp_path / "empty", "no image in"), (tmp_path / "gone", "does not exist")):
        with pytest.raises(UserError, match=message):
            ImageFolderDataset(str(root))
    with pytest.raises(UserError, match="no image folder"):
        ImageFolderDataset([])


def test_a_truncated_jpeg_is_skipped_with_its_name_or_refused_with_it(folders, warnings):
    bad = cut(folders / "a" / "2.jpg")
    dataset = ImageFolderDataset(str(folders / "a"), PIPELINE)
    assert [dataset.get_data_info(i)["sample_idx"] for i in range(len(dataset))] == [0, 1]
    assert any(str(bad) in record.getMessage() and record.levelno == logging.WARNING for record in warnings.records)
    refusing = ImageFolderDataset(str(folders / "a"), PIPELINE, corrupt="refuse")
    assert len(refusing) == 3
    with pytest.raises(UserError, match=r"2\.jpg"):
        refusing[1]


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_an_image_that_ends_early_is_found_wherever_it_ends(name, share, tmp_path):
    path = write_image(tmp_path / name, (200, 100))
    read_image(path)
    with pytest.raises(UserError, match=name):
        read_image(cut(path, share))


def test_only_bad_images_are_too_few(tmp_path):
    cut(write_image(tmp_path / "x.jpg"))
    with pytest.raises(UserError, match=r"x\.jpg"):
        ImageFolderDataset(str(tmp_path))


def test_calibration_counts_through_all_its_images_and_sees_no_labels(tusimple, folders):
    dataset = CalibrationDataset(
        [dict(type="TuSimpleDataset", data_root=str(tusimple), frames=(1, 2))],
        [str(folders / "a"), str(folders / "b")],
        pipeline=PIPELINE,
    )
    samples = [dataset[index]["data_samples"] for index in range(len(dataset))]
    assert [sample.sample_idx for sample in samples] == list(range(6))
    assert len({sample.img_path for sample in samples}) == 6
    assert not any("gt_instances" in sample for sample in samples)


@pytest.mark.parametrize(
    "wrong",
    [
        *(dict(frames=frames) for frames in ("1-3", [1], [1, 2, 3], (1.5, 3), (0, 3), (3, 2), (None, 3), (True, 3), 3)),
        *(dict(count=count) for count in ("8", 2.5, 0, -1, True, [3])),
    ],
)
def test_frames_and_counts_that_mean_nothing_are_refused_when_the_dataset_is_made(wrong, tusimple):
    for make in (TuSimpleDataset, CalibrationDataset, ImageFolderDataset):
        root = {} if make is CalibrationDataset else dict(data_root=str(tusimple))
        with pytest.raises(UserError, match=f"{next(iter(wrong))}="):
            make(**root, **wrong, lazy_init=True)


def test_a_calibration_image_counts_once_however_often_it_is_given(tusimple, folders, tmp_path):
    (tmp_path / "linked").symlink_to(folders / "a")
    roots = [str(folders / "a"), str(folders / "a") + "/", str(tmp_path / "linked"), str(folders)]
    dataset, once = CalibrationDataset(calibration_root=roots), CalibrationDataset(calibration_root=str(folders))
    frames = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [frame["relative_path"] for frame in frames[:3]] == ["10.jpg", "2.jpg", "deep/1.png"]
    assert [frame["sample_idx"] for frame in frames] == list(range(len(once)))
    clips = dict(type="TuSimpleDataset", data_root=str(tusimple))
    assert len(CalibrationDataset([clips, clips])) == len(CalibrationDataset([clips]))


def test_plain_folders_give_frames_to_calibrate_with_or_to_leave_out(folders):
    whole, part = (dict(type="mmsf.ImageFolderDataset", data_root=str(root)) for root in (folders, folders / "a"))
    everything, kept = CalibrationDataset([whole]), CalibrationDataset([whole], exclude=[part])
    left_out = {everything.get_data_info(i)["img_path"] for i in range(len(everything))} - {
        kept.get_data_info(i)["img_path"] for i in range(len(kept))
    }
    assert left_out == {str(path) for path in (folders / "a").rglob("*.*") if path.suffix != ".txt"}


def test_evaluation_frames_never_calibrate(tusimple):
    evaluation = dict(type="TuSimpleDataset", data_root=str(tusimple), frames=(3, None))
    dataset = CalibrationDataset(calibration_root=str(tusimple / "clips"), exclude=[evaluation])
    assert [dataset.get_data_info(i)["relative_path"] for i in range(len(dataset))] == ["0.jpg", "1.jpg"]
    with pytest.raises(UserError, match="are evaluation frames"):
        CalibrationDataset([evaluation], exclude=[evaluation])
    with pytest.raises(UserError, match="no image to calibrate"):
        CalibrationDataset()


def test_callables_and_configs_make_the_same_pipeline(roads):
    by_config = CULaneDataset(str(roads), pipeline=PIPELINE)
    by_object = CULaneDataset(str(roads), pipeline=[LoadImage((80, 60)), PackLaneInputs()])
    assert (by_config[0]["inputs"] == by_object[0]["inputs"]).all()


def test_wrong_options_are_refused(tusimple):
    with pytest.raises(UserError, match="corrupt="):
        TuSimpleDataset(str(tusimple), corrupt="hide")
    with pytest.raises(UserError, match="count="):
        TuSimpleDataset(str(tusimple), count=0)


def test_the_categories_are_those_of_the_lists():
    assert len(CATEGORIES) == 9
