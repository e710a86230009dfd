"""The loss on decoded lanes: the matched part of the Lane Distortion Score inside tuning."""

import math

import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.errors import UserError
from mmsf.reconstruction.selective_focus import SelectiveFocusLoss
from mmsf.registry import MODELS


@MODELS.register_module()
class DecodedLaneLoss(SelectiveFocusLoss):
    """Distance of the decoded lanes, weighted by confidence, plus Eq. 6's confidence term and a share of its semantic one.

    Errors that cancel in the lane cost nothing here; a loss on heads cannot see that. With an adapter that has no points it
    is `SelectiveFocusLoss`.

    Args:
        lane_weight: Weight of the lanes' distance.
        semantic_weight: Weight of Eq. 6's semantic term over the selected heads.
        match_distance: Pixels of a 1640 x 590 frame that are one unit of distance, as in `DistortionRule`.
        bend: Units; a distance below it counts by its square, so that gradients fade where lanes agree, one far above it by
            its logarithm: a lane that has jumped away must not outweigh those that can be mended. (In Eq. 2 it counts a
            constant.)
        **settings: As `SelectiveFocusLoss`.

    Source:
        Selective Focus, Eq. 2 (its matched part) and Eq. 6.
    """

    def __init__(
        self,
        lane_weight: float = 1.0,
        semantic_weight: float = 0.0,
        match_distance: float = 30.0,
        bend: float = 0.3,
        **settings,
    ) -> None:
        super().__init__(**settings)
        if not (0 < match_distance < math.inf and 0 < bend < math.inf):
            raise UserError(f"DecodedLaneLoss: match_distance and bend must be positive; got {match_distance} and {bend}")
        self.lane_weight, self.semantic_weight = lane_weight, semantic_weight
        self.match_distance, self.bend = match_distance, bend

    def lane_error(self, adapter: Adapter, target: HeadOutputs, output: HeadOutputs) -> Tensor:
        """Mean distance of the lanes, weighted by the float model's confidence, in match distances; scalar.

        Where several processes share a batch, the mean of theirs is that of the whole batch.
        """
        weights = adapter.point_weights(target)
        moved = (adapter.points(output, target) - adapter.points(target, target)) / self.match_distance
        huber = F.huber_loss(moved, moved.new_zeros(()).expand_as(moved), reduction="none", delta=self.bend) / self.bend
        total = weights.sum()
        all_reduce(total, "mean")
        return (weights * huber.log1p()).sum() / total.clamp(min=1.0 / get_world_size())

    def forward(self, adapter: Adapter, target: HeadOutputs, output: HeadOutputs, head_weights: Tensor) -> dict[str, Tensor]:
        """Losses by name, as `SelectiveFocusLoss.forward`, and ``loss_lanes``."""
        losses = super().forward(adapter, target, output, head_weights)
        if not adapter.has_points:
            return losses
        for name in adapter.semantic_heads:
            losses[f"loss_{name}"] = self.semantic_weight * losses[f"loss_{name}"]
        losses["loss_lanes"] = self.lane_weight * self.lane_error(adapter, target, output)
        return losses
