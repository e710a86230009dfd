from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook
from test_engine.tuned import assert_resumes_exactly

from mmsf.engine import PTQLoop, SensitivityHook
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


@pytest.mark.parametrize(("iterations", "interval", "wanted"), [(800, 1000, 100), (5000, 1000, 500), (400, 20, 20)])
def test_a_kill_loses_a_tenth_of_tuning_or_a_hundred_iterations_at_most(iterations, interval, wanted):
    hook = CheckpointHook(interval=interval)
    PTQLoop._keep_checkpoints(SimpleNamespace(runner=SimpleNamespace(hooks=[hook]), _max_iters=iterations))
    assert hook.interval == wanted


def test_an_unknown_selection_is_refused():
    with pytest.raises(UserError, match="top-k or slope; got 'soft'"):
        SensitivityHook(selection="soft")


def test_errors_that_were_kept_for_curves_come_back_on_the_processor():
    class Elsewhere(torch.Tensor):
        def cpu(self):
            return self.as_subclass(torch.Tensor)

    hook = SensitivityHook()
    state = dict(history=[], losses=None, recent=[{"offset": torch.ones(2).as_subclass(Elsewhere)}])
    hook.after_load_checkpoint(None, {"sensitivity": state})
    assert [type(error) for errors in hook._recent for error in errors.values()] == [torch.Tensor]
