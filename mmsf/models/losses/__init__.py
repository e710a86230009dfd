"""Losses of the detectors."""

from mmsf.models.losses.lstr import LSTRLoss
from mmsf.models.losses.segmentation import SegmentationLoss

__all__ = [
    "LSTRLoss",
    "SegmentationLoss",
]
