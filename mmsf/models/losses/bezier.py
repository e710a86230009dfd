"""BezierLaneNet's loss: columns are matched to lanes one to one, then their curves are pulled towards them."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from mmsf.models.losses.bezier_curve import BezierSampler, fit_bezier
from mmsf.models.losses.drawing import draw_lines
from mmsf.models.losses.targets import LaneTargets, lane_targets
from mmsf.registry import MODELS


def lane_mask(targets: LaneTargets, size: tuple[int, int], line_width: float) -> np.ndarray:
    """Draw the lanes of a batch.

    Args:
        targets: Lanes.
        size: Height and width of the mask, pixels.
        line_width: Width of the lines, see `draw_lines`.

    Returns:
        (B, H, W) uint8, 1 on lanes.
    """
    mask = np.zeros((len(targets.counts), *size), np.uint8)
    # A pixel's middle is at a whole number for OpenCV, and at a half where lanes are measured from the image's border.
    points = targets.points.numpy() * size[::-1] - 0.5
    for picture, lanes, count in zip(mask, points, targets.counts):
        draw_lines(picture, lanes[:count], np.ones(count, np.uint8), line_width)
    return mask


@MODELS.register_module()
class BezierLaneNetLoss(nn.Module):
    """Hungarian matching and losses of BezierLaneNet.

    A pair's score, which the matching maximises in sum, is the product of the column's lane probability and the curves'
    nearness, each to a power; it is 0 for a column that is no local maximum of the probability. Matched columns are lanes,
    the others are none.

    Args:
        curve_weight: Weight of the distance of the curves: L1 in x and y, normalised, mean over points.
        label_weight: Weight of the binary cross entropy of the columns.
        segmentation_weight: Weight of the binary cross entropy of the lane map.
        positive_weight: Weight of a lane's column or pixel against another's, in both cross entropies.
        nearness_power: Power of the nearness in the score; the probability has 1 less this.
        window: Columns among which a local maximum is looked for, the first one of equals. Odd; as the adapter's.
        points: Points at which curves are compared.
        line_width: Width of the lanes in the lane map, pixels of a CULane frame (1640 wide).

    Source:
        Feng et al., "Rethinking Efficient Lane Detection via Curve Modeling", 2022; weights of its code, pytorch-auto-drive.
        CULane's lane maps have lines of 16 pixels.
    """

    def __init__(
        self,
        curve_weight: float = 1.0,
        label_weight: float = 0.1,
        segmentation_weight: float = 0.75,
        positive_weight: float = 2.5,
        nearness_power: float = 0.8,
        window: int = 9,
        points: int = 100,
        line_width: float = 16.0,
    ) -> None:
        super().__init__()
        self.curve_weight = curve_weight
        self.label_weight = label_weight
        self.segmentation_weight = segmentation_weight
        self.positive_weight = positive_weight
        self.nearness_power = nearness_power
        self.window = window
        self.points = points
        self.line_width = line_width
        self.sample = BezierSampler(points)

    def forward(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Losses.

        Args:
            raw: ``logits`` (B, Q), ``curves`` (B, Q, 4, 2) and ``segmentations`` (B, 1, h, w).
            lines: Lanes of each image, (P, 2) in pixels of the network input.
            size: Height and width of the network input in pixels.

        Returns:
            ``loss_curve``, ``loss_label`` and ``loss_segmentation``.
        """
        lanes = lane_targets(lines, size, self.points, torch.device("cpu"))
        mask = torch.from_numpy(lane_mask(lanes, size, self.line_width)).to(raw["logits"].device)
        targets = self.sample(self.control_points(lanes, size).to(raw["logits"].device))
        samples = self.sample(raw["curves"])
        image, column, lane = self.match(raw["logits"], samples, targets, lanes.counts)
        labels = torch.zeros_like(raw["logits"])
        labels[image, column] = 1
        distance = (samples[image, column] - targets[image, lane]).abs().sum((1, 2)) / self.points
        segmentations = F.interpolate(raw["segmentations"], size, mode="bilinear", align_corners=True)[:, 0]
        return {
            "loss_curve": self.curve_weight * distance.sum() / max(len(image), 1),
            "loss_label": self.label_weight * self._cross_entropy(raw["logits"], labels),
            "loss_segmentation": self.segmentation_weight * self._cross_entropy(segmentations, mask.float()),
        }

    @torch.no_grad()
    def foreground(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Where labelled lanes are, by the loss's own rule: the columns that they are matched to.

        Args:
            raw: ``logits`` (B, Q) and ``curves`` (B, Q, 4, 2).
            lines: Lanes of each image, (P, 2) in pixels of the network's input.
            size: Height and width of the network's input in pixels.

        Returns:
            ``lane`` (B, Q), 1 in these columns, else 0.
        """
        lanes = lane_targets(lines, size, self.points, torch.device("cpu"))
        targets = self.sample(self.control_points(lanes, size).to(raw["logits"].device))
        image, column, _ = self.match(raw["logits"], self.sample(raw["curves"]), targets, lanes.counts)
        mask = torch.zeros_like(raw["logits"])
        mask[image, column] = 1
        return {"lane": mask}

    def control_points(self, lanes: LaneTargets, size: tuple[int, int]) -> Tensor:
        """Control points of the curves that are nearest to lanes in pixels.

        Args:
            lanes: Lanes, on the processor.
            size: Height and width of the network input in pixels.

        Returns:
            (B, M, 4, 2) normalised, from the bottom of the image upwards; zeros beyond an image's count.
        """
        present = np.arange(lanes.points.shape[1]) < np.array(lanes.counts)[:, None]
        pixels = np.array(size[::-1], np.float64)
        control = np.zeros((*present.shape, 4, 2), np.float32)
        control[present] = fit_bezier(lanes.points.numpy()[present][:, ::-1] * pixels) / pixels
        return torch.from_numpy(control)

    @torch.no_grad()
    def match(self, logits: Tensor, samples: Tensor, targets: Tensor, counts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of largest score.

        Args:
            logits: (B, Q).
            samples: (B, Q, R, 2) points of the predicted curves, normalised.
            targets: (B, M, R, 2) points of the lanes, normalised.
            counts: Lanes of each image.

        Returns:
            Image, column and lane index of each pair.
        """
        probability = logits.sigmoid()
        _, best = F.max_pool1d(probability[:, None], self.window, 1, self.window // 2, return_indices=True)
        is_maximum = best[:, 0] == torch.arange(logits.shape[1], device=logits.device)
        distance = torch.cdist(samples.flatten(2), targets.flatten(2), p=1) / samples.shape[2]
        nearness = (1 - distance).clamp(0, 1) ** self.nearness_power
        score = (is_maximum * probability ** (1 - self.nearness_power))[..., None] * nearness
        score = score.cpu().numpy()
        triples = []
        for image, count in enumerate(counts):
            pairs = linear_sum_assignment(score[image, :, :count], maximize=True)
            triples += [(image, column, lane) for column, lane in zip(*pairs)]
        triples = torch.tensor(triples, dtype=torch.long, device=logits.device).reshape(-1, 3)
        return triples[:, 0], triples[:, 1], triples[:, 2]

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean binary cross entropy in which positives count 1 and negatives 1 / ``positive_weight``."""
        weight = logits.new_tensor(self.positive_weight)
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight) / self.positive_weight
