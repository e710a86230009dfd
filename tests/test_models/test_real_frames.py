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

from mmsf.models.checkpoints import load_float_checkpoint
from mmsf.registry import MODELS


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
