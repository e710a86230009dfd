"""AdaRound: whether each weight is rounded down or up is learned."""

import torch
from torch import Tensor, nn

from mmsf.quantization.quantizer import Quantizer

# The rectified sigmoid is stretched to (GAMMA, ZETA) and cut to [0, 1], so that 0 and 1 are reached.
ZETA, GAMMA = 1.1, -0.1


class AdaRound(nn.Module):
    """Soft rounding ``s * clamp(floor(w / s) + h(V), low, high)`` of one weight; stands in for its quantizer's rounding.

    V starts so that the soft weight is the float weight (where it lies inside the grid).

    Args:
        weight: Float, any shape.
        quantizer: The weight's quantizer, its range set.

    Attributes:
        logits: V, shape of ``weight``; the parameter.

    Source:
        Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", 2020, Eq. 22 to 24.
    """

    def __init__(self, weight: Tensor, quantizer: Quantizer) -> None:
        super().__init__()
        scale, low, high = (value.detach() for value in quantizer.grid_for(weight))
        steps = weight.detach() / scale
        floor = steps.floor()
        for name, value in (("scale", scale), ("low", low), ("high", high), ("floor", floor)):
            self.register_buffer(name, value)
        self.logits = nn.Parameter(-torch.log((ZETA - GAMMA) / (steps - floor - GAMMA) - 1))

    def share(self) -> Tensor:
        """h(V), how far each weight is rounded up, 0 to 1."""
        return (self.logits.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def forward(self) -> Tensor:
        """The soft weight."""
        self._share = self.share()
        return (self.floor + self._share).clamp(self.low, self.high) * self.scale

    def hard(self) -> Tensor:
        """The weight on its grid: up where V is not negative."""
        return (self.floor + (self.logits.detach() >= 0)).clamp(self.low, self.high) * self.scale

    def undecided(self, beta: float) -> Tensor:
        """The regulariser, scalar: the sum over all weights of ``1 - |2 h - 1|^beta``, with the h of the last `forward`."""
        return self._share.numel() - (2 * self._share - 1).abs().pow(beta).sum()
