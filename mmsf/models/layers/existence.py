"""Heads that say which lane slots of a segmentation hold a lane."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmsf.models.layers.upsampling import RESA_EPS


class LaneExistence(nn.Module):
    """SCNN's: class probabilities of every cell, pooled by two, then two linear layers.

    Args:
        num_classes: Classes of a cell: the background and one a slot.
        map_size: Height and width of the map of logits, cells. The first linear layer is bound to it.
        hidden_channels: Width between the linear layers.

    Source:
        Pan et al., "Spatial As Deep: Spatial CNN for Traffic Scene Understanding", 2018.
    """

    def __init__(self, num_classes: int, map_size: tuple[int, int], hidden_channels: int = 128) -> None:
        super().__init__()
        self.linear1 = nn.Linear(num_classes * (map_size[0] // 2) * (map_size[1] // 2), hidden_channels)
        self.linear2 = nn.Linear(hidden_channels, num_classes - 1)

    def forward(self, logits: Tensor) -> Tensor:
        """Logits of the cells' classes (B, K, h, w) to logits of the slots' existence (B, K - 1)."""
        pooled = F.avg_pool2d(logits.softmax(1), 2)
        return self.linear2(self.linear1(pooled.flatten(1)).relu())


class ConvolutionalLaneExistence(LaneExistence):
    """pytorch-auto-drive's for RESA: it classifies the cells itself, from the aggregated features.

    Args:
        in_channels: Channels of the features.
        num_classes: As `LaneExistence`.
        map_size: As `LaneExistence`.
        channels: Channels of the dilated convolution.
        dropout: Rate at which its channels are dropped.
    """

    def __init__(
        self, in_channels: int, num_classes: int, map_size: tuple[int, int], channels: int = 32, dropout: float = 0.1
    ) -> None:
        super().__init__(num_classes, map_size)
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=4, dilation=4, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=RESA_EPS)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) to logits of the slots' existence (B, K - 1)."""
        return super().forward(self.classifier(self.dropout(self.bn(self.conv(features)).relu())))
