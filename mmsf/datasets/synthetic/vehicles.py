"""Vehicles: boxes with a cabin, wheels, lamps and a shadow, seen from behind or from the front."""

from dataclasses import dataclass

import numpy as np

from mmsf.datasets.synthetic.drawing import NEAREST, Glow, hazed, polygon
from mmsf.datasets.synthetic.scene import Scene, Vehicle

# Length, width, height in metres.
SIZES = {"car": (4.4, 1.8, 1.45), "van": (4.9, 1.95, 2.0), "truck": (9.0, 2.45, 3.3), "bus": (11.0, 2.5, 3.1)}
TYRE, GLASS = (22, 22, 22), (58, 50, 44)


@dataclass(frozen=True)
class _Body:
    """A vehicle's planes, metres: offsets of its sides, distances of its ends, heights over the road.

    Attributes:
        left: Offset of the left side.
        right: Offset of the right side.
        near: Distance of the end that looks at us.
        far: Distance of the other end.
        floor: Height of the body's lower edge.
        belt: Height where the windows begin; the whole height without a cabin of its own.
        height: Height of the roof.
        rim: How much narrower the roof is, on each side.
    """

    left: float
    right: float
    near: float
    far: float
    floor: float
    belt: float
    height: float
    rim: float


def draw_vehicle(image: np.ndarray, scene: Scene, vehicle: Vehicle) -> list[Glow]:
    """Draw a vehicle, in place.

    Args:
        image: (590, 1640, 3) uint8.
        scene: The scene.
        vehicle: One of its vehicles.

    Returns:
        Its lamps, at night.
    """
    length, width, height = SIZES[vehicle.kind]
    cabin = vehicle.kind in ("car", "van")
    body = _Body(
        left=vehicle.offset - width / 2,
        right=vehicle.offset + width / 2,
        near=vehicle.distance,
        far=vehicle.distance + length,
        floor=0.24 if cabin else 0.45,
        belt=0.62 * height if cabin else height,
        height=height,
        rim=0.10 * width if vehicle.kind == "car" else 0.03 * width,
    )
    across = [body.left - 0.12, body.right + 0.12, body.right + 0.12, body.left - 0.12]
    shadow = scene.view.project(across, [body.near - 0.1, body.near - 0.1, body.far, body.far])
    polygon(image, shadow, hazed(scene, (28, 28, 28), body.near))
    lateral = scene.view.alignment.lateral(np.float64(body.near)) + vehicle.offset
    if abs(lateral) > width / 2:
        _draw_side(image, scene, vehicle, body, body.left if lateral > 0 else body.right)
    _draw_face(image, scene, vehicle, body)
    return _draw_lamps(image, scene, vehicle, body)


def _draw_side(image: np.ndarray, scene: Scene, vehicle: Vehicle, body: _Body, side: float) -> None:
    """The side that the camera sees, at offset ``side``."""
    view, near, far, belt, height = scene.view, body.near, body.far, body.belt, body.height
    length = SIZES[vehicle.kind][0]
    flank, glass = hazed(scene, vehicle.colour, near) * 0.72, hazed(scene, GLASS, near)

    def draw(s: list[float], heights: list[float], colour: np.ndarray, top: float = side) -> None:
        polygon(image, view.project([side, side, top, top], s, heights), colour)

    draw([near, far, far, near], [body.floor, body.floor, belt, belt], flank)
    if vehicle.kind in ("car", "van"):
        back, front = (0.12, 0.36) if vehicle.kind == "car" else (0.03, 0.2)  # slopes, as shares of the length
        roof_near, roof_far = near + back * length, far - (front + 0.08) * length
        top = side - np.sign(side - vehicle.offset) * body.rim
        draw([near, far - front * length * 0.75, roof_far, roof_near], [belt, belt, height, height], flank, top)
        window = [near + back * length, far - front * length * 0.95, roof_far - 0.1, roof_near + 0.15]
        draw(window, [belt + 0.03, belt + 0.03, height - 0.1, height - 0.1], glass, top)
        pillar = near + 0.5 * length
        draw([pillar, pillar + 0.08, pillar + 0.08, pillar], [belt, belt, height, height], flank, top)
    elif vehicle.kind == "bus":
        draw([near + 0.5, far - 0.5, far - 0.5, near + 0.5], [1.4, 1.4, 2.5, 2.5], glass)
    for axle in (near + 0.18 * length, near + 0.8 * length):
        if axle > NEAREST:
            turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            for radius, colour in ((0.33, TYRE), (0.19, (120, 120, 120))):
                outline = view.project(side, axle + radius * np.cos(turn), 0.33 + radius * np.sin(turn))
                polygon(image, outline, hazed(scene, colour, near))


def _draw_face(image: np.ndarray, scene: Scene, vehicle: Vehicle, body: _Body) -> None:
    """The face that looks at us."""
    left, right, s, floor, belt, height, rim = (
        body.left,
        body.right,
        body.near,
        body.floor,
        body.belt,
        body.height,
        body.rim,
    )
    length = SIZES[vehicle.kind][0]
    paint, glass, tyre = (hazed(scene, colour, s) for colour in (vehicle.colour, GLASS, TYRE))

    def draw(
        a: float, b: float, low: float, high: float, colour: np.ndarray, slope: float = 0.0, narrow: float = 0.0
    ) -> None:
        """A plate between two offsets; its upper edge lies ``slope`` metres ahead, ``narrow`` shorter at each end."""
        places = [a, b, b - narrow, a + narrow]
        polygon(image, scene.view.project(places, [s, s, s + slope, s + slope], [low, low, high, high]), colour)

    draw(left, right, floor, belt, paint)
    if vehicle.kind in ("car", "van"):
        slope = 0.12 * length if vehicle.kind == "car" else 0.02 * length
        draw(left, right, belt, height, paint, slope, rim)
        draw(left + rim, right - rim, belt + 0.04, height - 0.08, glass, slope, 0.6 * rim)
    elif vehicle.kind == "bus" or vehicle.oncoming:
        draw(left + 0.12, right - 0.12, 1.4, height - 0.5, glass)
    else:  # the gap between a truck's doors
        draw(vehicle.offset - 0.02, vehicle.offset + 0.02, floor, height, paint * 0.6)
    for wheel in (left + 0.02, right - 0.27):
        draw(wheel, wheel + 0.25, 0, floor + 0.1, tyre)
    draw(left + 0.05, right - 0.05, floor, floor + 0.16, paint * 0.55)  # bumper
    plate = hazed(scene, (190, 195, 195) if vehicle.kind != "car" else (180, 120, 60), s)
    draw(vehicle.offset - 0.22, vehicle.offset + 0.22, 0.5, 0.62, plate)


def _draw_lamps(image: np.ndarray, scene: Scene, vehicle: Vehicle, body: _Body) -> list[Glow]:
    """Head or tail lamps; what they shed at night."""
    view, s = scene.view, body.near
    high = min(body.belt - 0.12, 0.95)
    if vehicle.oncoming:
        colour = (235, 245, 250) if scene.night else (190, 195, 200)
        size, shine, strength = 260, (230.0, 240.0, 250.0), 1.0
    else:
        colour = (60, 60, 245) if scene.night or vehicle.braking else (38, 34, 150)
        size, shine, strength = 120, (40.0, 40.0, 230.0), 0.6
    glows: list[Glow] = []
    for a, b in ((body.left + 0.05, body.left + 0.35), (body.right - 0.35, body.right - 0.05)):
        polygon(image, view.project([a, b, b, a], s, [high - 0.13, high - 0.13, high, high]), hazed(scene, colour, s))
        if scene.night:
            column, row = view.project((a + b) / 2, s, high - 0.06)
            glows.append((float(column), float(row), max(3.0, size / s), shine, strength))
    return glows
