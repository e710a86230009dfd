"""GANet: key points that vote for the start of their lane."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsf.adapters.base import FRAME, Adapter, HeadOutputs
from mmsf.errors import UserError
from mmsf.lanes.crop import rows_cut
from mmsf.lanes.lane import Lane
from mmsf.registry import TASK_UTILS

STRIDE = 8  # pixels of the network's input that are one cell
LOWEST = 1e-4  # probabilities are cut to this and to one minus this, so that neighbours beyond it tie


@TASK_UTILS.register_module()
class GANetAdapter(Adapter):
    """Heads and decoding of GANet.

    The semantic heads are ``start_offset``, from a key point to the start (the lower end) of its lane, and ``cell_offset``,
    from the corner of a cell to the key point in it; both (B, 2, h, w), dx and dy in cells. The probability of the cell's
    key point gates them. With two heads the paper selects k = 1.

    A key point is the largest of its left and right neighbours. Those that vote for less than ``start_reach`` cells below
    themselves are starts; starts near to each other are one lane, whose centre is their mean. A key point belongs to the
    first lane whose centre its vote hits. A lane lists its key points top-down, several in a row being possible, and is
    neither sorted nor fitted. The authors give it no score: here it is the mean probability of its key points.

    Args:
        input_size: Height and width of the network's input, pixels.
        crop_top: Rows that the network does not see, at the top of an image that is ``crop_height`` high, pixels; in another
            image the same share of it (as `mmsf.datasets.LoadImage` cuts).
        crop_height: Pixels.
        threshold: A key point's probability is larger.
        start_reach: Cells; a vote whose dy is smaller makes a start, also an upward one.
        radius: Cells between two starts of one lane, and between a vote and the centre that it hits; at most.
        min_points: A lane has more points.
        whole: Cut to whole numbers, as the authors do: centres to cells and points to pixels of the original image, which
            moves a point by half a pixel to the left and upwards on average. False keeps the fractions.
        nearest: A key point belongs to the lane whose centre its vote is nearest to, not to the first one hit.

    Raises:
        UserError: The radius is negative.

    Source:
        Wang et al., "A Keypoint-based Global Association Network for Lane Detection", 2022.
    """

    semantic_heads = ("start_offset", "cell_offset")
    channel_axis = 1

    def __init__(
        self,
        input_size: tuple[int, int] = (320, 800),
        crop_top: int = 270,
        crop_height: int = 590,
        threshold: float = 0.4,
        start_reach: float = 1.0,
        radius: float = 5.0,
        min_points: int = 10,
        whole: bool = True,
        nearest: bool = False,
    ) -> None:
        if radius < 0:
            raise UserError(f"GANetAdapter: radius={radius} is negative; choose the cells between starts of one lane")
        self.input_size = tuple(input_size)
        self.crop_top = crop_top
        self.crop_height = crop_height
        self.threshold = threshold
        self.start_reach = start_reach
        self.radius = radius
        self.min_points = min_points
        self.whole = whole
        self.nearest = nearest

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Split ``kpts_hm_logit`` (B, 1, h, w), ``pts_offset`` and ``int_offset`` (B, 2, h, w)."""
        return HeadOutputs(
            semantics={"start_offset": raw["pts_offset"], "cell_offset": raw["int_offset"]},
            confidences={"keypoint": raw["kpts_hm_logit"].sigmoid()},
        )

    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """Probability of each cell's key point, (B, 1, h, w)."""
        return heads.confidences["keypoint"]

    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """Group the key points by their votes: lanes from left to right by the first of their starts, points top-down."""
        probabilities = heads.confidences["keypoint"].detach()
        image, row, column = self._key_points(probabilities)
        scores = probabilities.cpu().numpy()[image, 0, row, column]
        cells = np.stack((column, row), 1)
        votes, places = (heads.semantics[name].detach().cpu().numpy()[image, :, row, column] for name in self.semantic_heads)
        lane, count = self._lanes(image, cells, votes)
        order = np.argsort(lane, kind="stable")[(lane < 0).sum() :]  # key points without a lane come first
        numbers = np.bincount(lane[order], minlength=count)
        points = self._to_image(cells.astype(places.dtype) + places, image, metas)[order]
        ends = np.cumsum(numbers)
        lanes: list[list[Lane]] = [[] for _ in metas]
        for end, number in zip(ends, numbers):
            if number > self.min_points:
                members = slice(end - number, end)
                lanes[image[order[end - 1]]].append(Lane(points[members], scores[order[members]].mean()))
        return lanes

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """Of every cell, where its key point lies in it and where it votes for, in x and in y: (B, h w, 4)."""
        height, width = FRAME
        seen = height - rows_cut(height, self.crop_top, self.crop_height)
        cell = STRIDE * np.array([width / self.input_size[1], seen / self.input_size[0]])
        both = torch.cat([heads.semantics[name] for name in ("cell_offset", "start_offset")], 1)
        return (both * both.new_tensor(cell).repeat(2)[:, None, None]).flatten(2).transpose(1, 2)

    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """The probability of each cell's key point."""
        return reference.confidences["keypoint"].flatten(2).transpose(1, 2).expand(-1, -1, 4)

    def _key_points(self, probabilities: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, row and column of the key points of maps (B, 1, h, w), row by row."""
        cut = probabilities.clamp(LOWEST, 1 - LOWEST)
        kept = (F.max_pool2d(cut, (1, 3), 1, (0, 1)) == cut) & (cut > self.threshold)
        image, _, row, column = kept.cpu().numpy().nonzero()
        return image, row, column

    def _lanes(self, image: np.ndarray, cells: np.ndarray, votes: np.ndarray) -> tuple[np.ndarray, int]:
        """Group key points.

        Args:
            image: (N,) which image each is in, ascending.
            cells: (N, 2) column and row.
            votes: (N, 2) from there to the start, cells.

        Returns:
            (N,) the lane of each, counted over all images in their order, -1 for none; and the number of lanes.
        """
        (starts,) = np.nonzero(votes[:, 1] < self.start_reach)
        starts = starts[np.lexsort((cells[starts, 1], cells[starts, 0], image[starts]))]
        group = first_near_group(image[starts], cells[starts], self.radius)
        groups = np.zeros(image.max(initial=-1) + 1, np.int64)  # of each image
        np.maximum.at(groups, image[starts], group + 1)
        first = np.cumsum(groups) - groups
        group = group + first[image[starts]]
        count = int(groups.sum())
        members = np.bincount(group, minlength=count)
        centres = np.stack([np.bincount(group, cells[starts, axis], count) / members for axis in (0, 1)], 1)
        if self.whole:
            centres = np.trunc(centres)
        ends = cells + votes.astype(np.float64)
        lane, best = np.full(len(image), -1), np.full(len(image), np.inf)
        for turn in range(groups.max(initial=0)):
            (voting,) = np.nonzero(turn < groups[image])
            centre = first[image[voting]] + turn
            distance = np.square(ends[voting] - centres[centre]).sum(1)
            hit = (distance <= self.radius**2) & (distance < best[voting] if self.nearest else lane[voting] < 0)
            lane[voting[hit]], best[voting[hit]] = centre[hit], distance[hit]
        return lane, count

    def _to_image(self, cells: np.ndarray, image: np.ndarray, metas: list[dict]) -> np.ndarray:
        """Points (N, 2), cells of the network's input, to pixels of their original images."""
        height, width = np.array([meta["ori_shape"][:2] for meta in metas], np.float64).T
        top = np.array([rows_cut(rows, self.crop_top, self.crop_height) for rows in height])
        seen = np.stack((width, height - top), 1)
        # Multiplied before it is divided: what is whole in exact numbers must not be cut to one less.
        points = cells.astype(np.float64) * STRIDE * seen[image] / self.input_size[::-1]
        points[:, 1] += top[image]
        return np.trunc(points) if self.whole else points


def first_near_group(image: np.ndarray, cells: np.ndarray, radius: float) -> np.ndarray:
    """Group cells in their order: each joins the first group that has a member near to it, else it opens one.

    Groups never merge, also where a later cell is near to members of both; hence the order counts. All images take their
    next cell at once.

    Args:
        image: (N,) which image each cell is in, ascending.
        cells: (N, 2) column and row; no cell twice in an image.
        radius: Largest Euclidean distance that is near, cells.

    Returns:
        (N,) group of each, counted from 0 in each image.
    """
    group = np.zeros(len(cells), np.int64)
    if not len(cells):
        return group
    reach = int(radius)
    disc = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), -1).reshape(-1, 2)
    disc = disc[np.square(disc).sum(1) <= radius**2] + reach
    nothing = len(cells)
    columns, rows = cells.max(0) + 2 * reach + 1
    seen = np.full((image.max() + 1, rows, columns), nothing)  # group of each cell that has one
    groups = np.zeros(len(seen), np.int64)
    turn = np.arange(len(image)) - np.searchsorted(image, image)
    for now in np.split(np.argsort(turn, kind="stable"), np.cumsum(np.bincount(turn))[:-1]):
        where, (x, y) = image[now], cells[now].T
        found = seen[where[:, None], y[:, None] + disc[:, 1], x[:, None] + disc[:, 0]].min(1)
        opened = found == nothing
        found[opened] = groups[where[opened]]
        groups[where[opened]] += 1
        seen[where, y + reach, x + reach] = group[now] = found
    return group
