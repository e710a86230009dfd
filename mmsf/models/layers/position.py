"""Sine position embedding of a feature map: a constant of its size."""

import math

import torch
from torch import Tensor, nn


def sine_position_embedding(height: int, width: int, channels: int, temperature: float = 1e4) -> Tensor:
    """Embed each cell of a feature map by sines and cosines of its row and column.

    Rows and columns are counted from 1 and normalised so that the last is 2 pi. The first half of the channels holds the
    row, the second the column; inside a half, sines and cosines alternate.

    Args:
        height: Rows.
        width: Columns.
        channels: Channels; a multiple of 4.
        temperature: Base of the wavelengths.

    Returns:
        (H * W, channels) float32, row-major.

    Source:
        Carion et al., "End-to-End Object Detection with Transformers", 2020.
    """
    half = channels // 2
    wavelength = temperature ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)

    def embed(count: int) -> Tensor:
        position = torch.arange(1, count + 1, dtype=torch.float32)
        angle = (position / (position[-1] + 1e-6) * 2 * math.pi)[:, None] / wavelength
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), 2).flatten(1)

    rows = embed(height)[:, None].expand(height, width, half)
    columns = embed(width)[None].expand(height, width, half)
    return torch.cat((rows, columns), 2).flatten(0, 1)


class SinePositionEmbedding(nn.Module):
    """`sine_position_embedding` for the size of the feature map at hand, kept for each size met; not in the state dict.

    Args:
        channels: Channels; a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self._kept: dict[tuple, Tensor] = {}

    def forward(self, features: Tensor) -> Tensor:
        """Embedding for features (B, C, H, W): (H * W, channels), of their type and on their device."""
        height, width = int(features.shape[-2]), int(features.shape[-1])
        key = (height, width, features.dtype, features.device)
        if key not in self._kept:
            self._kept[key] = sine_position_embedding(height, width, self.channels).to(features)
        return self._kept[key]
