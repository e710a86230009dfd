"""Noise-score curves: how far lanes move for a given error of a head, measured once, without the network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.errors import UserError
from mmsf.lanes.distortion import DistortionRule
from mmsf.sensitivity.scoring import DistortionScorer, frames_of, repeat_heads


@dataclass(frozen=True)
class CurveSettings:
    """How curves are measured; the paper leaves all of it open.

    Attributes:
        levels: Noise levels, evenly spaced on a logarithmic scale.
        span: Lowest and highest level as multiples of the head's error.
        frames: Calibration frames that take part.
        draws: Draws for each frame and level.
    """

    levels: int = 12
    span: tuple[float, float] = (0.1, 10.0)
    frames: int = 64
    draws: int = 4

    def __post_init__(self) -> None:
        if self.levels < 2 or self.frames < 1 or self.draws < 1 or not 0 < self.span[0] < self.span[1]:
            raise UserError("curves need at least 2 levels, 1 frame, 1 draw and a rising span above 0")


@dataclass(frozen=True)
class NoiseScoreCurve:
    """Semantic error of a head -> Lane Distortion Score.

    Attributes:
        loss: (levels,) semantic errors, ascending: the very quantity that is queried while tuning.
        raw_score: (levels,) mean scores as measured.
        score: (levels,) their isotonic fit; Monte-Carlo curves are not monotone by themselves.
    """

    loss: np.ndarray
    raw_score: np.ndarray
    score: np.ndarray

    @classmethod
    def fit(cls, loss: np.ndarray, raw_score: np.ndarray) -> "NoiseScoreCurve":
        """Sort by loss and fit a rising curve."""
        order = np.argsort(loss, kind="stable")
        loss, raw_score = np.asarray(loss, np.float64)[order], np.asarray(raw_score, np.float64)[order]
        return cls(loss, raw_score, isotonic_regression(raw_score).x)

    def __call__(self, loss: float) -> float:
        """Score at ``loss``, piecewise linear in log(loss), constant beyond the ends."""
        tiny = np.finfo(np.float64).tiny
        return float(np.interp(np.log(max(loss, tiny)), np.log(np.maximum(self.loss, tiny)), self.score))

    def slope(self, loss: float) -> float:
        """Rise of the score between half and twice ``loss``, over the distance of these losses.

        Over a stretch, since a measured curve has flat pieces and corners.
        """
        return (self(2 * loss) - self(loss / 2)) / (1.5 * max(loss, np.finfo(np.float64).tiny))

    def as_dict(self) -> dict[str, list[float]]:
        """For `sensitivity.json` and checkpoints."""
        return {"loss": self.loss.tolist(), "score": self.score.tolist(), "raw_score": self.raw_score.tolist()}


def measure_curves(
    adapter: Adapter,
    target: HeadOutputs,
    errors: dict[str, Tensor],
    metas: list[dict],
    settings: CurveSettings,
    rule: DistortionRule,
    error: Callable[[Adapter, HeadOutputs, HeadOutputs, str], Tensor],
    generator: torch.Generator,
) -> dict[str, NoiseScoreCurve]:
    """Perturb the float model's heads with noise, one head at a time, and decode.

    The noise of a draw is the quantization error that the head has in some frame, with a random sign, times the level.
    Independent Gaussian noise would not do: the numbers of a head err together and partly cancel in the lanes.

    Args:
        adapter: The family's adapter.
        target: Heads of the float model for F frames.
        errors: Head -> its quantization errors in any E frames, (E, ...).
        metas: Metainfo of the frames.
        settings: Levels, frames, draws.
        rule: Of the Lane Distortion Score.
        error: The loss's semantic error of a head, with which the curves will be queried.
        generator: Source of the noise.

    Returns:
        Curve of each semantic head.

    Source:
        Selective Focus, Sensitivity Aware Selection (3).
    """
    frames = slice(0, min(settings.frames, len(metas)))
    metas, some = metas[frames], frames_of(target, frames)
    scorer = DistortionScorer(adapter, some, metas, rule)
    many = repeat_heads(some, settings.draws)
    curves = {}
    for name in adapter.semantic_heads:
        clean = many.semantics[name]
        losses, scores = [], []
        for level in np.geomspace(*settings.span, settings.levels):
            drawn = errors[name][torch.randint(len(errors[name]), (len(clean),), generator=generator)]
            signs = torch.randint(2, (len(clean), *[1] * (clean.dim() - 1)), generator=generator) * 2 - 1
            noisy = clean + float(level) * signs * drawn
            perturbed = HeadOutputs({**many.semantics, name: noisy}, many.confidences, many.constants)
            losses.append(error(adapter, many, perturbed, name).item())
            scores.append(scorer(name, noisy).mean())
        curves[name] = NoiseScoreCurve.fit(np.array(losses), np.array(scores))
    return curves


def scores_at(curves: dict[str, NoiseScoreCurve], losses: dict[str, float] | dict[str, Tensor]) -> dict[str, float]:
    """Query every curve with its head's present loss."""
    return {name: curve(float(losses[name])) for name, curve in curves.items()}
