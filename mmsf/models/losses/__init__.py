"""Losses of the detectors."""

from mmsf.models.losses.bezier import BezierLaneNetLoss
from mmsf.models.losses.lstr import LSTRLoss

__all__ = [
    "BezierLaneNetLoss",
    "LSTRLoss",
]
