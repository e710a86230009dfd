"""What stands behind the road: sky, clouds, hills, towns and woods on the horizon."""

import cv2
import numpy as np

from mmsf.datasets.synthetic.drawing import haze_colour
from mmsf.datasets.synthetic.road import WIDTH
from mmsf.datasets.synthetic.scene import Scene
from mmsf.datasets.synthetic.textures import foliage_sprites, spectral_tile


def draw_background(scene: Scene, generator: np.random.Generator, height: int) -> np.ndarray:
    """Everything above the road's end.

    Args:
        scene: The scene.
        generator: Source of places and sizes.
        height: Rows to draw.

    Returns:
        (height, 1640, 3) uint8 blue, green, red.
    """
    image = _sky(scene, generator, height)
    haze = haze_colour(scene)
    horizon = min(height, round(scene.view.camera.horizon) + 8)
    if generator.uniform() < 0.45:
        _hills(image, generator, horizon, haze)
    if scene.place != "country":
        _buildings(image, generator, horizon, haze, count=int(generator.integers(4, 22) if scene.place == "city" else 4))
    _woods(image, generator, horizon, haze)
    return image


def _sky(scene: Scene, generator: np.random.Generator, height: int) -> np.ndarray:
    """A gradient from the zenith to the haze, with clouds."""
    clear = scene.style["cloud"] < 0.45
    zenith = np.float32([205, 150, 95]) if clear else np.float32([190, 184, 176]) * generator.uniform(0.75, 1.1)
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None] ** 1.3
    rows = zenith * (1 - share) + haze_colour(scene) * share  # (height, 3)
    left = int(generator.integers(0, 300))
    clouds = cv2.resize(
        spectral_tile("clouds", 1.7)[left : left + 110, left : left + 205], (WIDTH, height), interpolation=cv2.INTER_LINEAR
    )
    if clear:
        cover = np.clip(clouds * 0.8 - generator.uniform(0, 1.2), 0, 0.85)[..., None]
        sky = rows[:, None] + cover * (np.float32([236, 234, 232]) - rows[:, None])
    else:
        sky = rows[:, None] * (1 + 0.05 * clouds[..., None])
    return np.clip(sky, 0, 255).astype(np.uint8)


def _profile(generator: np.random.Generator, roughness: float) -> np.ndarray:
    """A ridge line over all columns: (1640,) with standard deviation 1."""
    steps = np.cumsum(generator.standard_normal(WIDTH // 4 + 1))
    steps -= np.linspace(steps[0], steps[-1], len(steps))
    smooth = cv2.GaussianBlur(steps[None].astype(np.float64), (0, 0), roughness)[0]
    smooth = np.interp(np.arange(WIDTH), np.linspace(0, WIDTH, len(smooth)), smooth)
    return (smooth - smooth.mean()) / (smooth.std() + 1e-9)


def _fill_below(image: np.ndarray, top: np.ndarray, colour: np.ndarray, texture: np.ndarray | float = 1.0) -> None:
    """Colour everything between a ridge and the lower edge."""
    first = max(0, int(top.min()))
    band = image[first:].astype(np.float32)
    cover = np.clip(np.arange(first, len(image), dtype=np.float32)[:, None] - top.astype(np.float32) + 0.5, 0, 1)[..., None]
    paint = np.float32(colour) * (texture[..., None] if isinstance(texture, np.ndarray) else texture)
    image[first:] = np.clip(band + cover * (paint - band), 0, 255).astype(np.uint8)


def _hills(image: np.ndarray, generator: np.random.Generator, horizon: int, haze: np.ndarray) -> None:
    for share in (0.72, 0.5)[: generator.integers(1, 3)]:
        ridge = horizon - np.clip(18 + 40 * (1 - share) + 16 * _profile(generator, generator.uniform(4, 14)), 0, 130)
        _fill_below(image, ridge, haze * share + np.float32([80, 82, 66]) * (1 - share))


def _buildings(image: np.ndarray, generator: np.random.Generator, horizon: int, haze: np.ndarray, count: int) -> None:
    """Boxes with rows of windows; those near the road's end are far away, hence small and pale."""
    middle = WIDTH / 2
    places = middle + generator.choice([-1, 1], count) * generator.uniform(25, middle, count)
    for x in sorted(places, key=lambda place: abs(place - middle)):
        near = min(1.0, abs(x - middle) / middle)
        width, height = (
            generator.uniform(20, 60) + 150 * near * generator.uniform(),
            generator.uniform(12, 40) + 130 * near * generator.uniform(),
        )
        share = 0.75 - 0.45 * near
        wall = np.float32([1, 1.02, 1.04]) * generator.uniform(70, 190) + generator.normal(0, 10, 3)
        wall = np.clip(wall * (1 - share) + haze * share, 0, 255)
        left, right, top = int(x - width / 2), int(x + width / 2), int(max(0, horizon - height))
        cv2.rectangle(image, (left, top), (right, len(image)), wall.tolist(), -1)
        glass = (wall * 0.72).tolist()
        step = max(5, int(6 + 8 * near))
        for row in range(top + step // 2, horizon - step, step):
            if generator.uniform() < 0.5:
                cv2.rectangle(image, (left + 2, row), (right - 2, row + step // 3), glass, -1)
            else:
                for column in range(left + 3, right - step // 2, step):
                    cv2.rectangle(image, (column, row), (column + step // 2 - 1, row + step // 2), glass, -1)


def _woods(image: np.ndarray, generator: np.random.Generator, horizon: int, haze: np.ndarray) -> None:
    """A band of trees and hedges, higher away from the road's end."""
    away = np.abs(np.arange(WIDTH) - WIDTH / 2) / (WIDTH / 2)
    tall = generator.uniform(8, 22) + generator.uniform(10, 60) * away
    ridge = horizon - tall * np.clip(1 + 0.3 * _profile(generator, 2.0) + 0.15 * _profile(generator, 0.6), 0.1, 2)
    first = max(0, int(ridge.min()))
    rows = (np.arange(first, len(image)) * 2) % 512
    columns = (np.arange(WIDTH) * 2 + int(generator.integers(512))) % 512
    texture = np.clip(1 + 0.25 * spectral_tile("leaves", 0.7)[np.ix_(rows, columns)], 0.4, 1.7)
    green = np.float32([52, 78, 66]) + generator.normal(0, 6, 3)
    _fill_below(image, ridge, green * 0.72 + haze * 0.28, texture)


def paste_crown(
    image: np.ndarray, centre: tuple[float, float], size: tuple[float, float], colour: np.ndarray, number: int
) -> None:
    """Put the crown of a tree on the image, in place.

    Args:
        image: (H, 1640, 3) uint8.
        centre: Column and row of its middle.
        size: Width and height in pixels.
        colour: Blue, green, red of the leaves.
        number: Which of the sprites.
    """
    texture, cover = foliage_sprites()[number]
    width, height = max(2, round(size[0])), max(2, round(size[1]))
    left, top = round(centre[0] - width / 2), round(centre[1] - height / 2)
    x0, x1, y0, y1 = max(left, 0), min(left + width, image.shape[1]), max(top, 0), min(top + height, image.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    inner = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    area = cv2.INTER_AREA if width < cover.shape[1] else cv2.INTER_LINEAR
    alpha = cv2.resize(cover, (width, height), interpolation=area)[inner][..., None]
    shade = cv2.resize(texture, (width, height), interpolation=area)[inner][..., None]
    patch = image[y0:y1, x0:x1].astype(np.float32)
    image[y0:y1, x0:x1] = np.clip(patch + alpha * (np.float32(colour) * shade - patch), 0, 255).astype(np.uint8)
