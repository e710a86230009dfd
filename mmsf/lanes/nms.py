"""Line non-maximum suppression of anchor models (LaneATT, CLRNet): of lanes that run side by side, the surest stays."""

from typing import Literal

import numpy as np


def line_nms(
    scores: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    xs: np.ndarray,
    threshold: float = 50.0,
    topk: int | None = 4,
    length_quirk: Literal["original", "pad"] = "original",
) -> np.ndarray:
    """Greedy suppression: a lane goes if its mean distance to a surer one that stays is below the threshold.

    The distance is taken over the rows that both lanes cover; lanes without a common row do not suppress each other. All in
    float32, as the CUDA kernel of the original projects.

    Args:
        scores: (N,) confidences; equal ones keep their order.
        starts: (N,) first row of each lane as a share of the R - 1 rows, 0 for the lowest row.
        lengths: (N,) numbers of rows, not rounded.
        xs: (N, R) x-position on each row from the bottom up, pixels of the network input.
        threshold: Mean distance in the same pixels, exclusive.
        topk: At most so many lanes stay; None for all.
        length_quirk: The kernel takes one row off the end of a lane that is shorter than one row ("original"). In
            pytorch-auto-drive its columns are shifted, and it does so where the third row's x-position is below 1 ("pad").

    Returns:
        (K,) int64 indices of the lanes that stay, the surest first.

    Source: LaneATT (CVPR 2021) and its line NMS kernel; pytorch-auto-drive for "pad".
    """
    if length_quirk not in ("original", "pad"):
        raise ValueError(f"length_quirk is 'original' or 'pad', not {length_quirk!r}")
    scores, starts, lengths, xs = (np.asarray(array, np.float32) for array in (scores, starts, lengths, xs))
    rows = xs.shape[1]
    order = np.argsort(-scores, kind="stable")
    short = lengths - 1 < 0 if length_quirk == "original" else xs[:, 2] < 1
    half = np.float32(0.5)
    first = np.trunc(starts * np.float32(rows - 1) + half)  # towards zero, as in C
    last = np.minimum(np.trunc(first + lengths - 1 + half - short.astype(np.float32)), rows - 1).astype(np.int64)
    first = np.maximum(first, 0).astype(np.int64)  # a start below the image counts as the lowest row
    row = np.arange(rows)
    kept: list[int] = []
    while len(order) and (topk is None or len(kept) < topk):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low, high = np.maximum(first[best], first[rest]), np.minimum(last[best], last[rest])
        common = (row >= low[:, None]) & (row <= high[:, None])  # (rest, R)
        distance = np.where(common, np.abs(xs[rest] - xs[best]), np.float32(0)).sum(1, dtype=np.float32)
        close = (high >= low) & (distance < np.float32(threshold) * (high - low + 1).astype(np.float32))
        order = rest[~close]
    return np.array(kept, np.int64)
