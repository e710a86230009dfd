"""Range estimators: from data to the values that a quantizer's grid spans."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mmsf.errors import UserError
from mmsf.quantization.histogram import GrowingHistogram
from mmsf.quantization.quantizer import Quantizer, QuantizerSettings
from mmsf.registry import TASK_UTILS

# Elements that a search may hold at once; larger searches run in chunks of channels.
_CHUNK = 1 << 24


class RangeEstimator(ABC):
    """Chooses the range of a quantizer from a histogram (activations) or from the tensor itself (weights)."""

    @abstractmethod
    def from_histogram(self, histogram: GrowingHistogram, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        """Lowest and highest value to represent, each a float64 scalar tensor."""

    @abstractmethod
    def from_channels(self, values: Tensor, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        """The same for each row of ``values`` (channels, N): two (channels,) tensors."""

    def set_weight_range(self, quantizer: Quantizer, weight: Tensor) -> None:
        """Set the range of a weight quantizer.

        Args:
            quantizer: Per channel or per tensor.
            weight: Any shape, channels on ``quantizer.settings.channel_axis``.
        """
        settings = quantizer.settings
        values = weight.detach()
        rows = values.movedim(settings.channel_axis, 0).flatten(1) if settings.per_channel else values.reshape(1, -1)
        low, high = self.from_channels(rows, settings)
        quantizer.set_range(low.to(weight).reshape(quantizer.scale.shape), high.to(weight).reshape(quantizer.scale.shape))

    def set_activation_range(self, quantizer: Quantizer, histogram: GrowingHistogram) -> None:
        """Set the range of an activation quantizer from what its observer has counted."""
        low, high = self.from_histogram(histogram, quantizer.settings)
        scale = quantizer.scale
        quantizer.set_range(low.to(scale).reshape(scale.shape), high.to(scale).reshape(scale.shape))


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
        skipped = int((1 - self.percentile / 100) * count)
        return ordered[:, skipped], ordered[:, count - 1 - skipped]


@TASK_UTILS.register_module()
class MSERange(RangeEstimator):
    """The range with the least mean |x_q - x|^p, searched over shrunken ranges, all candidates and channels at once.

    Symmetric quantizers and data on one side of zero have one end to search, ``steps`` candidates; affine quantizers of
    two-sided data have two, a coarse grid of ``side`` x ``side`` and a finer one around its best point.

    Args:
        p: Exponent; 2.4 is BRECQ's and QDrop's, 2 is OMSE (Choukroun et al. 2019).
        steps: Candidates of the one-ended search, evenly spaced down to ``1 / steps`` of the full range.
        side: Candidates of each end of the two-ended search.
    """

    def __init__(self, p: float = 2.4, steps: int = 100, side: int = 24) -> None:
        self.p, self.steps, self.side = p, steps, side

    def from_histogram(self, histogram: GrowingHistogram, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        used = histogram.counts > 0
        low = torch.tensor([histogram.low], dtype=torch.float64)
        high = torch.tensor([histogram.high], dtype=torch.float64)
        # Bin centres may lie beyond the true extremes by half a bin.
        values = histogram.centers[used].clamp(low, high)[None]
        best = self._search(values, histogram.counts[used][None], low, high, settings)
        return best[0][0], best[1][0]

    def from_channels(self, values: Tensor, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        low, high = values.aminmax(dim=1)
        rows = max(1, _CHUNK // (values.shape[1] * self.steps))
        parts = [
            self._search(values[i : i + rows], None, low[i : i + rows], high[i : i + rows], settings)
            for i in range(0, len(values), rows)
        ]
        return torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts])

    def _search(
        self, values: Tensor, counts: Tensor | None, low: Tensor, high: Tensor, settings: QuantizerSettings
    ) -> tuple[Tensor, Tensor]:
        low, high = low.clamp(max=0), high.clamp(min=0)
        if settings.symmetric or bool((low == 0).all() | (high == 0).all()):
            if settings.symmetric:
                high = torch.maximum(-low, high)
                low = -high
            share = torch.linspace(1, 1 / self.steps, self.steps, dtype=values.dtype, device=values.device)
            return self._best(values, counts, low[:, None] * share, high[:, None] * share, settings)
        centre_low = centre_high = torch.full_like(low, 0.5)
        width = 0.5
        for _ in range(2):
            offsets = torch.linspace(-width, width, self.side, dtype=values.dtype, device=values.device)
            shares_low = (centre_low[:, None] + offsets).clamp(0.01, 1)
            shares_high = (centre_high[:, None] + offsets).clamp(0.01, 1)
            grid_low = shares_low.repeat_interleave(self.side, 1)
            grid_high = shares_high.repeat(1, self.side)
            best_low, best_high = self._best(values, counts, low[:, None] * grid_low, high[:, None] * grid_high, settings)
            centre_low, centre_high = best_low / low, best_high / high
            width = 1.0 / self.side
        return best_low, best_high

    def _best(
        self, values: Tensor, counts: Tensor | None, low: Tensor, high: Tensor, settings: QuantizerSettings
    ) -> tuple[Tensor, Tensor]:
        """The candidate with the least error for each row: values (C, N), low and high (C, K) -> two (C,)."""
        qmin, qmax = settings.integer_range
        if settings.symmetric:
            scale = torch.maximum(-low, high) / ((qmax - qmin) / 2)
            zero_point = torch.zeros_like(scale)
        else:
            scale = (high - low) / (qmax - qmin)
            zero_point = None
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        if zero_point is None:
            zero_point = (qmin - torch.round(low / scale)).clamp(qmin, qmax)
        s, z = scale[:, :, None], zero_point[:, :, None]
        error = (values[:, None] / s).round_().clamp_(qmin - z, qmax - z).mul_(s).sub_(values[:, None]).abs_().pow_(self.p)
        total = error.mean(2) if counts is None else (error * counts[:, None]).sum(2)
        best = total.argmin(1, keepdim=True)
        return low.gather(1, best)[:, 0], high.gather(1, best)[:, 0]
