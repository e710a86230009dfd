"""The curve that CULane's evaluator draws through a lane's points: a natural cubic spline, sampled densely."""

from collections.abc import Sequence

import numpy as np

SAMPLES = 50
"""Samples a segment between two points of the lane, as in the official evaluator."""


def _second_derivatives(heights: np.ndarray, slopes: np.ndarray, interior: np.ndarray) -> np.ndarray:
    """Second derivatives at the knots of B natural splines, by one Thomas algorithm for all of them.

    Args:
        heights: (K-1, B) parameter lengths of the segments, 1 beyond a lane's last point.
        slopes: (K-1, B, 2) chords over parameter lengths.
        interior: (K, B) whether knot k is an inner one of its lane; the others have second derivative 0.

    Returns:
        (K, B, 2).
    """
    knots = len(interior)
    upper = np.zeros(interior.shape)
    value = np.zeros((*interior.shape, 2))
    for k in range(1, knots - 1):
        below, above = heights[k - 1], heights[k]
        pivot = 2 * (below + above) - below * upper[k - 1]
        upper[k] = np.where(interior[k], above / pivot, 0.0)
        right = 6 * (slopes[k] - slopes[k - 1]) - below[:, None] * value[k - 1]
        value[k] = np.where(interior[k][:, None], right / pivot[:, None], 0.0)
    for k in range(knots - 2, 0, -1):
        value[k] -= upper[k][:, None] * value[k + 1]
    return value


def _spline_samples(points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Samples of lanes of at least three points each, without their last points: (2, segments * SAMPLES) float64.

    Args:
        points: (T, 2) float32, the points of all lanes one after the other.
        sizes: (B,) numbers of points.
    """
    lane = np.repeat(np.arange(len(sizes)), sizes)
    knot = np.arange(len(points)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = np.flatnonzero(knot < sizes[lane] - 1)  # points that begin a segment
    knot, lane = knot[first], lane[first]
    chords = (points[first + 1] - points[first]).astype(np.float64)  # the official tool subtracts in float32
    lengths = np.sqrt((chords**2).sum(1))

    heights = np.ones((sizes.max() - 1, len(sizes)))
    slopes = np.zeros((*heights.shape, 2))
    heights[knot, lane] = lengths
    slopes[knot, lane] = chords / lengths[:, None]
    interior = np.arange(sizes.max())[:, None] < sizes - 1
    interior[0] = False
    curvature = _second_derivatives(heights, slopes, interior)

    low, high = curvature[knot, lane], curvature[knot + 1, lane]  # (S, 2)
    square = (lengths**2)[:, None]
    # Coefficients of the powers of u in [0, 1), the share of the segment's parameter length.
    coefficients = [points[first], chords - square * (2 * low + high) / 6, square * low / 2, square * (high - low) / 6]
    powers = (np.arange(SAMPLES) / SAMPLES) ** np.arange(4)[:, None]  # (4, SAMPLES)
    # Not a matrix product: for one so thin, starting threads costs more than it saves.
    return np.einsum("psc,pu->csu", np.stack(coefficients), powers).reshape(2, -1)


def sample_curves(lanes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The points that the official evaluator joins by straight lines.

    Two points stay as they are. Through three or more goes a natural cubic spline over the chord length, with `SAMPLES`
    points a segment and the last point. A lane of fewer than two points gives none. A point that is listed twice in a row
    makes every number of the spline NaN but the last point, as in the official evaluator.

    Args:
        lanes: B lanes of (P, 2), pixels of the original image.

    Returns:
        (2, N) float32, x and y of the samples of all lanes one after the other, and (B,) numbers of samples.
    """
    sizes = np.array([len(lane) for lane in lanes], np.int64)
    counts = np.where(sizes > 2, SAMPLES * (sizes - 1) + 1, np.where(sizes == 2, 2, 0))
    samples = np.empty((2, counts.sum()), np.float32)
    with np.errstate(all="ignore"):
        if (sizes == 2).any():
            samples[:, np.repeat(sizes == 2, counts)] = np.concatenate([lane for lane in lanes if len(lane) == 2]).T
        if (sizes > 2).any():
            points = np.concatenate([lane for lane in lanes if len(lane) > 2]).astype(np.float32)
            inner = np.repeat(sizes > 2, counts)
            ends = np.cumsum(counts)[sizes > 2] - 1
            inner[ends] = False
            samples[:, ends] = points[np.cumsum(sizes[sizes > 2]) - 1].T
            samples[:, inner] = _spline_samples(points, sizes[sizes > 2])
    return samples, counts
