"""Bit plans that a run makes by itself."""

import json

import pytest
import torch
from test_engine.runs import run_tool

from mmsf.engine.bit_planner import BitPlanner
from mmsf.engine.quantized_file import read_quantized
from mmsf.errors import UserError

PLANNER = ["train_cfg.bit_planner.frames=2", "train_cfg.bit_planner.budget=layers=4"]


@pytest.fixture(scope="module")
def planned(roads, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    result = run_tool(roads, folder, more_options=[*PLANNER, "train_cfg.max_iters=2"])
    assert result.returncode == 0, result.stderr
    return folder


def test_the_plan_keeps_its_budget_and_takes_layers_that_move_the_lanes(planned):
    plan = json.loads((planned / "summary.json").read_text())["bit_plan"]
    more = [name for name, bits in plan.items() if bits == [8, 8]]
    assert 1 <= len(more) <= 4
    assert all(bits in ([4, 4], [8, 8]) for bits in plan.values())
    scores = json.loads((planned / "sensitivity.json").read_text())["layers"]
    assert set(scores) == set(plan)
    gain = {name: own["4/4"] - own["8/8"] for name, own in scores.items()}
    assert min(gain[name] for name in more) >= max(gain[name] for name in plan if name not in more)


def test_the_quantized_file_holds_the_plan(planned):
    model = read_quantized(planned / "quantized.pth")
    plan = json.loads((planned / "summary.json").read_text())["bit_plan"]
    assert {name: bits.as_list() for name, bits in model.quantized.bits.items()} == plan


def test_a_resumed_run_keeps_the_plan(planned, roads, tmp_path):
    (tmp_path / "curves.pth").write_bytes((planned / "curves.pth").read_bytes())
    result = run_tool(roads, tmp_path, "--resume", more_options=[*PLANNER, "train_cfg.max_iters=2"])
    assert result.returncode == 0, result.stderr
    one, other = (torch.load(f / "quantized.pth", weights_only=True)["state_dict"] for f in (planned, tmp_path))
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_layers_that_share_a_range_change_their_bits_together(roads, tmp_path):
    options = [
        *PLANNER,
        "train_cfg.bit_planner.budget=layers=12",
        "train_cfg.max_iters=0",
        "model.quantizer.profile=openvino",
    ]
    result = run_tool(roads, tmp_path, more_options=options)
    assert result.returncode == 0, result.stderr
    model = read_quantized(tmp_path / "quantized.pth")
    plan = json.loads((tmp_path / "summary.json").read_text())["bit_plan"]
    groups = model.quantized.sharing()
    assert any(plan[name] == [8, 8] for group in groups for name in group)
    assert all(len({tuple(plan[name]) for name in group}) == 1 for group in groups)


@pytest.mark.parametrize("frames", [0, -1, 2.5])
def test_a_plan_needs_whole_frames(frames):
    with pytest.raises(UserError, match="frames must be a whole number of at least 1"):
        BitPlanner(frames=frames)


def test_a_budget_that_cannot_be_read_is_one_clear_line(roads, tmp_path):
    result = run_tool(roads, tmp_path, more_options=["train_cfg.bit_planner.budget=bytes=3"])
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: budget 'bytes' is unknown")
