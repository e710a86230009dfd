"""Labelled lanes as tensors for losses on curves."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def visible_rows(points: np.ndarray, size: tuple[int, int], count: int) -> np.ndarray | None:
    """Resample a lane at evenly spaced rows of the part that lies inside the image.

    Args:
        points: (P, 2) x, y in pixels, in any order.
        size: Height and width of the image in pixels.
        count: Rows.

    Returns:
        (count, 2) x, y normalised by width and height, top to bottom; None where less than two pixel rows are inside.
    """
    points = np.asarray(points, np.float64).reshape(-1, 2)
    if len(points) < 2:
        return None
    height, width = size
    points = points[np.argsort(points[:, 1], kind="stable")]
    low, high = max(points[0, 1], 0.0), min(points[-1, 1], float(height))
    if high - low < 2:
        return None
    # Rows a quarter of a pixel apart find where the lane leaves the image at a side.
    dense = np.linspace(low, high, 4 * int(np.ceil(high - low)) + 1)
    x = np.interp(dense, points[:, 1], points[:, 0])
    inside = dense[(x >= 0) & (x <= width)]
    if len(inside) < 2 or inside[-1] - inside[0] < 2:
        return None
    y = np.linspace(inside[0], inside[-1], count)
    return np.stack((np.interp(y, points[:, 1], points[:, 0]) / width, y / height), 1)


@dataclass
class LaneTargets:
    """Lanes of a batch, padded to the same number M.

    Attributes:
        points: (B, M, R, 2) normalised x, y, top to bottom.
        counts: Lanes of each image.
    """

    points: Tensor
    counts: list[int]


def lane_targets(lines: list[list[np.ndarray]], size: tuple[int, int], count: int, device: torch.device) -> LaneTargets:
    """Targets of a batch.

    Args:
        lines: For each image its lanes, (P, 2) in pixels of the network input; empty and invisible ones are left out.
        size: Height and width of the network input in pixels.
        count: Rows a lane is resampled at.
        device: Where the targets go.

    Returns:
        The targets.
    """
    kept = [[rows for line in image if (rows := visible_rows(line, size, count)) is not None] for image in lines]
    counts = [len(image) for image in kept]
    points = np.zeros((len(kept), max([*counts, 1]), count, 2), np.float32)
    for index, image in enumerate(kept):
        if image:
            points[index, : len(image)] = image
    return LaneTargets(torch.from_numpy(points).to(device), counts)
