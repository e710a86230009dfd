"""CULane's F1, count for count as the official C++ evaluator: thick lanes, their IoU, its own assignment, a threshold.

The plan that makes it fast: each lane becomes row spans once (`mmsf.evaluation.lane_raster`), many frames in one go; the IoU
of a pair is then a sum over rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmsf.evaluation.lane_raster import lane_spans, overlaps
from mmsf.evaluation.slack_matching import match_lanes

IMAGE_SIZE = (590, 1640)
"""Height and width of CULane's images, pixels."""

CHUNK = 64
"""Frames that are counted in one go; larger chunks leave the processor's caches."""


@dataclass(frozen=True)
class LaneCounts:
    """True positives, false positives and false negatives; counts of several frames are added.

    As in the official evaluator, a ratio without a denominator is -1: ``precision`` without predictions, ``recall`` without
    labels. ``f1`` follows from both and so is -1 if there is neither; where the official one prints ``-nan`` (predictions
    and labels, but no true positive), it is 0.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: "LaneCounts") -> "LaneCounts":
        return LaneCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else -1.0

    @property
    def recall(self) -> float:
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else -1.0

    @property
    def f1(self) -> float:
        precision, recall = self.precision, self.recall
        if precision == recall == -1.0:
            return -1.0
        return 2 * precision * recall / (precision + recall) if precision > 0 and recall > 0 else 0.0

    def as_dict(self) -> dict[str, float]:
        """All six numbers by name, for JSON."""
        ratios = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {"tp": self.tp, "fp": self.fp, "fn": self.fn, **ratios}


def frame_ious(
    labelled: Sequence[Sequence[np.ndarray]],
    predicted: Sequence[Sequence[np.ndarray]],
    size: tuple[int, int] = IMAGE_SIZE,
    width: int = 30,
) -> list[np.ndarray]:
    """IoU of every labelled with every predicted lane, of many frames at once.

    Args:
        labelled: F frames, each a list of lanes (P, 2), pixels of the image.
        predicted: The same for the predictions.
        size: Height and width of the images, pixels.
        width: Thickness of the drawn lanes, pixels.

    Returns:
        F arrays (G, P) float64. 0 where one lane has fewer than two points, NaN where both lie outside the image.
    """
    lanes = [
        np.asarray(lane, np.float64).reshape(-1, 2) for frame in zip(labelled, predicted) for lane in (*frame[0], *frame[1])
    ]
    shapes = [(len(truth), len(found)) for truth, found in zip(labelled, predicted)]
    begin, first, second = 0, [], []
    for truth, found in shapes:
        first.append(np.repeat(np.arange(begin, begin + truth), found))
        second.append(np.tile(np.arange(begin + truth, begin + truth + found), truth))
        begin += truth + found
    if not lanes:
        return [np.zeros(shape) for shape in shapes]
    spans = lane_spans(lanes, size, width)
    one, two = np.concatenate(first), np.concatenate(second)
    shared = overlaps(spans, one, two)
    with np.errstate(invalid="ignore"):
        ious = shared / (spans.areas[one] + spans.areas[two] - shared)
    degenerate = np.array([len(lane) < 2 for lane in lanes])
    ious[degenerate[one] | degenerate[two]] = 0.0
    ends = np.cumsum([truth * found for truth, found in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(ious, ends[:-1]), shapes)]


def count_matches(ious: np.ndarray, threshold: float = 0.5) -> LaneCounts:
    """Count one frame: a matched pair is a true positive if its IoU is larger than, not equal to, the threshold.

    Args:
        ious: (G, P), see `frame_ious`.
        threshold: Least IoU, exclusive.
    """
    labelled, predicted = ious.shape
    match = match_lanes(ious)
    rows = np.flatnonzero(match >= 0)
    tp = int(np.count_nonzero(ious[rows, match[rows]] > threshold))
    return LaneCounts(tp, predicted - tp, labelled - tp)


def count_frames(
    labelled: Sequence[Sequence[np.ndarray]],
    predicted: Sequence[Sequence[np.ndarray]],
    size: tuple[int, int] = IMAGE_SIZE,
    width: int = 30,
    threshold: float = 0.5,
) -> list[LaneCounts]:
    """`count_matches` of F frames, in their order; arguments as in `frame_ious`."""
    counts: list[LaneCounts] = []
    for begin in range(0, len(labelled), CHUNK):
        part = slice(begin, begin + CHUNK)
        counts += [count_matches(ious, threshold) for ious in frame_ious(labelled[part], predicted[part], size, width)]
    return counts


def total(counts: Iterable[LaneCounts]) -> LaneCounts:
    """The sum of counts."""
    return sum(counts, LaneCounts())
