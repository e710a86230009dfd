"""LSTR's loss: queries are matched to lanes one to one, then pulled towards them."""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from mmsf.models.losses.targets import LaneTargets, lane_targets
from mmsf.registry import MODELS

# Rows nearer to the curve's pole than this are evaluated at this distance, which keeps losses and gradients finite.
_POLE_MARGIN = 1e-2


def curve_x(curves: Tensor, y: Tensor) -> Tensor:
    """x of curves at rows, normalised (Liu et al. 2021, Eq. 6).

    Args:
        curves: (..., 8) curve numbers.
        y: Rows that broadcast to (...).

    Returns:
        x, (...).
    """
    _, _, k, f, m, n, b, c = curves.unbind(-1)
    distance = y - f
    near = distance.abs() < _POLE_MARGIN
    distance = torch.where(near, torch.where(distance < 0, -_POLE_MARGIN, _POLE_MARGIN), distance)
    return k / distance**2 + m / distance + n + b * y - c


@MODELS.register_module()
class LSTRLoss(nn.Module):
    """Hungarian matching and losses of LSTR, for every decoder layer.

    Cost of a pair and its loss are the same weighted sum: label (minus the lane's probability in the cost, cross entropy in
    the loss), mean distance in x over the lane's rows, distance of the upper and of the lower end. Lengths are normalised.

    Args:
        label_weight: Weight of the label.
        curve_weight: Weight of the distance in x.
        end_weight: Weight of each end.
        rows: Rows at which a lane is compared.
        upper_first: The first curve number is the upper end; False for the order of the authors' CULane weights.

    Source:
        Liu et al., "End-to-end Lane Shape Prediction with Transformers", 2021, section 3.3; weights 3, 5, 2 of its code.
    """

    def __init__(
        self,
        label_weight: float = 3.0,
        curve_weight: float = 5.0,
        end_weight: float = 2.0,
        rows: int = 36,
        upper_first: bool = True,
    ) -> None:
        super().__init__()
        self.label_weight = label_weight
        self.curve_weight = curve_weight
        self.end_weight = end_weight
        self.rows = rows
        self.upper_first = upper_first

    def forward(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Losses.

        Args:
            raw: ``logits`` (B, Q, K) and ``curves`` (B, Q, 8), and the same of earlier layers with the prefix ``aux<i>.``.
            lines: Lanes of each image, (P, 2) in pixels of the network input.
            size: Height and width of the network input in pixels.

        Returns:
            ``loss_label``, ``loss_curve``, ``loss_upper``, ``loss_lower``, and the same of earlier layers with their prefix.
        """
        targets = lane_targets(lines, size, self.rows, raw["curves"].device)
        losses = {}
        for prefix in sorted({name.removesuffix("logits") for name in raw if name.endswith("logits")}):
            layer = self._layer(raw[f"{prefix}logits"], raw[f"{prefix}curves"], targets)
            losses.update({f"{prefix}loss_{name}": value for name, value in layer.items()})
        return losses

    def _distances(self, curves: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean distance in x, and of the ends: curves (..., 8) against points (..., R, 2), each (...)."""
        x = curve_x(curves[..., None, :], points[..., 1])
        upper, lower = (0, 1) if self.upper_first else (1, 0)
        return (
            (x - points[..., 0]).abs().mean(-1),
            (curves[..., upper] - points[..., 0, 1]).abs(),
            (curves[..., lower] - points[..., -1, 1]).abs(),
        )

    @torch.no_grad()
    def match(self, logits: Tensor, curves: Tensor, targets: LaneTargets) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of least cost.

        Args:
            logits: (B, Q, K).
            curves: (B, Q, 8).
            targets: Lanes.

        Returns:
            Image, query and lane index of each pair.
        """
        x, upper, lower = self._distances(curves[:, :, None], targets.points[:, None])
        cost = self.curve_weight * x + self.end_weight * (upper + lower)
        cost = (cost - self.label_weight * logits.softmax(-1)[..., 1:2]).cpu().numpy()
        triples = []
        for image, count in enumerate(targets.counts):
            triples += [(image, q, m) for q, m in zip(*linear_sum_assignment(cost[image, :, :count]))]
        pairs = torch.tensor(triples, dtype=torch.long, device=logits.device).reshape(-1, 3)
        return pairs[:, 0], pairs[:, 1], pairs[:, 2]

    def foreground(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Where labelled lanes are, by the loss's own rule: the queries that they are matched to.

        Args:
            raw: ``logits`` (B, Q, K) and ``curves`` (B, Q, 8).
            lines: Lanes of each image, (P, 2) in pixels of the network's input.
            size: Height and width of the network's input in pixels.

        Returns:
            ``lane`` (B, Q, K - 1), 1 in the first class of these queries, else 0.
        """
        targets = lane_targets(lines, size, self.rows, raw["curves"].device)
        image, query, _ = self.match(raw["logits"], raw["curves"], targets)
        mask = torch.zeros_like(raw["logits"][..., 1:])
        mask[image, query, 0] = 1
        return {"lane": mask}

    def _layer(self, logits: Tensor, curves: Tensor, targets: LaneTargets) -> dict[str, Tensor]:
        image, query, lane = self.match(logits, curves, targets)
        labels = torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)
        labels[image, query] = 1
        x, upper, lower = self._distances(curves[image, query], targets.points[image, lane])
        pairs = max(len(image), 1)
        return {
            "label": self.label_weight * F.cross_entropy(logits.flatten(0, 1), labels.flatten()),
            "curve": self.curve_weight * x.sum() / pairs,
            "upper": self.end_weight * upper.sum() / pairs,
            "lower": self.end_weight * lower.sum() / pairs,
        }
