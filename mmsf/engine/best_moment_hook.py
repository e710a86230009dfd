"""The moment of tuning whose lanes are nearest to the float model's, on calibration frames that tuning never sees."""

import numpy as np
import torch
from mmengine.hooks import Hook
from torch import Tensor

from mmsf.engine.processes import shared_out
from mmsf.errors import UserError
from mmsf.registry import HOOKS
from mmsf.sensitivity.scoring import LaneScorer


@HOOKS.register_module()
class BestMomentHook(Hook):
    """Scores the model every ``interval`` iterations on frames that are held out, and ends with the best of these models.

    The score is the mean Lane Distortion Score of a frame, decoded lanes against the float model's: no label is needed.
    Lanes that are lost or invented count with all their points, and a frame in which neither model sees a lane is 0. The
    calibrated model takes part, so tuning never ends worse than it began, by this score; of equals the earliest is kept.

    The frames that are held out are spread evenly over the calibration frames. Ranges and curves are still measured on them.
    Where tuning sees several versions of a frame, the score is over those of the held-out frames: few frames alone, in a
    network that rounding shakes, are scored by chance.

    Args:
        frames: Frames that are held out: a number, or a share of the calibration frames.
        interval: Iterations between two scores; before the first iteration and after the last one there is one in any case.

    Attributes:
        scores: Iterations done -> score.
        kept: Iterations done at the best moment.
    """

    # Behind the hooks that change the model after an iteration, before the one that saves it.
    priority = "LOW"

    def __init__(self, frames: int | float = 0.125, interval: int = 50) -> None:
        if interval < 1:
            raise UserError(f"BestMomentHook: interval must be at least 1; got {interval}")
        if not frames > 0 or (isinstance(frames, float) and frames >= 1):
            raise UserError(f"BestMomentHook: frames is a whole number from 1, or a share between 0 and 1; got {frames}")
        self.frames, self.interval = frames, interval
        self.scores: dict[int, float] = {}
        self.kept: int | None = None
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
        """Score at the interval."""
        if (batch_idx + 1) % self.interval == 0 and batch_idx + 1 < runner.train_loop.max_iters:
            self._look(runner, iteration=batch_idx + 1)

    def after_train_epoch(self, runner) -> None:
        """Score the last model; put the best one back."""
        if runner.train_loop.iter not in self.scores:
            self._look(runner, iteration=runner.train_loop.iter)
        runner.train_loop.model.quantized.load_state_dict(self._state)
        runner.logger.info(f"the model of iteration {self.kept} is kept: distortion {self.scores[self.kept]:.4g}")

    def _look(self, runner, iteration: int) -> None:
        score = self.scores[iteration] = self._score(runner)
        best = self.kept is None or score < self.scores[self.kept]
        if best:
            state = runner.train_loop.model.quantized.state_dict()
            self.kept, self._state = iteration, {name: value.to("cpu", copy=True) for name, value in state.items()}
        runner.message_hub.update_scalar("train/held_out/distortion", score)
        runner.logger.info(
            f"distortion {score:.4g} on {len(self._held_out)} held-out frames at iteration {iteration}{' *' if best else ''}"
        )

    @staticmethod
    def _scorer(loop, part: list[int]) -> LaneScorer:
        metas = [loop.frames.samples[index].metainfo for index in part]
        return LaneScorer(loop.model.adapter, loop.model.kept_heads(part), metas, loop.rule)

    @torch.no_grad()
    def _score(self, runner) -> float:
        loop = runner.train_loop

        def score(batch: tuple[list[int], LaneScorer]) -> np.ndarray:
            part, scorer = batch
            raw = loop.model.quantized_raw(loop.images(part))
            return scorer.of(loop.model.adapter.split({name: tensor.cpu() for name, tensor in raw.items()}))

        return float(np.concatenate(list(shared_out(score, self._batches))).mean())

    def summary(self) -> dict:
        """For `summary.json`."""
        scores = [{"iteration": iteration, "distortion": score} for iteration, score in self.scores.items()]
        return {"iteration": self.kept, "held_out": len(self._held_out), "scores": scores}

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Scores and the best model travel with the checkpoint."""
        checkpoint["best_moment"] = dict(scores=self.scores, kept=self.kept, state=self._state)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take them up again."""
        if "best_moment" in checkpoint:
            found = checkpoint["best_moment"]
            self.scores, self.kept, self._state = found["scores"], found["kept"], found["state"]
