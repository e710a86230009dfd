"""RESA's aggregator: features hear from ever farther rows and columns, the whole map at a time."""

from torch import Tensor, nn


class RecurrentFeatureShift(nn.Module):
    """Adds ``strength * relu(convolution)`` of the map rolled along an axis, with strides that double from pass to pass.

    In the order d, u, r, l: a row hears from the row s further on, from the one s before, then columns likewise; both wrap
    around. Pass i of n along an axis of length L has s = ``L // 2^(n - i)``.

    Args:
        channels: Channels of the features.
        kernel_size: Cells across the axis that a message comes from; odd.
        iterations: Passes of each direction.
        strength: Factor of the messages, alpha of the paper.

    Source:
        Zheng et al., "RESA: Recurrent Feature-Shift Aggregator for Lane Detection", 2021; five iterations as in
        pytorch-auto-drive.
    """

    def __init__(self, channels: int = 128, kernel_size: int = 9, iterations: int = 5, strength: float = 2.0) -> None:
        super().__init__()
        self.strength = strength
        for direction in "durl":
            size = (1, kernel_size) if direction in "du" else (kernel_size, 1)
            padding = tuple(length // 2 for length in size)
            convolutions = [nn.Conv2d(channels, channels, size, padding=padding, bias=False) for _ in range(iterations)]
            self.add_module(f"conv_{direction}", nn.ModuleList(convolutions))

    def forward(self, features: Tensor) -> Tensor:
        """Pass messages through (B, C, H, W); the shape stays."""
        # A roll by -s brings row y + s to row y.
        for direction, axis, sign in (("d", 2, -1), ("u", 2, 1), ("r", 3, -1), ("l", 3, 1)):
            convolutions = getattr(self, f"conv_{direction}")
            for number, convolution in enumerate(convolutions):
                shift = features.shape[axis] // 2 ** (len(convolutions) - number)
                message = convolution(features.roll(sign * shift, axis)).relu()
                features = features + self.strength * message
        return features
