"""Ranges by ACIQ: analytical clipping."""

import math

import torch
from torch import Tensor

from mmsf.quantization.channel_bits import MOST, ChannelBitsQuantizer, allotted_bits
from mmsf.quantization.histogram import GrowingHistogram
from mmsf.quantization.moments import ChannelMoments
from mmsf.quantization.quantizer import Quantizer, QuantizerSettings
from mmsf.quantization.ranges.base import RowEstimator
from mmsf.quantization.ranges.clipping import gauss_clipping, laplace_clipping
from mmsf.quantization.ranges.noise import grid_noise
from mmsf.registry import TASK_UTILS

# Mean distance / standard deviation between a Laplace distribution's and a Gauss distribution's (geometric mean).
_BETWEEN = (1 / math.pi) ** 0.25


@TASK_UTILS.register_module()
class ACIQRange(RowEstimator):
    """The range that would be best if the data were of a Gauss or Laplace distribution, whichever has less noise on them.

    Data on one side of zero count as a distribution about zero that a ReLU has cut: its scale is that of the values other
    than zero, since zero itself is never rounded nor clipped. No range reaches beyond the data.

    Source:
        Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment", 2019, section 3.
        The authors' program takes the scale after a ReLU from all values, zeros included, and adds it to their mean.
    """

    def set_activation_range(self, quantizer: Quantizer, histogram: GrowingHistogram | ChannelMoments) -> None:
        """As `RangeEstimator`; where channels have bits of their own, these are allotted first."""
        if not isinstance(quantizer, ChannelBitsQuantizer):
            super().set_activation_range(quantizer, histogram)
            return
        bits = allotted_bits(histogram.deviation, quantizer.settings.bits)
        quantizer.channel_bits.copy_(bits)
        low, high = channel_ranges(histogram, bits)
        quantizer.set_range(low.to(quantizer.scale), high.to(quantizer.scale))

    def from_rows(
        self, values: Tensor, counts: Tensor | None, low: Tensor, high: Tensor, settings: QuantizerSettings
    ) -> tuple[Tensor, Tensor]:
        cut = (low >= 0) | (high <= 0)
        counted = torch.ones_like(values) if counts is None else counts
        counted = counted.masked_fill(cut[:, None] & (values == 0), 0.0)
        total = counted.sum(1).clamp(min=1)
        centre = ((counted * values).sum(1) / total).masked_fill(cut, 0.0)
        distance = (values - centre[:, None]).abs()
        deviation = ((counted * distance.square()).sum(1) / total).sqrt()
        mean_distance = (counted * distance).sum(1) / total
        # A symmetric grid has as many steps on the side without data.
        one_sided = cut & (not settings.symmetric)
        clip = torch.stack(
            (
                deviation * _where(one_sided, gauss_clipping, settings.bits),
                mean_distance * _where(one_sided, laplace_clipping, settings.bits),
            ),
            dim=1,
        )
        lows = torch.maximum(low[:, None], centre[:, None] - clip)
        highs = torch.minimum(high[:, None], centre[:, None] + clip)
        best = grid_noise(values, counts, lows, highs, settings, 2.0).argmin(1, keepdim=True)
        return lows.gather(1, best)[:, 0], highs.gather(1, best)[:, 0]


def channel_ranges(moments: ChannelMoments, bits: Tensor) -> tuple[Tensor, Tensor]:
    """Range of each channel at its own bits.

    Sums know no noise of a grid: the distribution is the one whose mean distance, in standard deviations, is nearer to the
    data's (0.80 for Gauss, 0.71 for Laplace, on one side of zero alike).

    Args:
        moments: What was gathered of C channels.
        bits: (C,) whole numbers.

    Returns:
        Lowest and highest value to represent, two (C,) tensors.
    """
    low, high = moments.low, moments.high
    cut = (low >= 0) | (high <= 0)
    centre = torch.where(cut, 0.0, moments.mean)
    deviation = torch.where(cut, moments.root_mean_square_used, moments.deviation)
    mean_distance = torch.where(cut, moments.mean_used.abs(), moments.mean_distance)
    gauss, laplace = (
        torch.tensor([[of(b, side) for side in (False, True)] for b in range(MOST + 1)], dtype=torch.float64)[
            bits.long(), cut.long()
        ]
        for of in (gauss_clipping, laplace_clipping)
    )
    clip = torch.where(mean_distance > _BETWEEN * deviation, deviation * gauss, mean_distance * laplace)
    return torch.maximum(low, centre - clip), torch.minimum(high, centre + clip)


def _where(one_sided: Tensor, clipping, bits: int) -> Tensor:
    return torch.where(one_sided, clipping(bits, True), clipping(bits, False))
