"""SCNN's message passing: every row and column of a feature map hears from the one before it."""

import torch
from torch import Tensor, nn


class SliceSum(nn.Module):
    """A slice and the message to it, added. A module of its own, so that all sums of a direction count as one call site."""

    def forward(self, features: Tensor, message: Tensor) -> Tensor:
        """Add two tensors of the same shape."""
        return features + message


class SpatialConvolution(nn.Module):
    """Downwards, upwards, to the right, to the left: each slice gets ``relu(convolution)`` of its updated neighbour added.

    Downwards and to the right begin at slice 0. Upwards and to the left begin at the last slice and end at slice 1, so
    slice 0 is never updated on the way back. That is pytorch-auto-drive's rule; the authors' code updates it, and has no
    bias.

    Each direction is one convolution that runs once a slice, so that it has one activation range.

    Args:
        channels: Channels of the features.
        kernel_size: Cells along a slice that a message comes from; odd.

    Source:
        Pan et al., "Spatial As Deep: Spatial CNN for Traffic Scene Understanding", 2018.
    """

    def __init__(self, channels: int = 128, kernel_size: int = 9) -> None:
        super().__init__()
        for direction, size in zip("durl", ((1, kernel_size),) * 2 + ((kernel_size, 1),) * 2):
            padding = tuple(length // 2 for length in size)
            self.add_module(f"conv_{direction}", nn.Conv2d(channels, channels, size, padding=padding))
            self.add_module(f"sum_{direction}", SliceSum())

    def _passed(self, slices: list[Tensor], direction: str) -> list[Tensor]:
        """Slices in the order of passing; the first stays as it is."""
        convolution, add = getattr(self, f"conv_{direction}"), getattr(self, f"sum_{direction}")
        passed = slices[:1]
        for features in slices[1:]:
            passed.append(add(features, convolution(passed[-1]).relu()))
        return passed

    def forward(self, features: Tensor) -> Tensor:
        """Pass messages through (B, C, H, W); the shape stays."""
        for axis, forth, back in ((2, "d", "u"), (3, "r", "l")):
            slices = self._passed(list(features.split(1, axis)), forth)
            slices = slices[:1] + self._passed(slices[:0:-1], back)[::-1]
            # Stacked and not concatenated: a profile that quantizes concatenations would want a range for every slice.
            features = torch.stack(slices, axis).squeeze(axis + 1)
        return features
