import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook
from test_engine.tuned import Stopped, assert_resumes_exactly, tuned

from mmsf.engine import PTQLoop, ResultHook, SensitivityHook
from mmsf.engine.storage import file_hash
from mmsf.errors import UserError

HOOKS = [
    dict(type="mmsf.BestMomentHook", frames=4, interval=2),
]


def test_a_stopped_run_with_all_further_hooks_resumes_exactly(roads, tmp_path):
    whole, resumed = assert_resumes_exactly(roads, tmp_path, HOOKS, after=3, selection="slope")
    best = [next(hook for hook in runner.hooks if type(hook).__name__ == "BestMomentHook") for runner in (whole, resumed)]
    assert (best[0].scores, best[0].kept) == (best[1].scores, best[1].kept)
    history = [next(hook for hook in runner.hooks if hasattr(hook, "history")).history for runner in (whole, resumed)]
    assert history[0] == history[1]
    for entry in history[0]:
        assert sum(entry["weights"].values()) == pytest.approx(2.0)
        assert entry["selected"] == [name for name, weight in entry["weights"].items() if weight >= 1]


def test_the_float_checkpoint_is_read_once_and_may_go_away_while_a_run_goes_on(roads, tmp_path):
    weights = tmp_path / "stopped" / "float.pth"
    hooks = [dict(type="mmsf.RemoveAfter", iterations=1, file=str(weights)), dict(type="mmsf.StopAfter", iterations=3)]
    with pytest.raises(Stopped):
        tuned(roads, tmp_path / "stopped", *hooks)
    assert not weights.exists()
    torch.save({"state_dict": {}}, weights)
    digest = torch.load(tmp_path / "stopped" / "iter_3.pth")["ptq"]["float_checkpoint_hash"]
    assert digest == torch.load(tmp_path / "stopped" / "ranges.pth")["ptq"]["float_checkpoint_hash"] != file_hash(weights)


def test_a_phase_inside_another_is_counted_once(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("mmsf.engine.loop.time.perf_counter", lambda: next(clock))
    loop = SimpleNamespace(seconds={"curves": 5.0}, _begun={})
    with PTQLoop.timed(loop, "tuning"):  # at 0
        with PTQLoop.timed(loop, "curves"):  # from 1 to 2
            pass
        with PTQLoop.timed(loop, "curves"):  # from 3 to 4
            pass
    assert loop.seconds == {"curves": 7.0, "tuning": 3.0}


@pytest.mark.parametrize(("iterations", "interval", "wanted"), [(800, 1000, 100), (5000, 1000, 500), (400, 20, 20)])
def test_a_kill_loses_a_tenth_of_tuning_or_a_hundred_iterations_at_most(iterations, interval, wanted):
    hook = CheckpointHook(interval=interval)
    PTQLoop._keep_checkpoints(SimpleNamespace(runner=SimpleNamespace(hooks=[hook]), _max_iters=iterations))
    assert hook.interval == wanted


def test_an_unknown_selection_is_refused():
    with pytest.raises(UserError, match="top-k or slope; got 'soft'"):
        SensitivityHook(selection="soft")


def test_curves_that_are_measured_again_have_the_settings_of_the_first_and_do_not_replace_them(roads, tmp_path):
    run = tuned(roads, tmp_path, train_cfg__curves__draws=3)
    loop = run.train_loop
    assert {name: len(curve.loss) for name, curve in loop.curves.items()} == {"offsets": 3, "length": 3}
    assert {name: len(curve.loss) for name, curve in loop.last_curves.items()} == {"offsets": 5, "length": 5}
    written = json.loads((tmp_path / "sensitivity.json").read_text())
    assert written["curves"] == {name: curve.as_dict() for name, curve in loop.curves.items()}
    assert written["last_curves"] == {name: curve.as_dict() for name, curve in loop.last_curves.items()}
    # Before tuning the heads lie on the first curves.
    first = next(hook for hook in run.hooks if isinstance(hook, SensitivityHook)).history[0]
    assert first["scores"] == {name: loop.curves[name](loss) for name, loss in first["losses"].items()}


def test_the_share_of_a_head_is_that_of_the_iterations_in_which_it_was_selected():
    history = [dict(iteration=0, selected=["a"]), dict(iteration=6, selected=["b"]), dict(iteration=8, selected=["b"])]
    runner = SimpleNamespace(hooks=[SimpleNamespace(history=history)], train_loop=SimpleNamespace(iter=8))
    hook = ResultHook("best", "best")
    assert [hook._selected_share(runner, name) for name in "abc"] == [0.75, 0.25, 0.0]
    assert hook._selected_share(SimpleNamespace(hooks=[], train_loop=runner.train_loop), "a") is None


@pytest.mark.parametrize(
    ("name", "value"), [("momentum", 1.0), ("momentum", "abc"), ("rest_weight", -1), ("rest_weight", float("inf"))]
)
def test_shares_and_weights_that_cannot_be_are_refused(name, value):
    with pytest.raises(UserError, match=f"SensitivityHook: {name} must be a number of at least 0"):
        SensitivityHook(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("interval", 2.5), ("k", 0), ("k", -1), ("recent_frames", 0), ("exact_frames", -1)]
)
def test_numbers_of_heads_and_frames_that_cannot_be_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} must be a whole number of at least"):
        SensitivityHook(**{name: value})


@pytest.mark.parametrize("heads", [[], "range"])
def test_no_head_to_select_among_is_refused(heads):
    with pytest.raises(UserError, match="heads is a list of names of heads"):
        SensitivityHook(heads=heads, selection="slope")


def test_errors_that_were_kept_for_curves_come_back_on_the_processor():
    class Elsewhere(torch.Tensor):
        def cpu(self):
            return self.as_subclass(torch.Tensor)

    hook = SensitivityHook()
    state = dict(history=[], losses=None, recent=[{"offset": torch.ones(2).as_subclass(Elsewhere)}])
    hook.after_load_checkpoint(None, {"sensitivity": state})
    assert [type(error) for errors in hook._recent for error in errors.values()] == [torch.Tensor]
