"""TuSimple's accuracy, FP and FN, as the official ``lane.py`` computes them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmsf.errors import UserError
from mmsf.lanes.tusimple import TuSimpleFrame

PIXEL_THRESHOLD = 20.0
"""A point is right if it is closer than this, across the lane; pixels."""

MATCH_ACCURACY = 0.85
"""A labelled lane is found if this share of its rows is right."""

SLOWEST = 200.0
"""Milliseconds a frame; slower predictions count as missing."""

_ABSENT = -100.0  # so that two absent points agree and an absent one is far from every present one


@dataclass(frozen=True)
class TuSimpleScore:
    """Accuracy and rates of one frame, or their means over frames.

    ``fp`` of a frame can be negative, in the official tool too: one predicted lane may serve two labelled ones.
    """

    accuracy: float
    fp: float
    fn: float

    @property
    def f1(self) -> float:
        """``2 (1 - FP) (1 - FN) / ((1 - FP) + (1 - FN))``; 0 where both are 1."""
        precision, recall = 1 - self.fp, 1 - self.fn
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _threshold(xs: np.ndarray, rows: np.ndarray) -> float:
    """The pixel threshold of a labelled lane, along its rows: wider for a slanted lane (least-squares line)."""
    present = xs >= 0
    if present.sum() < 2:
        return PIXEL_THRESHOLD
    x, y = xs[present], rows[present]
    y = y - y.mean()
    spread = (y**2).sum()
    slope = (y * (x - x.mean())).sum() / spread if spread else 0.0
    return float(PIXEL_THRESHOLD / np.cos(np.arctan(slope)))


def score_frame(
    labelled: Sequence[np.ndarray], predicted: Sequence[np.ndarray], rows: np.ndarray, run_time: float = 0.0
) -> TuSimpleScore:
    """Score one frame by the official rules.

    Args:
        labelled: Lanes as x-positions (R,) on the rows, pixels of the original image, negative where absent.
        predicted: The same for the predictions.
        rows: (R,) ``h_samples``, pixels.
        run_time: Milliseconds.

    Raises:
        ValueError: A predicted lane has another number of positions than there are rows.
    """
    rows = np.asarray(rows, np.float64)
    if any(len(lane) != len(rows) for lane in predicted):
        raise ValueError("a predicted lane has another number of x-positions than there are h_samples")
    if run_time > SLOWEST or len(predicted) > len(labelled) + 2:
        return TuSimpleScore(0.0, 0.0, 1.0)
    shape = -1, len(rows)
    truth = np.array([*labelled], np.float64).reshape(shape)
    found = np.array([*predicted], np.float64).reshape(shape)
    thresholds = np.array([_threshold(lane, rows) for lane in truth])
    apart = np.abs(np.where(found >= 0, found, _ABSENT) - np.where(truth >= 0, truth, _ABSENT)[:, None])  # (G, P, R)
    right = (apart < thresholds[:, None, None]).mean(-1)
    accuracies = right.max(1, initial=0.0)
    missed = int((accuracies < MATCH_ACCURACY).sum())
    false = len(found) - (len(truth) - missed)
    accuracy, divisor = float(accuracies.sum()), max(min(len(truth), 4), 1)
    if len(truth) > 4:  # one lane of five may be missed
        missed = max(missed - 1, 0)
        accuracy -= float(accuracies.min())
    return TuSimpleScore(accuracy / divisor, false / len(found) if len(found) else 0.0, missed / divisor)


def mean_score(scores: Iterable[TuSimpleScore]) -> TuSimpleScore:
    """The mean over frames.

    Raises:
        ValueError: There is no frame.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("no frame to score")
    accuracy, fp, fn = (sum(getattr(score, name) for score in scores) / len(scores) for name in ("accuracy", "fp", "fn"))
    return TuSimpleScore(accuracy, fp, fn)


def _lanes_at(predicted: TuSimpleFrame, rows: np.ndarray) -> list[np.ndarray]:
    """Predicted x-positions (R,) on the label's rows (R,)."""
    if predicted.h_samples is None or np.array_equal(predicted.h_samples, rows):
        return predicted.lanes
    place = {row: index for index, row in enumerate(predicted.h_samples.tolist())}
    if absent := [row for row in rows.tolist() if row not in place]:
        raise ValueError(f"the predicted h_samples lack row {absent[0]:g} of the label's")
    wanted = [place[row] for row in rows.tolist()]
    return [lane[wanted] for lane in predicted.lanes]


def score_frames(labelled: Sequence[TuSimpleFrame], predicted: Sequence[TuSimpleFrame]) -> dict[str, TuSimpleScore]:
    """Score a prediction file against a label file.

    Args:
        labelled: Frames with ``h_samples``.
        predicted: One frame for each labelled one, in any order; ``run_time`` counts where given. One that has ``h_samples``
            of its own is read at the label's, which must be among them.

    Returns:
        Scores by ``raw_file``, in the order of the predictions.

    Raises:
        UserError: The frames of both do not correspond.
    """
    truth = {frame.raw_file: frame for frame in labelled}
    if not truth:
        raise UserError("the label file has no frame")
    if len(truth) != len(labelled):
        twice = next(name for name, count in Counter(frame.raw_file for frame in labelled).items() if count > 1)
        raise UserError(f"frame {twice!r} is labelled twice; leave one line a frame in the label file")
    scores: dict[str, TuSimpleScore] = {}
    for frame in predicted:
        name = frame.raw_file
        if name not in truth:
            raise UserError(f"predicted frame {name!r} is not in the label file; raw_file must be the same in both")
        if name in scores:
            raise UserError(f"frame {name!r} is predicted twice; leave one line a frame")
        try:
            rows = truth[name].h_samples
            scores[name] = score_frame(truth[name].lanes, _lanes_at(frame, rows), rows, frame.run_time or 0.0)
        except ValueError as error:
            raise UserError(f"frame {name!r}: {error}") from error
    if missing := [name for name in truth if name not in scores]:
        raise UserError(
            f"{len(missing)} labelled frames have no prediction, the first is {missing[0]!r}; predict every frame"
        )
    return scores
