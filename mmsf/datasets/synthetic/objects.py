"""What stands on, beside and over the road: vehicles, guard rails, trees, lamps, signs, bridges."""

from collections.abc import Callable

import cv2
import numpy as np

from mmsf.datasets.synthetic.background import paste_crown
from mmsf.datasets.synthetic.drawing import NEAREST, Glow, hazed, polygon
from mmsf.datasets.synthetic.scene import Scene
from mmsf.datasets.synthetic.vehicles import draw_vehicle


def draw_objects(
    image: np.ndarray, scene: Scene, generator: np.random.Generator, bridges: list[tuple[float, float]]
) -> list[Glow]:
    """Draw all objects from far to near, in place.

    Args:
        image: (590, 1640, 3) uint8.
        scene: The scene.
        generator: Source of what stands beside the road.
        bridges: (near, far) distances in metres of bridges over the road.

    Returns:
        Lamps that shine, for the light of the night.
    """
    todo: list[tuple[float, Callable[[], list[Glow]]]] = []
    for vehicle in scene.vehicles:
        todo.append((vehicle.distance, lambda v=vehicle: draw_vehicle(image, scene, v)))
    todo += _roadside(image, scene, generator)
    for near, far in bridges:
        todo.append((near, lambda n=near, f=far: _bridge(image, scene, n, f)))
    if generator.uniform() < {"city": 0.3, "motorway": 0.35, "country": 0.0}[scene.place]:
        s, hue = generator.uniform(20, 70), generator.uniform()
        todo.append((s, lambda: _gantry(image, scene, s, hue)))
    glows: list[Glow] = []
    for _, draw in sorted(todo, key=lambda item: -item[0]):
        glows += draw()
    return glows


def _roadside(
    image: np.ndarray, scene: Scene, generator: np.random.Generator
) -> list[tuple[float, Callable[[], list[Glow]]]]:
    """Guard rails, trees and lamps, each with its distance."""
    todo: list[tuple[float, Callable[[], list[Glow]]]] = []
    rail_share = {"city": 0.4, "motorway": 0.85, "country": 0.2}[scene.place]
    for side, edge in ((-1, scene.left), (1, scene.right)):
        if generator.uniform() < rail_share and scene.category != "cross":
            kind = str(
                generator.choice(
                    ["beam", "wall", "fence"], p=[0.5, 0.25, 0.25] if scene.place != "city" else [0.2, 0.2, 0.6]
                )
            )
            offset = edge + side * generator.uniform(0.25, 0.7)
            todo.append((200.0, lambda o=offset, k=kind: _rail(image, scene, o, k)))
        if generator.uniform() < {"city": 0.6, "motorway": 0.5, "country": 0.85}[scene.place]:
            offset, gap, tall = edge + side * generator.uniform(1.5, 6), generator.uniform(6, 16), generator.uniform(3.5, 8)
            green = np.float32([44, 84, 66]) + generator.normal(0, 9, 3)
            for s in np.arange(generator.uniform(5, 14), 120, gap):
                size, number = tall * generator.uniform(0.8, 1.2), int(generator.integers(8))
                place = offset + side * abs(generator.normal(0, 0.6))
                todo.append((s, lambda p=place, a=s, z=size, n=number, g=green: _tree(image, scene, p, a, z, n, g)))
        if scene.place != "country" and generator.uniform() < 0.5:
            offset, gap = edge + side * generator.uniform(0.8, 1.6), generator.uniform(25, 35)
            for s in np.arange(generator.uniform(8, 25), 140, gap):
                todo.append((s, lambda p=offset, a=s, d=side: _street_lamp(image, scene, p, a, -d)))
    return todo


def _rail(image: np.ndarray, scene: Scene, offset: float, kind: str) -> list[Glow]:
    view = scene.view
    s = np.geomspace(NEAREST, min(view.visible, 120.0), 48)

    def strip(low: float, high: float, colour: tuple[float, float, float]) -> None:
        edge = np.concatenate([view.project(offset, s, low), view.project(offset, s[::-1], high)])
        polygon(image, edge, colour)

    if kind == "wall":
        strip(0.0, 0.85, (128, 132, 134))
        strip(0.80, 0.86, (165, 168, 170))
        return []
    if kind == "beam":
        strip(0.48, 0.76, (150, 154, 156))
        strip(0.58, 0.63, (105, 108, 110))
    post_gap, thick, colour = (4.0, 0.09, (120, 124, 126)) if kind == "beam" else (0.35, 0.035, (205, 208, 210))
    for post in np.arange(NEAREST + 0.3, min(view.visible, 60.0 if kind == "beam" else 25.0), post_gap):
        foot, top = view.project(offset, post, [0.0, 0.8])
        width = max(1, round(view.camera.focal * thick / post))
        cv2.line(image, *(tuple(int(v) for v in np.clip(p, -3000, 3000)) for p in (foot, top)), colour, width, cv2.LINE_AA)
    if kind == "fence":
        strip(0.78, 0.84, (210, 213, 215))
        strip(0.12, 0.17, (200, 203, 205))
    return []


def _tree(
    image: np.ndarray, scene: Scene, offset: float, s: float, tall: float, number: int, green: np.ndarray
) -> list[Glow]:
    view = scene.view
    pixel = view.camera.focal / s
    foot, fork = view.project(offset, s, [0.0, tall * 0.45])
    trunk = hazed(scene, (48, 58, 66), s)
    half = np.array([0.05 * np.sqrt(tall) * pixel, 0.0])
    polygon(image, np.array([foot - half, foot + half, fork + half * 0.7, fork - half * 0.7]), trunk)
    centre = view.project(offset, s, tall * 0.68)
    if -600 < centre[0] < 2240:
        paste_crown(image, tuple(centre), (tall * 0.85 * pixel, tall * 0.8 * pixel), hazed(scene, green, s), number)
    return []


def _street_lamp(image: np.ndarray, scene: Scene, offset: float, s: float, arm: int) -> list[Glow]:
    view = scene.view
    pole = view.project(offset + np.array([0, 0, 1.8 * arm]), s, np.array([0.0, 8.0, 8.5]))
    width = max(1, round(view.camera.focal * 0.13 / s))
    colour = hazed(scene, (120, 122, 122), s).tolist()
    cv2.polylines(image, [np.round(np.clip(pole, -4000, 4000)).astype(np.int32)], False, colour, width, cv2.LINE_AA)
    if scene.night and scene.style["lamps"] < 0.6:
        return [(float(pole[2, 0]), float(pole[2, 1]), max(2.5, 260 / s), (130.0, 200.0, 245.0), 0.9)]
    return []


def _bridge(image: np.ndarray, scene: Scene, near: float, far: float) -> list[Glow]:
    view = scene.view
    for s, shade in ((far, 0.45), (near, 1.0)):
        deck = view.project([-60, 60, 60, -60], s, [5.2, 5.2, 6.9, 6.9])
        polygon(image, deck, hazed(scene, np.float32([122, 126, 128]) * shade, s))
    roof = np.concatenate([view.project([-60, 60], near, 5.2), view.project([60, -60], far, 5.2)])
    polygon(image, roof, (52, 53, 54))
    for edge in (scene.left - 2.2, scene.right + 2.2):
        for s in (far - 1, near + 1):
            pillar = view.project([edge - 0.6, edge + 0.6, edge + 0.6, edge - 0.6], s, [0, 0, 5.3, 5.3])
            polygon(image, pillar, hazed(scene, (105, 108, 110), s))
    return []


def _gantry(image: np.ndarray, scene: Scene, s: float, hue: float) -> list[Glow]:
    """A frame over the road with boards on it."""
    view = scene.view
    left, right = scene.left - 1.0, scene.right + 1.0
    steel = hazed(scene, (112, 114, 116), s)
    for edge in (left, right):
        polygon(image, view.project([edge - 0.15, edge + 0.15, edge + 0.15, edge - 0.15], s, [0, 0, 7, 7]), steel)
    polygon(image, view.project([left, right, right, left], s, [6.6, 6.6, 7, 7]), steel)
    board = hazed(scene, (150, 80, 20) if hue < 0.6 else (70, 120, 30), s)
    for middle in scene.lanes[:: 1 + (len(scene.lanes) > 2)]:
        polygon(
            image,
            view.project([middle - 1.6, middle + 1.6, middle + 1.6, middle - 1.6], s - 0.2, [5.4, 5.4, 7.6, 7.6]),
            board,
        )
        for row in (6.9, 6.2):
            ink = view.project(
                [middle - 1.1, middle + 0.9, middle + 0.9, middle - 1.1],
                s - 0.3,
                [row - 0.15, row - 0.15, row + 0.15, row + 0.15],
            )
            polygon(image, ink, hazed(scene, (215, 215, 215), s))
    return []
