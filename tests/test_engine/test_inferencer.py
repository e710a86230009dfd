"""`LaneInferencer` has the form of MMEngine's inferencers and sees what the evaluation sees."""

import json
from pathlib import Path

import cv2
import mmengine.registry
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.infer import BaseInferencer
from mmengine.registry import TRANSFORMS
from test_engine.runs import CHECKPOINT, FLOAT_CONFIG

from mmsf.engine import LaneInferencer
from mmsf.engine.config import read_config
from mmsf.errors import UserError
from mmsf.registry import INFERENCERS


@pytest.fixture(scope="module")
def inferencer() -> LaneInferencer:
    return LaneInferencer(FLOAT_CONFIG, CHECKPOINT, device="cpu", show_progress=False)


@pytest.fixture(scope="module")
def pictures(roads) -> list[Path]:
    return sorted((roads / "test").rglob("*.jpg"))


def assert_same_lanes(one: list[dict], other: list[dict]) -> None:
    assert [len(frame["lines"]) for frame in one] == [len(frame["lines"]) for frame in other]
    for a, b in zip(one, other):
        for line, same in zip(a["lines"], b["lines"]):
            np.testing.assert_allclose(line, same, atol=1e-2)


@pytest.mark.smoke
def test_a_folder_gives_mmengines_result_an_entry_a_frame(inferencer, roads, pictures):
    result = inferencer(str(roads / "test"), batch_size=4)
    assert set(result) == {"predictions", "visualization"}
    assert len(result["predictions"]) == len(result["visualization"]) == len(pictures)
    names = [picture.relative_to(roads / "test").as_posix() for picture in pictures]
    assert [frame["name"] for frame in result["predictions"]] == names
    assert json.loads(json.dumps(result["predictions"])) == result["predictions"]
    for frame, picture, path in zip(result["predictions"], result["visualization"], pictures):
        assert len(frame["lines"]) == len(frame["scores"]) > 0
        original = cv2.imread(str(path))
        assert picture.shape == original.shape
        assert (picture != original).any()


@pytest.mark.smoke
def test_registries_build_it_by_name():
    settings = dict(type="LaneInferencer", model=str(FLOAT_CONFIG), weights=str(CHECKPOINT))
    assert isinstance(INFERENCERS.build(settings), BaseInferencer)
    assert type(mmengine.registry.INFERENCERS.build(dict(settings, type="mmsf.LaneInferencer"))) is LaneInferencer
    assert LaneInferencer(read_config(FLOAT_CONFIG), CHECKPOINT).cfg.input_size == (144, 400)


def test_paths_images_in_memory_and_lists_give_the_same_lanes_at_any_batch_size(inferencer, pictures):
    of_list = inferencer([str(picture) for picture in pictures], batch_size=4, overlay=False)["predictions"]
    of_images = inferencer([cv2.imread(str(picture)) for picture in pictures], overlay=False)["predictions"]
    (of_path,) = inferencer(pictures[1], overlay=False)["predictions"]
    assert_same_lanes(of_list, of_images)
    assert_same_lanes([of_list[1]], [of_path])


@TRANSFORMS.register_module()
class PackOwn:
    """As another project packs: without what mmsf's own adds."""

    def __call__(self, results: dict) -> dict:
        meta = {key: results[key] for key in ("img_path", "ori_shape", "img_shape", "scale_factor")}
        inputs = torch.from_numpy(np.ascontiguousarray(results["img"].transpose(2, 0, 1)))
        return dict(inputs=inputs, data_samples=DetDataSample(metainfo=meta))


def test_a_pipeline_of_one_s_own_sees_the_pictures_that_are_given(inferencer, pictures, tmp_path, monkeypatch):
    cfg = read_config(FLOAT_CONFIG)
    steps = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(400, 144)), dict(type="PackOwn")]
    cfg.test_dataloader.dataset.pipeline = steps
    # Pictures of the same names lie in the present folder.
    monkeypatch.chdir(tmp_path)
    for picture in pictures:
        cv2.imwrite(picture.name, np.zeros((590, 1640, 3), np.uint8))
    own = LaneInferencer(cfg, CHECKPOINT, device="cpu", show_progress=False)
    of_paths = own([str(picture) for picture in pictures], batch_size=2, overlay=False)["predictions"]
    of_images = own([cv2.imread(str(picture)) for picture in pictures], overlay=False)["predictions"]
    assert [frame["name"] for frame in of_paths] == [picture.name for picture in pictures]
    assert_same_lanes(of_paths, of_images)
    assert all(frame["lines"] for frame in of_paths)


def test_images_that_are_padded_to_one_size_are_refused():
    cfg = read_config(FLOAT_CONFIG)
    cfg.test_dataloader.dataset.pipeline[0].scale = None
    images = [np.zeros((height, 160, 3), np.uint8) for height in (60, 80)]
    own = LaneInferencer(cfg, CHECKPOINT, device="cpu", show_progress=False)
    assert len(own(images, overlay=False)["predictions"]) == 2
    with pytest.raises(UserError, match=r"an image of \(60, 160\) was padded to \(80, 160\)"):
        own(images, batch_size=2, overlay=False)


def test_samples_are_those_of_the_test_step(inferencer, pictures):
    result = inferencer(pictures[0], return_datasamples=True, overlay=False)
    (sample,) = result["predictions"]
    assert result["visualization"] == []
    assert isinstance(sample, DetDataSample)
    assert sample.ori_shape == (590, 1640)
    (plain,) = inferencer(pictures[0], overlay=False)["predictions"]
    assert [line.tolist() for line in sample.pred_instances.lines] == plain["lines"]


def test_what_is_none_of_its_arguments_is_refused(inferencer, pictures):
    with pytest.raises(UserError, match="batch size 0"):
        inferencer(pictures[0], batch_size=0)
    with pytest.raises(TypeError):
        inferencer(pictures[0], colour="red")
    with pytest.raises(UserError, match="config nothing"):
        LaneInferencer("nothing.py", CHECKPOINT)


def test_a_bar_tells_how_many_frames_are_done_and_when_the_rest_will_be(pictures, capsys):
    LaneInferencer(FLOAT_CONFIG, CHECKPOINT)(pictures, batch_size=4, overlay=False)
    printed = capsys.readouterr().out
    assert "4/6" in printed
    assert "6/6" in printed
    assert "ETA" in printed
