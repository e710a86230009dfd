"""A histogram that grows with its data, so that one pass serves every range estimator."""

import torch
from torch import Tensor

from mmsf.errors import UserError


class BrokenActivationError(UserError):
    """An activation is NaN or infinite."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the activation at {name!r} is NaN or infinite")


class GrowingHistogram:
    """Counts of values over [-limit, limit]; the limit doubles, and bins merge in pairs, when a value falls outside.

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
        """Add every element of ``x`` (any shape)."""
        x = x.detach().float().reshape(-1)
        low, high = (v.item() for v in torch.aminmax(x))
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise BrokenActivationError(self.name)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(-low, high))
        self.counts += torch.histc(x, self.bins, -self.limit, self.limit).double().cpu()

    def _grow(self, largest: float) -> None:
        if self.limit == 0.0:
            # A power of two, so that merging by doubling always meets it again, whatever comes first.
            self.limit = 2.0 ** torch.tensor(max(largest, 1e-12)).log2().ceil().item()
        while self.limit < largest:
            merged = self.counts.view(-1, 2).sum(1)
            self.counts = torch.zeros_like(self.counts)
            quarter = self.bins // 4
            self.counts[quarter : quarter + self.bins // 2] = merged
            self.limit *= 2

    @property
    def centers(self) -> Tensor:
        """(bins,) middle value of each bin, float64."""
        step = 2 * self.limit / self.bins
        return (torch.arange(self.bins, dtype=torch.float64) + 0.5) * step - self.limit
