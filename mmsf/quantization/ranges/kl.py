"""Ranges of least information loss, on histograms."""

import torch
from torch import Tensor

from mmsf.quantization.histogram import GrowingHistogram
from mmsf.quantization.quantizer import QuantizerSettings
from mmsf.quantization.ranges.base import RangeEstimator
from mmsf.registry import TASK_UTILS

# Elements of (rows, candidates, bins) that are held at once.
_CHUNK = 1 << 22


@TASK_UTILS.register_module()
class KLRange(RangeEstimator):
    """The range whose quantized distribution has the least Kullback-Leibler divergence from the clipped one.

    A candidate clips at a common magnitude on both sides. Its reference P is the histogram within the range, what lies
    outside added to the outermost bins; Q spreads what each level of the quantizer gathers evenly over the level's occupied
    bins. No candidate has fewer bins than levels: it would seem to lose nothing.

    The bin of zero counts no more than its neighbours: every grid has zero, and after a ReLU half the values lie there.

    Args:
        steps: Candidates, evenly spaced.
        bins: Bins of a channel's histogram (for weights); activations have their own.

    Source:
        Migacz, "8-bit Inference with TensorRT", 2017.
    """

    def __init__(self, steps: int = 100, bins: int = 2048) -> None:
        self.steps, self.bins = steps, bins

    def from_histogram(self, histogram: GrowingHistogram, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        ends = torch.tensor([[histogram.low], [histogram.high], [histogram.limit]], dtype=torch.float64)
        low, high = self._best(histogram.counts[None], *ends, settings)
        return low[0], high[0]

    def from_channels(self, values: Tensor, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        low, high = values.double().aminmax(dim=1)
        limit = torch.maximum(-low, high).clamp(min=torch.finfo(values.dtype).tiny)
        place = ((values / limit[:, None] + 1) * (self.bins / 2)).long().clamp(max=self.bins - 1)
        first = torch.arange(len(values), device=values.device)[:, None] * self.bins
        counts = torch.bincount((place + first).flatten(), minlength=first.numel() * self.bins).view(-1, self.bins)
        rows = max(1, _CHUNK // (self.bins * self.steps))
        parts = [
            self._best(c.double(), *ends, settings)
            for c, *ends in zip(counts.split(rows), low.split(rows), high.split(rows), limit.split(rows))
        ]
        return torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts])

    def _best(
        self, counts: Tensor, low: Tensor, high: Tensor, limit: Tensor, settings: QuantizerSettings
    ) -> tuple[Tensor, Tensor]:
        """Range of each row: counts (C, B) of bins over [-limit, limit], low, high and limit (C,) -> two (C,)."""
        counts = _without_zeros(counts)
        bins = counts.shape[1]
        width = 2 * limit / bins
        centers = (torch.arange(bins, dtype=counts.dtype, device=counts.device) + 0.5) * width[:, None] - limit[:, None]
        # Bin centres may lie beyond the true extremes by half a bin.
        centers = centers.clamp(low[:, None], high[:, None])
        qmin, qmax = settings.integer_range
        levels = qmax - qmin + 1
        largest = torch.maximum(-low, high)
        least = (levels * width / (high.clamp(min=0) - low.clamp(max=0)).clamp(min=width)).clamp(1 / self.steps, 1)
        share = 1 - torch.linspace(0, 1, self.steps, dtype=counts.dtype, device=counts.device) * (1 - least)[:, None]
        magnitude = largest[:, None] * share
        lows, highs = torch.maximum(low[:, None], -magnitude), torch.minimum(high[:, None], magnitude)
        scale, zero_point = settings.grid(lows, highs)
        level = ((centers[:, None] / scale[..., None]).round_() + zero_point[..., None]).clamp_(qmin, qmax).sub_(qmin)
        inside = (centers[:, None] >= lows[..., None]) & (centers[:, None] <= highs[..., None]) & (counts[:, None] > 0)
        best = _divergence(counts, inside, level.long(), levels).argmin(1, keepdim=True)
        return lows.gather(1, best)[:, 0], highs.gather(1, best)[:, 0]


def _without_zeros(counts: Tensor) -> Tensor:
    """Counts (C, B) whose bin of zero, the one right of the middle, holds no more than its larger neighbour."""
    counts, middle = counts.clone(), counts.shape[1] // 2
    neighbour = torch.maximum(counts[:, middle - 1], counts[:, middle + 1])
    counts[:, middle] = torch.minimum(counts[:, middle], neighbour)
    return counts


def _divergence(counts: Tensor, inside: Tensor, level: Tensor, levels: int) -> Tensor:
    """KL of each candidate, infinite with nothing inside: counts (C, B), inside and level (C, K, B) -> (C, K)."""
    bins = counts.shape[1]
    place = torch.arange(bins, device=counts.device)
    first, last = place.where(inside, bins - 1).amin(2), place.where(inside, 0).amax(2)
    kept = counts[:, None] * inside
    up_to = counts.cumsum(1)
    total = up_to[:, -1:]
    # What lies outside goes to the outermost occupied bins, so that no bin of P is empty in Q.
    below = up_to.gather(1, first) - counts.gather(1, first)
    above = total - up_to.gather(1, last)
    reference = kept.clone()
    reference.scatter_add_(2, first[..., None], below[..., None])
    reference.scatter_add_(2, last[..., None], above[..., None])
    gathered = counts.new_zeros(*level.shape[:2], levels)
    occupied = gathered.clone().scatter_add_(2, level, inside.to(counts.dtype))
    gathered.scatter_add_(2, level, kept)
    spread = (gathered / occupied.clamp(min=1)).gather(2, level)
    p = reference / total.clamp(min=1)[..., None]
    q = spread / kept.sum(2, keepdim=True).clamp(min=1)
    terms = torch.where(inside, p * (p / q.where(inside, 1)).log(), 0)
    return terms.sum(2).masked_fill(~inside.any(2), float("inf"))
