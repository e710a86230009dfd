"""Thick lanes as pixel spans: what OpenCV's thick lines cover, row by row, without drawing a picture for every lane.

CULane's evaluator draws a lane as a chain of thick lines with round caps. Between two neighbouring pixels such a line
covers hardly more than the two caps; and while a chain only goes down, or only up, what it covers of a row is ONE span. So
a lane is a left and a right border a row: the caps of all its pixels at once, by a sliding minimum over rows, and a few
further pixels a step, looked up in pictures of single steps that OpenCV itself has drawn. The rare lane that turns back, or
of which a single step is not one span a row, is drawn as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mmsf.evaluation.lane_curve import sample_curves

_CACHED_STEP = 32  # pixels; longer steps seldom come twice
_NO_PIXEL = np.iinfo(np.int32).min  # what OpenCV makes of NaN and of numbers beyond 32 bit


@dataclass(frozen=True)
class LaneSpans:
    """Thick lanes of images of one size, as layers of spans. Most lanes are one layer.

    Attributes:
        left, right: (S, H) first and last covered column of each row in each layer; left > right where nothing is covered.
        lane: (S,) int64 the lane of each layer, ascending. The layers of a lane do not overlap.
        areas: (B,) int64 numbers of pixels that each lane covers.
    """

    left: np.ndarray
    right: np.ndarray
    lane: np.ndarray
    areas: np.ndarray


@dataclass(frozen=True)
class _Step:
    """Row spans of a thick line, relative to its start: rows, first and last columns, (n,) each.

    ``whole``: every row is one span, also together with what of the two caps lies beside the picture.
    """

    rows: np.ndarray
    first: np.ndarray
    last: np.ndarray
    whole: bool


def _reach(width: int) -> int:
    """Pixels beyond its ends that a thick line cannot cover."""
    return (width + 5) // 2


def _draw_step(dx: int, dy: int, room: tuple[int, int, int, int], width: int) -> _Step:
    """Draw a line of ``width`` from a pixel to the one (dx, dy) further.

    Args:
        room: Pixels between the start and the borders of the picture: left, above, right, below. OpenCV cuts the line's
            outline there before it rounds, so that a border near by changes single pixels.
    """
    left, above, right, below = room
    picture = np.zeros((above + below + 1, left + right + 1), np.uint8)
    cv2.line(picture, (left, above), (left + dx, above + dy), 1, width)
    rows = np.flatnonzero(picture.any(1))
    covered = picture[rows] > 0
    first, last = covered.argmax(1), covered.shape[1] - 1 - covered[:, ::-1].argmax(1)
    whole = bool((last - first + 1 == covered.sum(1)).all())
    return _Step(rows - above, first - left, last - left, whole)


@lru_cache(maxsize=64)
def _cap(width: int) -> _Step:
    """The round cap of a single pixel."""
    return _draw_step(0, 0, (_reach(width),) * 4, width)


def _beyond_caps(dx: int, dy: int, room: tuple[int, int, int, int], width: int) -> _Step:
    """The rows of a step, see `_draw_step`, on which it covers more than the caps of its two ends."""
    step, cap = _draw_step(dx, dy, room, width), _cap(width)
    low = max(min(dy, 0) + int(cap.rows[0]), -room[1])
    high = min(max(dy, 0) + int(cap.rows[-1]), room[3])
    rows = np.arange(low, high + 1)
    reached = (step.rows >= low) & (step.rows <= high)
    # From the first to the last column on every row, of the picture and of the caps, which may lie beside it.
    first, last = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
    first[step.rows[reached] - low], last[step.rows[reached] - low] = step.first[reached], step.last[reached]
    cap_first, cap_last = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
    for x, y in ((0, 0), (dx, dy)):
        shown = (cap.rows + y >= low) & (cap.rows + y <= high)
        at = cap.rows[shown] + y - low
        cap_first[at] = np.minimum(cap_first[at], cap.first[shown] + x)
        cap_last[at] = np.maximum(cap_last[at], cap.last[shown] + x)
    span_first = np.maximum(np.minimum(first, cap_first), -room[0])
    span_last = np.minimum(np.maximum(last, cap_last), room[2])
    gap = (span_first <= span_last) & ((span_first < first) | (span_last > last))
    more = (first < cap_first) | (last > cap_last)
    whole = bool(step.whole and reached.all() and not gap.any())
    return _Step(rows[more], first[more].astype(np.int64), last[more].astype(np.int64), whole)


_cached_beyond_caps = lru_cache(maxsize=16384)(_beyond_caps)


def _cap_borders(
    x: np.ndarray, y: np.ndarray, lane: np.ndarray, shape: tuple[int, int, int], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Left and right borders (B, H) of the caps of pixels (N,), those of a row following one another in each lane.

    Args:
        shape: B, and the height H and the width of the image.
    """
    lanes, height, columns = shape
    cap = _cap(width)
    reach = int(cap.rows[-1])
    kind = np.int16 if columns + 2 * width < 2**14 else np.int32  # narrow numbers: four times as fast
    far = int(np.iinfo(kind).max) // 2
    inside = (y >= -reach) & (y < height + reach)
    x, slot = np.clip(x[inside], -far, far).astype(kind), lane[inside] * (height + 2 * reach) + y[inside] + reach
    runs = np.flatnonzero(np.diff(slot, prepend=-1))
    borders = []
    for choose, empty, offsets in ((np.minimum, far, cap.first), (np.maximum, -far, cap.last)):
        extreme = np.full((lanes, height + 2 * reach), empty, kind)
        if len(runs):
            extreme.reshape(-1)[slot[runs]] = choose.reduceat(x, runs)
        border, moved = np.full((lanes, height), empty, kind), np.empty((lanes, height), kind)
        for row, offset in zip(cap.rows.tolist(), offsets.astype(kind)):
            np.add(extreme[:, reach - row : reach - row + height], offset, out=moved)
            choose(border, moved, out=border)
        borders.append(border)
    return borders[0], borders[1]


def _widen(left: np.ndarray, right: np.ndarray, lane: np.ndarray, x: np.ndarray, y: np.ndarray, step: _Step) -> None:
    """Let the borders (B, H), in place, reach as far as a step does that starts at pixels (N,)."""
    slot = ((lane * left.shape[1] + y)[:, None] + step.rows).ravel()
    np.minimum.at(left.reshape(-1), slot, (x[:, None] + step.first).ravel().astype(left.dtype))
    np.maximum.at(right.reshape(-1), slot, (x[:, None] + step.last).ravel().astype(right.dtype))


def _widen_by_steps(
    left: np.ndarray, right: np.ndarray, x: np.ndarray, y: np.ndarray, lane: np.ndarray, columns: int, width: int
) -> np.ndarray:
    """Widen the borders (B, H), in place, by what the steps from pixel to pixel (N,) cover beyond their caps.

    Returns:
        (B,) bool, the lanes that one span a row cannot describe.
    """
    height, reach = left.shape[1], _reach(width)
    broken = np.zeros(len(left), bool)
    dx, dy = np.diff(x), np.diff(y)
    start = np.flatnonzero(
        (np.abs(dx) + np.abs(dy) > 1) & (lane[1:] == lane[:-1])
    )  # of pixels side by side, the caps are all
    x, y, lane, dx, dy = x[start], y[start], lane[start], dx[start], dy[start]
    border = [x, y, columns - 1 - x, height - 1 - y]
    ahead = [np.maximum(d, 0) for d in (-dx, -dy, dx, dy)]
    seen = np.logical_and.reduce([side + back >= -reach for side, back in zip(border, ahead[2:] + ahead[:2])])
    room = [np.minimum(side, reach + front) for side, front in zip(border, ahead)]
    short = np.maximum(np.abs(dx), np.abs(dy)) <= _CACHED_STEP

    # Steps that are equal, borders included, are looked up once. One number names all that makes a step.
    several = np.flatnonzero(seen & short)
    name = np.zeros(len(several), np.int64)
    for part in (dx, dy, *room):
        name = name * (2 * (reach + _CACHED_STEP) + 1) + part[several]
    order = np.argsort(name)
    groups = np.split(several[order], np.flatnonzero(np.diff(name[order])) + 1) if len(several) else []
    for group in [*groups, *np.flatnonzero(seen & ~short)[:, None]]:
        draw = _cached_beyond_caps if short[group[0]] else _beyond_caps
        step = draw(int(dx[group[0]]), int(dy[group[0]]), tuple(int(side[group[0]]) for side in room), width)
        _widen(left, right, lane[group], x[group], y[group], step)
        if not step.whole:
            broken[lane[group]] = True
    return broken


def _drawn_layers(x: np.ndarray, y: np.ndarray, size: tuple[int, int], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Layers (k, H) of left and right borders of a chain of pixels (N,), of which any may lie anywhere."""
    picture = np.zeros(size, np.uint8)
    cv2.polylines(picture, [np.stack([x, y], 1).astype(np.int32)], False, 1, width)
    bounded = np.zeros((size[0], size[1] + 2), bool)  # an empty column on both sides: every span begins and ends
    bounded[:, 1:-1] = picture
    changes = np.flatnonzero(bounded[:, 1:] != bounded[:, :-1])
    rows, first = np.divmod(changes[::2], size[1] + 1)
    last = changes[1::2] % (size[1] + 1) - 1
    layer = np.arange(len(rows)) - np.searchsorted(rows, rows)
    layers = int(layer.max(initial=0)) + 1
    left, right = np.full((layers, size[0]), size[1]), np.full((layers, size[0]), -1)
    left[layer, rows], right[layer, rows] = first, last
    return left, right


def _turning(y: np.ndarray, lane: np.ndarray) -> np.ndarray:
    """The lanes, several times perhaps, whose pixels (N,) go down here and up there."""
    dy = np.diff(y)
    vertical = np.flatnonzero((dy != 0) & (lane[1:] == lane[:-1]))
    down, owner = dy[vertical] > 0, lane[vertical]
    return owner[1:][(down[1:] != down[:-1]) & (owner[1:] == owner[:-1])]


def _pixels(lanes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y and lane (N,) of the pixels that the evaluator joins, repeated ones left out, and (B,) lanes with a number that
    is no pixel."""
    samples, counts = sample_curves(lanes)
    lane = np.repeat(np.arange(len(lanes)), counts)
    usable = np.abs(samples) < 2.0**31  # NaN compares as False
    strange = np.zeros(len(lanes), bool)
    if not usable.all():
        none = ~usable.all(0)
        strange[lane[none]] = True
        samples[:, none] = 0
    x, y = np.rint(samples).astype(np.int64)  # half to even, as OpenCV rounds
    if strange.any():
        x[none] = y[none] = _NO_PIXEL
    fresh = np.ones(len(x), bool)
    fresh[1:] = (x[1:] != x[:-1]) | (y[1:] != y[:-1]) | (lane[1:] != lane[:-1])
    return x[fresh], y[fresh], lane[fresh], strange


def lane_spans(lanes: Sequence[np.ndarray], size: tuple[int, int], width: int = 30) -> LaneSpans:
    """What lanes cover when CULane's evaluator draws them.

    Args:
        lanes: B lanes of (P, 2), pixels of the image. A lane of fewer than two points covers nothing.
        size: Height and width of the image, pixels.
        width: Thickness of the lines, pixels; OpenCV's line of 30 is 31 pixels wide.
    """
    height, columns = size
    x, y, lane, to_draw = _pixels(lanes)
    to_draw[_turning(y, lane)] = True
    chain = slice(None) if not to_draw.any() else ~to_draw[lane]
    left, right = _cap_borders(x[chain], y[chain], lane[chain], (len(lanes), height, columns), width)
    to_draw |= _widen_by_steps(left, right, x[chain], y[chain], lane[chain], columns, width)
    np.clip(left, 0, columns, out=left)
    np.clip(right, -1, columns - 1, out=right)
    owner = np.arange(len(lanes))
    if to_draw.any():
        drawn = np.flatnonzero(to_draw)
        layers = [_drawn_layers(x[lane == index], y[lane == index], size, width) for index in drawn]
        owner = np.concatenate([owner[~to_draw], np.repeat(drawn, [len(part[0]) for part in layers])])
        left = np.concatenate([left[~to_draw], *(part[0] for part in layers)]).astype(left.dtype)
        right = np.concatenate([right[~to_draw], *(part[1] for part in layers)]).astype(right.dtype)
        order = np.argsort(owner, kind="stable")
        left, right, owner = left[order], right[order], owner[order]
    pixels = np.maximum(right - left + 1, 0).sum(1, dtype=np.int64)
    return LaneSpans(left, right, owner, np.bincount(owner, pixels, len(lanes)).astype(np.int64))


def overlaps(spans: LaneSpans, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers of pixels that pairs of lanes share.

    Args:
        spans: The lanes.
        first, second: (N,) indices of the two lanes of each pair.

    Returns:
        (N,) int64.
    """
    begin = np.searchsorted(spans.lane, np.arange(len(spans.areas) + 1))
    layers = np.diff(begin)
    # Every layer of the one with every layer of the other.
    combinations = layers[first] * layers[second]
    pair = np.repeat(np.arange(len(first)), combinations)
    turn = np.arange(len(pair)) - np.repeat(np.cumsum(combinations) - combinations, combinations)
    one = begin[first[pair]] + turn // layers[second[pair]]
    two = begin[second[pair]] + turn % layers[second[pair]]
    shared = np.minimum(spans.right[one], spans.right[two])
    shared -= np.maximum(spans.left[one], spans.left[two])
    shared += 1
    pixels = np.maximum(shared, 0, out=shared).sum(1, dtype=np.int64)
    return np.bincount(pair, pixels, len(first)).astype(np.int64)
