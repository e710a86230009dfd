"""Images of few bits, of which neighbouring pixels keep together what each alone loses."""

import torch
from torch import Tensor, nn

from mmsf.quantization.quantizer import Quantizer, QuantizerSettings

CAMERA_BITS = 8
"""With as many, an image loses nothing that a camera saw."""


def dither_tile(channels: int, stride: tuple[int, int]) -> Tensor:
    """Offsets in steps of the grid: equally spaced in (-1/2, 1/2), their mean 0.

    Args:
        channels: C, colours of the image.
        stride: Rows and columns of the tile.

    Returns:
        (C, rows, columns).
    """
    rows, columns = torch.arange(stride[0])[:, None], torch.arange(stride[1])
    # Neighbours in a row and in a column are far from each other: for 2 x 2, the ranks 0 2 / 3 1.
    rank = stride[0] * ((columns - rows) % stride[1]) + rows
    colour = torch.arange(channels)[:, None, None]
    return (rank * channels + colour + 0.5) / (channels * stride[0] * stride[1]) - 0.5


class DitheredQuantizer(Quantizer):
    """A `Quantizer` of images: an offset is added to every pixel before it is rounded, and taken off again.

    Equal pixels are thus rounded to different integers, whose mean is nearer to them than any one of them. The offsets
    repeat with the stride of the convolution that reads the image. So what they add to its output is, but for the
    border's pixels, the same everywhere: on a chip the first sum belongs to the image's preprocessing, the second to the
    convolution's bias.

    With ``settings.bits`` of 8, nothing is added.

    Args:
        settings: What the quantizer does; one range for the whole image.
        layer: The convolution that reads the images.

    Source:
        Roberts, "Picture coding using pseudo-random noise", 1962; there the offsets are random.
    """

    def __init__(self, settings: QuantizerSettings, layer: nn.Conv2d) -> None:
        super().__init__(settings)
        self.register_buffer("tile", dither_tile(layer.in_channels, layer.stride), persistent=False)

    def offset(self, x: Tensor) -> Tensor | None:
        """As `Quantizer`: (C, H, W) for images (B, C, H, W)."""
        if not self.enabled or self.observer is not None or self.settings.bits >= CAMERA_BITS:
            return None
        _, rows, columns = self.tile.shape
        height, width = x.shape[-2:]
        return self.tile.repeat(1, -(-height // rows), -(-width // columns))[:, :height, :width] * self.scale.detach()
