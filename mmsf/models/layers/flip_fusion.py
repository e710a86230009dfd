"""A feature map fused with its own mirror image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsf.models.layers.deform_conv import DeformConv2d


class FeatureFlipFusion(nn.Module):
    """Adds the features of the mirrored scene, which a deformable convolution moves to where they belong.

    Lanes to the left and right of a camera resemble each other, but not cell by cell. The offsets and factors of the
    modulated deformable convolution are read off the mirrored and the projected features together.

    Args:
        channels: Channels of input and output.

    Source:
        Feng et al., "Rethinking Efficient Lane Detection via Curve Modeling", 2022.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj1 = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        self.proj2_conv = DeformConv2d(channels, channels, 3, padding=1)
        taps = self.proj2_conv.weight[0, 0].numel()
        # A place for each tap (dy, dx) and its factor. Starts as a plain convolution whose taps count half.
        self.proj2_offset = nn.Conv2d(2 * channels, 3 * taps, 3, padding=1)
        nn.init.zeros_(self.proj2_offset.weight)
        nn.init.zeros_(self.proj2_offset.bias)
        self.proj2_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        projected, mirrored = self.proj1(x), x.flip(-1)
        moves = self.proj2_offset(torch.cat((mirrored, projected), 1))
        # The first two thirds are one block of offsets, dy and dx of a tap side by side.
        offset, factors = moves.split((moves.shape[1] // 3 * 2, moves.shape[1] // 3), 1)
        return F.relu(projected + self.proj2_norm(self.proj2_conv(mirrored, offset, factors.sigmoid())))
