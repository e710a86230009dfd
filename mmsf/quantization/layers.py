"""Layers with a weight, their weight and input passed through quantizers."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from mmsf.quantization.quantizer import Quantizer


def _convolution(layer: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    return layer._conv_forward(x, weight, layer.bias)


def _transposed_convolution(
    layer: nn.ConvTranspose2d, weight: Tensor, x: Tensor, output_size: list[int] | None = None
) -> Tensor:
    padding = layer.output_padding
    if output_size is not None:
        padding = layer._output_padding(x, output_size, layer.stride, layer.padding, layer.kernel_size, 2, layer.dilation)
    return F.conv_transpose2d(x, weight, layer.bias, layer.stride, layer.padding, padding, layer.groups, layer.dilation)


def _linear(layer: nn.Linear, weight: Tensor, x: Tensor) -> Tensor:
    return F.linear(x, weight, layer.bias)


_OPERATIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed_convolution,
    nn.Linear: _linear,
}


def operation_of(layer: nn.Module) -> Callable[..., Tensor] | None:
    """How to run ``layer`` with another weight, or None for a layer that carries no weight to quantize.

    A class outside PyTorch (a deformable convolution, say) takes part by a method ``forward_with_weight(weight, x, *rest)``.
    """
    if hasattr(layer, "forward_with_weight"):
        return type(layer).forward_with_weight
    for kind, operation in _OPERATIONS.items():
        if isinstance(layer, kind):
            return operation
    return None


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

    Args:
        layer: A convolution, transposed convolution, linear layer, or any module with ``forward_with_weight``.
        weight_quantizer: For ``layer.weight``; None leaves it in float.
        input_quantizer: For the first input; None leaves it in float. One range serves every call.
    """

    def __init__(self, layer: nn.Module, weight_quantizer: Quantizer | None, input_quantizer: Quantizer | None) -> None:
        super().__init__()
        self.layer = layer
        self.weight_quantizer = weight_quantizer
        self.input_quantizer = input_quantizer
        self._operation = operation_of(layer)

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

    def float_output(self, weight: Tensor, x: Tensor, *rest) -> Tensor:
        """The layer's output with ``weight`` in place of its own and nothing quantized."""
        return self._operation(self.layer, weight, x, *rest)

    def forward(self, x: Tensor, *rest) -> Tensor:
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        return self._operation(self.layer, self.quantized_weight(), x, *rest)
