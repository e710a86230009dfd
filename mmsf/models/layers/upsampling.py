"""RESA's bilateral up-sampling decoder."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

# Of the decoder and the existence head; backbone and reducer have PyTorch's 1e-5.
RESA_EPS = 1e-3


class NonBottleneck(nn.Module):
    """A residual block of 3x1 and 1x3 convolutions.

    Args:
        channels: Channels of input and output.

    Source:
        Romera et al., "ERFNet: Efficient Residual Factorized ConvNet for Real-time Semantic Segmentation", 2018.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3x1_1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.conv1x3_1 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.bn1 = nn.BatchNorm2d(channels, eps=RESA_EPS)
        self.conv3x1_2 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.conv1x3_2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.bn2 = nn.BatchNorm2d(channels, eps=RESA_EPS)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        x = self.bn1(self.conv1x3_1(self.conv3x1_1(features).relu())).relu()
        x = self.bn2(self.conv1x3_2(self.conv3x1_2(x).relu()))
        return (x + features).relu()


class BilateralUpsampler(nn.Module):
    """Doubles the resolution twice over: finely by a transposed convolution, coarsely by interpolation; the two are added.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, channels, 3, 2, padding=1, output_padding=1)
        self.bn = nn.BatchNorm2d(channels, eps=RESA_EPS)
        self.follows = nn.Sequential(NonBottleneck(channels), NonBottleneck(channels))
        self.interpolate_conv = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.interpolate_bn = nn.BatchNorm2d(channels, eps=RESA_EPS)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, channels, 2 H, 2 W)."""
        fine = self.follows(self.bn(self.conv(features)).relu())
        coarse = self.interpolate_bn(self.interpolate_conv(features)).relu()
        return fine + F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=True)


class BilateralDecoder(nn.Module):
    """Three up-samplers and a projection to classes.

    Args:
        channels: Channels of the input and after each up-sampler.
        num_classes: Classes of a pixel.

    Source:
        Zheng et al., "RESA: Recurrent Feature-Shift Aggregator for Lane Detection", 2021.
    """

    def __init__(self, channels: tuple[int, ...] = (128, 64, 32, 16), num_classes: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(BilateralUpsampler(a, b) for a, b in pairwise(channels)))
        self.output_proj = nn.Conv2d(channels[-1], num_classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, num_classes, 8 H, 8 W)."""
        return self.output_proj(self.layers(features))
