"""Labelled lanes as x-positions at the rows of anchors, and how far the anchors are from them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmsf.lanes.rows import frames_to_rows


@dataclass
class RowTargets:
    """Lanes of a batch, padded to the same number M. Row 0 is the lower border of the image, row R - 1 the upper one.

    Attributes:
        xs: (B, M, R) in pixels; a lane goes on straight below its lowest point, also outside the image, and is 0 above its
            highest one.
        first: (B, M) int64, lowest row at which the lane is inside the image.
        last: (B, M) int64, the last row up to which it stays inside; -1 for padding.
    """

    xs: Tensor
    first: Tensor
    last: Tensor


def row_targets(lines: list[list[np.ndarray]], size: tuple[int, int], rows: int, device: torch.device) -> RowTargets:
    """Targets of a batch.

    Args:
        lines: For each image its lanes, (P, 2) in pixels of the network's input, in any order; lanes of less than two
            heights, and those inside the image at no row, are left out.
        size: Height and width of the network's input in pixels.
        rows: R.
        device: Where the targets go.

    Returns:
        The targets.

    Source:
        Tabelini et al., "Keep your Eyes on the Lane: Real-time Attention-guided Lane Detection", 2021, section 3.2; the
        straight continuation is its code's.
    """
    height, width = size
    frames = [[line for line in map(_bottom_up, image) if len(line) > 1] for image in lines]
    y = np.linspace(height, 0, rows)
    xs = frames_to_rows(frames, y)  # (B, M, R)
    present = np.arange(xs.shape[1]) < np.array([len(image) for image in frames])[:, None]
    if present.any():
        (x0, y0), (x1, y1) = np.array([line[:2] for image in frames for line in image]).transpose(1, 2, 0)[:, :, :, None]
        continued = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        xs[present] = np.where(y > y0, continued, xs[present])
    inside = (xs >= 0) & (xs < width)  # False where there is no x
    seen = inside.any(-1)
    first = inside.argmax(-1)
    left = ~inside & (np.arange(rows) > first[..., None])
    last = np.where(seen, np.where(left.any(-1), left.argmax(-1), rows) - 1, -1)
    as_tensor = lambda array, dtype: torch.from_numpy(array.astype(dtype)).to(device)  # noqa: E731
    return RowTargets(as_tensor(np.nan_to_num(xs), np.float32), as_tensor(first, np.int64), as_tensor(last, np.int64))


def _bottom_up(points: np.ndarray) -> np.ndarray:
    """The lane's finite points, (P, 2), one a height, the lowest first."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(1)]
    return points[np.unique(points[:, 1], return_index=True)[1][::-1]]


@torch.no_grad()
def anchor_distances(anchor_xs: Tensor, anchor_first: Tensor, targets: RowTargets) -> Tensor:
    """Mean distance in x of each anchor and each lane over their common rows.

    Args:
        anchor_xs: (N, R) in pixels.
        anchor_first: (N,) int64, the row at which the anchor begins; it goes on to the upper border.
        targets: Lanes.

    Returns:
        (B, N, M) in pixels; infinite where they have no common row.
    """
    low = torch.maximum(anchor_first[:, None], targets.first[:, None])  # (B, N, M)
    count = (targets.last[:, None] - low + 1).clamp(min=0)
    row = torch.arange(anchor_xs.shape[1], device=anchor_xs.device)
    common = (row >= low[..., None]) & (row <= targets.last[:, None, :, None])
    apart = (targets.xs[:, None] - anchor_xs[:, None]).abs() * common
    return torch.where(count > 0, apart.sum(-1) / count.clamp(min=1), torch.inf)
