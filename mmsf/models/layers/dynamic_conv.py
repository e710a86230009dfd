"""CondLaneNet's conditional convolutions: kernels that the network itself computes."""

import torch
from torch import Tensor, nn

from mmsf.models.layers.matmul import MatMul

# Taken off every result. The authors meant it for the mask, as a prior of rare lanes, but the offsets have it too.
PRIOR = 2.19


class DynamicConv(nn.Module):
    """A 1x1 convolution to one channel for each seed, over a map's features and its two coordinates.

    A kernel holds, in this order, the weights of the column and of the row, those of the features, and the bias. Both
    coordinates are divided by the map's WIDTH, as in the authors' code.

    The features' products are one `MatMul`, both of whose operands can be quantized. In the authors' code the coordinates
    are two more channels of the features, and the bias is one more number beside the weights; each has a range of its own,
    and one range for all would leave of a coordinate, 0 to 1, hardly two steps at 4 bits. So column, row and bias are a
    plane that is added in float, like any layer's bias: 2 of 66 products, and none with a feature.
    """

    def __init__(self) -> None:
        super().__init__()
        self.product = MatMul()

    def forward(self, kernels: Tensor, features: Tensor) -> Tensor:
        """Kernels (B, K, 2 + C + 1) over features (B, C, H, W), to (B, K, H, W)."""
        height, width = features.shape[2:]
        column, row, weights, bias = (part[..., None] for part in kernels.split((1, 1, features.shape[1], 1), 2))
        products = self.product(weights.squeeze(-1), features.flatten(2)).unflatten(2, (height, width))
        x = torch.arange(width, dtype=features.dtype, device=features.device) / width
        y = torch.arange(height, dtype=features.dtype, device=features.device)[:, None] / width
        return products + (column * x + row * y + bias - PRIOR)
