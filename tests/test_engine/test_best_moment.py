import json
from pathlib import Path

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
    assert hook.scores[4] > hook.scores[0] > 0
    assert hook.scores[hook.kept] == min(hook.scores.values())
    # The model itself is as good as it was then, not only the record of it.
    assert hook._score(spoiled) == hook.scores[hook.kept]


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
    assert hook.scores[hook.kept] == pytest.approx(expected, rel=1e-4)
    assert hook.scores[hook.kept] != pytest.approx(mean_score(held_out), rel=1e-2)


def test_the_summary_says_which_moment_was_kept(spoiled):
    hook = hook_of(spoiled)
    told = json.loads((Path(spoiled.work_dir) / "summary.json").read_text())["best_moment"]
    assert (told["iteration"], told["held_out"]) == (hook.kept, 4)
    assert {entry["iteration"]: entry["distortion"] for entry in told["scores"]} == hook.scores


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


@pytest.mark.parametrize("settings", [dict(interval=0), dict(frames=0), dict(frames=1.0), dict(frames=-0.5)])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match="BestMomentHook"):
        BestMomentHook(**settings)


def test_holding_out_every_frame_is_refused(roads, tmp_path):
    with pytest.raises(UserError, match="10 frames are to be held out, but there are 10"):
        tuned(roads, tmp_path, dict(HOOK, frames=10))
