"""What is on a frame: everything that chance decides about the road, its paint, the traffic and the light."""

from dataclasses import dataclass, field

import numpy as np

from mmsf.datasets.synthetic.road import Alignment, Camera, RoadView
from mmsf.lanes.culane import CATEGORIES

# Frames of each category in a clip of 50; CULane's own shares leave too few glare, shadow, arrow and curve frames to score.
SHARES = (18, 8, 3, 4, 3, 4, 4, 2, 4)
CLIP = sum(SHARES)

# Every name takes one draw, in this order: to keep the frames of a seed as they are, add at the end and take none out.
STYLE = ("asphalt", "tint", "sky", "cloud", "verge", "rail", "skyline", "haze", "sun", "lamps")

WHITE, YELLOW = (225.0, 228.0, 230.0), (70.0, 175.0, 215.0)


@dataclass(frozen=True)
class Stripe:
    """Paint along the road.

    Attributes:
        offset: Metres right of the reference line, of the middle of the marking.
        style: ``solid``, ``dashed``, ``double`` or ``none``.
        colour: Blue, green, red in 0..255.
        width: Metres, of one line.
        dash: Metres of paint and of gap, for dashes.
        phase: Metres by which the dashes are moved.
        wear: 0 is new paint, 1 has none left.
        labelled: Whether it is a lane line of the annotation.
    """

    offset: float
    style: str
    colour: tuple[float, float, float]
    width: float
    dash: tuple[float, float]
    phase: float
    wear: float
    labelled: bool


@dataclass(frozen=True)
class Vehicle:
    """A vehicle: where it is, and how it looks. Lengths in metres; ``kind`` is ``car``, ``van``, ``truck`` or ``bus``."""

    offset: float
    distance: float
    kind: str
    colour: tuple[float, float, float]
    oncoming: bool
    braking: bool


@dataclass(frozen=True)
class Scene:
    """A frame before it is drawn.

    Attributes:
        category: One of `CATEGORIES`.
        view: Camera and road.
        left: Metres from the reference line to the left end of the asphalt.
        right: The same on the right.
        lanes: Middles of the lanes in our direction, metres, left to right.
        opposite: Middles of the lanes of the other direction, from the road's middle outwards.
        ego: Which of ``lanes`` is ours.
        stripes: Paint, left to right.
        vehicles: Traffic.
        place: ``city``, ``motorway`` or ``country``.
        style: Draws in [0, 1] for the renderers, by the names of `STYLE`.
    """

    category: str
    view: RoadView
    left: float
    right: float
    lanes: list[float]
    opposite: list[float]
    ego: int
    stripes: list[Stripe]
    vehicles: list[Vehicle]
    place: str
    style: dict[str, float] = field(default_factory=dict)

    @property
    def night(self) -> bool:
        """Whether the headlights are the main light."""
        return self.category == "night"


def category_of(seed: int, index: int) -> str:
    """Category of a frame; every clip of 50 frames holds each category in its share, in an order of its own."""
    names = np.repeat(CATEGORIES, SHARES)
    return str(np.random.default_rng([seed, index // CLIP, 0]).permutation(names)[index % CLIP])


def sample_scene(generator: np.random.Generator, category: str) -> Scene:
    """Draw a scene.

    Args:
        generator: Source of all chance.
        category: One of `CATEGORIES`.
    """
    draw = generator.uniform
    place = str(generator.choice(["city", "motorway", "country"], p=[0.5, 0.35, 0.15]))
    if category in ("cross", "arrow", "crowd"):
        place = "city"
    view = RoadView(_camera(generator), _alignment(generator, category))
    width = draw(3.35, 3.75)
    count = int(generator.choice([2, 3, 4], p=[0.3, 0.45, 0.25])) if place != "country" else 1
    ego = int(generator.integers(count))
    offsets = [(lane - ego - 0.5) * width for lane in range(count + 1)]
    opposite_count = 1 if place == "country" else (int(generator.integers(0, 4)) if place == "city" else 0)
    stripes = _stripes(generator, category, place, offsets, ego, width, opposite_count)
    left = offsets[0] - opposite_count * width - draw(0.3, 0.8)
    right = offsets[-1] + (draw(0.25, 0.6) if place == "country" else draw(0.4, 2.8))
    lanes = [(lane - ego) * width for lane in range(count)]
    opposite = [offsets[0] - (lane + 0.5) * width for lane in range(opposite_count)]
    vehicles = _vehicles(generator, category, lanes, ego, opposite, view)
    style = {name: float(draw()) for name in STYLE}
    return Scene(category, view, left, right, lanes, opposite, ego, stripes, vehicles, place, style)


def _camera(generator: np.random.Generator) -> Camera:
    """One mounting for all frames; the car pitches and yaws a little."""
    return Camera(
        focal=1000.0,
        centre=810.0 + generator.normal(0, 9),
        horizon=248.0 + np.clip(generator.normal(0, 4), -10, 10),
        height=1.42 + np.clip(generator.normal(0, 0.02), -0.05, 0.05),
    )


def _alignment(generator: np.random.Generator, category: str) -> Alignment:
    side = generator.choice([-1.0, 1.0])
    if category == "curve":
        curvature, change = side / generator.uniform(110, 320), generator.normal(0, 1.0e-5)
    elif generator.uniform() < 0.45:
        curvature, change = side / generator.uniform(400, 2500), generator.normal(0, 0.8e-5)
    else:
        curvature, change = 0.0, generator.normal(0, 0.1e-5)
    hilly = generator.uniform() < 0.35
    return Alignment(
        start=float(np.clip(generator.normal(0, 0.22), -0.5, 0.5)),
        heading=generator.normal(0, 0.012),
        curvature=float(curvature),
        curvature_change=float(change),
        bend=float(np.clip(generator.normal(0, 2.0e-4), -4.5e-4, 4.5e-4)) if hilly else 0.0,
    )


def _stripes(
    generator: np.random.Generator,
    category: str,
    place: str,
    offsets: list[float],
    ego: int,
    width: float,
    opposite_count: int,
) -> list[Stripe]:
    """Paint of the whole road; labelled are the two lines of our lane and their neighbours, up to the road's middle."""
    if category == "cross":
        return []
    draw = generator.uniform
    dash = [(6.0, 9.0), (4.0, 6.0), (2.0, 4.0)][int(generator.choice(3, p=[0.55, 0.35, 0.1]))]
    wear = float(draw(0.0, 0.35) if draw() < 0.7 else draw(0.35, 0.65))
    if category == "noline":
        wear = float(draw(0.82, 1.0))
    line_width, phase = draw(0.12, 0.18), draw(0, dash[0] + dash[1])
    last = len(offsets) - 1
    stripes = []

    def add(offset: float, style: str, colour: tuple[float, float, float], labelled: bool) -> None:
        own_wear = float(np.clip(wear + generator.normal(0, 0.06), 0, 1))
        stripes.append(Stripe(offset, style, colour, line_width, dash, phase, own_wear, labelled))

    for lane in range(opposite_count, 0, -1):
        edge = lane == opposite_count
        if edge and place == "country" and draw() < 0.5:
            continue
        add(offsets[0] - lane * width, "solid" if edge else "dashed", WHITE, False)
    for number, offset in enumerate(offsets):
        labelled = ego - 1 <= number <= ego + 2
        if number == 0 and opposite_count:
            style = str(
                generator.choice(["double", "solid", "dashed"], p=[0.6, 0.3, 0.1] if place == "city" else [0.1, 0.3, 0.6])
            )
            add(offset, style, YELLOW if draw() < 0.8 else WHITE, labelled)
        elif number == 0:
            add(offset, "solid", YELLOW if draw() < 0.5 else WHITE, labelled)
        elif number == last:
            add(offset, "solid", WHITE, labelled)
        else:
            add(offset, "dashed" if draw() < 0.85 else "solid", WHITE, labelled)
    return stripes


def _vehicles(
    generator: np.random.Generator, category: str, lanes: list[float], ego: int, opposite: list[float], view: RoadView
) -> list[Vehicle]:
    """Traffic: each lane is filled from near to far with gaps."""
    dense = {"crowd": 1.0, "cross": 0.5}.get(category, 0.35 if generator.uniform() < 0.7 else 0.0)
    gap = 9.0 if category == "crowd" else 28.0
    vehicles = []
    for lanes_of_direction, oncoming in ((lanes, False), (opposite, True)):
        for number, middle in enumerate(lanes_of_direction):
            own = not oncoming and number == ego
            if generator.uniform() > dense + 0.2 * own + 0.15:
                continue
            s = generator.uniform(11, 30) if own else generator.uniform(2.5, 30)
            while s < min(view.visible - 3, 110):
                kind = str(generator.choice(["car", "van", "truck", "bus"], p=[0.72, 0.14, 0.08, 0.06]))
                vehicles.append(
                    Vehicle(
                        offset=middle + float(np.clip(generator.normal(0, 0.2), -0.45, 0.45)),
                        distance=float(s),
                        kind=kind,
                        colour=_paint_colour(generator),
                        oncoming=oncoming,
                        braking=bool(generator.uniform() < 0.3),
                    )
                )
                s += (10.0 if kind in ("truck", "bus") else 4.5) + generator.exponential(gap) + 2.5
    return vehicles


# Red, wine, blue, navy, taxi orange, dark green, beige, brown: blue, green, red.
HUES = (
    (38.0, 34.0, 168.0),
    (40.0, 28.0, 92.0),
    (150.0, 92.0, 48.0),
    (84.0, 48.0, 34.0),
    (30.0, 128.0, 212.0),
    (58.0, 82.0, 42.0),
    (138.0, 168.0, 182.0),
    (52.0, 72.0, 98.0),
)


def _paint_colour(generator: np.random.Generator) -> tuple[float, float, float]:
    """Colour of a vehicle, blue, green, red: mostly grey, white and black, some with a hue."""
    grey = generator.choice([35.0, 60.0, 120.0, 165.0, 215.0], p=[0.2, 0.15, 0.2, 0.2, 0.25])
    if generator.uniform() < 0.3:
        return HUES[int(generator.integers(len(HUES)))]
    return tuple(float(v) for v in np.clip(grey + generator.normal(0, 4, 3), 10, 230))
