"""mmcv's convolution module: convolution, batch norm, ReLU."""

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormReLU(nn.Module):
    """A 3x3 convolution without bias, batch norm and ReLU; keys ``conv`` and ``bn``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        return F.relu(self.bn(self.conv(features)))
