"""Losses of the detectors."""

from mmsf.models.losses.ganet import GANetLoss
from mmsf.models.losses.lstr import LSTRLoss

__all__ = [
    "GANetLoss",
    "LSTRLoss",
]
