"""What analytical clipping asks of every channel of an activation, gathered in one pass."""

import torch
from torch import Tensor

from mmsf.quantization.histogram import BrokenActivationError


class ChannelMoments:
    """Sums and extremes of each of C channels.

    Args:
        axis: Axis of the channels.
        name: What is observed, for messages.

    Attributes:
        count: Values of a channel.
        used: (C,) how many of them are not zero.
        low: (C,) smallest value.
        high: (C,) largest value.
    """

    def __init__(self, axis: int, name: str = "") -> None:
        self.axis, self.name = axis, name
        self.count = 0
        self._first_mean: Tensor | None = None

    def __call__(self, x: Tensor) -> None:
        """Add every element of ``x`` (any shape with that axis), which may be none."""
        rows = x.detach().float().movedim(self.axis, 0).flatten(1)
        if not rows.numel():
            return
        low, high = rows.aminmax(dim=1)
        if not bool((low.isfinite() & high.isfinite()).all()):
            raise BrokenActivationError(self.name)
        if self._first_mean is None:
            self._first_mean = rows.mean(1, keepdim=True)
        sums = torch.stack(
            [
                part.sum(1, dtype=torch.float64)
                for part in (rows, rows.square(), (rows - self._first_mean).abs(), rows.ne(0).to(rows))
            ]
        ).cpu()
        low, high = low.double().cpu(), high.double().cpu()
        if self.count:
            sums, low, high = self._sums + sums, torch.minimum(self.low, low), torch.maximum(self.high, high)
        self._sums, self.low, self.high = sums, low, high
        self.count += rows.shape[1]

    @property
    def empty(self) -> bool:
        """Whether nothing has been counted."""
        return self.count == 0

    @property
    def used(self) -> Tensor:
        """(C,) how many values are not zero."""
        return self._sums[3]

    @property
    def mean(self) -> Tensor:
        """(C,) mean."""
        return self._sums[0] / self.count

    @property
    def deviation(self) -> Tensor:
        """(C,) standard deviation."""
        return (self._sums[1] / self.count - self.mean.square()).clamp(min=0).sqrt()

    @property
    def mean_distance(self) -> Tensor:
        """(C,) mean absolute distance from the first batch's mean, which one pass has to take for the mean of all."""
        return self._sums[2] / self.count

    @property
    def root_mean_square_used(self) -> Tensor:
        """(C,) of the values other than zero; 0 where all are zero."""
        return (self._sums[1] / self.used.clamp(min=1)).sqrt()

    @property
    def mean_used(self) -> Tensor:
        """(C,) mean of the values other than zero; 0 where all are zero."""
        return self._sums[0] / self.used.clamp(min=1)
