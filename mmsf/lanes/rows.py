"""Lanes as x-positions on common rows."""

from collections.abc import Sequence

import numpy as np

from mmsf.lanes.lane import Lane


def row_grid(height: float, step: float = 20.0) -> np.ndarray:
    """Rows from the last row of an image upwards, listed top-down.

    Args:
        height: Height of the image, pixels.
        step: Distance of the rows, pixels; CULane's own rows are 20 apart.

    Returns:
        (R,) float64, ascending, the last one being ``height - 1``.
    """
    return np.arange(height - 1, -1e-9, -step)[::-1].copy()


def _points(lane: Lane | np.ndarray) -> np.ndarray:
    return np.asarray(lane.points if isinstance(lane, Lane) else lane, np.float64).reshape(-1, 2)


def _first_crossings(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """x of the first crossing of each row, (R,), walking the polyline ``points`` (P, 2) from its first point."""
    (x0, y0), (x1, y1) = points[:-1].T[:, :, None], points[1:].T[:, :, None]  # each (P-1, 1)
    crosses = (np.minimum(y0, y1) <= rows) & (rows <= np.maximum(y0, y1))  # (P-1, R)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(y1 == y0, 0.0, (rows - y0) / (y1 - y0))
    first = crosses.argmax(0)[None]
    xs = np.take_along_axis(x0 + share * (x1 - x0), first, 0)[0]
    return np.where(crosses.any(0), xs, np.nan)


def _interpolate(lanes: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """(L, R) of lanes of at least two points whose y never decreases: one binary search for all of them."""
    points = np.concatenate(lanes)
    sizes = np.array([len(lane) for lane in lanes])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    x, y = points.T
    # Each lane's y moves into a range of its own, by a power of two, so that whole numbers stay exact.
    largest = max(np.abs(y).max(), np.abs(rows).max(), 1.0)
    shift = np.arange(len(lanes)) * 2.0 ** np.ceil(np.log2(4 * largest))
    wanted = rows[None] + shift[:, None]  # (L, R)
    left = np.searchsorted(y + np.repeat(shift, sizes), wanted.ravel(), side="right").reshape(wanted.shape) - 1
    left = np.clip(left, starts[:, None], (starts + sizes - 2)[:, None])
    height = y[left + 1] - y[left]
    with np.errstate(divide="ignore", invalid="ignore"):
        xs = np.where(height > 0, x[left] + (rows - y[left]) * ((x[left + 1] - x[left]) / height), x[left + 1])
    # A node keeps its own x to the last bit.
    xs = np.where(rows == y[left + 1], x[left + 1], np.where(rows == y[left], x[left], xs))
    inside = (rows >= y[starts][:, None]) & (rows <= y[starts + sizes - 1][:, None])
    return np.where(inside, xs, np.nan)


def lanes_to_rows(lanes: Sequence[Lane | np.ndarray], rows: np.ndarray) -> np.ndarray:
    """x-positions of lanes on rows, linear in y between a lane's points and absent beyond its ends.

    A lane may list its points upwards or downwards. Where y is not monotonic, a row takes the first crossing on the way from
    the lower end (the end with the larger y), which is the one nearer to the camera.

    Args:
        lanes: L lanes, (P, 2) each, x and y in pixels; points that are not finite are left out.
        rows: (R,) y-positions in the same pixels, in any order.

    Returns:
        (L, R) float64; NaN where the lane does not reach the row.
    """
    rows = np.asarray(rows, np.float64)
    table = np.full((len(lanes), len(rows)), np.nan)
    simple: list[np.ndarray] = []
    simple_indices: list[int] = []
    for index, lane in enumerate(lanes):
        points = _points(lane)
        finite = np.isfinite(points).all(1)
        if not finite.all():
            points = points[finite]
        if not len(points):
            continue
        if len(points) == 1:
            table[index, rows == points[0, 1]] = points[0, 0]
            continue
        if points[0, 1] > points[-1, 1]:
            points = points[::-1]
        if (np.diff(points[:, 1]) >= 0).all():
            simple.append(points)
            simple_indices.append(index)
        else:
            table[index] = _first_crossings(points[::-1], rows)
    if simple and len(rows):
        table[simple_indices] = _interpolate(simple, rows)
    return table


def frames_to_rows(frames: Sequence[Sequence[Lane | np.ndarray]], rows: np.ndarray) -> np.ndarray:
    """`lanes_to_rows` of many frames at once.

    Args:
        frames: F frames, each a list of lanes.
        rows: (R,) y-positions.

    Returns:
        (F, L, R) float64, L being the largest number of lanes of a frame; lanes that a frame does not have are all NaN.
    """
    counts = np.array([len(lanes) for lanes in frames], np.int64)
    table = np.full((len(frames), int(counts.max(initial=0)), len(rows)), np.nan)
    present = np.arange(table.shape[1]) < counts[:, None]
    table[present] = lanes_to_rows([lane for lanes in frames for lane in lanes], rows)
    return table
