"""The datasets of ``configs/_base_``: they build, and calibration shares no frame with evaluation."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmsf.registry import DATASETS

CONFIGS = Path(__file__).parents[2] / "configs" / "_base_" / "datasets"


def frames_of(dataset) -> set[str]:
    return {dataset.get_data_info(index)["img_path"] for index in range(len(dataset))}


def image_files(root: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.full((59, 164, 3), number, np.uint8))


@pytest.fixture
def working_folder(tmp_path, monkeypatch):
    """A folder with the data that the configs expect by default, a few tiny frames each."""
    for root in ("data/culane", "data/synthetic/train", "data/synthetic/tuning", "data/synthetic/calibration"):
        image_files(tmp_path / root, ["c/0.jpg", "c/1.jpg", "c/2.jpg"])
        for number in range(3):
            (tmp_path / root / f"c/{number}.lines.txt").write_text("1 50 2 40\n")
        (tmp_path / root / "list").mkdir()
        for name, frames in (("train", "/c/0.jpg\n/c/1.jpg\n"), ("test", "/c/2.jpg\n")):
            (tmp_path / root / "list" / f"{name}.txt").write_text(frames)
    names = [f"images/{number:02d}.jpg" for number in range(40)]
    image_files(tmp_path / "data/tusimple", names)
    labels = [{"raw_file": name, "lanes": [[1, 2]], "h_samples": [30, 40]} for name in names]
    (tmp_path / "data/tusimple/label_data.json").write_text("\n".join(map(json.dumps, labels)))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "calibration", "evaluation"), [("culane", 2, 1), ("tusimple", 32, 8), ("synthetic", 3, 1)])
def test_calibration_sees_no_evaluation_frame_and_no_label(working_folder, name, calibration, evaluation):
    config = Config.fromfile(CONFIGS / f"{name}.py")
    built = {part: DATASETS.build(config[f"{part}_dataloader"].dataset) for part in ("train", "val", "test", "calibration")}
    assert len(built["calibration"]) == calibration
    assert len(built["val"]) == len(built["test"]) == evaluation
    assert not frames_of(built["calibration"]) & frames_of(built["test"])
    shape = built["val"][0]["inputs"].shape
    for part in ("train", "calibration"):
        sample = built[part][0]
        assert sample["inputs"].shape == shape
        assert ("gt_instances" in sample["data_samples"]) == (part == "train")
