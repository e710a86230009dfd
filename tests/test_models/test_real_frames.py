"""On real frames, the authors' own weights give what the authors' own code gave.

Collected only with ``--real-data DIR --weights DIR``; the frames and weights are not part of the project.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from originals import ROOT, assert_lanes_equal, config_of, original_of

from mmsf.evaluation import LaneCounts, TuSimpleMetric, count_frames
from mmsf.lanes.culane import read_lines
from mmsf.models.checkpoints import load_float_checkpoint
from mmsf.registry import DATASETS, MODELS


@pytest.mark.parametrize("name", ["lstr_orig_tusimple_real", "lstr_orig_culane_real"])
def test_a_detector_equals_its_original_on_real_frames(name: str, request: pytest.FixtureRequest) -> None:
    path = ROOT / "tests" / "data" / "goldens" / f"{name}.npz"
    check_real_frames(path, request.config.getoption("--real-data"), request.config.getoption("--weights"))


def check_real_frames(path: Path, frames: Path, weights: Path) -> None:
    original = original_of(path)
    with np.load(path) as stored:
        golden = dict(stored)
    meta = json.loads(str(golden["meta"]))
    model = MODELS.build(config_of(original).model).eval()
    load_float_checkpoint(model, next(weights.rglob(meta["weights"])))
    for index, name in enumerate(meta["files"]):
        picture = cv2.imread(str(frames / name))
        assert picture is not None, f"{frames / name} is not there"
        resized = cv2.resize(picture, tuple(meta["input_wh"]), interpolation=cv2.INTER_LINEAR)
        inputs = model.data_preprocessor({"inputs": [torch.from_numpy(resized).permute(2, 0, 1)]})["inputs"]
        with torch.no_grad():
            raw = model(inputs)
        for tensor in ("logits", "curves"):
            # The pictures are decoded and the network run by other library versions: 2e-4 of the largest value.
            want = golden[f"{index}.{tensor}"]
            np.testing.assert_allclose(raw[tensor][0].numpy(), want, rtol=0, atol=2e-4 * np.abs(want).max())
        lanes = model.adapter.decode(model.adapter.split(raw), [{"ori_shape": picture.shape[:2]}])[0]
        want = [golden[f"{index}.lanes.{i}"] for i in range(int(golden[f"{index}.n_lanes"]))]
        assert_lanes_equal(lanes, original.lanes(want), 0.25)


def detector_of(name: str, request: pytest.FixtureRequest) -> torch.nn.Module:
    config = config_of(original_of(Path(f"{name}.npz")))
    model = MODELS.build(config.model).eval()
    file = "LSTR_TUSIMPLE_500000.pkl" if "tusimple" in name else "LSTR_CULANE_500000.pkl"
    load_float_checkpoint(model, next(request.config.getoption("--weights").rglob(file)))
    return model


def predict(model: torch.nn.Module, dataset: dict) -> list[dict]:
    samples = []
    with torch.no_grad():
        for item in DATASETS.build(dataset):
            batch = {"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}
            samples += [sample.to_dict() for sample in model.val_step(batch)]
    return samples


def test_the_authors_tusimple_weights_reach_their_accuracy(request: pytest.FixtureRequest) -> None:
    config = config_of(original_of(Path("lstr_orig_tusimple_real.npz")))
    dataset = {**config.val_dataloader.dataset, "data_root": str(request.config.getoption("--real-data") / "tusimple")}
    metric = TuSimpleMetric()
    samples = predict(detector_of("lstr_orig_tusimple_real", request), dataset)
    metric.process(None, samples)
    assert metric.evaluate(len(samples))["TuSimple/accuracy"] >= 0.95


def test_the_authors_culane_weights_find_the_ego_lanes_they_found(request: pytest.FixtureRequest) -> None:
    config = config_of(original_of(Path("lstr_orig_culane_real.npz")))
    pipeline = config.val_dataloader.dataset.pipeline
    dataset = {
        "type": "ImageFolderDataset",
        "data_root": str(request.config.getoption("--real-data") / "culane_day"),
        "pipeline": pipeline,
    }
    samples = predict(detector_of("lstr_orig_culane_real", request), dataset)
    labelled = [read_lines(Path(sample["img_path"]).with_suffix(".lines.txt")) for sample in samples]
    counts = sum(count_frames(labelled, [sample["pred_instances"]["lines"] for sample in samples]), LaneCounts())
    # The labels are the two ego lanes only, so false positives say nothing. 75 lanes with the authors' own network.
    assert (counts.tp, counts.tp + counts.fn, counts.tp + counts.fp) == (39, 42, 75)
