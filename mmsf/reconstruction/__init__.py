"""Objectives that pull the quantized model towards the float model, and the tuning of its units one by one."""

from mmsf.reconstruction.activations import Kept, record
from mmsf.reconstruction.decoded import DecodedLaneLoss
from mmsf.reconstruction.importance import lane_gradients, normalise, squared_gradients
from mmsf.reconstruction.memory import TensorMemory, put_frames
from mmsf.reconstruction.replay import Replay
from mmsf.reconstruction.selective_focus import SelectiveFocusLoss
from mmsf.reconstruction.settings import ReconstructionSettings
from mmsf.reconstruction.tuning import UnitData, UnitTuner
from mmsf.reconstruction.units import Unit, find_units

__all__ = [
    "DecodedLaneLoss",
    "Kept",
    "ReconstructionSettings",
    "Replay",
    "SelectiveFocusLoss",
    "TensorMemory",
    "Unit",
    "UnitData",
    "UnitTuner",
    "find_units",
    "lane_gradients",
    "normalise",
    "put_frames",
    "record",
    "squared_gradients",
]
