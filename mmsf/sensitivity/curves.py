"""Noise-score curves: how far lanes move for a given error of a head, measured once, without the network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.errors import UserError, require_pair, require_whole
from mmsf.lanes.distortion import DistortionRule
from mmsf.sensitivity.scoring import DistortionScorer, repeat_heads

# Bytes of perturbed heads; decoding takes a few times as much.
AT_ONCE = 2**26


@dataclass(frozen=True)
class CurveSettings:
    """How curves are measured; the paper leaves all of it open.

    Attributes:
        levels: Noise levels, evenly spaced on a logarithmic scale.
        span: Lowest and highest level as multiples of the head's error.
        frames: Calibration frames that take part.
        draws: Draws for each frame and level. A detector's only head, which is ranked against none, has one.
    """

    levels: int = 12
    span: tuple[float, float] = (0.1, 10.0)
    frames: int = 64
    draws: int = 4

    def __post_init__(self) -> None:
        require_whole("curves", "levels", self.levels, 2)
        require_whole("curves", "frames", self.frames, 1)
        require_whole("curves", "draws", self.draws, 1)
        low, high = require_pair("curves", "span", self.span)
        if not 0 < low < high:
            raise UserError(f"curves: span must rise, above 0; got {self.span}")


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


def as_dicts(curves: dict[str, NoiseScoreCurve]) -> dict[str, dict[str, list[float]]]:
    """Head -> its curve as plain lists."""
    return {name: curve.as_dict() for name, curve in curves.items()}


def measure_curves(
    adapter: Adapter,
    heads_of: Callable[[list[int]], HeadOutputs],
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
        heads_of: Gives the heads of the float model for some of F frames; asked for a few at a time where heads are large.
        errors: Head -> its quantization errors in any E frames, (E, ...).
        metas: Metainfo of the F frames.
        settings: Levels, frames, draws.
        rule: Of the Lane Distortion Score.
        error: The loss's semantic error of a head, with which the curves will be queried; a mean over frames.
        generator: Source of the noise.

    Returns:
        Curve of each semantic head.

    Source:
        Selective Focus, Sensitivity Aware Selection (3).
    """
    frames = list(range(min(settings.frames, len(metas))))
    draws = settings.draws if len(adapter.semantic_heads) > 1 else 1
    levels = np.geomspace(*settings.span, settings.levels)
    # Drawn before anything else, so that the noise does not depend on how many frames are taken at a time.
    noise = {
        name: [_Noise.drawn(len(errors[name]), (draws, len(frames)), generator) for _ in levels]
        for name in adapter.semantic_heads
    }
    losses, scores = ({name: np.zeros(len(levels)) for name in noise} for _ in range(2))
    for part in _parts(frames, heads_of, draws):
        some = heads_of(part)
        scorer = DistortionScorer(adapter, some, [metas[index] for index in part], rule)
        many = repeat_heads(some, draws)
        for name, drawn in noise.items():
            clean = many.semantics[name]
            for number, level in enumerate(levels):
                noisy = clean + float(level) * drawn[number].of(errors[name], part)
                perturbed = HeadOutputs({**many.semantics, name: noisy}, many.confidences, many.constants)
                share = len(part) / len(frames)
                losses[name][number] += error(adapter, many, perturbed, name).item() * share
                scores[name][number] += scorer(name, noisy).mean() * share
    return {name: NoiseScoreCurve.fit(losses[name], scores[name]) for name in noise}


@dataclass(frozen=True)
class _Noise:
    """Which errors, and with which signs, disturb D versions of F frames.

    Attributes:
        index: (D, F) places among the errors.
        signs: (D, F) 1 or -1.
    """

    index: Tensor
    signs: Tensor

    @classmethod
    def drawn(cls, errors: int, shape: tuple[int, int], generator: torch.Generator) -> "_Noise":
        """Noise of the given shape (D, F) out of so many errors."""
        count = shape[0] * shape[1]
        index = torch.randint(errors, (count,), generator=generator)
        signs = torch.randint(2, (count,), generator=generator) * 2 - 1
        return cls(index.view(shape), signs.view(shape))

    def of(self, errors: Tensor, frames: list[int]) -> Tensor:
        """The noise (D * len(frames), ...) of some of the frames, version after version."""
        drawn = errors[self.index[:, frames].flatten()]
        return drawn * self.signs[:, frames].reshape(-1, *[1] * (drawn.dim() - 1))


def _parts(frames: list[int], heads_of: Callable[[list[int]], HeadOutputs], draws: int) -> Iterator[list[int]]:
    """The frames in parts, of whose heads as many versions as there are draws take `AT_ONCE` bytes at most."""
    first = heads_of(frames[:1])
    size = sum(tensor.nbytes for group in (first.semantics, first.confidences, first.constants) for tensor in group.values())
    at_once = max(1, AT_ONCE // (size * draws))
    return (frames[begin : begin + at_once] for begin in range(0, len(frames), at_once))


def score_by_both(loss: float, first: NoiseScoreCurve, last: NoiseScoreCurve | None) -> float:
    """Score at a loss: by the last curve where that was measured, and beyond its ends in the shape of the first, wider one.

    Args:
        loss: Semantic error of the head.
        first: The curve around the head's error before tuning.
        last: The curve around its last errors; None if it was not measured again.
    """
    if last is None:
        return first(loss)
    near = min(max(loss, last.loss[0]), last.loss[-1])
    there = first(near)
    return last(near) * (first(loss) / there if there else 1.0)


def scores_at(curves: dict[str, NoiseScoreCurve], losses: dict[str, float] | dict[str, Tensor]) -> dict[str, float]:
    """Query every curve with its head's present loss."""
    return {name: curve(float(losses[name])) for name, curve in curves.items()}
