"""The nodes that quantizers, integer weights and deformable convolutions become in an ONNX graph.

Each is an autograd function: ``forward`` computes what the node computes, while the network is traced, and ``symbolic`` says
which nodes stand in the graph.
"""

import torch
from torch import Tensor

from mmsf.quantization.functional import fake_quantize

DOMAIN = "mmsf"
# Becomes QuantizeLinear, which has no room for a number and whose name the exporter chooses.
NUMBERED_QUANTIZE = f"{DOMAIN}::QuantizeLinear"


class QuantizeDequantize(torch.autograd.Function):
    """QuantizeLinear and DequantizeLinear of an activation, one scale for the tensor; below 8 bits a Clip comes first."""

    @staticmethod
    def forward(
        ctx, x: Tensor, scale: Tensor, zero_point: Tensor, low: Tensor, high: Tensor, clip: bool, number: int
    ) -> Tensor:
        """Round ``x`` to integers from ``low`` to ``high`` around a zero at 0, in the call of this number."""
        return fake_quantize(x, scale, low, high)

    @staticmethod
    def symbolic(g, x, scale, zero_point, low, high, clip, number):
        if clip:
            x = g.op("Clip", x, g.op("Mul", low, scale), g.op("Mul", high, scale))
        integers = g.op(NUMBERED_QUANTIZE, x, scale, zero_point, number_i=number)
        return g.op("DequantizeLinear", integers, scale, zero_point).setType(x.type())


class Dequantize(torch.autograd.Function):
    """DequantizeLinear of integers that stand in the file, one scale for each index of ``axis``."""

    @staticmethod
    def forward(ctx, integers: Tensor, scale: Tensor, axis: int) -> Tensor:
        """Integers (any shape) times scale (channels,)."""
        shape = [1] * integers.dim()
        shape[axis] = -1
        return integers * scale.view(shape)

    @staticmethod
    def symbolic(g, integers, scale, axis):
        return g.op("DequantizeLinear", integers, scale, axis_i=axis).setType(
            scale.type().with_sizes(integers.type().sizes())
        )


class DeformConv(torch.autograd.Function):
    """ONNX's DeformConv, in place of the operations that `DeformConv2d` is made of."""

    @staticmethod
    def forward(ctx, layer, x: Tensor, weight: Tensor, offset: Tensor, *bias_and_mask: Tensor) -> Tensor:
        """The layer's function of x (B, C, H, W) and offset (B, 2 G K, H', W'), with bias and mask or neither."""
        bias, mask = bias_and_mask or (None, None)
        return layer.forward_with_weight(weight, bias, x, offset, mask)

    @staticmethod
    def symbolic(g, layer, x, weight, offset, *bias_and_mask):
        return g.op(
            "DeformConv",
            *(x, weight, offset, *bias_and_mask),
            dilations_i=layer.dilation,
            group_i=layer.groups,
            kernel_shape_i=layer.kernel_size,
            offset_group_i=layer.deform_groups,
            pads_i=(*layer.padding, *layer.padding),
            strides_i=layer.stride,
        ).setType(x.type().with_sizes([None] * 4))
