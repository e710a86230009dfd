"""Fake quantization as fused autograd functions that keep only what their gradients need."""

import torch
from torch import Tensor


class _FakeQuantize(torch.autograd.Function):
    """Fixed scale: the gradient passes where the value is inside the grid (straight-through, clipped)."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
        rounded = torch.div(x, scale).round_()
        clamped = torch.clamp(rounded, low, high)
        ctx.save_for_backward(clamped.eq(rounded))
        return clamped.mul_(scale)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None, None


class _FakeQuantizeLearned(torch.autograd.Function):
    """Learned scale: LSQ (Esser et al. 2019, Eq. 3), gradient of the scale divided by sqrt(N * Qp).

    d(s * clamp(round(x / s))) / ds is ``(y - x) / s`` inside the grid and ``y / s`` outside, ``y`` being the output:
    nothing is kept but input, output and a mask, and the layers around keep the first two anyway.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, low: Tensor, high: Tensor, largest: int) -> Tensor:
        rounded = torch.div(x, scale).round_()
        y = torch.clamp(rounded, low, high)
        inside = y.eq(rounded)
        y.mul_(scale)
        ctx.save_for_backward(x, y, inside, scale)
        ctx.gradient_scale = (x.numel() / scale.numel() * largest) ** -0.5
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, y, inside, scale = ctx.saved_tensors
        passed = gradient * inside
        slope = _sum_of_products(gradient, y, scale) - _sum_of_products(passed, x, scale)
        return passed, slope / scale * ctx.gradient_scale, None, None, None


def _sum_of_products(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """Sum of ``a * b`` over all elements that share a scale, in the shape of ``scale``."""
    if scale.numel() == 1:
        return torch.dot(a.reshape(-1), b.reshape(-1)).view(scale.shape)
    return (a * b).sum_to_size(scale.shape)


def fake_quantize(x: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Round ``x`` to the grid ``{low..high} * scale``.

    Args:
        x: Any shape, float.
        scale: Broadcastable to ``x``, positive.
        low: Smallest integer minus the zero point, shape of ``scale``.
        high: Largest integer minus the zero point, shape of ``scale``.

    Returns:
        Shape of ``x``; the gradient is 1 inside the grid and 0 outside.
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        return torch.div(x, scale).round_().clamp_(low, high).mul_(scale)
    return _FakeQuantize.apply(x, scale, low, high)


def fake_quantize_learned(x: Tensor, scale: Tensor, low: Tensor, high: Tensor, largest: int) -> Tensor:
    """As `fake_quantize`, with a gradient for the scale.

    Args:
        x: Any shape, float.
        scale: Broadcastable to ``x``; values below 1e-8 are raised to it, so that a step too far cannot turn the grid over.
        low: Smallest integer minus the zero point.
        high: Largest integer minus the zero point.
        largest: Largest integer of the grid (Qp of LSQ).
    """
    return _FakeQuantizeLearned.apply(x, scale.clamp(min=1e-8), low, high, largest)
