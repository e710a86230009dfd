"""Quantizers, range estimators, layer wrapping, batch-norm folding, bit plans and profiles."""

from mmsf.quantization.correction import correcting_weights
from mmsf.quantization.equalisation import equalise
from mmsf.quantization.network import QuantizedNetwork
from mmsf.quantization.plan import Bits
from mmsf.quantization.profiles import PROFILES, Profile
from mmsf.quantization.quantizer import Quantizer, QuantizerSettings, RandomDropping, switched_off
from mmsf.quantization.ranges import (
    ACIQRange,
    KLRange,
    MinMaxRange,
    MSERange,
    OMSERange,
    PercentileRange,
    RangeEstimator,
    ThreeSigmaRange,
)
from mmsf.quantization.rounding import AdaRound
from mmsf.quantization.settings import QuantizationSettings

__all__ = [
    "PROFILES",
    "ACIQRange",
    "AdaRound",
    "Bits",
    "KLRange",
    "MSERange",
    "MinMaxRange",
    "OMSERange",
    "PercentileRange",
    "Profile",
    "QuantizationSettings",
    "QuantizedNetwork",
    "Quantizer",
    "QuantizerSettings",
    "RandomDropping",
    "RangeEstimator",
    "ThreeSigmaRange",
    "correcting_weights",
    "equalise",
    "switched_off",
]
