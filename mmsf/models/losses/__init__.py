"""Losses of the detectors."""

from mmsf.models.losses.condlane import CondLaneLoss
from mmsf.models.losses.ganet import GANetLoss
from mmsf.models.losses.lstr import LSTRLoss

__all__ = [
    "CondLaneLoss",
    "GANetLoss",
    "LSTRLoss",
]
