"""Paint on the road: stripes along it, arrows, crossings."""

from itertools import pairwise

import cv2
import numpy as np

from mmsf.datasets.synthetic.road import WIDTH, RoadView
from mmsf.datasets.synthetic.scene import WHITE, Scene, Stripe
from mmsf.datasets.synthetic.textures import sample_tile, spectral_tile

DOUBLE_GAP = 0.14  # metres between the two lines of a double line


def paint_road(ground: np.ndarray, scene: Scene, generator: np.random.Generator) -> None:
    """Paint all markings on the ground, in place.

    Args:
        ground: (R, 1640, 3) float32 colours of the rows from ``scene.view.top`` down.
        scene: The scene.
        generator: Source of wear, arrows and crossings.
    """
    for stripe in scene.stripes:
        start = generator.uniform(0, 512, 2)
        if stripe.style == "double":
            apart = (stripe.width + DOUBLE_GAP) / 2
            for side in (-apart, apart):
                _paint_stripe(ground, scene, stripe, stripe.offset + side, start)
        elif stripe.style != "none":
            _paint_stripe(ground, scene, stripe, stripe.offset, start)
    if scene.category == "arrow":
        _paint_arrows(ground, scene, generator)
    if scene.category == "cross":
        _paint_crossings(ground, scene, generator)


def _paint_stripe(ground: np.ndarray, scene: Scene, stripe: Stripe, offset: float, start: np.ndarray) -> None:
    """Paint one line. Its cover of a pixel is the pixel's share across the line times the row's share of dashes."""
    view = scene.view
    middle = (offset - view.shift) / view.scale  # column of the line in each row
    half = stripe.width / 2 / view.scale  # columns
    reach = int(np.ceil(half.max())) + 2
    columns = np.round(middle).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)  # (R, K)
    inside = (columns >= 0) & (columns < WIDTH)
    cover = np.clip(half[:, None] - np.abs(columns - middle[:, None]) + 0.5, 0, 1) * np.minimum(1, 2 * half)[:, None]
    if stripe.style == "dashed":
        cover = cover * _dash_share(view.distance, view.depth, stripe)[:, None]
    cover = cover * _wear(view, columns, stripe.wear, start)
    cover = np.where(inside, cover, 0).astype(np.float32)
    rows, places = np.nonzero(cover > 0.003)
    at = columns[rows, places]
    alpha = cover[rows, places][:, None]
    ground[rows, at] += alpha * (np.float32(stripe.colour) - ground[rows, at])


def _dash_share(distance: np.ndarray, depth: np.ndarray, stripe: Stripe) -> np.ndarray:
    """Share of each row's stretch of road that is dash: the integral of the dashes between the row's two ends."""
    painted, gap = stripe.dash
    period = painted + gap

    def integral(s: np.ndarray) -> np.ndarray:
        turns = np.floor(s / period)
        return turns * painted + np.minimum(s - turns * period, painted)

    far, near = distance + depth / 2 + stripe.phase, distance - depth / 2 + stripe.phase
    return (integral(far) - integral(near)) / depth


def _wear(view: "RoadView | _Rows", columns: np.ndarray, wear: float, start: np.ndarray) -> np.ndarray:
    """Share of paint left at (R, K) columns: worn paint is missing in spots and thin in between."""
    across = (view.scale[:, None] * columns + view.shift[:, None]) * 40 + start[0]
    along = np.broadcast_to(view.distance[:, None] * 12 + start[1], columns.shape)
    spots = sample_tile(spectral_tile("wear", 0.8), across.astype(np.float32), along.astype(np.float32))
    return np.clip(1.25 - 1.35 * wear + 0.55 * np.sqrt(wear) * spots, 0, 1) * (1 - 0.35 * wear)


def _paint_polygons(ground: np.ndarray, scene: Scene, polygons: list[np.ndarray], wear: float, start: np.ndarray) -> None:
    """Paint areas given by polygons of (offset, distance) in metres."""
    view = scene.view
    mask = np.zeros(ground.shape[:2], np.uint8)
    for polygon in polygons:
        closed = np.vstack([polygon, polygon[:1]])
        fine = np.concatenate([np.linspace(a, b, 12, endpoint=False) for a, b in pairwise(closed)])
        pixels = view.project(fine[:, 0], np.clip(fine[:, 1], 1.5, view.visible)) - [0, view.top]
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return
    band = slice(rows[0], rows[-1] + 1)
    columns = np.broadcast_to(np.arange(WIDTH), (len(view.distance), WIDTH))[band]
    part = _Rows(view, band)
    alpha = (mask[band] / np.float32(255) * _wear(part, columns, wear, start)).astype(np.float32)[..., None]
    ground[band] += alpha * (np.float32(WHITE) - ground[band])


class _Rows:
    """A band of a view's rows."""

    def __init__(self, view: RoadView, band: slice) -> None:
        self.scale, self.shift, self.distance = view.scale[band], view.shift[band], view.distance[band]


def arrow_polygons(middle: float, near: float, kind: str) -> list[np.ndarray]:
    """Outlines of an arrow on the road, 6 m long: (offset, distance) in metres."""
    shaft = np.array([[-0.1, 0.0], [0.1, 0.0], [0.1, 3.6], [-0.1, 3.6]])
    head = np.array([[-0.42, 3.5], [0.42, 3.5], [0.0, 6.0]])
    turn = np.array([[0.05, 1.9], [0.62, 3.0], [0.62, 2.3], [1.02, 3.7], [0.62, 4.9], [0.62, 3.9], [0.05, 2.9]])
    parts = {
        "ahead": [shaft, head],
        "right": [shaft * [1, 0.7], turn],
        "left": [shaft * [1, 0.7], turn * [-1, 1]],
        "ahead right": [shaft, head, turn],
        "ahead left": [shaft, head, turn * [-1, 1]],
    }[kind]
    return [part + np.array([middle, near]) for part in parts]


def _paint_arrows(ground: np.ndarray, scene: Scene, generator: np.random.Generator) -> None:
    near = generator.uniform(6, 15)
    wear = float(generator.uniform(0, 0.45))
    kinds = ["ahead", "right", "left", "ahead right", "ahead left"]
    polygons = []
    for number, middle in enumerate(scene.lanes):
        if number == scene.ego or generator.uniform() < 0.8:
            kind = str(generator.choice(kinds, p=[0.4, 0.15, 0.15, 0.15, 0.15]))
            polygons += arrow_polygons(middle, near, kind)
            if generator.uniform() < 0.5:
                polygons += arrow_polygons(middle, near + generator.uniform(16, 24), kind)
    _paint_polygons(ground, scene, polygons, wear, generator.uniform(0, 512, 2))


def _paint_crossings(ground: np.ndarray, scene: Scene, generator: np.random.Generator) -> None:
    near = generator.uniform(4.5, 9)
    wear = float(generator.uniform(0, 0.5))
    pitch, length = generator.uniform(0.9, 1.2), generator.uniform(3, 5)
    crossings = [near] + ([near + generator.uniform(18, 30)] if generator.uniform() < 0.6 else [])
    polygons = []
    for start in crossings:
        for left in np.arange(scene.left + 0.3, scene.right - 0.5, pitch):
            box = [[left, start], [left + pitch / 2, start], [left + pitch / 2, start + length], [left, start + length]]
            polygons.append(np.array(box))
    if generator.uniform() < 0.5:
        stop = near - 1.6
        polygons.append(
            np.array([[scene.left, stop], [scene.right, stop], [scene.right, stop + 0.35], [scene.left, stop + 0.35]])
        )
    _paint_polygons(ground, scene, polygons, wear, generator.uniform(0, 512, 2))
