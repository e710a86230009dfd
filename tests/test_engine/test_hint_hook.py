import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_engine.tuned import tuned

from mmsf.engine import HintHook
from mmsf.errors import UserError


def test_the_hint_is_in_the_loss_until_its_weight_is_nothing(roads, tmp_path):
    runner = tuned(roads, tmp_path, dict(type="mmsf.HintHook", until=0.5), default_hooks__logger__interval=1)
    lines = next(Path(runner.work_dir).glob("*/vis_data/scalars.json")).read_text().splitlines()
    losses = {line["step"]: line for line in map(json.loads, lines) if "loss" in line}
    assert losses[1]["loss_hint"] > 0
    assert losses[1]["loss"] == pytest.approx(
        sum(value for name, value in losses[1].items() if name.startswith("loss_")), rel=1e-4
    )
    assert runner.model.further_losses == {}
    assert not runner.model.float_detector.conv1._forward_hooks


@given(st.floats(0.1, 10), st.floats(0.1, 1), st.integers(1, 1000))
def test_the_weight_falls_evenly_to_nothing(weight, until, iterations):
    hook = HintHook(weight, until)
    row = [hook.weight_at(iteration, iterations) for iteration in range(iterations)]
    assert row[0] == weight
    assert all(value == 0 for iteration, value in enumerate(row) if iteration >= until * iterations)
    assert row == pytest.approx([max(0, weight * (1 - i / (until * iterations))) for i in range(iterations)])


def test_a_module_that_is_not_there_is_refused(roads, tmp_path):
    with pytest.raises(UserError, match="has no module 'nick'"):
        tuned(roads, tmp_path, dict(type="mmsf.HintHook", module="nick"))


@pytest.mark.parametrize("settings", [dict(weight=0.0), dict(until=0.0), dict(until=1.5)])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match="HintHook"):
        HintHook(**settings)
