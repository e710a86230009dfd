"""Range estimators: from data to the values that a quantizer's grid spans."""

from mmsf.quantization.ranges.aciq import ACIQRange
from mmsf.quantization.ranges.base import RangeEstimator
from mmsf.quantization.ranges.extremes import MinMaxRange, PercentileRange
from mmsf.quantization.ranges.kl import KLRange
from mmsf.quantization.ranges.mse import MSERange, OMSERange
from mmsf.quantization.ranges.three_sigma import ThreeSigmaRange

__all__ = [
    "ACIQRange",
    "KLRange",
    "MSERange",
    "MinMaxRange",
    "OMSERange",
    "PercentileRange",
    "RangeEstimator",
    "ThreeSigmaRange",
]
