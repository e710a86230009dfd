"""One frame of a synthetic road: picture, lane lines and category, from a seed and a number."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmsf.datasets.synthetic.background import draw_background
from mmsf.datasets.synthetic.drawing import haze_colour, visibility
from mmsf.datasets.synthetic.ground import draw_ground, shadow_light
from mmsf.datasets.synthetic.light import add_glare, draw_bonnet, expose, night_light
from mmsf.datasets.synthetic.objects import draw_objects
from mmsf.datasets.synthetic.paint import paint_road
from mmsf.datasets.synthetic.road import HEIGHT, WIDTH
from mmsf.datasets.synthetic.scene import Scene, category_of, sample_scene

REACH = 50.0  # metres; labels end where lane lines of a flat road are 30 pixels under the horizon
FEWEST_POINTS = 4  # shorter labels are dropped: a lane that only grazes the image's edge


@dataclass(frozen=True)
class Frame:
    """A drawn frame.

    Attributes:
        image: (590, 1640, 3) uint8 blue, green, red.
        lines: Lane lines left to right, (P, 2) float64 pixels, bottom-up.
        category: CULane category.
        jpeg_quality: Quality to write the picture with.
    """

    image: np.ndarray
    lines: list[np.ndarray]
    category: str
    jpeg_quality: int


def draw_frame(seed: int, index: int) -> Frame:
    """Draw frame ``index`` of the roads of ``seed``; nothing else decides how it looks.

    Args:
        seed: Number of the data set.
        index: Number of the frame, from 0.
    """
    generator = np.random.default_rng([seed, index, 1])
    scene = sample_scene(generator, category_of(seed, index))
    image = draw_scene(scene, generator)
    return Frame(image, scene_lines(scene), scene.category, int(generator.integers(78, 94)))


def scene_lines(scene: Scene) -> list[np.ndarray]:
    """Labels of a scene, left to right; paint, vehicles and light do not change them."""
    lines = [scene.view.line(stripe.offset, REACH) for stripe in scene.stripes if stripe.labelled]
    return [line for line in lines if len(line) >= FEWEST_POINTS]


def draw_scene(scene: Scene, generator: np.random.Generator) -> np.ndarray:
    """Draw a scene: (590, 1640, 3) uint8."""
    view = scene.view
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    ground = draw_ground(scene, generator)
    paint_road(ground, scene, generator)
    light, bridges = shadow_light(scene, generator)
    ground *= light[..., None]
    pale = (1 - np.exp(-view.distance / visibility(scene))).astype(np.float32)[:, None, None]
    ground += pale * (haze_colour(scene) - ground)
    image[: view.top] = draw_background(scene, generator, view.top)
    image[view.top :] = np.clip(ground, 0, 255).astype(np.uint8)
    # The road's far end melts into what is behind it.
    seam = slice(view.top - 2, view.top + 3)
    image[seam] = cv2.GaussianBlur(image[view.top - 6 : view.top + 7], (0, 0), 1.2)[4:9]
    glows = draw_objects(image, scene, generator, bridges)
    bright = image.astype(np.float32)
    if scene.night:
        bright = night_light(bright, scene, generator, glows)
    if scene.category == "hlight":
        bright = add_glare(bright, scene, generator)
    draw_bonnet(bright, scene)
    return expose(bright, scene, generator)
