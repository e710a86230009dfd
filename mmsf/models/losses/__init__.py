"""Losses of the detectors."""

from mmsf.models.losses.laneatt import LaneATTLoss
from mmsf.models.losses.lstr import LSTRLoss

__all__ = ["LSTRLoss", "LaneATTLoss"]
