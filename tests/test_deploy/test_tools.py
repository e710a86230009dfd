"""The way of a user: quantize for a backend, export, evaluate, time."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from originals import ROOT
from test_deploy.quantized_files import PRESETS, float_config, float_weights

from mmsf.benchmark.deploy import benchmark_deploy, deploy_table
from mmsf.benchmark.grid import Detector
from mmsf.deploy.export import export
from mmsf.engine import LaneInferencer
from mmsf.engine.ptq import quantize
from mmsf.engine.quantized_file import read_quantized
from mmsf.errors import UserError


def test_a_tuned_detector_with_learned_ranges_is_exported(roads: Path, tmp_path: Path) -> None:
    quantize(
        ROOT / "configs" / "ptq" / "laneatt_tiny_synthetic_w8a8_selective-focus.py",
        checkpoint=str(float_weights("laneatt")),
        data_root=str(roads),
        calibration_root=[str(roads)],
        work_dir=str(tmp_path),
        options={
            "model.quantizer.profile": "onnxruntime",
            "train_cfg.max_iters": 3,
            "train_cfg.curves": dict(levels=3, span=(0.1, 10.0), frames=2, draws=1),
            "train_dataloader.dataset.exclude": [],
            "train_dataloader.batch_size": 2,
            "custom_hooks.1.overlays": 0,
            "env_cfg.mp_cfg.opencv_num_threads": 1,
        },
    )
    model = read_quantized(tmp_path / "quantized.pth")
    assert model.quantized.settings.learn_activation_scale
    out = tmp_path / "model.onnx"
    found = export(
        *(float_config("laneatt"), tmp_path / "quantized.pth", "onnxruntime", out),
        frames=3,
        checkpoint=str(float_weights("laneatt")),
        data_root=str(roads),
    )
    assert found.failures == []
    image = str(next(roads.rglob("*.jpg")))
    quantized, exported = (
        LaneInferencer(float_config("laneatt"), weights, show_progress=False)(image)
        for weights in (tmp_path / "quantized.pth", out)
    )
    lanes, others = quantized["predictions"][0]["lines"], exported["predictions"][0]["lines"]
    assert len(lanes) == len(others) > 0
    for lane, other in zip(lanes, others):
        np.testing.assert_allclose(lane, other, atol=10)  # pixels of the frame
    assert exported["visualization"][0].shape == quantized["visualization"][0].shape
    for weights in (tmp_path / "quantized.pth", out):
        with pytest.raises(UserError, match="is of the detector LaneATT, the config of LSTR"):
            LaneInferencer(float_config("lstr"), weights)
    with pytest.raises(UserError, match="is of the detector LaneATT, the config of LSTR"):
        export(float_config("lstr"), tmp_path / "quantized.pth", "onnxruntime", tmp_path / "other.onnx")
    small = ROOT / "configs" / "laneatt" / "laneatt_64x176_synthetic.py"
    for weights in (tmp_path / "quantized.pth", out):
        with pytest.raises(UserError, match="images of 64 x 176 pixels, but the model was quantized for 144 x 400"):
            LaneInferencer(small, weights, show_progress=False)(image)
    with pytest.raises(UserError, match="images of 64 x 176 pixels, but the model was quantized for 144 x 400"):
        export(small, tmp_path / "quantized.pth", "onnxruntime", tmp_path / "other.onnx", frames=1, data_root=str(roads))
    assert not (tmp_path / "other.onnx").exists()


def test_the_tool_says_in_one_line_what_is_wrong(laneatt: Path, roads: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    command = [sys.executable, str(ROOT / "tools" / "export.py"), str(float_config("laneatt")), str(laneatt)]
    command += ["--backend", "openvino", "--out", str(out), "--data-root", str(roads)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    assert "was quantized in the profile 'onnxruntime', which openvino does not run" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not out.exists()


def test_the_timing_gives_every_variants_time_and_size(roads: Path, tmp_path: Path) -> None:
    detector = Detector("laneatt", str(float_config("laneatt")), str(float_weights("laneatt")), data_root=str(roads))
    timings = benchmark_deploy((detector,), tmp_path, PRESETS, rounds=2, say=lambda line: None)
    assert list(timings["laneatt"]) == ["torch", "onnxruntime", "openvino"]
    for runtime in ("onnxruntime", "openvino"):
        found = timings["laneatt"][runtime]
        assert found.problem == ""
        assert found.float_ms > 0
        assert found.int8_ms > 0
        assert found.trunk_float_ms > 0
        assert found.trunk_int8_ms > 0
        # A byte a weight in place of four; nodes and scales are on top.
        assert found.int8_bytes < 0.4 * found.float_bytes
    written = json.loads((tmp_path / "deploy.json").read_text())
    assert written["detectors"]["laneatt"]["openvino"]["int8_ms"] == timings["laneatt"]["openvino"].int8_ms
    assert (tmp_path / "deploy.md").read_text() == deploy_table(timings)
