"""GANet's loss: key points, where they lie in their cells, where their lanes start, and where features are read."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from mmsf.models.layers.seeds import heat_of
from mmsf.models.losses.heat_map import focal_loss, gaussian_heat_map
from mmsf.models.losses.targets import visible_rows
from mmsf.registry import MODELS

STRIDE = 8  # pixels of the network's input that are one cell


@dataclass
class KeyPoints:
    """Labelled key points of a batch; of several in one cell the one that was drawn last.

    Attributes:
        image: (N,) which image each is in.
        cells: (N, 2) column and row of its cell.
        inside: (N, 2) dx and dy from the cell's corner, cells.
        to_start: (N, 2) dx and dy to the start of its lane, cells.
        weights: (N,) weight of ``to_start``.
        start_image: (M,) which image each lane is in.
        start_cells: (M, 2) column and row of the cell it starts in.
    """

    image: np.ndarray
    cells: np.ndarray
    inside: np.ndarray
    to_start: np.ndarray
    weights: np.ndarray
    start_image: np.ndarray
    start_cells: np.ndarray


def lanes_in_cells(lines: list[list], size: tuple[int, int], count: int) -> tuple[np.ndarray, ...]:
    """Resample the visible part of every lane of a batch at evenly spaced rows.

    Args:
        lines: Lanes of each image, (P, 2) in pixels of the network input.
        size: Height and width of the network input in pixels.
        count: Points a lane.

    Returns:
        (M,) the image of each lane, and (M, count, 2) x and y of its points in cells, bottom-up.
    """
    found = [
        (i, rows) for i, image in enumerate(lines) for line in image if (rows := visible_rows(line, size, count)) is not None
    ]
    image = np.array([index for index, _ in found], np.int64)
    points = np.array([rows[::-1] for _, rows in found]).reshape(-1, count, 2)
    return image, points * np.array(size[::-1]) / STRIDE


def cells_of(points: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """Column and row of the cells that points (..., 2) lie in; those on the right and lower border are in the last ones."""
    return np.minimum(points.astype(np.int64), np.array(cells[::-1]) - 1)


def key_points(lines: list[list], size: tuple[int, int], cells: tuple[int, int], count: int) -> KeyPoints:
    """Key points of a batch.

    A point's way to its start weighs 1; 0.4 in lanes that are so flat that it is twice their height in whole cells. (The
    third weight of the authors' code, 0.2 for points below their start, has no use with starts at the lower end.)

    Args:
        lines: Lanes of each image, (P, 2) in pixels of the network input.
        size: Height and width of the network input in pixels.
        cells: Rows and columns of the map.
        count: Key points a lane, before those in one cell are merged.
    """
    lane_image, points = lanes_in_cells(lines, size, count)
    places = cells_of(points, cells)
    to_start = points[:, :1] - points
    height = np.floor(to_start[:, -1:, 1])
    weights = np.where(to_start[..., 1] < 2 * height, 1.0, 0.4).ravel()
    image, flat = np.repeat(lane_image, count), places.reshape(-1, 2)
    number = (image * cells[0] + flat[:, 1]) * cells[1] + flat[:, 0]
    last = len(number) - 1 - np.unique(number[::-1], return_index=True)[1]
    return KeyPoints(
        image=image[last],
        cells=flat[last],
        inside=(points - places).reshape(-1, 2)[last],
        to_start=to_start.reshape(-1, 2)[last],
        weights=weights[last],
        start_image=lane_image,
        start_cells=places[:, 0],
    )


def match_points(points: Tensor, lane: Tensor) -> Tensor:
    """Give every point that a cell reads a point of its lane, no lane's point twice, at the least sum of squared distances.

    Args:
        points: (N, K, 2).
        lane: (N, L, 2), L at least K.

    Returns:
        (N, K) the lane's point of each.
    """
    cost = (points[:, :, None] - lane[:, None]).square().sum(-1).cpu().numpy()
    chosen = np.array([linear_sum_assignment(one)[1] for one in cost], np.int64).reshape(points.shape[:2])
    return torch.from_numpy(chosen).to(points.device)


@MODELS.register_module()
class GANetLoss(nn.Module):
    """Focal loss of the key points' heat map, L1 of the offsets at key points, smooth L1 of the aggregation's points.

    Each cell that a lane crosses reads features at some points; they are matched one to one with points of that lane, as
    whole cells, and pulled towards them. The loss is the mean over the points that are matched.

    Args:
        key_point_weight: Weight of the key points' heat map.
        start_weight: Weight of the starts' heat map; at 0, as the authors train, it is left out.
        inside_weight: Weight of ``int_offset``.
        to_start_weight: Weight of ``pts_offset``.
        aggregation_weight: Weight of the points that the aggregation reads.
        key_points: Points of a lane that are key points, at evenly spaced rows.
        lane_points: Points of a lane that the aggregation's points are matched to.
        key_point_radius: Cells around a key point that its bump in the heat map covers.
        start_radius: The same of a start.
        beta: Where the smooth L1 turns linear, cells.

    Source:
        Wang et al., "A Keypoint-based Global Association Network for Lane Detection", 2022, sections 3.2 to 3.4; numbers of
        its code for CULane.
    """

    def __init__(
        self,
        key_point_weight: float = 1.0,
        start_weight: float = 0.0,
        inside_weight: float = 1.0,
        to_start_weight: float = 0.5,
        aggregation_weight: float = 0.2,
        key_points: int = 45,
        lane_points: int = 41,
        key_point_radius: int = 2,
        start_radius: int = 4,
        beta: float = 1 / 9,
    ) -> None:
        super().__init__()
        self.key_point_weight = key_point_weight
        self.start_weight = start_weight
        self.inside_weight = inside_weight
        self.to_start_weight = to_start_weight
        self.aggregation_weight = aggregation_weight
        self.key_points = key_points
        self.lane_points = lane_points
        self.key_point_radius = key_point_radius
        self.start_radius = start_radius
        self.beta = beta

    def forward(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Losses.

        Args:
            raw: `GANet`'s outputs in training, maps (B, C, h, w).
            lines: Lanes of each image, (P, 2) in pixels of the network input.
            size: Height and width of the network input in pixels.

        Returns:
            ``loss_key_point``, ``loss_inside``, ``loss_to_start``, ``loss_aggregation``, and ``loss_start`` if its weight
            is not 0.
        """
        logits = raw["kpts_hm_logit"]
        shape = len(lines), *logits.shape[-2:]
        labels = key_points(lines, size, shape[1:], self.key_points)
        heat = gaussian_heat_map(labels.image, labels.cells, self.key_point_radius, shape)
        inside, to_start, weights = (
            torch.as_tensor(target, dtype=logits.dtype, device=logits.device)
            for target in (labels.inside, labels.to_start, labels.weights)
        )
        number = max(len(weights), 1)
        missed_inside = (at_cells(raw["int_offset"], labels.image, labels.cells) - inside).abs().sum()
        missed_start = weights @ (at_cells(raw["pts_offset"], labels.image, labels.cells) - to_start).abs().sum(1)
        losses = {
            "loss_key_point": self.key_point_weight * focal_loss(heat_of(logits), torch.from_numpy(heat).to(logits)),
            # The authors' counts: cells here, and cells times two numbers there.
            "loss_inside": self.inside_weight * missed_inside / number,
            "loss_to_start": self.to_start_weight * missed_start / (2 * number),
            "loss_aggregation": self.aggregation_weight * self._aggregation(raw["deform_points0"], lines, size),
        }
        if self.start_weight:
            starts = gaussian_heat_map(labels.start_image, labels.start_cells, self.start_radius, shape)
            loss = focal_loss(heat_of(raw["cpts_hm_logit"]), torch.from_numpy(starts).to(logits))
            losses["loss_start"] = self.start_weight * loss
        return losses

    def foreground(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Where labelled lanes are, by the loss's own rule: the cells of their key points.

        Args:
            raw: ``kpts_hm_logit`` (B, 1, h, w).
            lines: Lanes of each image, (P, 2) in pixels of the network's input.
            size: Height and width of the network's input in pixels.

        Returns:
            ``keypoint`` (B, 1, h, w), 1 in these cells, else 0.
        """
        mask = torch.zeros_like(raw["kpts_hm_logit"])
        labels = key_points(lines, size, tuple(mask.shape[-2:]), self.key_points)
        image, column, row = map(torch.from_numpy, (labels.image, *labels.cells.T))
        mask[image, 0, row, column] = 1
        return {"keypoint": mask}

    def _aggregation(self, offsets: Tensor, lines: list[list], size: tuple[int, int]) -> Tensor:
        """Smooth L1 of points (B, 2K, h, w), dy and dx from their cells, against the lanes through these cells."""
        cells = tuple(offsets.shape[-2:])
        lane_image, points = lanes_in_cells(lines, size, self.lane_points)
        lanes = cells_of(points, cells)  # (M, L, 2)
        image, places = np.repeat(lane_image, self.lane_points), lanes.reshape(-1, 2)
        read = at_cells(offsets, image, places).unflatten(1, (-1, 2)).flip(-1)  # (N, K, 2), dx and dy
        whole = torch.from_numpy(lanes).to(offsets)
        # Both from the reading cell.
        targets = (whole[:, None] - whole[:, :, None]).flatten(0, 1)  # (N, L, 2)
        chosen = match_points(read.detach(), targets)
        matched = targets.gather(1, chosen[..., None].expand(-1, -1, 2))
        return F.smooth_l1_loss(read, matched, beta=self.beta, reduction="sum") / max(read.numel(), 1)


def at_cells(maps: Tensor, image: np.ndarray, cells: np.ndarray) -> Tensor:
    """Numbers of maps (B, C, h, w) at N cells: images (N,), columns and rows (N, 2). Returns (N, C)."""
    image, column, row = (torch.from_numpy(index).to(maps.device) for index in (image, cells[:, 0], cells[:, 1]))
    return maps[image, :, row, column]
