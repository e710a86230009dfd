"""Lane detectors."""

from mmsf.models.detectors.base import LaneDetector
from mmsf.models.detectors.lstr import LSTR

__all__ = ["LSTR", "LaneDetector"]
