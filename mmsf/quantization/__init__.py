"""Quantizers, range estimators, layer wrapping, batch-norm folding, bit plans and profiles."""

from mmsf.quantization.network import QuantizationSettings, QuantizedNetwork
from mmsf.quantization.plan import Bits
from mmsf.quantization.profiles import PROFILES, Profile
from mmsf.quantization.quantizer import Quantizer, QuantizerSettings, RandomDropping, switched_off
from mmsf.quantization.ranges import MinMaxRange, MSERange, PercentileRange, RangeEstimator
from mmsf.quantization.rounding import AdaRound

__all__ = [
    "PROFILES",
    "AdaRound",
    "Bits",
    "MSERange",
    "MinMaxRange",
    "PercentileRange",
    "Profile",
    "QuantizationSettings",
    "QuantizedNetwork",
    "Quantizer",
    "QuantizerSettings",
    "RandomDropping",
    "RangeEstimator",
    "switched_off",
]
