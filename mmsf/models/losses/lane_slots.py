"""Labelled lanes as maps of slots: which slot a lane takes, and the pixels it covers."""

import numpy as np

from mmsf.models.losses.drawing import draw_lines
from mmsf.models.losses.targets import visible_rows

ROWS = 48  # a lane is drawn through so many points
LOWER_ROWS = ROWS // 3  # of which the lowest say where the lane would meet the bottom of the image


def bottom_columns(lanes: np.ndarray) -> np.ndarray:
    """Where lanes meet the bottom of the image, or would: the straight line through their lower third, extrapolated.

    Args:
        lanes: (L, ROWS, 2) normalised x, y, top to bottom.

    Returns:
        (L,) normalised x, also outside 0..1.
    """
    lower = lanes[:, -LOWER_ROWS:]
    middle = lower.mean(1)
    dx, dy = np.moveaxis(lower - middle[:, None], 2, 0)
    return middle[:, 0] + (dx * dy).sum(1) / (dy * dy).sum(1) * (1 - middle[:, 1])


def lane_slots(columns: np.ndarray, slots: int) -> np.ndarray:
    """Slots of an image's lanes: counted from the image's middle outwards, CULane's rule for four slots.

    Args:
        columns: (L,) normalised x at which the lanes meet the bottom of the image.
        slots: Number of slots, half of them on each side of the middle.

    Returns:
        (L,) slots from 0, left to right; of four slots, 1 and 2 are the lines of the own lane. -1: too far out for any slot.
    """
    order = np.argsort(columns, kind="stable")
    rank = np.empty(len(columns), np.int64)
    rank[order] = np.arange(len(columns))
    taken = rank - (columns < 0.5).sum() + slots // 2
    return np.where((taken >= 0) & (taken < slots), taken, -1)


def slot_maps(
    lines: list[list[np.ndarray]], size: tuple[int, int], map_size: tuple[int, int], slots: int, line_width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the lanes of a batch.

    The corner pixels of the map are those of the network's input, as where a map is resized with aligned corners.

    Args:
        lines: For each image its lanes, (P, 2) in pixels of the network's input.
        size: Height and width of the network's input, pixels.
        map_size: Height and width of the map, pixels.
        slots: Number of slots.
        line_width: Width of the lines, see `draw_lines`.

    Returns:
        (B, *map_size) uint8, 0 for the background and i + 1 for slot i; (B, slots) float32, 1 where a slot holds a lane.
    """
    maps = np.zeros((len(lines), *map_size), np.uint8)
    existence = np.zeros((len(lines), slots), np.float32)
    # From normalised positions to those of the map.
    scale = np.array([(cells - 1) * pixels / (pixels - 1) for cells, pixels in zip(map_size[::-1], size[::-1])])
    for image, image_lines in enumerate(lines):
        lanes = [rows for line in image_lines if (rows := visible_rows(line, size, ROWS)) is not None]
        if not lanes:
            continue
        lanes = np.array(lanes)
        taken = lane_slots(bottom_columns(lanes), slots)
        kept = taken >= 0
        draw_lines(maps[image], lanes[kept] * scale, taken[kept].astype(np.uint8) + 1, line_width)
        existence[image, taken[kept]] = 1
    return maps, existence
