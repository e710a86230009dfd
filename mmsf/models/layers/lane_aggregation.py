"""GANet's lane-aware aggregation: each cell reads the features of points further along its lane."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsf.models.layers.deform_conv import DeformConv2d
from mmsf.models.layers.fpn import PlainConv

STACKED = 3  # convolutions of each branch
GRADIENT_SHARE = 0.1  # of what the features tell the points in training; their own loss tells them the rest


class LaneAwareAggregation(nn.Module):
    """A deformable convolution in one row of taps, each tap moved to a point of the lane that another branch predicts.

    The points are relative to the cell itself. The convolution's own taps stand side by side, so their places are taken off
    the points before they become its offsets: tap k of a cell samples exactly at the cell plus its point k. There is no
    shortcut. `reppoints_pts_refine_conv` and `reppoints_pts_refine_out` are in the originals' files only; they never run.

    Quantization rounds weights and features; the points stay float. For GANet with ResNet-18 and random weights, points up
    to 8.5 cells away: rounding them to 4 bits, in steps of 0.7 cells, moves them by 0.23 cells (root mean square); what the
    layers before them lose moves them by 1.4 cells at W4A4 and by 0.1 at W8A8.

    Args:
        in_channels: Channels of input and output.
        channels: Channels inside the branches.
        points: K, points a cell; odd.

    Source:
        Wang et al., "A Keypoint-based Global Association Network for Lane Detection", 2022, section 3.3.
    """

    def __init__(self, in_channels: int = 64, channels: int = 256, points: int = 7) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * STACKED
        self.cls_convs, self.reg_convs = (nn.ModuleList(PlainConv(a, b, 3) for a, b in pairwise(widths)) for _ in range(2))
        row = dict(kernel_size=(1, points), padding=(0, points // 2), bias=False)
        self.reppoints_cls_conv = DeformConv2d(channels, in_channels, **row)
        self.reppoints_pts_init_conv = nn.Conv2d(channels, in_channels, 3, padding=1)
        self.reppoints_pts_init_out = nn.Conv2d(in_channels, 2 * points, 1)
        self.reppoints_pts_refine_conv = DeformConv2d(channels, in_channels, **row)
        self.reppoints_pts_refine_out = nn.Conv2d(in_channels, 2 * points, 1)
        taps = torch.zeros(points, 2)  # dy, dx
        taps[:, 1] = torch.arange(points) - points // 2
        self.register_buffer("taps", taps.view(1, -1, 1, 1), persistent=False)

    def points(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 2K, H, W): dy and dx of each point from the cell, in cells."""
        for convolution in self.reg_convs:
            features = F.relu(convolution(features))
        return self.reppoints_pts_init_out(F.relu(self.reppoints_pts_init_conv(features)))

    def forward(self, features: Tensor, points: Tensor | None = None) -> Tensor:
        """Aggregate.

        Args:
            features: (B, C, H, W).
            points: (B, 2K, H, W), what `points` gives; None to compute them.

        Returns:
            (B, C, H, W).
        """
        points = self.points(features) if points is None else points
        if self.training:
            fixed = points.detach()
            points = fixed + GRADIENT_SHARE * (points - fixed)
        for convolution in self.cls_convs:
            features = F.relu(convolution(features))
        return F.relu(self.reppoints_cls_conv(features, points - self.taps))
