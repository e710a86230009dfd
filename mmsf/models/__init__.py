"""Float lane detectors."""

from mmsf.models.backbones import ResNet
from mmsf.models.detectors import LSTR, LaneDetector
from mmsf.models.layers import MatMul, MultiheadAttention
from mmsf.models.losses import LSTRLoss

__all__ = ["LSTR", "LSTRLoss", "LaneDetector", "MatMul", "MultiheadAttention", "ResNet"]
