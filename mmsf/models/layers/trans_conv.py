"""Attention over the coarsest feature map: what CondLaneNet and GANet put before their feature pyramid."""

import torch
from torch import Tensor, nn

from mmsf.models.layers.conv_norm_relu import ConvNormReLU
from mmsf.models.layers.matmul import MatMul
from mmsf.models.layers.position import SinePositionEmbedding

QUERY_SHARE = 4  # a query and a key have a fourth of the channels


class TransConvBlock(nn.Module):
    """A convolution, self-attention of a single head, and a convolution.

    Sines of the position are added to the features themselves, so that values and the shortcut hold them too. The scores are
    not scaled by the width of the queries.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output; a multiple of 4.

    Source:
        Liu et al., "CondLaneNet: a Top-to-down Lane Detection Framework Based on Conditional Convolution", 2021; the gated
        shortcut is that of Zhang et al., "Self-Attention Generative Adversarial Networks", 2019.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.pre_conv = ConvNormReLU(in_channels, channels)
        # Counted in cells, so that one cell is the same step in a map of any size.
        self.position = SinePositionEmbedding(channels, normalised=False)
        self.query_conv = nn.Conv2d(channels, channels // QUERY_SHARE, 1)
        self.key_conv = nn.Conv2d(channels, channels // QUERY_SHARE, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.scores = MatMul()
        self.context = MatMul()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.final_conv = ConvNormReLU(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, channels, H, W)."""
        x = self.pre_conv(features)
        x = x + self.position(x).T.unflatten(1, x.shape[-2:])
        query, key, value = (conv(x).flatten(2) for conv in (self.query_conv, self.key_conv, self.value_conv))
        probabilities = self.scores(query.transpose(1, 2), key).softmax(-1)  # (B, queries, keys)
        attended = self.context(value, probabilities.transpose(1, 2))
        return self.final_conv(self.gamma * attended.unflatten(2, x.shape[-2:]) + x)


class TransConvEncoder(nn.Module):
    """Two `TransConvBlock`.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output; a multiple of 4.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.attn_layers = nn.Sequential(TransConvBlock(in_channels, channels), TransConvBlock(channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, channels, H, W)."""
        return self.attn_layers(features)
