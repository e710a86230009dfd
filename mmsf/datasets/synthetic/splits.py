"""How synthetic roads are split, once and for all."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """A data set of synthetic roads.

    Attributes:
        seed: Number of the data set; two seeds share no frame.
        frames: Number of frames.
    """

    seed: int
    frames: int


# `train` trains the float detectors, `calibration` quantizes them (without labels), `tuning` is what trainings are watched
# and presets are chosen on, and `scored` is what nothing is ever chosen by: it only scores.
SPLITS = {
    "train": Split(seed=1, frames=4000),
    "tuning": Split(seed=2, frames=300),
    "calibration": Split(seed=3, frames=512),
    "scored": Split(seed=4, frames=500),
}
