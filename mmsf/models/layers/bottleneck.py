"""A bottleneck that sees far without losing resolution."""

import torch.nn.functional as F
from torch import Tensor, nn


def _convolution(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel_size // 2)
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


class DilatedBottleneck(nn.Module):
    """Three convolutions, the middle one dilated, each with batch norm and ReLU, and a shortcut.

    The last ReLU comes before the sum and none after it, other than in a ResNet.

    Args:
        channels: Channels of input and output.
        middle_channels: Channels of the middle convolution.
        dilation: Its dilation.

    Source:
        Chen et al., "You Only Look One-level Feature", 2021.
    """

    def __init__(self, channels: int, middle_channels: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, middle_channels, 1)
        self.conv2 = _convolution(middle_channels, middle_channels, 3, dilation)
        self.conv3 = _convolution(middle_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return x + F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(x))))))
