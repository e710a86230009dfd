"""A quantized network in the form that is exported: integers for weights and biases, nodes for quantizers."""

import torch
from torch import Tensor, nn

from mmsf.deploy.nodes import DeformConv, Dequantize, QuantizeDequantize
from mmsf.models.layers.deform_conv import DeformConv2d
from mmsf.quantization.layers import BIAS_LIMITS, QuantizedLayer
from mmsf.quantization.network import QuantizedNetwork
from mmsf.quantization.quantizer import Quantizer


class Numbers:
    """0, 1, 2, ..., from the beginning of each run."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.count = 0

    def next(self) -> int:
        self.count += 1
        return self.count - 1


class ActivationNode(nn.Module):
    """Takes a quantizer's place: Q and DQ nodes.

    Args:
        quantizer: Of an activation, its range set.
        numbers: Numbers for the calls of all quantizers in one run.
    """

    def __init__(self, quantizer: Quantizer, numbers: "Numbers") -> None:
        super().__init__()
        self.numbers = numbers
        self.offset = quantizer.offset
        settings = quantizer.settings
        self.clip = settings.bits < 8
        low, high = quantizer.grid_limits()
        integer = torch.int8 if settings.symmetric else torch.uint8
        self.register_buffer("scale", quantizer.scale.detach().clone())
        self.register_buffer("zero_point", quantizer.zero_point.to(integer))
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, x: Tensor) -> Tensor:
        number, offset = self.numbers.next(), self.offset(x)
        x = x if offset is None else x + offset
        y = QuantizeDequantize.apply(x, self.scale, self.zero_point, self.low, self.high, self.clip, number)
        return y if offset is None else y - offset


class StoredIntegers(nn.Module):
    """Integers in the file, and a DQ node.

    Args:
        integers: int8 or int32, any shape.
        scale: (channels,).
        axis: Axis of the channels.
    """

    def __init__(self, integers: Tensor, scale: Tensor, axis: int) -> None:
        super().__init__()
        self.register_buffer("integers", integers)
        self.register_buffer("scale", scale.detach().clone())
        self.axis = axis

    def forward(self) -> Tensor:
        return Dequantize.apply(self.integers, self.scale, self.axis)


class ExportedLayer(nn.Module):
    """What a `QuantizedLayer` computes, from integers in the file.

    Args:
        quantized: The layer.
        deform_nodes: Deformable convolutions become single nodes.
        numbers: As `ActivationNode`.
    """

    def __init__(self, quantized: QuantizedLayer, deform_nodes: bool, numbers: Numbers) -> None:
        super().__init__()
        self.layer, self.operation = quantized.layer, quantized.operation
        self.is_linear = isinstance(self.layer, nn.Linear)
        self.is_deform_node = deform_nodes and isinstance(self.layer, DeformConv2d)
        self.activation = None
        if quantized.input_quantizer is not None:
            self.activation = ActivationNode(quantized.input_quantizer, numbers)
        self.stored_weight = self.stored_bias = None
        if quantized.weight_quantizer is not None:
            settings = quantized.weight_quantizer.settings
            integers = quantized.weight_quantizer.integers(quantized.layer.weight).to(torch.int8)
            axis = settings.channel_axis
            if self.is_linear:  # stored as the matrix product takes it, without a transposition in the graph
                integers, axis = integers.T.contiguous(), 1 - axis
            self.stored_weight = StoredIntegers(integers, quantized.weight_quantizer.scale, axis)
        if quantized.integer_bias:
            scale = quantized.bias_scale()
            integers = torch.div(self.layer.bias, scale).round().clamp(*BIAS_LIMITS).to(torch.int32)
            self.stored_bias = StoredIntegers(integers, scale, 0)

    def forward(self, x: Tensor, *rest) -> Tensor:
        if self.activation is not None:
            x = self.activation(x)
        weight = self.layer.weight if self.stored_weight is None else self.stored_weight()
        bias = self.layer.bias if self.stored_bias is None else self.stored_bias()
        if self.is_deform_node:
            return self._deform(weight, bias, x, *rest)
        if self.is_linear and self.stored_weight is not None:
            product = torch.matmul(x, weight)
            return product if bias is None else product + bias
        return self.operation(self.layer, weight, bias, x, *rest)

    def _deform(self, weight: Tensor, bias: Tensor | None, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None and bias is None:
            return DeformConv.apply(self.layer, x, weight, offset)
        # Inputs in the middle cannot be left out, so what is missing is given its neutral value.
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        mask = torch.ones_like(offset[:, ::2]) if mask is None else mask
        return DeformConv.apply(self.layer, x, weight, offset, bias, mask)


class ExportedNetwork(nn.Module):
    """From preprocessed images (B, 3, H, W) to raw outputs, as a tuple in a fixed order.

    Args:
        quantized: The quantized network. It is turned into what is exported, so it is of no other use afterwards.
        names: Names of the raw outputs.
        deform_nodes: Deformable convolutions become single nodes, not the operations they are made of.
    """

    def __init__(self, quantized: QuantizedNetwork, names: list[str], deform_nodes: bool) -> None:
        super().__init__()
        self.names = names
        self.quantized = quantized.requires_grad_(False)
        self.layers = nn.ModuleList()
        self.numbers = Numbers()
        for _, layer in list(quantized.layer_quantizers()):
            self.layers.append(ExportedLayer(layer, deform_nodes, self.numbers))
            # The module itself stays in its place, with the hooks by which function calls are counted.
            layer.forward = self.layers[-1].forward
        for call in self.quantized.calls:
            call.operands = nn.ModuleList(
                ActivationNode(q, self.numbers) if isinstance(q, Quantizer) else q for q in call.operands
            )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.numbers.restart()
        with self.quantized.running():
            raw = self.quantized.network(images, mode="tensor")
        return tuple(raw[name] for name in self.names)
