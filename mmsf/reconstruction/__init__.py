"""Objectives that pull the quantized model towards the float model, and the tuning of its units one by one."""

from mmsf.reconstruction.activations import ActivationMemory, Kept, record
from mmsf.reconstruction.decoded import DecodedLaneLoss
from mmsf.reconstruction.importance import lane_gradients, normalise, squared_gradients
from mmsf.reconstruction.selective_focus import SelectiveFocusLoss
from mmsf.reconstruction.settings import ReconstructionSettings
from mmsf.reconstruction.tuning import UnitData, UnitTuner
from mmsf.reconstruction.units import Unit, find_units

__all__ = [
    "ActivationMemory",
    "DecodedLaneLoss",
    "Kept",
    "ReconstructionSettings",
    "SelectiveFocusLoss",
    "Unit",
    "UnitData",
    "UnitTuner",
    "find_units",
    "lane_gradients",
    "normalise",
    "record",
    "squared_gradients",
]
