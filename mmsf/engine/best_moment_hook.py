"""The moment of tuning whose lanes are nearest to the float model's, on calibration frames that tuning never sees."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.hooks import Hook
from torch import Tensor

from mmsf.engine.processes import shared_out
from mmsf.errors import UserError, require_whole
from mmsf.registry import HOOKS
from mmsf.sensitivity.scoring import LaneScorer

# What travels with a checkpoint.
_KEPT = ("scores", "mean_scores", "kept", "kept_mean", "_state", "_mean")


@HOOKS.register_module()
class BestMomentHook(Hook):
    """Scores the model every ``interval`` iterations on frames that are held out, and ends with the best of these models.

    The score is the mean Lane Distortion Score of a frame, decoded lanes against the float model's: no label is needed.
    Lanes that are lost or invented count with all their points, and a frame in which neither model sees a lane is 0. The
    calibrated model takes part, so tuning never ends worse than it began, by this score; of equals the earliest is kept.
    A model that sees no lane at all, where the float model sees some, is never taken for better than another: it has lost
    every lane, but a broken one whose lanes are all far off has lost and invented them, which counts twice.

    The running mean of what is tuned (weights, biases, scales) takes part as well: at few bits the least step changes the
    rounding of everything behind it, so the score swings from one iteration to the next, and that of the mean swings less.

    The frames that are held out are spread evenly over the calibration frames. Ranges and curves are still measured on them.
    Where tuning sees several versions of a frame, the score is over those of the held-out frames: few frames alone, in a
    network that rounding shakes, are scored by chance.

    Args:
        frames: Frames that are held out: a number, or a share of the calibration frames.
        interval: Iterations between two scores; before the first iteration and after the last one there is one in any case.
        mean_decay: What the running mean keeps of itself in an iteration, less in the first ones; 0 for no mean.

    Attributes:
        scores: Iterations done -> score.
        mean_scores: Iterations done -> score of the running mean.
        kept: Iterations done at the best moment.
        kept_mean: Whether the running mean is kept, not the model itself.
    """

    # Behind the hooks that change the model after an iteration, before the one that saves it.
    priority = "LOW"

    def __init__(self, frames: int | float = 0.125, interval: int = 50, mean_decay: float = 0.95) -> None:
        require_whole("BestMomentHook", "interval", interval, 1)
        if not frames > 0 or (isinstance(frames, float) and frames >= 1):
            raise UserError(f"BestMomentHook: frames is a whole number from 1, or a share between 0 and 1; got {frames}")
        if not 0 <= mean_decay < 1:
            raise UserError(f"BestMomentHook: mean_decay is at least 0 and less than 1; got {mean_decay}")
        self.frames, self.interval, self.mean_decay = frames, interval, mean_decay
        self.scores: dict[int, float] = {}
        self.mean_scores: dict[int, float] = {}
        self.kept: int | None = None
        self.kept_mean = False
        self._mean: list[Tensor] = []
        self._state: dict[str, Tensor] = {}
        self._held_out: list[int] = []
        self._batches: list[tuple[list[int], LaneScorer]] = []

    def before_train_epoch(self, runner) -> None:
        """Hold the frames out; score the calibrated model.

        Raises:
            UserError: No frame would be left for tuning.
        """
        loop = runner.train_loop
        total = len(loop.frames)
        count = self.frames if isinstance(self.frames, int) else max(1, round(self.frames * total))
        if count >= total:
            raise UserError(f"BestMomentHook: {count} frames are to be held out, but there are {total} calibration frames")
        self._held_out = [int((number + 0.5) * total / count) for number in range(count)]
        loop.frames.tuned = sorted(set(range(total)) - set(self._held_out))
        parts = loop.frames.parts(loop.frames.with_versions(self._held_out))
        self._batches = [(part, self._scorer(loop, part)) for part in parts]
        if not self.scores:
            self._look(runner, iteration=0)

    def after_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        """Move the mean; score at the interval."""
        if self.mean_decay:
            self._move_mean(runner, done=batch_idx + 1)
        if (batch_idx + 1) % self.interval == 0 and batch_idx + 1 < runner.train_loop.max_iters:
            self._look(runner, iteration=batch_idx + 1)

    def after_train_epoch(self, runner) -> None:
        """Score the last model; put the best one back."""
        if runner.train_loop.iter not in self.scores:
            self._look(runner, iteration=runner.train_loop.iter)
        runner.train_loop.model.quantized.load_state_dict(self._state)
        mean = "running mean at" if self.kept_mean else "model of"
        runner.logger.info(f"the {mean} iteration {self.kept} is kept: distortion {self._lowest():.4g}")

    def _move_mean(self, runner, done: int) -> None:
        tuned = _tuned(runner)
        # A checkpoint may have brought it from another device.
        self._mean = [mean.to(value) for mean, value in zip(self._mean, tuned)] or [value.clone() for value in tuned]
        # Short at first: what was there before tuning is soon forgotten.
        torch._foreach_lerp_(self._mean, tuned, 1 - min(self.mean_decay, done / (done + 9)))

    @contextmanager
    def _mean_in_place(self, runner) -> Iterator[None]:
        """While the block runs, the model is the running mean."""
        tuned = _tuned(runner)
        own = [value.clone() for value in tuned]
        torch._foreach_copy_(tuned, self._mean)
        try:
            yield
        finally:
            torch._foreach_copy_(tuned, own)

    def _lowest(self) -> float:
        return (self.mean_scores if self.kept_mean else self.scores)[self.kept]

    def _look(self, runner, iteration: int) -> None:
        found = [self._judge(runner, iteration, mean=False)]
        if self._mean:
            with self._mean_in_place(runner):
                found.append(self._judge(runner, iteration, mean=True))
        runner.logger.info(
            f"distortion on {len(self._held_out)} held-out frames at iteration {iteration}: {', running mean '.join(found)}"
        )

    def _judge(self, runner, iteration: int, mean: bool) -> str:
        """Score the model as it is now, keep it if it is the best so far; the score for the log, with a star if it is."""
        score, lanes = self._score(runner)
        blind = not lanes and any(scorer.sees_lanes for _, scorer in self._batches)
        best = self.kept is None or (score < self._lowest() and not blind)
        (self.mean_scores if mean else self.scores)[iteration] = score
        if best:
            state = runner.train_loop.model.quantized.state_dict()
            self._state = {name: value.to("cpu", copy=True) for name, value in state.items()}
            self.kept, self.kept_mean = iteration, mean
        runner.message_hub.update_scalar(f"train/held_out/distortion{'_of_mean' if mean else ''}", score)
        return f"{score:.4g}{' *' if best else ''}{', no lane is left' if blind else ''}"

    @staticmethod
    def _scorer(loop, part: list[int]) -> LaneScorer:
        metas = [loop.frames.samples[index].metainfo for index in part]
        return LaneScorer(loop.model.adapter, loop.model.kept_heads(part), metas, loop.rule)

    @torch.no_grad()
    def _score(self, runner) -> tuple[float, int]:
        """Mean score of a frame, and lanes in all frames."""
        loop = runner.train_loop

        def compare(batch: tuple[list[int], LaneScorer]) -> np.ndarray:
            part, scorer = batch
            raw = loop.model.quantized_raw(loop.images(part))
            heads = loop.model.adapter.split({name: tensor.cpu() for name, tensor in raw.items()})
            return np.stack(scorer.compare(heads))

        scores, lanes = np.concatenate(list(shared_out(compare, self._batches)), 1)
        return float(scores.mean()), int(lanes.sum())

    def summary(self) -> dict:
        """For `summary.json`."""
        scores = [{"iteration": iteration, "distortion": score} for iteration, score in self.scores.items()]
        for entry in scores:
            if entry["iteration"] in self.mean_scores:
                entry["distortion_of_mean"] = self.mean_scores[entry["iteration"]]
        return {"iteration": self.kept, "mean": self.kept_mean, "held_out": len(self._held_out), "scores": scores}

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Scores, the best model and the mean travel with the checkpoint."""
        checkpoint["best_moment"] = {name: getattr(self, name) for name in _KEPT}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take them up again."""
        if "best_moment" in checkpoint:
            for name in _KEPT:
                setattr(self, name, checkpoint["best_moment"][name])


def _tuned(runner) -> list[Tensor]:
    return [value.detach() for value in runner.train_loop.model.quantized.parameters() if value.requires_grad]
