"""Lane detectors."""

from mmsf.models.detectors.adapted import AdaptedDetector
from mmsf.models.detectors.base import LaneDetector
from mmsf.models.detectors.bezier import BezierLaneNet
from mmsf.models.detectors.condlane import CondLaneNet
from mmsf.models.detectors.ganet import GANet
from mmsf.models.detectors.laneatt import LaneATT
from mmsf.models.detectors.lstr import LSTR
from mmsf.models.detectors.segmentation import RESA, SCNN

__all__ = ["LSTR", "RESA", "SCNN", "AdaptedDetector", "BezierLaneNet", "CondLaneNet", "GANet", "LaneATT", "LaneDetector"]
