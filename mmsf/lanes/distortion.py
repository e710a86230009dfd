"""Lane Distortion Score: how far lanes moved between two decodings of one frame.

Source: Selective Focus (AAAI 2024), Eq. 2: ``score = sum over matched points of d(p0, p1) / b(M) + n * v``. What the paper
leaves open is a field of `DistortionRule`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmsf.lanes.lane import Lane
from mmsf.lanes.rows import frames_to_rows

_CHUNK = 2_000_000  # pairs of points that are compared at a time, to bound the memory


@dataclass(frozen=True)
class DistortionRule:
    """The choices that Eq. 2 leaves open.

    Attributes:
        match_distance: Two points on a row match if their distance is at most this; pixels of the image that the rows belong
            to. The default is the width with which CULane's evaluator draws a lane, in its 1640 x 590 images.
        penalty: ``v``, what a mismatched point costs. The distance of matched points is divided by ``match_distance``, so
            with 1 a point costs as much as one that is just about to lose its match.
        bounding: ``b``, the length by which the distances of a pair of lanes are divided: of the matched points of one lane
            the diagonal of the bounding box ("diagonal") or the length of the polyline through them ("arc"), and of these
            the mean over both lanes, so that the matched part does not change when the decodings change places.
        bounding_unit: Pixels that are one unit of ``b``; None for the mean distance of the rows, with which the matched part
            of a lane is about its mean distance over ``match_distance``. ``b`` is at least one unit, even for one point.
    """

    match_distance: float = 30.0
    penalty: float = 1.0
    bounding: Literal["diagonal", "arc"] = "diagonal"
    bounding_unit: float | None = None

    def __post_init__(self) -> None:
        if not self.match_distance > 0 or not self.penalty > 0:
            raise ValueError("match_distance and penalty must be positive")
        if self.bounding not in ("diagonal", "arc"):
            raise ValueError(f"bounding is 'diagonal' or 'arc', not {self.bounding!r}")
        if self.bounding_unit is not None and not self.bounding_unit > 0:
            raise ValueError("bounding_unit must be positive")


@dataclass(frozen=True)
class LaneDistortion:
    """Distortion of F frames; every array is (F,).

    Attributes:
        score: The Lane Distortion Score, ``matched + penalty * mismatched``.
        matched: Sum over pairs of lanes of the sum of ``d / b`` over their matched points.
        mismatched: int64, points of either decoding without a match.
        matched_points: int64, pairs of matched points.
        shift: Sum of the distances of matched points, pixels.
    """

    score: np.ndarray
    matched: np.ndarray
    mismatched: np.ndarray
    matched_points: np.ndarray
    shift: np.ndarray


def _extent(positions: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """Largest minus smallest position (..., R) of the matched ones; 0 without any."""
    high = np.where(matched, positions, -np.inf).max(-1, initial=-np.inf)
    low = np.where(matched, positions, np.inf).min(-1, initial=np.inf)
    return np.where(matched.any(-1), high - low, 0.0)


def _arc(xs: np.ndarray, rows: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """Length (N,) of the polylines through the matched ones of the points ``xs`` (N, R) on ``rows`` (R,), ascending."""
    # A row without a match takes the place of the last matched row above it, and so adds no length.
    last = np.maximum.accumulate(np.where(matched, np.arange(len(rows)), -1), -1)
    before, after = last[:, :-1], last[:, 1:]
    lane = np.arange(len(xs))[:, None]
    lengths = np.hypot(xs[lane, after] - xs[lane, before], rows[after] - rows[before])
    return np.where((before >= 0) & (after > before), lengths, 0.0).sum(-1)


def _bounding(one: np.ndarray, two: np.ndarray, rows: np.ndarray, matched: np.ndarray, rule: DistortionRule) -> np.ndarray:
    """``b`` (N,) of pairs of lanes (N, R), in units."""
    if rule.bounding == "diagonal":
        tall = _extent(np.broadcast_to(rows, matched.shape), matched)
        lengths = [np.hypot(_extent(xs, matched), tall) for xs in (one, two)]
    else:
        lengths = [_arc(xs, rows, matched) for xs in (one, two)]
    unit = rule.bounding_unit
    if unit is None:
        unit = (rows[-1] - rows[0]) / (len(rows) - 1) if len(rows) > 1 else 1.0
    return np.maximum((lengths[0] + lengths[1]) / 2 / unit, 1.0)


def _assign(gain: np.ndarray) -> np.ndarray:
    """One-to-one pairs of lanes with the largest sum of gains: (F, L, L2) to bool of the same shape.

    A pair without a positive gain stays unmatched. Where the best partners of all lanes of one side differ, they are the
    answer; the assignment problem is solved for the other frames only.
    """
    gain = np.maximum(gain, 0.0)
    chosen = np.zeros(gain.shape, bool)
    if not gain.size:
        return chosen
    open_frames = np.ones(len(gain), bool)
    for axis in (2, 1):
        best = np.zeros(gain.shape, bool)
        np.put_along_axis(best, np.expand_dims(gain.argmax(axis), axis), True, axis)
        best &= gain > 0
        distinct = (best.sum(3 - axis) <= 1).all(-1)
        chosen[open_frames & distinct] = best[open_frames & distinct]
        open_frames &= ~distinct
    for frame in np.flatnonzero(open_frames):
        one, two = linear_sum_assignment(gain[frame], maximize=True)
        chosen[frame, one, two] = gain[frame, one, two] > 0
    return chosen


@dataclass(frozen=True)
class _Pairs:
    """Lanes of F frames, paired; every array is (F, L, L2) over the lanes of both decodings.

    Attributes:
        chosen: Which lanes belong to each other.
        points: Matched points of two lanes.
        shift: Sum of their distances, pixels.
        cost: The same as it counts in the score.
    """

    chosen: np.ndarray
    points: np.ndarray
    shift: np.ndarray
    cost: np.ndarray


def _paired(reference: np.ndarray, perturbed: np.ndarray, rows: np.ndarray, rule: DistortionRule) -> _Pairs:
    count = len(rows)
    with np.errstate(invalid="ignore"):
        distance = np.abs(reference[:, :, None] - perturbed[:, None])  # (F, L, L2, R)
        matched = distance <= rule.match_distance  # NaN, an absent point, compares as False
    points = matched.sum(-1)
    pairs = np.nonzero(points)
    shift, cost = np.zeros(points.shape), np.zeros(points.shape)
    shift[pairs] = np.where(matched[pairs], distance[pairs], 0.0).sum(-1)
    one, two = reference[pairs[0], pairs[1]].reshape(-1, count), perturbed[pairs[0], pairs[2]].reshape(-1, count)
    bounding = _bounding(one, two, rows, matched[pairs].reshape(-1, count), rule)
    cost[pairs] = shift[pairs] / rule.match_distance / bounding
    # Matching two lanes saves the penalty of both points of every matched pair and costs their distances, so the
    # assignment with the largest gain is the one with the smallest score.
    return _Pairs(_assign(2 * rule.penalty * points - cost), points, shift, cost)


def _chunk_distortion(
    reference: np.ndarray, perturbed: np.ndarray, rows: np.ndarray, rule: DistortionRule
) -> LaneDistortion:
    pairs = _paired(reference, perturbed, rows, rule)
    present = np.isfinite(reference).sum((1, 2)) + np.isfinite(perturbed).sum((1, 2))
    matched_points, matched_part, shift = (
        (values * pairs.chosen).sum((1, 2)) for values in (pairs.points, pairs.cost, pairs.shift)
    )
    mismatched = present - 2 * matched_points
    score = matched_part + rule.penalty * mismatched
    return LaneDistortion(score, matched_part, mismatched, matched_points, shift)


def pair_lanes(
    reference: np.ndarray, perturbed: np.ndarray, rows: np.ndarray, rule: DistortionRule | None = None
) -> np.ndarray:
    """Which lanes of two decodings belong to each other: one to one, at the smallest Lane Distortion Score.

    Args:
        reference: (F, L, R) x-positions on rows, NaN where a lane is not.
        perturbed: (F, L2, R) the same for the perturbed decoding.
        rows: (R,) y-positions of the rows, pixels, ascending.
        rule: The choices of the score; None for the defaults.

    Returns:
        (F, L, L2) bool; a lane without any matched point has no partner.
    """
    return _paired(np.asarray(reference, float), np.asarray(perturbed, float), rows, rule or DistortionRule()).chosen


def lane_distortion(
    reference: np.ndarray, perturbed: np.ndarray, rows: np.ndarray, rule: DistortionRule | None = None
) -> LaneDistortion:
    """Lane Distortion Score of F pairs of decodings, Eq. 2.

    Points are compared on common rows. Lanes are assigned one to one such that the score is smallest (Hungarian assignment).
    Points of two assigned lanes match if they are on one row and at most ``match_distance`` apart; every other point of
    either decoding is mismatched: those of lanes without a partner, those on a row where the partner is absent, and both
    points of a row on which the partners are further apart. The score of a decoding with itself is 0, and the score does not
    change when the decodings change places.

    Args:
        reference: (F, L, R) x-positions on the rows, pixels, NaN where a lane is absent: the float model's lanes.
        perturbed: (F, L2, R) the same for the perturbed decoding.
        rows: (R,) y-positions of the rows, pixels, ascending or descending.
        rule: The choices of the score; None for the defaults.

    Source: Selective Focus, Eq. 2.
    """
    rule = rule or DistortionRule()
    rows = np.asarray(rows, np.float64)
    reference, perturbed = np.asarray(reference, np.float64), np.asarray(perturbed, np.float64)
    if len(rows) > 1 and rows[0] > rows[-1]:
        rows, reference, perturbed = rows[::-1], reference[..., ::-1], perturbed[..., ::-1]
    frames, lanes, _ = reference.shape
    size = max(1, _CHUNK // max(1, lanes * perturbed.shape[1] * len(rows)))
    parts = [
        _chunk_distortion(reference[begin : begin + size], perturbed[begin : begin + size], rows, rule)
        for begin in range(0, max(frames, 1), size)
    ]
    names = ("score", "matched", "mismatched", "matched_points", "shift")
    return LaneDistortion(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def frames_distortion(
    reference: Sequence[Sequence[Lane | np.ndarray]],
    perturbed: Sequence[Sequence[Lane | np.ndarray]],
    rows: np.ndarray,
    rule: DistortionRule | None = None,
) -> LaneDistortion:
    """`lane_distortion` of lists of lanes.

    Args:
        reference: F frames, each a list of lanes, pixels of the original image.
        perturbed: The same for the perturbed decodings.
        rows: (R,) y-positions of the rows on which to compare, pixels, see `mmsf.lanes.rows.row_grid`.
        rule: The choices of the score; None for the defaults.
    """
    return lane_distortion(frames_to_rows(reference, rows), frames_to_rows(perturbed, rows), rows, rule)
