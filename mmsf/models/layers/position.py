"""Sine position embedding of a feature map: a constant of its size."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn


@lru_cache(maxsize=32)
def sine_position_embedding(
    height: int, width: int, channels: int, temperature: float = 1e4, normalised: bool = True
) -> np.ndarray:
    """Embed each cell of a feature map by sines and cosines of its row and column.

    Rows and columns are counted from 1. The first half of the channels holds the row, the second the column; inside a half,
    sines and cosines alternate.

    Args:
        height: Rows.
        width: Columns.
        channels: Channels; a multiple of 4.
        temperature: Base of the wavelengths.
        normalised: Rows and columns are scaled so that the last is 2 pi.

    Returns:
        (H * W, channels) float32, row-major; the same array for the same size, not to be written to.

    Source:
        Carion et al., "End-to-End Object Detection with Transformers", 2020.
    """
    half = channels // 2
    wavelength = np.float32(temperature) ** (2 * (np.arange(half) // 2) / half).astype(np.float32)

    def embed(count: int) -> np.ndarray:
        position = np.arange(1, count + 1, dtype=np.float32)
        if normalised:
            position = position / (position[-1] + np.float32(1e-6)) * np.float32(2 * np.pi)
        angle = position[:, None] / wavelength
        return np.stack((np.sin(angle[:, 0::2]), np.cos(angle[:, 1::2])), 2).reshape(count, half)

    rows = np.broadcast_to(embed(height)[:, None], (height, width, half))
    columns = np.broadcast_to(embed(width)[None], (height, width, half))
    return np.concatenate((rows, columns), 2).reshape(height * width, channels)


class SinePositionEmbedding(nn.Module):
    """`sine_position_embedding` for the size of the feature map at hand; nothing of it is in the state dict.

    Args:
        channels: Channels; a multiple of 4.
        normalised: As `sine_position_embedding`.
    """

    def __init__(self, channels: int, normalised: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.normalised = normalised

    def forward(self, features: Tensor) -> Tensor:
        """Embedding for features (B, C, H, W): (H * W, channels), of their type and on their device."""
        height, width = (int(length) for length in features.shape[-2:])
        embedding = sine_position_embedding(height, width, self.channels, normalised=self.normalised)
        return torch.from_numpy(embedding).to(features)
