"""What the renderers of upright things share: smooth polygons, and air that pales what is far."""

import cv2
import numpy as np

from mmsf.datasets.synthetic.scene import Scene

Glow = tuple[float, float, float, tuple[float, float, float], float]
"""A lamp that shines: column, row, radius in pixels, colour, strength."""

NEAREST = 1.6  # metres; what is nearer would be cut by the image plane


def polygon(image: np.ndarray, points: np.ndarray, colour: np.ndarray | tuple[float, float, float]) -> None:
    """Fill a polygon given in pixels, with smooth edges, in place."""
    points = np.clip(points, -6000, 6000)
    cv2.fillPoly(image, [np.round(points * 16).astype(np.int32)], [float(c) for c in colour], cv2.LINE_AA, shift=4)


def haze_colour(scene: Scene) -> np.ndarray:
    """Colour of the air at the horizon: (3,) float32 blue, green, red."""
    bright = 175 + 50 * scene.style["sky"]
    return np.float32([bright + 6, bright + 2, bright - 4 * scene.style["tint"]])


def visibility(scene: Scene) -> float:
    """Distance in metres at which air hides all but a third of the contrast."""
    return 150 + 900 * scene.style["haze"]


def hazed(scene: Scene, colour: np.ndarray | tuple[float, float, float], s: float) -> np.ndarray:
    """Colour of a thing ``s`` metres away, paled by the air: (3,) float32."""
    share = 1 - np.exp(-s / visibility(scene))
    return np.float32(colour) * (1 - share) + haze_colour(scene) * share
