"""The lane: points in pixels of the original image, and a score."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Lane:
    """One lane.

    Attributes:
        points: (P, 2) float64, x and y in pixels of the original image, in the order in which the detector lists them.
        score: Confidence in [0, 1].
    """

    points: np.ndarray = field()
    score: float = 1.0

    def __post_init__(self) -> None:
        points = np.asarray(self.points, np.float64).reshape(-1, 2)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "score", float(self.score))

    def __len__(self) -> int:
        return len(self.points)
