"""Labelled lanes as lines of constant width in a map."""

import cv2
import numpy as np

CULANE_WIDTH = 1640  # pixels of CULane's frames
_FRACTION_BITS = 4  # of the positions that OpenCV draws at


def draw_lines(picture: np.ndarray, lines: np.ndarray, values: np.ndarray, line_width: float) -> None:
    """Draw lanes into a map, in place, in their order.

    Args:
        picture: (H, W) uint8.
        lines: (L, P, 2) x, y in pixels of the map; whole numbers are the middles of pixels.
        values: (L,) uint8, what to draw each with.
        line_width: Width of the lines, pixels of a CULane frame (1640 wide); rounded to whole pixels of the map, at least 1.
    """
    width = max(1, round(line_width * picture.shape[1] / CULANE_WIDTH))
    for line, value in zip(np.rint(lines * 2**_FRACTION_BITS).astype(np.int32), values.tolist()):
        cv2.polylines(picture, [line], False, value, width, shift=_FRACTION_BITS)
