"""Labelled lanes as maps of slots: which slot a lane takes, and the pixels it covers."""

import cv2
import numpy as np

from mmsf.models.losses.targets import visible_rows

CULANE_WIDTH = 1640  # pixels of CULane's frames
ROWS = 48  # a lane is drawn through so many points
LOWER_ROWS = ROWS // 3  # of which the lowest say where the lane would meet the bottom of the image
_FRACTION_BITS = 4  # of the positions that OpenCV draws at


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
        line_width: Width of the lines, pixels of a CULane frame (1640 wide); rounded to whole pixels of the map, at least 1.

    Returns:
        (B, *map_size) uint8, 0 for the background and i + 1 for slot i; (B, slots) float32, 1 where a slot holds a lane.
    """
    maps = np.zeros((len(lines), *map_size), np.uint8)
    existence = np.zeros((len(lines), slots), np.float32)
    width = max(1, round(line_width * map_size[1] / CULANE_WIDTH))
    # From normalised positions to those of the map, in OpenCV's fixed-point numbers.
    shares = [(cells - 1) * pixels / (pixels - 1) for cells, pixels in zip(map_size[::-1], size[::-1])]
    scale = np.array(shares) * 2**_FRACTION_BITS
    for image, image_lines in enumerate(lines):
        lanes = [rows for line in image_lines if (rows := visible_rows(line, size, ROWS)) is not None]
        if not lanes:
            continue
        lanes = np.array(lanes)
        points = np.rint(lanes * scale).astype(np.int32)
        for slot, polyline in zip(lane_slots(bottom_columns(lanes), slots).tolist(), points):
            if slot >= 0:
                cv2.polylines(maps[image], [polyline], False, slot + 1, width, shift=_FRACTION_BITS)
                existence[image, slot] = 1
    return maps, existence
