"""What a user can get wrong: one clear line, exit status 2, nothing half-written."""

import shutil
from pathlib import Path

import pytest
import torch
from test_engine.runs import CHECKPOINT, FLOAT_CONFIG, ROOT, run_tool

GOLDENS = ROOT / "tests" / "data" / "goldens"


def assert_refused(result, work_dir: Path, *words: str) -> None:
    assert result.returncode == 2, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]
    left = {path.name for path in work_dir.rglob("*") if path.is_file()} if work_dir.exists() else set()
    assert not any(name.endswith((".pth", ".html")) or name in ("summary.json", "sensitivity.json") for name in left)


def test_a_missing_checkpoint(roads, tmp_path):
    result = run_tool(roads, tmp_path, checkpoint=tmp_path / "nowhere.pth")
    assert_refused(result, tmp_path, "nowhere.pth")


def test_a_file_that_is_no_checkpoint(roads, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(CHECKPOINT.read_bytes()[:5000])
    assert_refused(run_tool(roads, tmp_path / "run", checkpoint=path), tmp_path / "run", "weights.pth")


def test_a_checkpoint_of_another_model(roads, tmp_path):
    path = tmp_path / "scnn.pth"
    torch.save({"model": {"scnn_layer.conv_d.weight": torch.zeros(1), "backbone.conv1.weight": torch.zeros(1)}}, path)
    assert_refused(run_tool(roads, tmp_path / "run", checkpoint=path), tmp_path / "run", "SCNN", "LSTR")


def test_an_empty_calibration_folder(roads, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run_tool(roads, tmp_path / "run", "--calibration-root", str(tmp_path / "empty"))
    assert_refused(result, tmp_path / "run", "empty")


def test_a_missing_data_root(roads, tmp_path):
    result = run_tool(roads, tmp_path / "run", "--data-root", str(tmp_path / "nowhere"))
    assert_refused(result, tmp_path / "run", "nowhere")


@pytest.mark.parametrize("bits", ["w1a4", "w4a9", "w4"])
def test_bits_out_of_range(bits, roads, tmp_path):
    result = run_tool(roads, tmp_path, more_options=[f"model.quantizer.bits={bits}"])
    assert_refused(result, tmp_path, bits if bits == "w4" else "2 to 8")


def test_bits_without_a_preset_file(roads, tmp_path):
    result = run_tool(roads, tmp_path, "--preset", "selective-focus", "--bits", "w1a1", config=FLOAT_CONFIG)
    assert_refused(result, tmp_path, "w1a1", "selective-focus_w4a4")


def test_an_unknown_head_name(roads, tmp_path):
    result = run_tool(roads, tmp_path, more_options=["custom_hooks.0.heads=['range','colour']"])
    assert_refused(result, tmp_path, "colour", "range, shape, offset")


def test_an_unknown_layer_in_the_bit_plan(roads, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text('{"backbone.conv99": [8, 8]}')
    assert_refused(run_tool(roads, tmp_path / "run", "--bit-plan", str(plan)), tmp_path / "run", "backbone.conv99")


def test_a_missing_config(roads, tmp_path):
    assert_refused(run_tool(roads, tmp_path, config=tmp_path / "no.py"), tmp_path, "no.py")


def test_a_float_config_without_a_preset(roads, tmp_path):
    assert_refused(run_tool(roads, tmp_path, config=FLOAT_CONFIG), tmp_path, "--preset")


def roads_with_a_truncated_image(roads: Path, folder: Path) -> tuple[Path, str]:
    shutil.copytree(roads / "train", folder / "train")
    shutil.copytree(roads / "test", folder / "test")
    image = sorted((folder / "train").rglob("*.jpg"))[3]
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    return folder, image.name


def test_a_truncated_image_is_skipped_with_its_name(roads, tmp_path):
    damaged, name = roads_with_a_truncated_image(roads, tmp_path)
    result = run_tool(damaged, tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "skipped" in result.stdout + result.stderr
    assert name in result.stdout + result.stderr
    assert '"calibration": 9' in (tmp_path / "run" / "summary.json").read_text()


def test_a_truncated_image_is_refused_where_the_config_says_so(roads, tmp_path):
    damaged, name = roads_with_a_truncated_image(roads, tmp_path)
    result = run_tool(damaged, tmp_path / "run", more_options=["train_dataloader.dataset.corrupt=refuse"])
    assert_refused(result, tmp_path / "run", name)
