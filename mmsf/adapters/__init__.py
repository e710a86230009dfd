"""One adapter a model family."""

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.bezier import BezierAdapter
from mmsf.adapters.laneatt import LaneATTAdapter
from mmsf.adapters.lstr import LSTRAdapter
from mmsf.adapters.segmentation import SegmentationAdapter

__all__ = ["Adapter", "BezierAdapter", "HeadOutputs", "LSTRAdapter", "LaneATTAdapter", "SegmentationAdapter"]
