"""Straight lines as anchors: where they run, and which cells of a feature map they cross."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmsf.errors import UserError

LEFT_ANGLES = (72, 60, 49, 39, 30, 22)
BOTTOM_ANGLES = (165, 150, 141, 131, 120, 108, 100, 90, 80, 72, 60, 49, 39, 30, 15)
RIGHT_ANGLES = (108, 120, 131, 141, 150, 158)
SIDE_STARTS, BOTTOM_STARTS = 72, 128
# The 1000 anchors that fit most lanes of CULane's training images, the most frequent first. Some counts tie, the originals
# sort those in no fixed order, and no checkpoint tells which: the attention of the few anchors concerned may differ.
# "synthetic": the 200 that fit most lanes of the training split of the synthetic roads (mmsf/models/losses/anchor_use.py).
ANCHOR_LISTS = {name: Path(__file__).with_name(f"line_anchors_{name}.txt") for name in ("culane", "synthetic")}


@dataclass(frozen=True)
class LineAnchors:
    """Rays from the left, the lower and the right border of the image.

    Attributes:
        start_x: (N,) where a ray leaves the border, 0 to 1 from left to right.
        start_y: (N,) the same from the bottom up.
        angle: (N,) degrees to the x axis, counterclockwise.
    """

    start_x: np.ndarray
    start_y: np.ndarray
    angle: np.ndarray

    @classmethod
    def all(cls) -> "LineAnchors":
        """The 2784 rays of Line-CNN: left, bottom, right border; of one border, start after start, angle after angle."""
        side, bottom = np.linspace(0, 1, SIDE_STARTS), np.linspace(1, 0, BOTTOM_STARTS)
        borders = (
            (np.zeros_like(side), side, LEFT_ANGLES),
            (bottom, np.zeros_like(bottom), BOTTOM_ANGLES),
            (np.ones_like(side), side, RIGHT_ANGLES),
        )
        columns = [(np.repeat(x, len(a)), np.repeat(y, len(a)), np.tile(a, len(x))) for x, y, a in borders]
        return cls(*(np.concatenate(column).astype(np.float64) for column in zip(*columns)))

    def __getitem__(self, index: np.ndarray) -> "LineAnchors":
        return LineAnchors(self.start_x[index], self.start_y[index], self.angle[index])

    def __len__(self) -> int:
        return len(self.angle)

    def xs(self, rows: int, width: int) -> np.ndarray:
        """x-positions, (N, rows) float32, in pixels of an image of ``width``, from its lower to its upper border.

        Distances are normalised by the image's height and width before the angle is applied, as in LaneATT.
        """
        climbed = np.linspace(0, 1, rows) - self.start_y[:, None]
        xs = self.start_x[:, None] + climbed / np.tan(np.radians(self.angle))[:, None]
        return (xs * width).astype(np.float32)


def chosen_anchors(anchors: str | Sequence[int] | None) -> LineAnchors:
    """The anchors that a config names, in the order of the list: attention has a column for each.

    Args:
        anchors: Name of a list in ``ANCHOR_LISTS``, or numbers into `LineAnchors.all`; None for all of them.

    Raises:
        UserError: There is no such list or anchor.
    """
    everything = LineAnchors.all()
    if anchors is None:
        return everything
    if isinstance(anchors, str):
        if anchors not in ANCHOR_LISTS:
            raise UserError(
                f"anchors={anchors!r} is unknown; known are {', '.join(ANCHOR_LISTS)}, or give a list of numbers"
            )
        return everything[np.loadtxt(ANCHOR_LISTS[anchors], np.int64, ndmin=2).ravel()]
    index = np.array(anchors, np.int64)
    if len(index) < 2 or index.min() < 0 or index.max() >= len(everything):
        raise UserError(f"anchors: give at least two numbers from 0 to {len(everything) - 1}")
    return everything[index]


class AnchorPooling(nn.Module):
    """Features of the cells that each anchor crosses, one a row of the map; zero where it is outside the image.

    As in the original, the map's rows are those that fit into the image's height: of the 12 rows of an image 360 pixels
    high, the last is never read. The anchor is spread over the other 11 as over the whole height.

    Args:
        anchors: The anchors.
        input_size: Height and width of the network's input, pixels.
        stride: Of the feature map.

    Source:
        Tabelini et al., "Keep your Eyes on the Lane: Real-time Attention-guided Lane Detection", 2021.
    """

    def __init__(self, anchors: LineAnchors, input_size: tuple[int, int], stride: int) -> None:
        super().__init__()
        height, width = input_size
        self.rows = height // stride
        columns, map_rows, map_columns = width // stride, -(-height // stride), -(-width // stride)
        # From the upper row down. As in the original, a cell one column beyond the right border reads the last column.
        column = np.rint(anchors.xs(self.rows, width)[:, ::-1] / stride).astype(np.int64)
        cell = np.arange(self.rows) * map_columns + column.clip(0, columns - 1)
        outside = (column < 0) | (column > columns)
        # One cell past the last is zero.
        cell = np.where(outside, map_rows * map_columns, cell)
        self.register_buffer("cell", torch.from_numpy(cell.ravel()), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) to (B, N, C * rows), channel by channel."""
        cells = nn.functional.pad(features.flatten(2), (0, 1)).index_select(2, self.cell)
        return cells.unflatten(2, (-1, self.rows)).transpose(1, 2).flatten(2)


def off_diagonal(values: Tensor) -> Tensor:
    """(B, N, N - 1) values of each row of a square matrix but its diagonal, to (B, N, N) with zeros on the diagonal."""
    count = values.shape[1]
    # Between two places of the diagonal there are N others.
    between = nn.functional.pad(values.reshape(-1, count - 1, count), (0, 1)).flatten(1)
    return nn.functional.pad(between, (1, 0)).unflatten(1, (count, count))
