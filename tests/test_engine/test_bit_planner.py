"""Bit plans that a run makes by itself."""

import json

import pytest
import torch
from test_engine.runs import CHECKPOINT, CONFIG, run_tool
from test_engine.tuned import tuned

from mmsf.engine.bit_planner import BitPlanner
from mmsf.engine.ptq import ptq_config
from mmsf.engine.quantized_file import read_quantized
from mmsf.errors import UserError
from mmsf.quantization import Bits

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


def test_a_budget_that_cannot_be_held_is_refused_before_anything_is_scored(roads, tmp_path, monkeypatch):
    monkeypatch.setattr(BitPlanner, "score_layers", lambda *_: pytest.fail("layers were scored"))
    with pytest.raises(UserError, match="cannot be held: the fewest bits everywhere already take 1"):
        tuned(roads, tmp_path, train_cfg__bit_planner=dict(budget="bit_operations=0.9"))


def test_bits_that_a_plan_gives_are_settled_though_they_are_the_uniform_ones(planned, roads, tmp_path):
    given = json.loads((planned / "summary.json").read_text())["bit_plan"]
    result = run_tool(
        roads, tmp_path, "--bit-plan", str(planned / "summary.json"), more_options=[*PLANNER, "train_cfg.max_iters=0"]
    )
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["bit_plan"] == given


@pytest.mark.parametrize(("high", "uniform"), [("w4a4", "w8a8"), ("w4a8", "w8a4"), ("w8a8", "w8a8")])
def test_layers_with_more_bits_have_more_of_them(high, uniform):
    with pytest.raises(UserError, match="high must be more than the uniform bits"):
        BitPlanner(high=high).check(Bits.parse(uniform))
    assert BitPlanner(high="w8a8").check(Bits.parse("w8a4")) is None


def test_a_plan_of_more_bits_than_the_planner_gives_is_refused_at_once(roads, tmp_path):
    result = run_tool(roads, tmp_path, more_options=[*PLANNER, "train_cfg.bit_planner.high=w3a3"])
    assert result.returncode == 2
    assert "high must be more than the uniform bits" in result.stderr
    assert not (tmp_path / "ranges.pth").exists()


def test_a_given_plan_wins_over_the_configs_own_overrides(tmp_path):
    (tmp_path / "plan.json").write_text('{"head.fc": [8, 8]}')
    own = {"head.fc": "w6a6", "head.*": "w4a4"}
    plan = str(tmp_path / "plan.json")
    cfg = ptq_config(CONFIG, checkpoint=str(CHECKPOINT), bit_plan=plan, options={"model.quantizer.overrides": own})
    # Later entries win.
    assert list(cfg.model.quantizer.overrides.items()) == [("head.*", "w4a4"), ("head.fc", [8, 8])]
    cfg = ptq_config(CONFIG, checkpoint=str(CHECKPOINT), bit_plan=plan, options={"model.quantizer.overrides": None})
    assert list(cfg.model.quantizer.overrides.items()) == [("head.fc", [8, 8])]
