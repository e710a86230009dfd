"""One adapter a model family."""

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.lstr import LSTRAdapter
from mmsf.adapters.segmentation import SegmentationAdapter

__all__ = ["Adapter", "HeadOutputs", "LSTRAdapter", "SegmentationAdapter"]
