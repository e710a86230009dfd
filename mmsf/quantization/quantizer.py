"""One quantizer for weights and activations: bits 2-8, symmetric or affine, per tensor or per channel, signed or not."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.quantization.functional import SMALLEST_SCALE, fake_quantize, fake_quantize_learned, learned_slope, round_within
from mmsf.quantization.histogram import GrowingHistogram


@dataclass(frozen=True)
class QuantizerSettings:
    """What a quantizer does; checks itself.

    Attributes:
        bits: 2 to 8.
        symmetric: The zero point is 0 and the integer range is signed around it; otherwise affine.
        per_channel: One scale for each index of ``channel_axis``; otherwise one for the whole tensor.
        channel_axis: Axis of the channels (0 for convolutions and linear layers, 1 for transposed convolutions).
        learn_scale: The scale is a parameter that the optimizer tunes (LSQ: Esser et al. 2019).
        learn_offset: So is the zero point, which is rounded wherever it is used (LSQ+: Bhalgat et al. 2020).
        narrow: Symmetric only: the smallest integer is left out, so that there are as many negative ones as positive ones.
    """

    bits: int
    symmetric: bool
    per_channel: bool = False
    channel_axis: int = 0
    learn_scale: bool = False
    learn_offset: bool = False
    narrow: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 2 <= self.bits <= 8:
            raise UserError(
                f"bits must be a whole number from 2 to 8, or 'float' for a layer that is left out; got {self.bits!r}"
            )
        if self.learn_offset and (self.symmetric or not self.learn_scale):
            raise UserError("an offset is learned of affine quantizers with a learned scale; set learn_activation_scale")

    @property
    def integer_range(self) -> tuple[int, int]:
        """Smallest and largest integer: [-2^(b-1), 2^(b-1)-1] symmetric, one less below if narrow; [0, 2^b-1] affine."""
        if self.symmetric:
            return -(2 ** (self.bits - 1)) + self.narrow, 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1

    def grid(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point of the grid that spans [low, high], zero always included; shapes as given."""
        qmin, qmax = self.integer_range
        low, high = low.clamp(max=0.0), high.clamp(min=0.0)
        scale = torch.maximum(-low, high) / ((qmax - qmin) / 2) if self.symmetric else (high - low) / (qmax - qmin)
        # An all-zero tensor has no range; any scale represents it.
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        zero_point = torch.zeros_like(scale) if self.symmetric else (qmin - torch.round(low / scale)).clamp(qmin, qmax)
        return scale, zero_point

    def with_bits(self, bits: int) -> "QuantizerSettings":
        """The same settings at other bits."""
        return replace(self, bits=bits)


class Quantizer(nn.Module):
    """Rounds a tensor to the integer grid and back, with a straight-through gradient.

    ``x_q = (clamp(round(x / s) + z, qmin, qmax) - z) * s``. The scale has its final shape from the start, so that an
    optimizer built before the ranges are known holds the right parameter.

    Args:
        settings: What the quantizer does.
        channels: Number of channels along ``settings.channel_axis``; 1 per tensor.

    Attributes:
        scale: (channels,) or () float; 1 until `set_range` is called.
        zero_point: Same shape, integers kept as float. While it is learned it moves between them; `settle` ends that.
        enabled: A plain Python switch; off means the tensor passes unchanged.
        observer: When set, is called with the tensor, which passes unchanged.
        rounding: A module that takes the place of rounding to nearest while it is tuned (`AdaRound`); None for nearest.
        dropping: When set, is called with the quantized and the original tensor and chooses between them (`RandomDropping`).
    """

    def __init__(self, settings: QuantizerSettings, channels: int = 1) -> None:
        super().__init__()
        self.settings = settings
        shape = (channels,) if settings.per_channel else ()
        if settings.learn_scale:
            self.scale = nn.Parameter(torch.ones(shape))
        else:
            self.register_buffer("scale", torch.ones(shape))
        if settings.learn_offset:
            self.zero_point = nn.Parameter(torch.zeros(shape))
        else:
            self.register_buffer("zero_point", torch.zeros(shape))
        self.enabled = True
        self.observer = None
        self.rounding: nn.Module | None = None
        self.dropping: Callable[[Tensor, Tensor], Tensor] | None = None

    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Set scale and zero point so that the grid spans [low, high], zero always included.

        Args:
            low: Smallest value to represent, shape of ``scale``.
            high: Largest value, same shape.
        """
        with torch.no_grad():
            scale, zero_point = self.settings.grid(low, high)
            self.scale.copy_(scale)
            self.zero_point.copy_(zero_point)

    def new_observer(self, name: str) -> GrowingHistogram:
        """What gathers all that a range estimator needs of the tensors; ``name`` says whose they are."""
        return GrowingHistogram(name)

    def settle(self) -> None:
        """Set what was learned to the values it acts with: an integer zero point inside the grid, a positive scale."""
        with torch.no_grad():
            self.zero_point.copy_(self._integer_zero_point())
            self.scale.clamp_(min=SMALLEST_SCALE)

    def _integer_zero_point(self) -> Tensor:
        return round_within(self.zero_point, *self.settings.integer_range) if self.settings.learn_offset else self.zero_point

    def grid_limits(self) -> tuple[Tensor, Tensor]:
        """Integer limits around a zero at 0, (channels,) or (): ``qmin - z`` and ``qmax - z``."""
        qmin, qmax = self.settings.integer_range
        zero_point = self._integer_zero_point().detach()
        return qmin - zero_point, qmax - zero_point

    def grid_for(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale and integer limits, shaped so that they broadcast to ``x``."""
        low, high = self.grid_limits()
        return self._shaped(self.scale, x), self._shaped(low, x), self._shaped(high, x)

    def _shaped(self, values: Tensor, x: Tensor) -> Tensor:
        """``values``, (channels,) or (), shaped so that they broadcast to ``x``."""
        if not self.settings.per_channel:
            return values
        shape = [1] * x.dim()
        shape[self.settings.channel_axis] = -1
        return values.view(shape)

    def offset(self, x: Tensor) -> Tensor | None:
        """What is added to ``x`` before it is rounded, and taken off again after, in the unit of ``x``; None for nothing."""
        return None

    def steps(self, x: Tensor) -> Tensor:
        """``x``, offset included, in steps of the grid; shape of ``x``, not rounded."""
        offset = self.offset(x)
        return torch.div(x if offset is None else x + offset, self._shaped(self.scale, x))

    def integers(self, x: Tensor) -> Tensor:
        """The integers, around a zero at 0, that ``x`` is rounded to; shape of ``x``, float."""
        _, low, high = self.grid_for(x)
        return self.steps(x).round_().clamp_(low, high)

    def forward(self, x: Tensor) -> Tensor:
        """Quantize and dequantize ``x`` (any shape; channels on ``channel_axis`` where per channel)."""
        if self.observer is not None:
            self.observer(x)
            return x
        if not self.enabled:
            return x
        if self.rounding is not None:
            return self.rounding()
        offset = self.offset(x)
        y = self._rounded(x) if offset is None else self._rounded(x + offset) - offset
        return y if self.dropping is None else self.dropping(y, x)

    def _rounded(self, x: Tensor) -> Tensor:
        grid = self.grid_for(x)
        if not self.settings.learn_scale:
            return fake_quantize(x, *grid)
        zero_point = self._shaped(self._integer_zero_point(), x) if self.settings.learn_offset else None
        return fake_quantize_learned(x, *grid, self.settings.integer_range[1], zero_point)

    def with_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` makes of ``x``, and its derivative by the scale; neither has a gradient."""
        offset = self.offset(x)
        if offset is None:
            return learned_slope(x, *self.grid_for(x))
        y, slope = learned_slope(x + offset, *self.grid_for(x))
        return y.sub_(offset), slope

    def only_scale_is_tuned(self, x: Tensor) -> bool:
        """Whether, of all that `forward` makes of ``x``, the scale alone, one for all of it, asks for a gradient now."""
        plain = self.enabled and self.observer is None and self.rounding is None and self.dropping is None
        learned = self.settings.learn_scale and not self.settings.learn_offset and not self.settings.per_channel
        return plain and learned and torch.is_grad_enabled() and self.scale.requires_grad and not x.requires_grad

    def extra_repr(self) -> str:
        s = self.settings
        kind = "symmetric" if s.symmetric else "affine"
        return f"{s.bits} bits, {kind}, {'per channel' if s.per_channel else 'per tensor'}"


class RandomDropping:
    """QDrop: each element is quantized with some probability, and else stays as it is.

    Args:
        keep_probability: Probability that an element is quantized; the authors' 0.5. (In their code it is called drop_prob.)
        generator: Of random numbers, on the device of the tensors.

    Source:
        Wei et al., "QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization", 2022, Eq. 8.
    """

    def __init__(self, keep_probability: float, generator: torch.Generator) -> None:
        self.keep_probability, self.generator = keep_probability, generator

    def __call__(self, quantized: Tensor, original: Tensor) -> Tensor:
        """Mix two tensors of the same shape."""
        kept = torch.rand(quantized.shape, device=quantized.device, generator=self.generator).lt_(self.keep_probability)
        # Exactly one or the other, as the factors are 1 and 0; forward and backward faster than torch.where.
        return torch.lerp(original, quantized, kept)


@contextmanager
def switched_off(quantizers: Iterable[Quantizer]) -> Iterator[None]:
    """While the block runs, tensors pass these quantizers unchanged."""
    changed = [quantizer for quantizer in quantizers if quantizer.enabled]
    for quantizer in changed:
        quantizer.enabled = False
    try:
        yield
    finally:
        for quantizer in changed:
            quantizer.enabled = True
