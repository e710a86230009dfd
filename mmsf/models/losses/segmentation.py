"""The loss of SCNN and RESA: every pixel has a class, every slot holds a lane or not."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsf.models.losses.lane_slots import slot_maps
from mmsf.registry import MODELS


@MODELS.register_module()
class SegmentationLoss(nn.Module):
    """Cross entropy of the pixels' classes, the background weighing less, and binary cross entropy of the slots' existence.

    Lanes are drawn as lines of constant width; which slot a lane takes follows from where it meets the bottom of the image
    (see `lane_slots`). No pixel is left out: the lanes do not say which pixels an augmentation has uncovered.

    Args:
        background_weight: Weight of background pixels; lane pixels weigh 1.
        existence_weight: Weight of the existence.
        line_width: Width of the lines, pixels of a CULane frame (1640 wide). 16 is CULane's own, 8 pixels of an input 800
            wide.
        map_size: Height and width of the map at which logits and lanes are compared, pixels; None: the network's input.

    Source:
        Pan et al., "Spatial As Deep: Spatial CNN for Traffic Scene Understanding", 2018; weights 0.4 and 0.1 of its code.
    """

    def __init__(
        self,
        background_weight: float = 0.4,
        existence_weight: float = 0.1,
        line_width: float = 16.0,
        map_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.background_weight = background_weight
        self.existence_weight = existence_weight
        self.line_width = line_width
        self.map_size = None if map_size is None else tuple(map_size)

    def forward(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Losses.

        Args:
            raw: ``out`` (B, 1 + slots, h, w) class logits, class 0 being the background; ``lane`` (B, slots) logits.
            lines: Lanes of each image, (P, 2) in pixels of the network's input.
            size: Height and width of the network's input in pixels.

        Returns:
            ``loss_segmentation``, ``loss_existence``.
        """
        logits, lane = raw["out"], raw["lane"]
        map_size = self.map_size or tuple(size)
        maps, existence = slot_maps(lines, size, map_size, lane.shape[1], self.line_width)
        if logits.shape[-2:] != map_size:
            logits = F.interpolate(logits, map_size, mode="bilinear", align_corners=True)
        weights = logits.new_ones(logits.shape[1])
        weights[0] = self.background_weight
        labels = torch.from_numpy(maps).to(logits.device).long()
        held = torch.from_numpy(existence).to(lane.device)
        return {
            "loss_segmentation": F.cross_entropy(logits, labels, weights),
            "loss_existence": self.existence_weight * F.binary_cross_entropy_with_logits(lane, held),
        }

    def foreground(self, raw: dict[str, Tensor], lines: list[list], size: tuple[int, int]) -> dict[str, Tensor]:
        """Where labelled lanes are, by the loss's own rule: the pixels that their lines cover, and the slots that they take.

        Args:
            raw: ``out`` (B, 1 + slots, h, w) and ``lane`` (B, slots).
            lines: Lanes of each image, (P, 2) in pixels of the network's input.
            size: Height and width of the network's input in pixels.

        Returns:
            ``foreground`` (B, 1, h, w) and ``existence`` (B, slots), 1 there, else 0.
        """
        maps, existence = slot_maps(lines, size, tuple(raw["out"].shape[-2:]), raw["lane"].shape[1], self.line_width)
        covered = torch.from_numpy(maps > 0)[:, None]
        return {"foreground": covered.to(raw["out"]), "existence": torch.from_numpy(existence).to(raw["lane"])}
