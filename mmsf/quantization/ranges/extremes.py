"""Ranges by the order of the data: all of it, or all but its tails."""

import torch
from torch import Tensor

from mmsf.errors import UserError
from mmsf.quantization.histogram import GrowingHistogram
from mmsf.quantization.quantizer import QuantizerSettings
from mmsf.quantization.ranges.base import RangeEstimator
from mmsf.registry import TASK_UTILS


@TASK_UTILS.register_module()
class MinMaxRange(RangeEstimator):
    """The whole range of the data."""

    def from_histogram(self, histogram: GrowingHistogram, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        return torch.tensor(histogram.low, dtype=torch.float64), torch.tensor(histogram.high, dtype=torch.float64)

    def from_channels(self, values: Tensor, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        low, high = values.aminmax(dim=1)
        return low, high


@TASK_UTILS.register_module()
class PercentileRange(RangeEstimator):
    """The range that leaves out the same share of values at either end.

    Args:
        percentile: Upper percentile in (50, 100]; the lower one is its mirror image.
    """

    def __init__(self, percentile: float = 99.999) -> None:
        if not 50 < percentile <= 100:
            raise UserError(f"percentile must lie in (50, 100]; got {percentile}")
        self.percentile = percentile

    def from_histogram(self, histogram: GrowingHistogram, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        cumulative = histogram.counts.cumsum(0) / histogram.counts.sum()
        tail = 1 - self.percentile / 100
        centers = histogram.centers
        last = histogram.bins - 1
        low = centers[torch.searchsorted(cumulative, torch.tensor(tail, dtype=torch.float64)).clamp(max=last)]
        high = centers[torch.searchsorted(cumulative, torch.tensor(1 - tail, dtype=torch.float64)).clamp(max=last)]
        return low.clamp(min=histogram.low), high.clamp(max=histogram.high)

    def from_channels(self, values: Tensor, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        ordered = values.sort(dim=1).values
        count = ordered.shape[1]
        # 1 - 0.9 is a little less than 0.1.
        skipped = int((1 - self.percentile / 100) * count + 1e-9)
        return ordered[:, skipped], ordered[:, count - 1 - skipped]
