import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.runner import Runner
from test_engine.tuned import tuned
from test_sensitivity.heads import line_heads

from mmsf.engine.best_moment_hook import BestMomentHook
from mmsf.engine.calibration import CalibrationFrames
from mmsf.errors import UserError
from mmsf.lanes.distortion import DistortionRule
from mmsf.sensitivity.scoring import DistortionScorer

HOOK = dict(type="mmsf.BestMomentHook", frames=4, interval=2)


@pytest.fixture(scope="module")
def spoiled(roads, tmp_path_factory) -> Runner:
    """A run that finds lanes everywhere in its third iteration."""
    return tuned(roads, tmp_path_factory.mktemp("best"), HOOK, dict(type="mmsf.SpoilAfter", iterations=3))


def hook_of(runner: Runner) -> BestMomentHook:
    return next(hook for hook in runner.hooks if isinstance(hook, BestMomentHook))


def test_tuning_never_ends_worse_than_it_began(spoiled):
    hook = hook_of(spoiled)
    assert list(hook.scores) == [0, 2, 4]
    assert list(hook.mean_scores) == [2, 4]
    assert hook.scores[4] > hook.scores[0] > 0
    scores = hook.mean_scores if hook.kept_mean else hook.scores
    assert scores[hook.kept] == min(*hook.scores.values(), *hook.mean_scores.values())
    # The model itself is as good as it was then, not only the record of it.
    assert hook._score(spoiled)[0] == scores[hook.kept]


def test_the_running_mean_is_kept_where_it_is_better_and_the_model_goes_on_as_it_was(roads, tmp_path):
    run = tuned(roads, tmp_path, HOOK, dict(type="mmsf.SpoilAfter", iterations=4))
    hook, network = hook_of(run), run.train_loop.model.quantized
    good = [value.detach().clone() for value in network.parameters() if value.requires_grad]
    with torch.no_grad():
        network.network.cls_layer.bias.copy_(torch.tensor([-50.0, 50.0]))
    spoiled = {name: value.clone() for name, value in network.state_dict().items()}
    hook._mean, hook.kept = good, None
    hook._look(run, iteration=6)
    assert hook.mean_scores[6] < hook.scores[6]
    assert (hook.kept, hook.kept_mean) == (6, True)
    assert all(torch.equal(value, spoiled[name]) for name, value in network.state_dict().items())
    network.load_state_dict(hook._state)
    assert hook._score(run)[0] == hook.mean_scores[6]


def test_a_model_that_sees_no_lane_is_not_taken_for_better_than_one_whose_lanes_are_far_off(roads, tmp_path):
    run = tuned(roads, tmp_path, HOOK)
    hook, bias = hook_of(run), run.train_loop.model.quantized.network.cls_layer.bias
    hook.kept, hook.kept_mean, hook.scores[0] = 0, False, 1e6
    good = bias.detach().clone()
    with torch.no_grad():
        bias.copy_(torch.tensor([50.0, -50.0]))
    assert hook._judge(run, 8, mean=False).endswith("no lane is left")
    assert hook.kept == 0
    assert hook.scores[8] < 1e6
    with torch.no_grad():
        bias.copy_(good)
    assert hook._judge(run, 9, mean=False).endswith("*")
    assert hook.kept == 9


def test_the_running_mean_forgets_where_it_began():
    parameter = torch.nn.Parameter(torch.zeros(1))
    network = torch.nn.Module()
    network.register_parameter("weight", parameter)
    runner = SimpleNamespace(train_loop=SimpleNamespace(model=SimpleNamespace(quantized=network)))
    hook, values = BestMomentHook(mean_decay=0.5), [8.0, 1.0, 3.0] + [2.0] * 20 + [4.0]
    expected = 0.0
    for done, value in enumerate(values, start=1):
        parameter.data.fill_(value)
        hook._move_mean(runner, done)
        share = max(0.5, 9 / (done + 9))
        expected = share * value + (1 - share) * (expected if done > 1 else value)
    assert hook._mean[0].item() == pytest.approx(expected)
    assert expected == pytest.approx(3.0, abs=1e-3)


def test_without_a_decay_there_is_no_mean(roads, tmp_path):
    hook = hook_of(tuned(roads, tmp_path, dict(HOOK, mean_decay=0)))
    assert (list(hook.scores), hook.mean_scores, hook.kept_mean) == ([0, 2, 4], {}, False)


def test_versions_of_the_held_out_frames_are_scored_with_them(roads, tmp_path):
    run = tuned(roads, tmp_path, HOOK, train_cfg__tuning_frames=30)
    hook, loop = hook_of(run), run.train_loop
    held_out = sorted(set(range(len(loop.frames))) - set(loop.frames.tuned))
    assert loop.frames.versions > 1

    @torch.no_grad()
    def score_of(place: int) -> float:
        """Of the model that is left, on one frame."""
        raw = loop.model.quantized_raw(loop.images([place]))
        return float(hook._scorer(loop, [place]).of(loop.model.adapter.split(raw))[0])

    def mean_score(places: list[int]) -> float:
        return sum(map(score_of, places)) / len(places)

    expected = mean_score(loop.frames.with_versions(held_out))
    kept = (hook.mean_scores if hook.kept_mean else hook.scores)[hook.kept]
    assert kept == pytest.approx(expected, rel=1e-4)
    assert kept != pytest.approx(mean_score(held_out), rel=1e-2)


def test_the_summary_says_which_moment_was_kept(spoiled):
    hook = hook_of(spoiled)
    told = json.loads((Path(spoiled.work_dir) / "summary.json").read_text())["best_moment"]
    assert (told["iteration"], told["mean"], told["held_out"]) == (hook.kept, hook.kept_mean, 4)
    assert {entry["iteration"]: entry["distortion"] for entry in told["scores"]} == hook.scores
    of_mean = {entry["iteration"]: entry["distortion_of_mean"] for entry in told["scores"] if entry["iteration"]}
    assert of_mean == hook.mean_scores


def test_frames_that_are_held_out_are_in_no_batch():
    frames = CalibrationFrames(torch.arange(10)[:, None], [DetDataSample() for _ in range(10)], batch_size=4)
    everything = [frames.tuning_batch(iteration, seed=3)["inputs"] for iteration in range(5)]
    assert torch.cat(everything).unique(return_counts=True)[1].tolist() == [2] * 10
    frames.tuned = [0, 2, 3, 5, 6, 8, 9]
    some = torch.cat([frames.tuning_batch(iteration, seed=3)["inputs"] for iteration in range(7)])
    values, counts = some.unique(return_counts=True)
    assert values.tolist() == frames.tuned
    assert counts.tolist() == [4] * 7


def test_a_model_that_loses_all_lanes_is_worse_than_one_that_moves_them_and_empty_frames_count_nothing():
    adapter, target, metas = line_heads()
    target.confidences["lane"][0] = 0.0
    scorer = DistortionScorer(adapter, target, metas, DistortionRule())
    lost, moved = line_heads()[1], line_heads()[1]
    lost.confidences["lane"][:] = 0.0
    moved.confidences["lane"][0] = 0.0
    moved.semantics["position"] += 0.1
    assert scorer.of(target).tolist() == [0.0] * 8
    assert scorer.of(lost)[0] == scorer.of(moved)[0] == 0.0
    assert (scorer.of(lost)[1:] > 10 * scorer.of(moved)[1:]).all()


@pytest.mark.parametrize(
    "settings",
    [dict(interval=0), dict(interval=2.5), dict(frames=0), dict(frames=1.0), dict(frames=-0.5), dict(mean_decay=1)],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match="BestMomentHook"):
        BestMomentHook(**settings)


def test_holding_out_every_frame_is_refused(roads, tmp_path):
    with pytest.raises(UserError, match="10 frames are to be held out, but there are 10"):
        tuned(roads, tmp_path, dict(HOOK, frames=10))
