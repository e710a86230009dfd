"""A histogram that grows with its data, so that one pass serves every range estimator."""

import math

import torch
from torch import Tensor

from mmsf.errors import UserError

# Just below 1: what lies on an edge between two bins belongs to the one nearer to zero, whatever the limit is.
_INWARDS = 1 - 2**-24
# PyTorch counts in float32, which holds every whole number up to this one.
_COUNTED_AT_ONCE = 2**24


class BrokenActivationError(UserError):
    """An activation is NaN or infinite."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the activation at {name!r} is NaN or infinite")


class GrowingHistogram:
    """Counts of values over [-limit, limit]; the limit doubles, and bins merge in pairs, when a value falls outside.

    Which bin a value falls into depends on the limit in the end alone, so the counts depend neither on the order of the
    values nor on how they were shared out among histograms that are merged.

    Args:
        name: What is counted, for messages.
        bins: Number of bins; a multiple of 4, so that merging pairs stays exact.
    """

    def __init__(self, name: str = "", bins: int = 4096) -> None:
        self.name = name
        self.bins = bins
        self.counts = torch.zeros(bins, dtype=torch.float64)
        self.limit = 0.0
        self.low = float("inf")
        self.high = float("-inf")

    def __call__(self, x: Tensor) -> None:
        """Add every element of ``x`` (any shape), which may be none."""
        x = x.detach().float().reshape(-1)
        if not x.numel():
            return
        low, high = (v.item() for v in torch.aminmax(x))
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise BrokenActivationError(self.name)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(-low, high))
        # Scaling by a power of two and rounding down are exact, at every limit.
        half = self.bins // 2
        for part in x.split(_COUNTED_AT_ONCE):
            places = torch.mul(part, half / self.limit * _INWARDS).floor_()
            self.counts += torch.histc(places, self.bins, -half, half).double().cpu()

    def merge(self, other: "GrowingHistogram") -> None:
        """Add what another histogram, with as many bins, has counted."""
        if other.empty:
            return
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._grow(other.limit)
        counts = other.counts
        for _ in range(round(math.log2(self.limit / other.limit))):
            counts = self._merged_in_pairs(counts)
        self.counts += counts

    def _grow(self, largest: float) -> None:
        if self.empty:
            # A power of two, so that merging by doubling always meets it again, whatever comes first.
            self.limit = 2.0 ** torch.tensor(max(largest, 1e-12)).log2().ceil().item()
        while self.limit < largest:
            self.counts = self._merged_in_pairs(self.counts)
            self.limit *= 2

    def _merged_in_pairs(self, counts: Tensor) -> Tensor:
        """The counts at twice the limit."""
        quarter = self.bins // 4
        return torch.nn.functional.pad(counts.view(-1, 2).sum(1), (quarter, quarter))

    @property
    def empty(self) -> bool:
        """Whether nothing has been counted."""
        return self.limit == 0.0

    @property
    def centers(self) -> Tensor:
        """(bins,) middle value of each bin, float64."""
        step = 2 * self.limit / self.bins
        return (torch.arange(self.bins, dtype=torch.float64) + 0.5) * step - self.limit
