"""One adapter a model family."""

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.lstr import LSTRAdapter

__all__ = ["Adapter", "HeadOutputs", "LSTRAdapter"]
