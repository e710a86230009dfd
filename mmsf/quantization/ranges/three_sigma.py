"""LSQ+'s first ranges of weights, from mean and standard deviation."""

import torch
from torch import Tensor

from mmsf.errors import UserError
from mmsf.quantization.histogram import GrowingHistogram
from mmsf.quantization.quantizer import QuantizerSettings
from mmsf.quantization.ranges.base import RangeEstimator
from mmsf.registry import TASK_UTILS


@TASK_UTILS.register_module()
class ThreeSigmaRange(RangeEstimator):
    """Symmetric weights: ``scale = max(|mean - 3 std|, |mean + 3 std|) / 2^(bits - 1)``.

    The authors take mean and standard deviation over a layer; here they are each channel's, as the scales are.

    Source:
        Bhalgat et al., "LSQ+: Improving low-bit quantization through learnable offsets and better initialization", 2020.
    """

    def from_histogram(self, histogram: GrowingHistogram, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        raise UserError("ThreeSigmaRange is for weights; give activation_range another estimator, such as MSERange")

    def from_channels(self, values: Tensor, settings: QuantizerSettings) -> tuple[Tensor, Tensor]:
        if not settings.symmetric:
            raise UserError(
                "ThreeSigmaRange is for symmetric weights; give weight_range another estimator, such as MSERange"
            )
        mean, spread = values.mean(1), 3 * values.std(1, correction=0)
        largest = torch.maximum((mean - spread).abs(), (mean + spread).abs())
        # `QuantizerSettings.grid` divides by half the number of steps; LSQ+ by half of 2^bits.
        qmin, qmax = settings.integer_range
        high = largest * (qmax - qmin) / 2**settings.bits
        return -high, high
