"""mmsf: post-training quantization of lane detectors that keeps an eye on the lanes."""

from mmsf import registry
from mmsf.hub import get_config
from mmsf.version import __version__

__all__ = ["__version__", "get_config", "registry"]
