"""Activations whose channels have grids and bits of their own, as ACIQ allots them. No stock runtime has that."""

import torch
from torch import Tensor

from mmsf.errors import UserError
from mmsf.quantization.moments import ChannelMoments
from mmsf.quantization.quantizer import Quantizer, QuantizerSettings

MOST = 8
_TRIES = 10


def allotted_bits(deviation: Tensor, bits: int) -> Tensor:
    """Share out bits among channels, so that channels of more spread get more levels.

    Channel i gets ``B a_i^(2/3) / sum a^(2/3)`` levels, B being the levels of all channels, and the logarithm of it,
    rounded and cut to 0..8, in bits. Rounding and cutting move the mean; the bits that B is made of are corrected by what
    the mean lacks, at most ten times, and the allotment whose mean comes nearest is taken.

    Args:
        deviation: (C,) standard deviation a of each channel.
        bits: What the mean should be.

    Returns:
        (C,) whole numbers from 0 to 8, as float. A channel without bits is zero everywhere.

    Source:
        Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment", 2019, section 4;
        rounding and correction are its code's.
    """
    share = deviation.double() ** (2 / 3)
    if not bool(share.sum() > 0):
        return torch.full_like(share, float(bits))
    share = share * (len(share) / share.sum())
    target, nearest = float(bits), None
    for _ in range(_TRIES):
        found = (target + share.log2()).round().clamp(0, MOST)
        lacking = bits - found.mean()
        if nearest is None or lacking.abs() < (bits - nearest.mean()).abs():
            nearest = found
        if lacking == 0:
            break
        target += lacking.item()
    return nearest


class ChannelBitsQuantizer(Quantizer):
    """A `Quantizer` of activations whose channels have bits of their own; ``settings.bits`` is what their mean should be.

    Args:
        settings: Affine, per channel, with a fixed scale.
        channels: Number of channels.

    Attributes:
        channel_bits: (channels,) bits of each, kept as float.

    Raises:
        UserError: The scale is symmetric or learned.
    """

    def __init__(self, settings: QuantizerSettings, channels: int) -> None:
        if settings.symmetric or settings.learn_scale:
            raise UserError("activation_channel_bits needs affine activations whose scales are not tuned")
        super().__init__(settings, channels)
        self.register_buffer("channel_bits", torch.full((channels,), float(settings.bits)))

    def new_observer(self, name: str) -> ChannelMoments:
        """Moments of each channel, which bits are allocated by."""
        return ChannelMoments(self.settings.channel_axis, name)

    def set_range(self, low: Tensor, high: Tensor) -> None:
        """As `Quantizer`, with each channel's own number of levels."""
        with torch.no_grad():
            steps = 2**self.channel_bits - 1
            low, high = low.clamp(max=0.0), high.clamp(min=0.0)
            scale = (high - low) / steps.clamp(min=1)
            self.scale.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))
            self.zero_point.copy_(torch.minimum((-low / self.scale).round(), steps))

    def grid_limits(self) -> tuple[Tensor, Tensor]:
        """Least and greatest integer of each channel."""
        return -self.zero_point, 2**self.channel_bits - 1 - self.zero_point
