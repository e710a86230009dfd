"""One adapter a model family."""

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.bezier import BezierAdapter
from mmsf.adapters.clr import CLRerNetAdapter, CLRNetAdapter
from mmsf.adapters.condlane import CondLaneAdapter
from mmsf.adapters.configured import ConfiguredAdapter
from mmsf.adapters.ganet import GANetAdapter
from mmsf.adapters.laneatt import LaneATTAdapter
from mmsf.adapters.lstr import LSTRAdapter
from mmsf.adapters.segmentation import SegmentationAdapter

__all__ = [
    "Adapter",
    "BezierAdapter",
    "CLRNetAdapter",
    "CLRerNetAdapter",
    "CondLaneAdapter",
    "ConfiguredAdapter",
    "GANetAdapter",
    "HeadOutputs",
    "LSTRAdapter",
    "LaneATTAdapter",
    "SegmentationAdapter",
]
