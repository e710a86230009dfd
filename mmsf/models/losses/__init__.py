"""Losses of the detectors."""

from mmsf.models.losses.bezier import BezierLaneNetLoss
from mmsf.models.losses.condlane import CondLaneLoss
from mmsf.models.losses.ganet import GANetLoss
from mmsf.models.losses.laneatt import LaneATTLoss
from mmsf.models.losses.lstr import LSTRLoss
from mmsf.models.losses.segmentation import SegmentationLoss

__all__ = [
    "BezierLaneNetLoss",
    "CondLaneLoss",
    "GANetLoss",
    "LSTRLoss",
    "LaneATTLoss",
    "SegmentationLoss",
]
