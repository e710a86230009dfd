"""Losses of the detectors."""

from mmsf.models.losses.lstr import LSTRLoss

__all__ = ["LSTRLoss"]
