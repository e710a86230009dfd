"""Float lane detectors."""

from mmsf.models.backbones import ResNet
from mmsf.models.detectors import LSTR, RESA, SCNN, LaneDetector
from mmsf.models.layers import MatMul, MultiheadAttention
from mmsf.models.losses import LSTRLoss

__all__ = ["LSTR", "RESA", "SCNN", "LSTRLoss", "LaneDetector", "MatMul", "MultiheadAttention", "ResNet"]
