"""LaneATT's loss: anchors near a lane are taught to be it, anchors far from all lanes to be none."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsf.models.losses.row_targets import anchor_distances, row_targets
from mmsf.registry import MODELS


@MODELS.register_module()
class LaneATTLoss(nn.Module):
    """Focal loss of the lane probability, smooth L1 loss of length and x-positions.

    An anchor is positive if its mean distance to a lane, over the rows of both, is below ``positive_distance``, and then
    belongs to the nearest lane; it is negative if it is farther than ``negative_distance`` from all lanes. The others are
    left out, unless no anchor of the image is positive: then all are negative. Positives learn the lane's x from their own
    start up to the lane's end, which also says their length. The label's loss is summed and divided by the number of
    positives, the others are means over length and all rows of the positives; rows beyond count as exact. Every image
    weighs the same.

    Args:
        label_weight: Weight of the focal loss.
        regression_weight: Weight of the smooth L1 loss, whose unit is the pixel and the row.
        alpha: Factor of the focal loss, of both classes.
        gamma: Its exponent.
        positive_distance: In pixels of an input ``reference_width`` wide; scaled with the width.
        negative_distance: The same.
        reference_width: Pixels.

    Source:
        Tabelini et al., "Keep your Eyes on the Lane: Real-time Attention-guided Lane Detection", 2021, sections 3.5 and
        3.6; numbers of its code. As in pytorch-auto-drive, all anchors are trained, not those that survive suppression.
    """

    def __init__(
        self,
        label_weight: float = 10.0,
        regression_weight: float = 1.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        positive_distance: float = 15.0,
        negative_distance: float = 20.0,
        reference_width: int = 640,
    ) -> None:
        super().__init__()
        self.label_weight = label_weight
        self.regression_weight = regression_weight
        self.alpha = alpha
        self.gamma = gamma
        self.positive_distance = positive_distance
        self.negative_distance = negative_distance
        self.reference_width = reference_width

    def forward(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Losses.

        Args:
            raw: ``logits`` (B, N, 2), ``offsets`` (B, N, R), ``lengths`` (B, N) and ``starts`` (B, N) as of `LaneATT`, and
                ``anchor_xs`` (N, R), the anchors' x-positions in pixels of the network's input.
            lines: Lanes of each image, (P, 2) in pixels of the network's input.
            size: Height and width of the network's input in pixels.

        Returns:
            ``loss_label``, ``loss_length`` and ``loss_offsets``.
        """
        batch, _, rows = raw["offsets"].shape
        targets = row_targets(lines, size, rows, raw["offsets"].device)
        anchor_first = (raw["starts"][0] * (rows - 1)).round().long()
        nearest, lane = F.pad(anchor_distances(raw["anchor_xs"], anchor_first, targets), (0, 1), value=torch.inf).min(-1)
        scale = size[1] / self.reference_width
        positive = nearest < self.positive_distance * scale
        counts = positive.sum(-1)
        counted = positive | (nearest > self.negative_distance * scale) | (counts == 0)[:, None]
        # What an image's positives are divided by, and the images.
        share = 1 / (counts.clamp(min=1) * batch)
        label = (self._focal(raw["logits"], positive) * counted).sum(-1) @ share

        image, anchor = positive.nonzero(as_tuple=True)
        lane, first = lane[image, anchor], anchor_first[anchor]
        last = targets.last[image, lane]
        row = torch.arange(rows, device=first.device)
        taught = (row >= first[:, None]) & (row <= last[:, None])
        share = share[image] / (1 + rows)
        apart = F.smooth_l1_loss(raw["offsets"][image, anchor], targets.xs[image, lane], reduction="none")
        longer = F.smooth_l1_loss(raw["lengths"][image, anchor], (last - first + 1).float(), reduction="none")
        return {
            "loss_label": self.label_weight * label,
            "loss_length": self.regression_weight * (longer @ share),
            "loss_offsets": self.regression_weight * ((apart * taught).sum(-1) @ share),
        }

    def foreground(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Where labelled lanes are, by the loss's own rule: the anchors near to them.

        Args:
            raw: As in `forward`.
            lines: Lanes of each image, (P, 2) in pixels of the network's input.
            size: Height and width of the network's input in pixels.

        Returns:
            ``lane`` (B, N), 1 for the positive anchors, else 0.
        """
        rows = raw["offsets"].shape[-1]
        targets = row_targets(lines, size, rows, raw["offsets"].device)
        distances = anchor_distances(raw["anchor_xs"], (raw["starts"][0] * (rows - 1)).round().long(), targets)
        near = distances < self.positive_distance * size[1] / self.reference_width
        return {"lane": near.any(-1).to(raw["offsets"])}

    def _focal(self, logits: Tensor, positive: Tensor) -> Tensor:
        """Focal loss (Lin et al. 2017, Eq. 4) of logits (B, N, 2) whose class is ``positive`` (B, N)."""
        log_probability = logits.log_softmax(-1).gather(-1, positive.long()[..., None])[..., 0]
        return -self.alpha * (1 - log_probability.exp()) ** self.gamma * log_probability
