"""The feature pyramid of the OpenMMLab lane detectors, with mmdet's key names."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class PlainConv(nn.Module):
    """A biased convolution, its key one level down (``<name>.conv.weight``) as mmcv's ConvModule has it; no norm, no ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel, pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        return self.conv(features)


class FPN(nn.Module):
    """1x1 laterals, coarser levels added to finer ones by nearest up-sampling, and a 3x3 convolution of every sum.

    Args:
        in_channels: Channels of the levels, finest first.
        channels: Channels of every output.

    Source:
        Lin et al., "Feature Pyramid Networks for Object Detection", 2017.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(PlainConv(width, channels, 1) for width in in_channels)
        self.fpn_convs = nn.ModuleList(PlainConv(channels, channels, 3) for _ in in_channels)

    def merge(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Levels [(B, C_i, H_i, W_i)], finest first, to the sums [(B, channels, H_i, W_i)] before the 3x3 convolutions."""
        sums = [lateral(level) for lateral, level in zip(self.lateral_convs, levels, strict=True)]
        for fine in range(len(sums) - 2, -1, -1):
            # To the finer level's size and not by a factor of 2, so that odd sizes fit.
            sums[fine] = sums[fine] + F.interpolate(sums[fine + 1], size=sums[fine].shape[2:], mode="nearest")
        return sums

    def forward(self, levels: Sequence[Tensor], num_outputs: int | None = None) -> list[Tensor]:
        """Levels [(B, C_i, H_i, W_i)], finest first, to [(B, channels, H_i, W_i)]; None for ``num_outputs`` gives all."""
        return [conv(level) for conv, level in zip(self.fpn_convs[:num_outputs], self.merge(levels))]
