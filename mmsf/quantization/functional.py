"""Fake quantization as fused autograd functions that keep nothing but what the layers around keep anyway.

On a processor, PyTorch is several times as slow with a mask of booleans, and at clamping to limits that are tensors, as
with arithmetic. Hence the gradient's mask is not kept but told from the input a second time, and all of it is arithmetic,
for large tensors piece by piece (docs/speed.md).
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def _on_grid(x: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The integers that ``x`` is rounded to, as floats, limits included."""
    return _clamped(torch.div(x, scale).round_(), low, high)


def _clamped(rounded: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``rounded``, changed in place, between its limits."""
    torch.maximum(rounded, low, out=rounded)
    return torch.minimum(rounded, high, out=rounded)


PIECE = 2**17
"""Numbers a thread that a processor works on in one go: every further step finds them in its cache."""


def _pieces(scale: Tensor, *tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Tensors of one shape: whole, or flat pieces of them where one scale serves all and a processor has many numbers."""
    size = PIECE * torch.get_num_threads()
    plain = not scale.dim() and all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in tensors)
    return zip(*(tensor.view(-1).split(size) for tensor in tensors)) if plain and tensors[0].numel() > size else [tensors]


def _inside(gradient: Tensor, x: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``gradient`` where ``x`` is rounded to an integer between the limits, and 0 elsewhere."""
    if x.device.type == "cpu" and scale.numel() == 1:
        # One operation. A GPU would be waited for to read the limits as numbers.
        return torch.ops.aten.hardtanh_backward(gradient, x, *_ends(scale, low, high))
    beyond = torch.div(x, scale).round_()
    beyond.sub_(_clamped(beyond.clone(), low, high))  # exactly 0 inside, at least 1 outside
    return torch.ops.aten.hardtanh_backward(gradient, beyond, -0.5, 0.5)


def _ends(scale: Tensor, low: Tensor, high: Tensor) -> tuple[float, float]:
    """Between which values, both excluded, numbers are rounded to the integers from ``low`` to ``high``."""
    step, lowest, highest = scale.item(), low.item(), high.item()
    below, above = (lowest - 0.5) * step, (highest + 0.5) * step
    # Halves are rounded to even integers: where that is the limit itself, the half belongs inside.
    if lowest % 2 == 0:
        below -= abs(below) * _ROUNDING
    if highest % 2 == 0:
        above += abs(above) * _ROUNDING
    return below, above


class _FakeQuantize(torch.autograd.Function):
    """Fixed scale: the gradient passes where the value is inside the grid (straight-through, clipped)."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale, low, high)
        return _on_grid(x, scale, low, high).mul_(scale)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _inside(gradient, *ctx.saved_tensors), None, None, None


# A step too far must not turn the grid over. Folded batch norms leave weights of 1e-8, whose scales are far below.
SMALLEST_SCALE = 1e-20
_ROUNDING = torch.finfo(torch.float32).eps  # of a number, its distance to the next one is at most this share


class _FakeQuantizeLearned(torch.autograd.Function):
    """Learned scale, and learned zero point where one is given: LSQ (Esser et al. 2019, Eq. 3), LSQ+ (Bhalgat et al. 2020).

    With ``y = s * (clamp(round(x / s) + z, qmin, qmax) - z)``, dy / ds is ``(y - x) / s`` inside the grid and ``y / s``
    outside; dy / dz is 0 inside and ``-s`` outside. Both are divided by sqrt(N * Qp). Nothing is kept but input and output.
    A scale that a step has put below the smallest one acts as that, and a gradient that would push it further is dropped.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, low: Tensor, high: Tensor, largest: int, zero_point: Tensor | None) -> Tensor:
        y = torch.empty_like(x)
        ctx.save_for_backward(x, y, scale, low, high)
        scale = scale.clamp(min=SMALLEST_SCALE)
        for some, out in _pieces(scale, x, y):
            _clamped(torch.div(some, scale, out=out).round_(), low, high).mul_(scale)
        ctx.gradient_scale = _gradient_scale(x, scale, largest)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, y, given, low, high = ctx.saved_tensors
        scale = given.clamp(min=SMALLEST_SCALE)
        passed, slope = torch.empty_like(gradient), 0.0
        for some, out, before, after in _pieces(scale, gradient, passed, x, y):
            out.copy_(_inside(some, before, scale, low, high))
            slope = slope + (_sum_of_products(some, after, scale) - _sum_of_products(out, before, scale))
        offset = None
        if ctx.needs_input_grad[5]:
            offset = (gradient - passed).sum_to_size(scale.shape) * -scale * ctx.gradient_scale
        slope = slope / scale * ctx.gradient_scale
        slope = slope.masked_fill((given <= SMALLEST_SCALE) & (slope > 0), 0.0)
        return passed, slope, None, None, None, offset


class _WithScaleGradient(torch.autograd.Function):
    """``y`` itself, of which ``slope`` is the derivative by the scale; what follows may change it in place."""

    @staticmethod
    def forward(ctx, y: Tensor, scale: Tensor, slope: Tensor, gradient_scale: float) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.gradient_scale, ctx.shape = gradient_scale, scale.shape
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (slope,) = ctx.saved_tensors
        return gradient, (gradient * slope).sum().view(ctx.shape) * ctx.gradient_scale, None, None


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


def _gradient_scale(x: Tensor, scale: Tensor, largest: int) -> float:
    # A layer may see no candidate at all in some frames.
    return (max(x.numel(), 1) / scale.numel() * largest) ** -0.5


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
        return _on_grid(x, scale, low, high).mul_(scale)
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
    return _FakeQuantizeLearned.apply(x, scale, low, high, largest, zero_point)


@torch.no_grad()
def learned_slope(x: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """What `fake_quantize_learned` makes of ``x``, and its derivative by the scale, both in the shape of ``x``.

    Args:
        x: Any shape, float.
        scale: One for all of ``x``.
        low: Smallest integer minus the zero point.
        high: Largest integer minus the zero point.
    """
    scale = scale.clamp(min=SMALLEST_SCALE)
    integers = _on_grid(x, scale, low, high)
    return integers * scale, integers - _inside(x, x, scale, low, high) / scale


def with_scale_gradient(y: Tensor, scale: Tensor, slope: Tensor, x: Tensor, largest: int) -> Tensor:
    """``y``, with the gradient that `fake_quantize_learned` has for the scale.

    Args:
        y: What a layer makes of the quantized ``x``; linear in it but for a constant.
        scale: One for all of ``x``.
        slope: What the layer, without the constant, makes of the slope of `learned_slope`; shape of ``y``.
        x: The layer's input.
        largest: As `fake_quantize_learned`.
    """
    return _WithScaleGradient.apply(y, scale, slope, _gradient_scale(x, scale, largest))


def round_within(z: Tensor, low: int, high: int) -> Tensor:
    """A learned zero point as an integer from ``low`` to ``high``; the gradient passes straight through.

    Args:
        z: Any shape, float.
        low: Smallest integer.
        high: Largest integer.
    """
    return _RoundWithin.apply(z, low, high)
