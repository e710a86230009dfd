"""What a range estimator is."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mmsf.errors import UserError
from mmsf.quantization.histogram import GrowingHistogram
from mmsf.quantization.quantizer import Quantizer, QuantizerSettings


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
        if not isinstance(histogram, GrowingHistogram):
            raise UserError(
                f"activation_channel_bits needs activation_range=dict(type='mmsf.ACIQRange'), not {type(self).__name__}"
            )
        low, high = self.from_histogram(histogram, quantizer.settings)
        scale = quantizer.scale
        quantizer.set_range(low.to(scale).reshape(scale.shape), high.to(scale).reshape(scale.shape))


class RowEstimator(RangeEstimator):
    """An estimator to which a histogram is one row of values with counts, and a weight many rows without."""

    @abstractmethod
    def from_rows(
        self, values: Tensor, counts: Tensor | None, low: Tensor, high: Tensor, settings: QuantizerSettings
    ) -> tuple[Tensor, Tensor]:
        """Lowest and highest value to represent of each row.

        Args:
            values: (C, N) values.
            counts: (C, N) how often each occurs; None for once.
            low: (C,) smallest value of each row.
            high: (C,) largest value of each row.
            settings: The quantizer's.

        Returns:
            Two (C,) tensors.
        """

    def from_histogram(self, histogram: GrowingHistogram, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        low = torch.tensor([histogram.low], dtype=torch.float64)
        high = torch.tensor([histogram.high], dtype=torch.float64)
        values = histogram.centers
        # Zeros (half of what a ReLU gives) are counted in the bin that begins at 0.
        values[histogram.bins // 2] = 0.0
        used = histogram.counts > 0
        # Bin centres may lie beyond the true extremes by half a bin.
        values = values[used].clamp(low, high)
        best_low, best_high = self.from_rows(values[None], histogram.counts[used][None], low, high, settings)
        return best_low[0], best_high[0]

    def from_channels(self, values: Tensor, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        low, high = values.aminmax(dim=1)
        return self.from_rows(values, None, low, high, settings)
