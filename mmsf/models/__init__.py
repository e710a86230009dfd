"""Float lane detectors."""

from mmsf.models.backbones import ResNet
from mmsf.models.detectors import LSTR, RESA, SCNN, BezierLaneNet, CondLaneNet, GANet, LaneATT, LaneDetector
from mmsf.models.layers import DeformConv2d, MatMul, MultiheadAttention
from mmsf.models.losses import BezierLaneNetLoss, LSTRLoss

__all__ = [
    "LSTR",
    "RESA",
    "SCNN",
    "BezierLaneNet",
    "BezierLaneNetLoss",
    "CondLaneNet",
    "DeformConv2d",
    "GANet",
    "LSTRLoss",
    "LaneATT",
    "LaneDetector",
    "MatMul",
    "MultiheadAttention",
    "ResNet",
]
