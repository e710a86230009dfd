"""Objectives that pull the quantized model towards the float model."""

from mmsf.reconstruction.decoded import DecodedLaneLoss
from mmsf.reconstruction.selective_focus import SelectiveFocusLoss

__all__ = ["DecodedLaneLoss", "SelectiveFocusLoss"]
