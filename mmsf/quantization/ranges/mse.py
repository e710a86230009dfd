"""Ranges of least quantization noise, by search."""

import torch
from torch import Tensor

from mmsf.errors import UserError
from mmsf.quantization.quantizer import QuantizerSettings
from mmsf.quantization.ranges.base import RowEstimator
from mmsf.quantization.ranges.noise import grid_noise
from mmsf.registry import TASK_UTILS

# How far a bound may be off by rounding in float32, relative.
_ROUNDING = 1e-4


@TASK_UTILS.register_module()
class MSERange(RowEstimator):
    """The range with the least mean |x_q - x|^p, searched over shrunken ranges, all candidates and channels at once.

    Symmetric quantizers and data on one side of zero have one end to search, ``steps`` candidates; affine quantizers of
    two-sided data have two, a coarse grid of ``side`` x ``side`` and a finer one around its best point.

    Powers are dear and squares cheap. For p > 2 the mean square bounds the mean power from below, so that only candidates
    whose bound lies below what is reached already are worked out; the result is still the best of all.

    Args:
        p: Exponent, at least 2; 2.4 is BRECQ's and QDrop's.
        steps: Candidates of the one-ended search, evenly spaced down to ``1 / steps`` of the full range.
        side: Candidates of each end of the two-ended search.
    """

    def __init__(self, p: float = 2.4, steps: int = 100, side: int = 24) -> None:
        if p < 2:
            raise UserError(f"MSERange: p must be at least 2; got {p}")
        self.p, self.steps, self.side = p, steps, side

    def from_rows(
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
            # A row on one side of zero has one end at 0, which stays there.
            centre_low, centre_high = best_low / low.where(low < 0, -1), best_high / high.where(high > 0, 1)
            width = 1.0 / self.side
        return best_low, best_high

    def _best(
        self,
        values: Tensor,
        counts: Tensor | None,
        low: Tensor,
        high: Tensor,
        settings: QuantizerSettings,
    ) -> tuple[Tensor, Tensor]:
        """The candidate with the least noise for each row: values (C, N), low and high (C, K) -> two (C,)."""
        noise = grid_noise(values, counts, low, high, settings, 2.0)
        if self.p > 2:
            first = noise.argmin(1, keepdim=True)
            reached = grid_noise(values, counts, low.gather(1, first), high.gather(1, first), settings, self.p)
            # Power means: (mean e^2)^(p/2) <= mean e^p.
            among = (noise ** (self.p / 2) <= reached * (1 + _ROUNDING)).scatter(1, first, True)
            noise = grid_noise(values, counts, low, high, settings, self.p, among)
        best = noise.argmin(1, keepdim=True)
        return low.gather(1, best)[:, 0], high.gather(1, best)[:, 0]


@TASK_UTILS.register_module()
class OMSERange(MSERange):
    """The range with the least mean square error; p is 2.

    Args:
        steps: Candidates of the one-ended search.
        side: Candidates of each end of the two-ended search.

    Source:
        Choukroun et al., "Low-bit Quantization of Neural Networks for Efficient Inference", 2019. Its several low-precision
        tensors for badly fitted layers, which cost computation, are left out.
    """

    def __init__(self, steps: int = 100, side: int = 24) -> None:
        super().__init__(2.0, steps, side)
