"""Detectors that mmsf does not know, quantized through their configs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from test_engine.runs import ROOT
from unknown_detectors import DETECTORS, SIZE

from mmsf.engine.analyze import analyze_sensitivity
from mmsf.engine.evaluate import evaluate
from mmsf.engine.inferencer import LaneInferencer
from mmsf.engine.ptq import quantize

PRESETS = ROOT / "configs" / "_base_" / "ptq"
CURVES = {"train_cfg.curves.frames": 2, "train_cfg.curves.draws": 2, "train_cfg.curves.levels": 3}
TUNING = {**CURVES, "train_cfg.max_iters": 2, "train_dataloader.batch_size": 4, "custom_hooks.0.interval": 1}
UNITS = {"train_cfg.reconstruction.iterations": 2, "train_cfg.reconstruction.batch_size": 4}
METRICS = {"rows": dict(type="CountedLanes", place="pred_lanes"), "keypoints": dict(type="CountedLanes", place="lanes")}


def write_config(folder: Path, roads: Path, name: str, **changes) -> Path:
    """A float config of a detector with random weights, which are written too."""
    kind, adapter = DETECTORS[name]
    torch.manual_seed(0)
    preprocessor = dict(type="ImgDataPreprocessor", mean=[127.5] * 3, std=[25.0] * 3)
    torch.save(kind(data_preprocessor=preprocessor).state_dict(), folder / "float.pth")
    pipeline = [dict(type="mmsf.LoadImage", scale=SIZE[::-1]), dict(type="mmsf.PackLaneInputs")]
    loader = dict(batch_size=4, sampler=dict(type="DefaultSampler", shuffle=False))
    dataset = dict(type="mmsf.CULaneDataset", data_root=str(roads / "test"), list_file="list/test.txt", pipeline=pipeline)
    config = dict(
        custom_imports=dict(imports=["mmsf", "unknown_detectors"], allow_failed_imports=False),
        model=dict(type=kind.__name__, data_preprocessor=preprocessor),
        adapter=dict(type="mmsf.ConfiguredAdapter", **adapter),
        input_size=SIZE,
        val_dataloader=dict(**loader, dataset=dataset),
        test_dataloader=dict(**loader, dataset=dataset),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=METRICS.get(name, dict(type="mmsf.CULaneMetric")),
        test_evaluator=METRICS.get(name, dict(type="mmsf.CULaneMetric")),
        calibration_dataloader=dict(
            **loader,
            dataset=dict(type="mmsf.CalibrationDataset", calibration_root=str(roads / "train"), count=6, pipeline=pipeline),
        ),
    )
    config.update(changes)
    path = folder / f"{name}.py"
    Config(config).dump(path)
    return path


def run(path: Path, preset: str, options: dict, start=quantize):
    return start(
        path,
        preset=preset,
        bits="w4a4",
        presets=PRESETS,
        checkpoint=str(path.parent / "float.pth"),
        work_dir=str(path.parent / "run"),
        options={**options, "default_scope": "mmengine"},
    )


def read(path: Path, name: str = "summary.json") -> dict:
    return json.loads((path.parent / "run" / name).read_text())


@pytest.mark.parametrize("name", ["queries", "rows"])
def test_a_described_detector_is_quantized_and_evaluated_by_its_own_metric(name, roads, tmp_path):
    path = write_config(tmp_path, roads, name)
    runner = run(path, "selective-focus", TUNING)
    summary = read(path)
    (metric,) = [key for key in summary["float"] if key in ("CULane/F1", "lanes")]
    assert set(summary["heads"]) == set(DETECTORS[name][1]["semantics"])
    assert summary["agreement"]["damage"]["float_lanes"] > 0
    assert len(list((tmp_path / "run" / "overlays").iterdir())) > 0
    weights = tmp_path / "run" / "quantized.pth"
    again = evaluate(path, weights, work_dir=str(tmp_path / "again"))
    assert again[metric] == pytest.approx(summary["quantized"][metric])
    if name == "rows":
        assert summary["float"]["lanes"] == summary["agreement"]["damage"]["float_lanes"]
    for curve in runner.train_loop.curves.values():
        assert curve.score[-1] > 0
    found = LaneInferencer(path, weights, device="cpu", show_progress=False)(str(roads / "test"))["predictions"]
    assert sum(len(frame["lines"]) for frame in found) > 0


def test_a_ptq_config_whose_adapter_stands_in_its_model_alone_shows_the_float_lanes(roads, tmp_path):
    cfg = Config.fromfile(str(write_config(tmp_path, roads, "rows")))
    adapter = cfg.pop("adapter")
    plain = LaneInferencer(Config({**cfg, "adapter": adapter}), tmp_path / "float.pth", show_progress=False)
    cfg.model = dict(type="mmsf.QuantWrapper", detector=cfg.model, adapter=adapter, input_size=SIZE)
    inside = LaneInferencer(cfg, tmp_path / "float.pth", show_progress=False)
    frames, others = (own(str(roads / "test"))["predictions"] for own in (plain, inside))
    assert frames == others
    assert sum(len(frame["lines"]) for frame in frames) > 0


def test_best_falls_back_to_the_loss_on_heads_and_says_so(roads, tmp_path, caplog):
    path = write_config(tmp_path, roads, "pyramid", val_dataloader=None, val_cfg=None, val_evaluator=None)
    runner = run(path, "best", {**TUNING, "custom_hooks.1.frames": 2, "train_cfg.tuning_frames": 12})
    said = next((tmp_path / "run").glob("*/*.log")).read_text()
    assert said.count("Eq. 6 takes DecodedLaneLoss's place") == 1
    losses = {key for key in runner.message_hub.log_scalars if key.startswith("train/loss")}
    assert {"train/loss_place", "train/loss_length", "train/loss_lane_confidence"} <= losses
    assert "train/loss_lanes" not in losses


def test_blocks_of_a_described_detector_are_tuned(roads, tmp_path):
    path = write_config(tmp_path, roads, "keypoints")
    run(path, "qdrop", {**CURVES, **UNITS})
    assert read(path)["iterations"] > 0


def test_a_described_detector_s_sensitivity_is_analysed(roads, tmp_path):
    path = write_config(tmp_path, roads, "rows")
    run(path, "selective-focus", {**CURVES, "train_cfg.layer_frames": 2}, start=analyze_sensitivity)
    found = read(path, "sensitivity.json")
    assert set(found["algorithm1"]) == {"column"}
    assert set(found["confidences"]) == {"seen", "exist"}


def refused(path: Path, *more: str, preset: str = "selective-focus") -> str:
    command = [sys.executable, str(ROOT / "tools" / "ptq.py"), str(path), "--checkpoint", str(path.parent / "float.pth")]
    command += ["--preset", preset, "--bits", "w4a4", "--work-dir", str(path.parent / "run"), *more]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_a_wrong_path_ends_with_one_line_and_status_2(roads, tmp_path):
    adapter = dict(type="mmsf.ConfiguredAdapter", confidences=dict(lane="heat"), semantics=dict(curve="curves.-1"))
    line = refused(write_config(tmp_path, roads, "queries", adapter=adapter))
    assert "no tensor at 'heat'" in line
    assert "logits (2, 2, 5, 2)" in line


def test_an_unknown_setting_of_the_adapter_ends_with_one_line_and_status_2(roads, tmp_path):
    adapter = dict(type="mmsf.ConfiguredAdapter", confidence=dict(lane="logits.-1"), semantics=dict(curve="curves.-1"))
    assert "confidence" in refused(write_config(tmp_path, roads, "queries", adapter=adapter))


def test_a_module_that_is_not_imported_ends_with_one_line_and_status_2(roads, tmp_path):
    imports = dict(imports=["mmsf"], allow_failed_imports=False)
    line = refused(write_config(tmp_path, roads, "queries", custom_imports=imports))
    assert "Queries is not registered" in line
    assert "custom_imports" in line


def test_a_detector_without_an_adapter_is_told_what_is_missing(roads, tmp_path):
    path = write_config(tmp_path, roads, "queries")
    text = path.read_text()
    path.write_text(text + "\ndel adapter\n")
    assert "mmsf.ConfiguredAdapter" in refused(path)


@pytest.fixture(autouse=True)
def _fresh_log():
    yield
    MMLogger._instance_dict.clear()
