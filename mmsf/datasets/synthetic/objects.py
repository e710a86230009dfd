"""What stands on and beside the road: vehicles, guard rails, trees, lamps, signs, bridges."""

from collections.abc import Callable

import cv2
import numpy as np

from mmsf.datasets.synthetic.background import haze_colour, paste_crown
from mmsf.datasets.synthetic.scene import Scene, Vehicle

NEAREST = 1.6  # metres; what is nearer would be cut by the image plane
# Length, width, height in metres.
SIZES = {"car": (4.4, 1.8, 1.45), "van": (4.9, 1.95, 2.0), "truck": (9.0, 2.45, 3.3), "bus": (11.0, 2.5, 3.1)}
Glow = tuple[float, float, float, tuple[float, float, float], float]  # column, row, radius in pixels, colour, strength


def polygon(image: np.ndarray, points: np.ndarray, colour: np.ndarray | tuple[float, float, float]) -> None:
    """Fill a polygon given in pixels, with smooth edges, in place."""
    points = np.clip(points, -6000, 6000)
    cv2.fillPoly(image, [np.round(points * 16).astype(np.int32)], [float(c) for c in colour], cv2.LINE_AA, shift=4)


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
        todo.append((vehicle.distance, lambda v=vehicle: _vehicle(image, scene, v)))
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


def _hazed(scene: Scene, colour: np.ndarray | tuple[float, float, float], s: float) -> np.ndarray:
    """Colour of a thing ``s`` metres away, paled by the air."""
    share = 1 - np.exp(-s / visibility(scene))
    return np.float32(colour) * (1 - share) + haze_colour(scene) * share


def visibility(scene: Scene) -> float:
    """Distance in metres at which air hides all but a third of the contrast."""
    return 150 + 900 * scene.style["haze"]


def _vehicle(image: np.ndarray, scene: Scene, vehicle: Vehicle) -> list[Glow]:
    """A box with a body, a cabin, wheels, lamps and the shadow under it, seen from behind or from the front."""
    view, s = scene.view, vehicle.distance
    length, width, height = SIZES[vehicle.kind]
    left, right = vehicle.offset - width / 2, vehicle.offset + width / 2
    far = s + length
    at = view.project
    paint = _hazed(scene, vehicle.colour, s)
    dark, glass = _hazed(scene, (22, 22, 22), s), _hazed(scene, (58, 50, 44), s)
    # Shadow under the vehicle.
    ground = at([left - 0.12, right + 0.12, right + 0.12, left - 0.12], [s - 0.1, s - 0.1, far, far], 0.0)
    polygon(image, ground, _hazed(scene, (28, 28, 28), s))
    belt = 0.62 * height if vehicle.kind in ("car", "van") else height
    floor = 0.24 if vehicle.kind in ("car", "van") else 0.45
    rim = 0.10 * width if vehicle.kind == "car" else 0.03 * width  # the roof is narrower than the body
    # The side that the camera sees.
    lateral = view.alignment.lateral(np.float64(s)) + vehicle.offset
    side = left if lateral > width / 2 else (right if lateral < -width / 2 else None)
    if side is not None:
        flank = paint * 0.72
        polygon(image, at([side] * 4, [s, far, far, s], [floor, floor, belt, belt]), flank)
        if vehicle.kind in ("car", "van"):
            back, front = (0.12, 0.36) if vehicle.kind == "car" else (0.03, 0.2)
            roof = np.array([s + back * length, far - (front + 0.08) * length])
            top = side - np.sign(side - vehicle.offset) * rim
            polygon(
                image,
                at([side, side, top, top], [s, far - front * length * 0.75, roof[1], roof[0]], [belt, belt, height, height]),
                flank,
            )
            window = [s + back * length, far - front * length * 0.95, roof[1] - 0.1, roof[0] + 0.15]
            polygon(image, at([side, side, top, top], window, [belt + 0.03, belt + 0.03, height - 0.1, height - 0.1]), glass)
            pillar = s + 0.5 * length
            polygon(
                image,
                at([side, side, top, top], [pillar, pillar + 0.08, pillar + 0.08, pillar], [belt, belt, height, height]),
                flank,
            )
        elif vehicle.kind == "bus":
            polygon(image, at([side] * 4, [s + 0.5, far - 0.5, far - 0.5, s + 0.5], [1.4, 1.4, 2.5, 2.5]), glass)
        for axle in (s + 0.18 * length, s + 0.8 * length):
            _wheel(image, view, side, axle, dark, _hazed(scene, (120, 120, 120), s))
    # The face that looks at us.
    polygon(image, at([left, right, right, left], [s] * 4, [floor, floor, belt, belt]), paint)
    if vehicle.kind in ("car", "van"):
        slope = 0.12 * length if vehicle.kind == "car" else 0.02 * length
        polygon(
            image,
            at([left, right, right - rim, left + rim], [s, s, s + slope, s + slope], [belt, belt, height, height]),
            paint,
        )
        inner = at(
            [left + rim, right - rim, right - 1.6 * rim, left + 1.6 * rim],
            [s, s, s + slope, s + slope],
            [belt + 0.04, belt + 0.04, height - 0.08, height - 0.08],
        )
        polygon(image, inner, glass)
    else:
        low = 1.4 if vehicle.kind == "bus" or vehicle.oncoming else None
        if low:
            polygon(
                image,
                at([left + 0.12, right - 0.12, right - 0.12, left + 0.12], [s] * 4, [low, low, height - 0.5, height - 0.5]),
                glass,
            )
        else:
            polygon(
                image,
                at([vehicle.offset - 0.02, vehicle.offset + 0.02] * 2, [s] * 4, [floor, floor, height, height])[
                    [0, 1, 3, 2]
                ],
                paint * 0.6,
            )
    for wheel in (left + 0.02, right - 0.27):  # wheels and bumper
        polygon(image, at([wheel, wheel + 0.25, wheel + 0.25, wheel], [s] * 4, [0, 0, floor + 0.1, floor + 0.1]), dark)
    polygon(
        image,
        at([left + 0.05, right - 0.05, right - 0.05, left + 0.05], [s] * 4, [floor, floor, floor + 0.16, floor + 0.16]),
        paint * 0.55,
    )
    middle, plate = vehicle.offset, _hazed(scene, (190, 195, 195) if vehicle.kind != "car" else (180, 120, 60), s)
    polygon(image, at([middle - 0.22, middle + 0.22, middle + 0.22, middle - 0.22], [s] * 4, [0.5, 0.5, 0.62, 0.62]), plate)
    return _lamps(image, scene, vehicle, left, right, belt)


def _wheel(image: np.ndarray, view, side: float, axle: float, tyre: np.ndarray, rim: np.ndarray) -> None:
    if axle < NEAREST:
        return
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for radius, colour in ((0.33, tyre), (0.19, rim)):
        polygon(image, view.project(side, axle + radius * np.cos(turn), 0.33 + radius * np.sin(turn)), colour)


def _lamps(image: np.ndarray, scene: Scene, vehicle: Vehicle, left: float, right: float, belt: float) -> list[Glow]:
    """Head or tail lamps; what they shed at night."""
    view, s = scene.view, vehicle.distance
    high = min(belt - 0.12, 0.95)
    lit = scene.night or vehicle.braking
    if vehicle.oncoming:
        colour = (235, 245, 250) if scene.night else (190, 195, 200)
    else:
        colour = (60, 60, 245) if lit else (38, 34, 150)
    glows: list[Glow] = []
    for a, b in ((left + 0.05, left + 0.35), (right - 0.35, right - 0.05)):
        polygon(image, view.project([a, b, b, a], [s] * 4, [high - 0.13, high - 0.13, high, high]), _hazed(scene, colour, s))
        if scene.night:
            column, row = view.project((a + b) / 2, s, high - 0.06)
            size = 260 if vehicle.oncoming else 120
            shine = (230.0, 240.0, 250.0) if vehicle.oncoming else (40.0, 40.0, 230.0)
            glows.append((column, row, max(3.0, size / s), shine, 1.0 if vehicle.oncoming else 0.6))
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
    trunk = _hazed(scene, (48, 58, 66), s)
    half = np.array([0.05 * np.sqrt(tall) * pixel, 0.0])
    polygon(image, np.array([foot - half, foot + half, fork + half * 0.7, fork - half * 0.7]), trunk)
    centre = view.project(offset, s, tall * 0.68)
    if -600 < centre[0] < 2240:
        paste_crown(image, tuple(centre), (tall * 0.85 * pixel, tall * 0.8 * pixel), _hazed(scene, green, s), number)
    return []


def _street_lamp(image: np.ndarray, scene: Scene, offset: float, s: float, arm: int) -> list[Glow]:
    view = scene.view
    pole = view.project(offset + np.array([0, 0, 1.8 * arm]), s, np.array([0.0, 8.0, 8.5]))
    width = max(1, round(view.camera.focal * 0.13 / s))
    colour = _hazed(scene, (120, 122, 122), s).tolist()
    cv2.polylines(image, [np.round(np.clip(pole, -4000, 4000)).astype(np.int32)], False, colour, width, cv2.LINE_AA)
    if scene.night and scene.style["lamps"] < 0.6:
        return [(float(pole[2, 0]), float(pole[2, 1]), max(2.5, 260 / s), (130.0, 200.0, 245.0), 0.9)]
    return []


def _bridge(image: np.ndarray, scene: Scene, near: float, far: float) -> list[Glow]:
    view = scene.view
    for s, shade in ((far, 0.45), (near, 1.0)):
        deck = view.project([-60, 60, 60, -60], s, [5.2, 5.2, 6.9, 6.9])
        polygon(image, deck, _hazed(scene, np.float32([122, 126, 128]) * shade, s))
    roof = np.concatenate([view.project([-60, 60], near, 5.2), view.project([60, -60], far, 5.2)])
    polygon(image, roof, (52, 53, 54))
    for edge in (scene.left - 2.2, scene.right + 2.2):
        for s in (far - 1, near + 1):
            pillar = view.project([edge - 0.6, edge + 0.6, edge + 0.6, edge - 0.6], s, [0, 0, 5.3, 5.3])
            polygon(image, pillar, _hazed(scene, (105, 108, 110), s))
    return []


def _gantry(image: np.ndarray, scene: Scene, s: float, hue: float) -> list[Glow]:
    """A frame over the road with boards on it."""
    view = scene.view
    left, right = scene.left - 1.0, scene.right + 1.0
    steel = _hazed(scene, (112, 114, 116), s)
    for edge in (left, right):
        polygon(image, view.project([edge - 0.15, edge + 0.15, edge + 0.15, edge - 0.15], s, [0, 0, 7, 7]), steel)
    polygon(image, view.project([left, right, right, left], s, [6.6, 6.6, 7, 7]), steel)
    board = _hazed(scene, (150, 80, 20) if hue < 0.6 else (70, 120, 30), s)
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
            polygon(image, ink, _hazed(scene, (215, 215, 215), s))
    return []
