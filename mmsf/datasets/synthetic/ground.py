"""The ground as the camera sees it: asphalt, what lies beside it, and the shadows on both."""

import numpy as np

from mmsf.datasets.synthetic.road import WIDTH, RoadView
from mmsf.datasets.synthetic.scene import Scene
from mmsf.datasets.synthetic.textures import sample_tile, spectral_tile

VERGES = (
    (62.0, 104.0, 84.0),
    (98.0, 122.0, 140.0),
    (138.0, 142.0, 146.0),
    (70.0, 92.0, 92.0),
)  # grass, soil, pavement, scrub


def draw_ground(scene: Scene, generator: np.random.Generator) -> np.ndarray:
    """Colour of the ground without paint.

    Returns:
        (R, 1640, 3) float32 blue, green, red in 0..255, for the rows from ``scene.view.top`` down.
    """
    view = scene.view
    offset = view.offsets()
    scale = view.scale.astype(np.float32)[:, None]
    distance = view.distance.astype(np.float32)[:, None]
    left, right = np.float32(scene.left), np.float32(scene.right)
    # Share of each pixel that is asphalt.
    share = np.clip((offset - left) / scale + 0.5, 0, 1) * np.clip((right - offset) / scale + 0.5, 0, 1)
    if scene.category == "cross":
        near = generator.uniform(9, 13)
        span = (distance > near) & (distance < near + generator.uniform(14, 22))
        share = np.maximum(share, span.astype(np.float32))
    asphalt = _asphalt(scene, generator, offset, distance)
    grey = 62 + 62 * scene.style["asphalt"]
    tint = np.float32([1.02, 1.0, 0.98 + 0.06 * scene.style["tint"]])
    verge = np.float32(VERGES[int(scene.style["verge"] * 3.99)] if scene.place != "city" else VERGES[2])
    rough = _fade(sample_tile(spectral_tile("verge", 0.8), offset * 14, distance * 14 + np.zeros_like(offset)), view, 0.15)
    kerb = np.clip(1.2 - np.abs(np.minimum(offset - left, right - offset) + 0.15) / 0.15, 0, 1) * (scene.place == "city")
    verge_shade = (1 + 0.18 * rough) * (1 + 0.35 * kerb)
    ground = np.empty((*offset.shape, 3), np.float32)
    for channel in range(3):
        ground[..., channel] = share * (asphalt * (grey * tint[channel])) + (1 - share) * (verge_shade * verge[channel])
    return ground


def _fade(texture: np.ndarray, view: RoadView, cell: float) -> np.ndarray:
    """Weaken a texture where a pixel covers more than one of its cells of ``cell`` metres."""
    return texture * np.clip(cell / np.maximum(view.depth, view.scale), 0, 1).astype(np.float32)[:, None]


def _asphalt(scene: Scene, generator: np.random.Generator, offset: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Relative brightness of the asphalt (R, 1640): grain, patches, wheel tracks, seams."""
    view = scene.view
    start = generator.uniform(0, 512, 4).astype(np.float32)
    whole = np.zeros_like(offset)
    grain = _fade(
        sample_tile(spectral_tile("grain", 0.3), offset * 45 + start[0], distance * 45 + whole + start[1]), view, 0.04
    )
    patches = _fade(
        sample_tile(spectral_tile("patch", 1.2), offset * 5 + start[2], distance * 1.2 + whole + start[3]), view, 1.5
    )
    width = abs(scene.lanes[1] - scene.lanes[0]) if len(scene.lanes) > 1 else 3.5
    tracks = np.cos((offset - scene.lanes[0]) * np.float32(4 * np.pi / width))
    brightness = 1 + 0.10 * grain + 0.05 * patches + generator.uniform(-0.05, 0.06) * tracks
    for _ in range(generator.integers(0, 4)):  # seams and cracks across and along the road
        at, thick = generator.uniform(4, 40), generator.uniform(0.02, 0.08)
        row = np.clip((thick / 2 - np.abs(view.distance - at)) / view.depth + 0.5, 0, 1) * np.minimum(1, thick / view.depth)
        brightness *= 1 - 0.4 * row.astype(np.float32)[:, None]
    return brightness


def shadow_light(scene: Scene, generator: np.random.Generator) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Light that reaches the ground between the shadows of trees and bridges.

    Returns:
        (R, 1640) float32 factor in (0, 1], and the (near, far) distances in metres of the bridges.
    """
    view = scene.view
    light = np.ones((len(view.distance), WIDTH), np.float32)
    bridges: list[tuple[float, float]] = []
    heavy = scene.category == "shadow"
    if not heavy and (scene.night or generator.uniform() < 0.8):
        return light, bridges
    depth = generator.uniform(0.5, 0.68) if heavy else generator.uniform(0.25, 0.5)
    if generator.uniform() < (0.35 if heavy else 0.15):
        near = generator.uniform(5, 28)
        bridges.append((near, near + generator.uniform(6, 14)))
    for near, far in bridges:
        inside = np.clip((view.distance - near) / view.depth + 0.5, 0, 1) * np.clip(
            (far - view.distance) / view.depth + 0.5, 0, 1
        )
        light *= 1 - depth * inside.astype(np.float32)[:, None]
    if not bridges or generator.uniform() < 0.3:
        offset = view.offsets()
        size = generator.uniform(0.8, 2.2)  # metres of a blot
        x = offset * (10 / size) + generator.uniform(0, 512)
        y = view.distance.astype(np.float32)[:, None] * (4 / size) + np.zeros_like(offset) + generator.uniform(0, 512)
        blots = sample_tile(spectral_tile("leaf shadow", 1.1), x.astype(np.float32), y.astype(np.float32))
        side = generator.choice([-1.0, 1.0])
        reach = np.clip(0.5 + side * (offset - generator.uniform(-3, 3)) / generator.uniform(2, 6), 0, 1)
        light *= 1 - depth * np.clip((blots + generator.uniform(-0.3, 0.8)) * 3, 0, 1) * reach
    return light, bridges
