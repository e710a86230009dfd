"""Presets that end after range estimation, from end to end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_engine.runs import CHECKPOINT, FLOAT_CONFIG, ROOT

from mmsf.engine.config import with_preset
from mmsf.engine.quantized_file import read_quantized

PRESETS = ROOT / "configs" / "_base_" / "ptq"


def run(roads: Path, work_dir: Path, preset: str, *more: str, more_options: list[str] = ()) -> subprocess.CompletedProcess:
    command = [
        *(sys.executable, "tools/ptq.py", str(FLOAT_CONFIG), "--preset", preset, "--bits", "w4a4"),
        *("--checkpoint", str(CHECKPOINT), "--work-dir", str(work_dir), *more),
        *("--data-root", str(roads / "test"), "--calibration-root", str(roads / "train")),
        *("--cfg-options", "train_dataloader.batch_size=4", "custom_hooks.0.overlays=2", *more_options),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module", params=["omse", "aciq", "aciq-full"])
def ended(request, roads, tmp_path_factory) -> tuple[str, Path]:
    """Preset, and the work directory of its run."""
    folder = tmp_path_factory.mktemp(request.param)
    result = run(roads, folder, request.param)
    assert result.returncode == 0, result.stderr
    return request.param, folder


def test_bits_of_channels_do_not_go_with_equalisation(roads, tmp_path):
    result = run(roads, tmp_path, "aciq-full", more_options=["train_cfg.equalisation=True"])
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: train_cfg.equalisation does not go with")


def test_the_quantized_model_is_the_calibrated_one_and_nothing_was_tuned(ended):
    preset, folder = ended
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["method"], summary["iterations"], summary["heads"]) == (preset, 0, {})
    assert summary["quantized"] == summary["calibrated"]
    frames = json.loads((folder / "frames.json").read_text())
    assert frames["quantized"] == frames["calibrated"]
    assert summary["agreement"]["f1"] == summary["agreement"]["calibrated"]["f1"]
    assert summary["float"]["CULane/F1"] > 0.7
    assert not {"float outputs", "curves", "tuning"} & set(summary["seconds"])
    nothing = {"curves": {}, "last_curves": {}, "history": [], "iterations": 0, "layers": {}}
    assert json.loads((folder / "sensitivity.json").read_text()) == nothing
    assert (folder / "report.html").is_file()
    assert len(list((folder / "overlays").iterdir())) == 2


def test_a_run_without_any_label_tells_how_the_lanes_agree(command, roads, tmp_path):
    for part in ("train", "test"):
        for path in (roads / part).rglob("*.jpg"):
            (tmp_path / part / path.stem).mkdir(parents=True, exist_ok=True)
            (tmp_path / part / path.stem / "20.jpg").write_bytes(path.read_bytes())
    (tmp_path / "unlabelled.py").write_text(
        f"""\
_base_ = {str(FLOAT_CONFIG)!r}
folder = dict(_delete_=True, type="mmsf.ImageFolderDataset", pipeline=_base_.val_dataloader.dataset.pipeline)
val_dataloader = test_dataloader = dict(dataset=dict(**folder, data_root={str(tmp_path / "test")!r}))
val_evaluator = test_evaluator = dict(_delete_=True, type="mmsf.LaneAgreement")
calibration_dataloader = dict(
    dataset=dict(
        datasets=[],
        calibration_root={str(tmp_path / "train")!r},
        exclude=[dict(type="mmsf.ImageFolderDataset", data_root={str(tmp_path / "test")!r})],
    )
)
"""
    )
    options = ("--preset", "omse", "--bits", "w8a8", "--checkpoint", CHECKPOINT, "--work-dir", tmp_path / "work")
    status, _, errors = command("ptq", tmp_path / "unlabelled.py", *options)
    assert status == 0, errors
    summary = json.loads((tmp_path / "work" / "summary.json").read_text())
    assert summary["float"]["agreement/F1"] == 1
    assert 0 < summary["quantized"]["agreement/F1"] == pytest.approx(summary["agreement"]["f1"])
    assert summary["quantized"]["agreement/mean_distortion"] > 0
    # Pictures go by the part of the path that tells frames apart.
    overlays = [path.stem.partition("_")[2] for path in (tmp_path / "work" / "overlays").iterdir()]
    assert len(set(overlays)) == len(overlays) > 1


def test_only_bits_by_channel_are_said_not_to_be_deployable(ended):
    preset, folder = ended
    summary = json.loads((folder / "summary.json").read_text())
    told = "not deployable: per-channel activation bits" in (folder / "report.html").read_text()
    if preset == "aciq-full":
        assert told
        assert summary["not_deployable"] == "per-channel activation bits"
        assert summary["mean_channel_bits"] == pytest.approx(4, abs=0.05)
    else:
        assert not told
        assert (summary["not_deployable"], summary["mean_channel_bits"]) == (None, None)


def test_the_rebuilt_model_predicts_what_the_run_measured(ended, roads):
    _, folder = ended
    config = ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py"
    command = [
        sys.executable,
        "tools/test.py",
        str(config),
        str(folder / "quantized.pth"),
        "--data-root",
        str(roads / "test"),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    want = json.loads((folder / "summary.json").read_text())["quantized"]["CULane/F1"]
    assert f"CULane/F1: {want:.4f}" in result.stdout + result.stderr


def test_its_file_rebuilds_itself_with_weights_on_their_grids(ended):
    model = read_quantized(ended[1] / "quantized.pth")
    for _, layer in model.quantized.layer_quantizers():
        rows = layer.quantized_weight().detach().movedim(layer.weight_quantizer.settings.channel_axis, 0).flatten(1)
        integers = rows / layer.weight_quantizer.scale[:, None]
        torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-4)


def test_a_resumed_run_ends_with_the_same_bits(ended, roads, tmp_path):
    preset, folder = ended
    (tmp_path / "ranges.pth").write_bytes((folder / "ranges.pth").read_bytes())
    result = run(roads, tmp_path, preset, "--resume")
    assert result.returncode == 0, result.stderr
    want, got = (torch.load(f / "quantized.pth", weights_only=True)["state_dict"] for f in (folder, tmp_path))
    assert [name for name in want if not torch.equal(want[name], got[name])] == []


@pytest.mark.parametrize("preset", ["omse", "aciq", "aciq-full"])
@pytest.mark.parametrize("bits", ["w8a8", "w8a4", "w4a4"])
def test_a_preset_has_all_three_bits(preset, bits):
    cfg = with_preset(FLOAT_CONFIG, preset, bits, PRESETS)
    assert cfg.model.quantizer.bits == bits
    assert cfg.train_cfg.max_iters == 0
