"""Cubic Bezier curves of labelled lanes."""

import numpy as np
import torch
from torch import Tensor

from mmsf.lanes.bezier import bernstein


def fit_bezier(points: np.ndarray) -> np.ndarray:
    """Control points of the cubics nearest to lanes, in least squares, at parameters that grow as the length along the lane.

    Args:
        points: (L, R, 2) in the order of the curve's parameter, at least four different ones a lane.

    Returns:
        (L, 4, 2) in the units of ``points``.
    """
    steps = np.linalg.norm(np.diff(points, axis=1), axis=-1)
    length = np.concatenate((np.zeros((len(points), 1)), steps.cumsum(1)), 1)
    shares = bernstein(length / length[:, -1:])  # (L, R, 4)
    transposed = shares.transpose(0, 2, 1)
    return np.linalg.solve(transposed @ shares, transposed @ points)


class BezierSampler(torch.nn.Module):
    """Points of cubics at equal steps of their parameter, ends included.

    Args:
        count: Points of a curve.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        shares = torch.from_numpy(bernstein(np.linspace(0, 1, count))).float()
        self.register_buffer("shares", shares, persistent=False)

    def forward(self, control: Tensor) -> Tensor:
        """(..., 4, 2) control points to (..., count, 2)."""
        return self.shares @ control
