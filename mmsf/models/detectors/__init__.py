"""Lane detectors."""

from mmsf.models.detectors.base import LaneDetector
from mmsf.models.detectors.lstr import LSTR
from mmsf.models.detectors.segmentation import RESA, SCNN

__all__ = ["LSTR", "RESA", "SCNN", "LaneDetector"]
