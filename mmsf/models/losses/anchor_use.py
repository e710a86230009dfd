"""Which of LaneATT's anchors a data set needs."""

from collections.abc import Iterable

import numpy as np
import torch

from mmsf.models.layers.line_anchors import LineAnchors
from mmsf.models.losses.laneatt import LaneATTLoss
from mmsf.models.losses.row_targets import anchor_distances, row_targets

_ROWS = 72


def anchor_use(frames: Iterable[list[np.ndarray]], size: tuple[int, int]) -> np.ndarray:
    """In how many images each anchor is positive for the loss.

    Args:
        frames: For each image its lanes, (P, 2) in pixels of the network's input.
        size: Height and width of the network's input in pixels.

    Returns:
        (2784,) int64, in the order of `LineAnchors.all`.
    """
    anchors, loss = LineAnchors.all(), LaneATTLoss()
    xs = torch.from_numpy(anchors.xs(_ROWS, size[1]))
    first = torch.from_numpy(np.rint(anchors.start_y * (_ROWS - 1)).astype(np.int64))
    counts = np.zeros(len(anchors), np.int64)
    for lines in frames:
        nearest = anchor_distances(xs, first, row_targets([lines], size, _ROWS, xs.device))[0]
        counts += (nearest < loss.positive_distance * size[1] / loss.reference_width).any(-1).numpy()
    return counts
