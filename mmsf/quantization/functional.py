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


# A step too far must not turn the grid over. Folded batch norms leave weights of 1e-8, whose scales are far below.
SMALLEST_SCALE = 1e-20


class _FakeQuantizeLearned(torch.autograd.Function):
    """Learned scale, and learned zero point where one is given: LSQ (Esser et al. 2019, Eq. 3), LSQ+ (Bhalgat et al. 2020).

    With ``y = s * (clamp(round(x / s) + z, qmin, qmax) - z)``, dy / ds is ``(y - x) / s`` inside the grid and ``y / s``
    outside; dy / dz is 0 inside and ``-s`` outside. Both are divided by sqrt(N * Qp). Nothing is kept but input, output and
    a mask, and the layers around keep the first two anyway.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, low: Tensor, high: Tensor, largest: int, zero_point: Tensor | None) -> Tensor:
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
        offset = None
        if ctx.needs_input_grad[5]:
            offset = (gradient - passed).sum_to_size(scale.shape) * -scale * ctx.gradient_scale
        return passed, slope / scale * ctx.gradient_scale, None, None, None, offset


class _RoundWithin(torch.autograd.Function):
    """Rounded and clamped, with a straight-through gradient; one that would push further out of the limits is dropped.

    (Clamping's own gradient would never let a value back that a step has put just outside.)
    """

    @staticmethod
    def forward(ctx, z: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(z)
        ctx.limits = low, high
        return z.round().clamp_(low, high)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (z,) = ctx.saved_tensors
        low, high = ctx.limits
        outwards = ((z <= low) & (gradient > 0)) | ((z >= high) & (gradient < 0))
        return gradient.masked_fill(outwards, 0.0), None, None


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


def fake_quantize_learned(
    x: Tensor, scale: Tensor, low: Tensor, high: Tensor, largest: int, zero_point: Tensor | None = None
) -> Tensor:
    """As `fake_quantize`, with a gradient for the scale, and for the zero point where it is given.

    Both gradients are multiplied by ``1 / sqrt(N * largest)``, N being the values that share a scale, those of all frames
    of a batch together: LSQ's rule for weights and, as in the code of QDrop and MMRazor, for activations.

    Args:
        x: Any shape, float.
        scale: Broadcastable to ``x``; values below `SMALLEST_SCALE` are raised to it.
        low: Smallest integer minus the zero point.
        high: Largest integer minus the zero point.
        largest: Largest integer of the grid (Qp of LSQ).
        zero_point: Shape of ``scale``, the one in ``low`` and ``high``; None where it is not learned.
    """
    return _FakeQuantizeLearned.apply(x, scale.clamp(min=SMALLEST_SCALE), low, high, largest, zero_point)


def round_within(z: Tensor, low: int, high: int) -> Tensor:
    """A learned zero point as an integer from ``low`` to ``high``; the gradient passes straight through.

    Args:
        z: Any shape, float.
        low: Smallest integer.
        high: Largest integer.
    """
    return _RoundWithin.apply(z, low, high)
