"""CondLaneNet's loss: where lanes begin, and what the kernels of their beginnings say of every row."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsf.models.layers.seeds import heat_of
from mmsf.models.losses.heat_map import focal_loss
from mmsf.models.losses.targets import visible_rows
from mmsf.registry import MODELS

STRIDE = 8  # pixels of the network's input that are one cell of a mask
HEAT_STRIDE = 16  # and of the heat map


@dataclass
class CondLaneTargets:
    """Targets of a batch of B images, padded to M lanes and to S seeds a lane, K = M S in all; seed k is of lane k // S.

    Attributes:
        heat: (B, 1, h, w), 1 in the cells where lanes begin and less around them.
        seeds: (B, K) int64, cells of the heat map (row * w + column), -1 for none. An image without lanes has one.
        x: (B, M, H), the lane's column in each row of the masks, cells.
        inside: (B, M, H), whether the lane reaches the row.
        reach: (B, M, H), how far from the lane its offset is learnt, cells.
    """

    heat: Tensor
    seeds: Tensor
    x: Tensor
    inside: Tensor
    reach: Tensor


@MODELS.register_module()
class CondLaneLoss(nn.Module):
    """Losses of CondLaneNet: a focal loss of the heat map, and of each seed's mask, offset map and rows.

    A lane is learnt at several seeds, the cell of its lower end and some around it, drawn by PyTorch's generator. An image
    without lanes has one seed anywhere, whose rows are all empty.

    Args:
        heat_weight: Weight of the heat map.
        location_weight: Weight of the distance between a mask's expected column and the lane's, cells.
        offset_weight: Weight of the offsets' errors, cells.
        range_weight: Weight of the rows' classes.
        radius: Of the spot in the heat map, cells; less where two lanes begin near to each other. The further seeds lie
            within half of it.
        seeds: Seeds a lane, at most.
        band: Width of the band along a lane in which its offset is learnt, across the lane, cells.

    Source:
        Liu et al., "CondLaneNet: a Top-to-down Lane Detection Framework Based on Conditional Convolution", 2021,
        section 3; weights, radius, seeds and band of its code.
    """

    def __init__(
        self,
        heat_weight: float = 1.0,
        location_weight: float = 1.0,
        offset_weight: float = 0.4,
        range_weight: float = 1.0,
        radius: int = 6,
        seeds: int = 5,
        band: float = 12.0,
    ) -> None:
        super().__init__()
        self.heat_weight = heat_weight
        self.location_weight = location_weight
        self.offset_weight = offset_weight
        self.range_weight = range_weight
        self.radius = radius
        self.seeds = seeds
        self.band = band

    def forward(self, raw: dict[str, Tensor], targets: CondLaneTargets) -> dict[str, Tensor]:
        """Losses.

        Args:
            raw: ``hm_logit``, ``seed_mask``, ``seed_reg`` and ``seed_range`` of `mmsf.models.CondLaneNet`, at the targets'
                seeds.
            targets: What `targets` gave for the batch.

        Returns:
            ``loss_heat``, ``loss_location``, ``loss_offset``, ``loss_range``.
        """
        image, slot = (targets.seeds >= 0).nonzero(as_tuple=True)
        lane = slot // self.seeds
        x, inside, reach = (values[image, lane] for values in (targets.x, targets.inside, targets.reach))  # (n, H)
        mask, offset, rows = (raw[name][image, slot] for name in ("seed_mask", "seed_reg", "seed_range"))
        columns = torch.arange(mask.shape[-1], dtype=mask.dtype, device=mask.device)
        # A cell's middle stands for it, half a cell to the right of its number.
        expected = (mask.softmax(-1) * columns).sum(-1) + 0.5
        distance = x[..., None] - columns  # (n, H, W)
        near = inside[..., None] & (distance.abs() <= reach[..., None])
        return {
            "loss_heat": self.heat_weight * focal_loss(heat_of(raw["hm_logit"]), targets.heat),
            "loss_location": self.location_weight * _mean_distance(expected, x, inside),
            "loss_offset": self.offset_weight * _mean_distance(offset, distance, near),
            "loss_range": self.range_weight * F.cross_entropy(rows, inside.long()),
        }

    def targets(self, lines: list[list[np.ndarray]], size: tuple[int, int], device: torch.device) -> CondLaneTargets:
        """Targets of a batch.

        Args:
            lines: For each image its lanes, (P, 2) in pixels of the network input; those that reach no row are left out.
            size: Height and width of the network input in pixels.
            device: Where the targets go.

        Returns:
            The targets.
        """
        height, width = (-(-side // STRIDE) for side in size)
        heat_size = tuple(-(-side // HEAT_STRIDE) for side in size)
        kept = [[found for line in image if (found := lane_rows(line, height, width))] for image in lines]
        lanes = max([*map(len, kept), 1])
        heat = np.zeros((len(kept), 1, *heat_size), np.float32)
        seeds = torch.full((len(kept), lanes, self.seeds), -1)
        x, inside, slope = (np.zeros((len(kept), lanes, height), kind) for kind in (np.float32, bool, np.float32))
        for index, image in enumerate(kept):
            if not image:
                seeds[index, 0, 0] = torch.randint(heat_size[0] * heat_size[1], ())
                continue
            ends, *rows = map(np.stack, zip(*image))
            for padded, values in zip((x, inside, slope), rows):
                padded[index, : len(image)] = values
            ends = ends * (STRIDE / HEAT_STRIDE)
            radii = spot_radii(ends, self.radius)
            heat[index, 0] = draw_spots(ends.astype(int), radii, heat_size)
            for lane, (end, radius) in enumerate(zip(ends.astype(int), radii)):
                cells = seed_cells(end, radius, self.seeds, heat_size)
                seeds[index, lane, : len(cells)] = cells
        # The band is `band` wide across the lane and so wider along a row; its outer sixth is left out where it is widest.
        reach = np.minimum(self.band / 2 * np.hypot(1, slope), self.band * 5 / 6).astype(np.float32)
        x, inside, reach, heat = (torch.from_numpy(values).to(device) for values in (x, inside, reach, heat))
        return CondLaneTargets(heat, seeds.flatten(1).to(device), x, inside, reach)

    def foreground(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Where labelled lanes are, by the loss's own rule: the cells in which they begin, and at the network's seeds the
        rows that they reach.

        Args:
            raw: ``hm_logit`` (B, 1, h, w), ``seeds`` (B, K), ``seed_mask`` (B, K, H, W).
            lines: Lanes of each image, (P, 2) in pixels of the network's input.
            size: Height and width of the network's input in pixels.

        Returns:
            ``heat`` (B, 1, h, w) and ``rows`` (B, K, H), 1 there, else 0. A seed is of the nearest lane if it lies in
            the spot that the lane's beginning has in the heat map.
        """
        heat = torch.zeros_like(raw["hm_logit"])
        rows = torch.zeros_like(raw["seed_mask"][..., 0])
        for index, image in enumerate(lines):
            found = [one for line in image if (one := lane_rows(line, *raw["seed_mask"].shape[-2:])) is not None]
            if not found:
                continue
            ends = torch.from_numpy(np.stack([end for end, *_ in found]) * (STRIDE / HEAT_STRIDE)).long().to(heat.device)
            inside = torch.from_numpy(np.stack([inside for _, _, inside, _ in found])).to(rows)
            heat[index, 0, ends[:, 1], ends[:, 0]] = 1
            seeds = raw["seeds"][index]
            cells = torch.stack((seeds % heat.shape[-1], seeds // heat.shape[-1]), 1)
            distance, nearest = torch.cdist(cells.float(), ends.float()).min(1)
            taken = (seeds >= 0) & (distance <= self.radius)
            rows[index, taken] = inside[nearest[taken]]
        return {"heat": heat, "rows": rows}


def lane_rows(points: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """A lane in the rows of a mask.

    Args:
        points: (P, 2) x, y in pixels of the network input, in any order.
        height: H, rows of the mask.
        width: W, columns of the mask.

    Returns:
        The lower end of the visible part (2,) and the lane's column in each row (H,), cells; whether the lane reaches the
        row (H,); columns a row that it goes aside (H,). None where no row is reached.
    """
    extent = (height - 1) * STRIDE, (width - 1) * STRIDE
    ends = visible_rows(points, extent, 2)
    if ends is None:
        return None
    (_, top), lower = ends * (width - 1, height - 1)
    order = np.argsort(points[:, 1], kind="stable")
    known_x, known_y = (np.asarray(points, np.float64)[order] / STRIDE).T
    rows = np.arange(height)
    x = np.interp(rows, known_y, known_x)
    inside = (rows >= top - 1e-6) & (rows <= lower[1] + 1e-6) & (x >= 0) & (x <= width - 1)
    slope = np.interp(rows + 0.5, known_y, known_x) - np.interp(rows - 0.5, known_y, known_x)
    return (lower, x, inside, slope) if inside.any() else None


def spot_radii(ends: np.ndarray, radius: int) -> np.ndarray:
    """Radii of spots in the heat map, less than ``radius`` where ends (N, 2), cells, are near to each other; (N,) int."""
    distances = np.linalg.norm(ends[:, None] - ends, axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(1)
    smaller = (np.maximum(nearest / 1.5, 1) + 0.49999).clip(max=radius).astype(int)
    return np.where(nearest < 1.5 * radius, smaller, radius)


def draw_spots(centres: np.ndarray, radii: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Gaussian spots, cut off beyond their radii, the larger one where two overlap.

    Args:
        centres: (N, 2) x, y, whole cells.
        radii: (N,), cells; a third of 2 r + 1 is two standard deviations.
        size: h and w of the heat map.

    Returns:
        (h, w).

    Source:
        Law and Deng, "CornerNet: Detecting Objects as Paired Keypoints", 2018, section 3.2; sizes as in its code.
    """
    dx = np.abs(np.arange(size[1]) - centres[:, 0, None])[:, None]
    dy = np.abs(np.arange(size[0]) - centres[:, 1, None])[:, :, None]
    radii = radii[:, None, None]
    spots = np.exp(-(dx**2 + dy**2) / (2 * ((2 * radii + 1) / 6) ** 2))
    return np.where(np.maximum(dx, dy) <= radii, spots, 0.0).max(0)


def seed_cells(end: np.ndarray, radius: int, count: int, size: tuple[int, int]) -> Tensor:
    """The cell of an end and some around it, drawn by PyTorch's generator.

    Args:
        end: x, y, whole cells.
        radius: Twice the distance within which the others lie, cells.
        count: Seeds, at most.
        size: h and w of the heat map.

    Returns:
        Up to ``count`` numbers of different cells (row * w + column), the end's first.
    """
    reach = max(radius // 2, 1)
    y, x = (np.arange(max(at - reach, 0), min(at + reach + 1, side)) for at, side in zip(end[::-1], size))
    distance = np.hypot(x - end[0], y[:, None] - end[1])
    cells = y[:, None] * size[1] + x
    around = torch.from_numpy(cells[(distance > 0) & (distance <= reach + 0.1)])
    drawn = around[torch.randperm(len(around))[: count - 1]]
    return torch.cat((torch.tensor([end[1] * size[1] + end[0]]), drawn))


def _mean_distance(values: Tensor, target: Tensor, taken: Tensor) -> Tensor:
    """Mean absolute difference where ``taken``; zero where nothing is."""
    return torch.where(taken, (values - target).abs(), 0.0).sum() / taken.sum().clamp(min=1)
