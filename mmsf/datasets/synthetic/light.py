"""Light and camera: night, glare, the bonnet, blur and noise."""

import cv2
import numpy as np

from mmsf.datasets.synthetic.drawing import Glow
from mmsf.datasets.synthetic.road import HEIGHT, WIDTH
from mmsf.datasets.synthetic.scene import Scene
from mmsf.datasets.synthetic.textures import sensor_tile


def night_light(image: np.ndarray, scene: Scene, generator: np.random.Generator, glows: list[Glow]) -> np.ndarray:
    """Turn a frame drawn by day into night: our headlights, what is left of the sky, and the lamps.

    Args:
        image: (590, 1640, 3) float32.
        scene: The scene.
        generator: Source of strengths.
        glows: Lamps that shine.

    Returns:
        (590, 1640, 3) float32.
    """
    view = scene.view
    lamps = scene.style["lamps"] < 0.6
    ambient = generator.uniform(0.22, 0.42) if lamps else generator.uniform(0.08, 0.16)
    light = np.full((HEIGHT, WIDTH), ambient * 0.55, np.float32)
    s = view.distance.astype(np.float32)[:, None]
    spread = 2.2 + 0.16 * s
    aim = np.float32(scene.lanes[scene.ego] + view.alignment.start)
    beam = np.exp(-(((view.offsets() - aim) / spread) ** 2) / 2) * (
        generator.uniform(0.7, 1.1) * np.exp(-s / 42) * (1 - np.exp(-s / 3.0)) * 1.3
    )
    light[view.top :] = ambient + beam
    # What stands upright catches the far end of the beam.
    rise = np.exp(-np.arange(view.top, 0, -1, dtype=np.float32) / 28)[:, None]
    light[: view.top] += rise * (light[view.top] - light[0, 0]) * 0.6
    colour = np.float32([1.0, 0.97, 0.95]) if generator.uniform() < 0.5 else np.float32([0.78, 0.93, 1.05])
    image *= light[..., None]
    image *= colour
    image[: view.top] *= np.float32([1.05, 0.8, 0.72]) * generator.uniform(0.3, 0.9)
    for glow in glows:
        add_glow(image, glow)
    return image


def add_glow(image: np.ndarray, glow: Glow) -> None:
    """Add the shine of one lamp, in place."""
    column, row, radius, colour, strength = glow
    reach = int(radius * 5) + 2
    x0, x1 = max(0, int(column) - reach), min(WIDTH, int(column) + reach + 1)
    y0, y1 = max(0, int(row) - reach), min(HEIGHT, int(row) + reach + 1)
    if x0 >= x1 or y0 >= y1:
        return
    squared = (np.arange(x0, x1, dtype=np.float32) - np.float32(column)) ** 2 + (
        np.arange(y0, y1, dtype=np.float32) - np.float32(row)
    )[:, None] ** 2
    shine = np.exp(-squared / np.float32(2 * (radius * 0.6) ** 2)) + 0.28 * np.exp(
        -np.sqrt(squared) / np.float32(radius * 1.1)
    )
    image[y0:y1, x0:x1] += strength * shine[..., None] * np.float32(colour)


def add_glare(image: np.ndarray, scene: Scene, generator: np.random.Generator) -> np.ndarray:
    """The low sun, or strong lamps: a veil of light over the frame, and its mirror on the road.

    Args:
        image: (590, 1640, 3) float32.
        scene: The scene.
        generator: Source of place and strength.

    Returns:
        (590, 1640, 3) float32.
    """
    small_rows, small_columns = np.mgrid[0:HEIGHT:8, 0:WIDTH:8].astype(np.float32)
    x, y = generator.uniform(300, 1340), generator.uniform(40, 235)
    far = np.hypot(small_columns - x, (small_rows - y) * 1.1)
    strength = generator.uniform(0.6, 1.0)
    veil = strength * (260 * np.exp(-far / 70) + 150 * np.exp(-far / 330) + 26)
    below = small_rows > scene.view.top
    width = 40 + 0.5 * np.maximum(small_rows - scene.view.top, 0)
    veil += below * generator.uniform(30, 110) * np.exp(-(((small_columns - x) / width) ** 2))
    veil = cv2.resize(veil.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    image = image * np.float32(1 - 0.3 * strength)
    image += veil[..., None] * np.float32([0.86, 0.97, 1.0])
    return image


def draw_bonnet(image: np.ndarray, scene: Scene) -> None:
    """The lower edge shows our own car, in place."""
    columns = np.arange(WIDTH, dtype=np.float32)
    edge = 560 + 42 * ((columns - 815) / 820) ** 2  # the mounting is the same in all frames
    rows = np.arange(550, HEIGHT, dtype=np.float32)[:, None]
    cover = np.clip((rows - edge) * 0.7 + 0.5, 0, 1)[..., None]
    sky = image[40:60].mean(axis=(0, 1))
    shine = np.clip(1 - (rows - edge) / 9, 0, 1)[..., None] * 0.45 + 0.06
    band = image[550:]
    image[550:] = band + cover * (np.float32([24, 24, 25]) * (0.35 if scene.night else 1) + shine * sky * 0.5 - band)


def expose(image: np.ndarray, scene: Scene, generator: np.random.Generator) -> np.ndarray:
    """What lens and sensor make of the light.

    Args:
        image: (590, 1640, 3) float32.
        scene: The scene.
        generator: Source of gain, colour cast, blur and noise.

    Returns:
        (590, 1640, 3) uint8.
    """
    sigma = generator.uniform(0.35, 0.75) if generator.uniform() < 0.8 else generator.uniform(0.9, 1.6)
    image = cv2.GaussianBlur(image, (0, 0), sigma)
    gain = generator.uniform(0.78, 1.15) if not scene.night else generator.uniform(0.9, 1.3)
    cast = np.float32(1 + np.clip(generator.normal(0, 0.025, 3), -0.06, 0.06)) * np.float32(gain)
    image *= cast
    noise = generator.uniform(3.0, 7.5) if scene.night else generator.uniform(0.8, 3.5)
    top, left = generator.integers(0, 720 - HEIGHT), generator.integers(0, 1800 - WIDTH)
    cv2.scaleAdd(np.ascontiguousarray(sensor_tile()[top : top + HEIGHT, left : left + WIDTH]), noise, image, image)
    np.clip(image, 0, 255, out=image)
    return image.astype(np.uint8)
