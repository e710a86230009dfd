"""Layers with a weight, their weight and input passed through quantizers."""

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from mmsf.quantization.functional import fake_quantize, with_scale_gradient
from mmsf.quantization.quantizer import Quantizer

# The largest integers of 32 bits that float32 holds.
BIAS_LIMITS = (-(2.0**31), 2.0**31 - 128)


def _convolution(layer: nn.Module, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return layer._conv_forward(x, weight, bias)


def _transposed_convolution(
    layer: nn.ConvTranspose2d, weight: Tensor, bias: Tensor | None, x: Tensor, output_size: list[int] | None = None
) -> Tensor:
    padding = layer.output_padding
    if output_size is not None:
        padding = layer._output_padding(x, output_size, layer.stride, layer.padding, layer.kernel_size, 2, layer.dilation)
    return F.conv_transpose2d(x, weight, bias, layer.stride, layer.padding, padding, layer.groups, layer.dilation)


def _linear(layer: nn.Linear, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return F.linear(x, weight, bias)


_OPERATIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed_convolution,
    nn.Linear: _linear,
}
# MMCV's subclasses have a forward of their own only for empty inputs in old PyTorch.
_SAME_OPERATION = "mmcv.cnn.bricks.wrappers"


def operation_of(layer: nn.Module) -> Callable[..., Tensor] | None:
    """How to run ``layer`` with another weight and bias, or None for a layer that carries no weight to quantize.

    A class outside PyTorch (a deformable convolution, say) takes part by a method
    ``forward_with_weight(weight, bias, x, *rest)``. A subclass of PyTorch's without it does not where its ``forward`` is
    another (weight standardisation, say), nor does a layer whose weight is computed (``torch.nn.utils.parametrize``).
    """
    if layer._parameters.get("weight") is None or is_parametrized(layer):
        return None
    if hasattr(layer, "forward_with_weight"):
        return type(layer).forward_with_weight
    for kind, operation in _OPERATIONS.items():
        if isinstance(layer, kind):
            forward = type(layer).forward
            return operation if forward is kind.forward or forward.__module__ == _SAME_OPERATION else None
    return None


def in_order(layer: nn.Module, args: tuple, kwargs: dict) -> tuple:
    """The arguments of a call of ``layer``, keyword arguments in their places."""
    if not kwargs:
        return args
    call = inspect.signature(type(layer).forward).bind(layer, *args, **kwargs)
    call.apply_defaults()
    return *call.args[1:], *call.kwargs.values()


def output_channel_axis(layer: nn.Module) -> int:
    """Axis of the weight that counts output channels; a grouped transposed convolution counts them per group."""
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def input_channels(layer: nn.Module) -> tuple[int, int]:
    """Axis and number of the channels of a layer's input."""
    weight = layer.weight
    if weight.dim() == 2:
        return -1, weight.shape[1]
    return 1, weight.shape[0] if isinstance(layer, nn.ConvTranspose2d) else weight.shape[1] * getattr(layer, "groups", 1)


def multiply_accumulates(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """Multiply-accumulates of one call of ``layer`` from ``x`` to ``y`` (batch included)."""
    counted = x if isinstance(layer, nn.ConvTranspose2d) else y
    return counted.numel() * layer.weight[0].numel()


class QuantizedLayer(nn.Module):
    """A layer whose weight and first input pass through quantizers; further inputs pass as they are.

    The layer's own attributes, such as ``out_channels``, can be read here too.

    Args:
        layer: A convolution, transposed convolution, linear layer, or any module with ``forward_with_weight``.
        weight_quantizer: For ``layer.weight``; None leaves it in float.
        input_quantizer: For the first input; None leaves it in float. One range serves every call.
        integer_bias: Round the bias to the grid of the integer products, whose step is the product of both scales: backends
            add it to them as an integer of 32 bits.
    """

    def __init__(
        self,
        layer: nn.Module,
        weight_quantizer: Quantizer | None,
        input_quantizer: Quantizer | None,
        integer_bias: bool = False,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.weight_quantizer = weight_quantizer
        self.input_quantizer = input_quantizer
        self.integer_bias = integer_bias and None not in (weight_quantizer, input_quantizer, layer.bias)
        self.operation = operation_of(layer)

    def __call__(self, *args, **kwargs) -> Tensor:
        """Keyword arguments are put in their places first, so that hooks and `forward` need to know no names."""
        return super().__call__(*in_order(self.layer, args, kwargs))

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            # What is private might bypass the quantizers; and a copy that is being made has no layer yet.
            if name == "layer" or name.startswith("_"):
                raise
            return getattr(self.layer, name)

    @property
    def weight(self) -> Tensor:
        """The weight before quantization (code that reads ``layer.weight`` keeps working)."""
        return self.layer.weight

    @property
    def bias(self) -> Tensor | None:
        """The bias, in float."""
        return self.layer.bias

    def quantized_weight(self) -> Tensor:
        """The weight on its grid, shape of ``weight``."""
        return self.layer.weight if self.weight_quantizer is None else self.weight_quantizer(self.layer.weight)

    def bias_scale(self) -> Tensor:
        """Step of the bias' grid, (output channels,)."""
        scale = (self.input_quantizer.scale * self.weight_quantizer.scale).detach()
        # A grouped transposed convolution has one scale for the channel of the same number in every group.
        return scale.repeat(len(self.layer.bias) // len(scale))

    @torch.no_grad()
    def make_room_for_bias(self) -> None:
        """Raise scales of weights that are so small that an integer bias would not fit, as where a folded slope is nearly 0.

        Such weights are next to nothing beside the bias, so coarser steps lose nothing. Of a channel whose weights are all 0
        the scale is of no matter but for the bias, and becomes the one that fits it best.
        """
        if not self.integer_bias:
            return
        quantizer = self.weight_quantizer
        # Tuning may still double them.
        least = 2 / BIAS_LIMITS[1] * self.layer.bias.abs() / self.input_quantizer.scale
        least = least.view(-1, len(quantizer.scale)).amax(0)
        silent = (self.layer.weight.movedim(quantizer.settings.channel_axis, 0).flatten(1) == 0).all(1) & (least > 0)
        quantizer.scale.copy_(torch.where(silent, least, torch.maximum(quantizer.scale, least)))

    def quantized_bias(self) -> Tensor | None:
        """The bias, on its grid where the backend keeps it as an integer; shape of ``bias``."""
        exact = self.integer_bias and all(
            q.enabled and q.observer is None for q in (self.weight_quantizer, self.input_quantizer)
        )
        if not exact:
            return self.layer.bias
        scale = self.bias_scale()
        return fake_quantize(self.layer.bias, scale, *(scale.new_full((), limit) for limit in BIAS_LIMITS))

    def float_output(self, weight: Tensor, x: Tensor, *rest) -> Tensor:
        """The layer's output with ``weight`` in place of its own and nothing quantized."""
        return self.operation(self.layer, weight, self.layer.bias, x, *rest)

    def forward(self, x: Tensor, *rest) -> Tensor:
        if self.input_quantizer is not None:
            if self.input_quantizer.only_scale_is_tuned(x):
                return self._without_input_gradient(x, *rest)
            x = self.input_quantizer(x)
        return self.operation(self.layer, self.quantized_weight(), self.quantized_bias(), x, *rest)

    def _without_input_gradient(self, x: Tensor, *rest) -> Tensor:
        """`forward` where the gradient of the input is good for nothing but the input's scale, as in the first layer.

        Layers are linear: instead of the gradient of the whole input, which a convolution of three channels takes long
        for, the derivative by the scale is carried forwards, through the layer.
        """
        quantizer, weight = self.input_quantizer, self.quantized_weight()
        quantized, slope = quantizer.with_slope(x)
        y = self.operation(self.layer, weight, self.quantized_bias(), quantized, *rest)
        with torch.no_grad():
            slope = self.operation(self.layer, weight, None, slope, *rest)
        return with_scale_gradient(y, quantizer.scale, slope, x, quantizer.settings.integer_range[1])
