"""Weight correction: what quantization moves of each output channel's norm and mean, folded into what is deployed anyway."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mmsf.quantization.layers import QuantizedLayer
from mmsf.quantization.network import QuantizedNetwork


@contextmanager
def correcting_weights(network: QuantizedNetwork) -> Iterator[None]:
    """Correct every layer whose range is set; the network must run on calibration data inside the block.

    Banner et al. give the quantized weight of each output channel the norm and the mean of the float one:
    ``xi (W_q - mean W_q) + mean W``. That leaves the integer grid. Both parts have a form that does not:

    - the norm: weight and scale are multiplied by xi, so that the integers stay and no rounding is added; exact;
    - the mean multiplies the sum of the layer's inputs, which differs from place to place. Its expectation over the
      calibration data goes into the bias; taken over the whole error of weight and input, so that the mean of each output
      channel becomes the float layer's. A layer without a bias keeps its mean error.

    Inside the block the network runs in float; each layer meets its float input, so that one pass serves all layers.

    Source:
        Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment", 2019, section 5;
        the expectation as in Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019.
    """
    errors = {}
    handles = []
    # The calls themselves are switched off, not their quantizers, which layers may share.
    for call in network.calls:
        call.enabled = False
    for _, layer in network.layer_quantizers():
        errors[layer] = _MeanError(layer)
        if layer.weight_quantizer is not None:
            _correct_norm(layer)
        handles.append(layer.register_forward_hook(errors[layer]))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for call in network.calls:
            call.enabled = True
    for layer, error in errors.items():
        if layer.bias is not None and error.count:
            with torch.no_grad():
                layer.bias.sub_((error.total / error.count).to(layer.bias))


def _correct_norm(layer: QuantizedLayer) -> None:
    """Multiply weight and scale by xi, the ratio of the standard deviations of each channel's float and quantized weight."""
    quantizer, weight = layer.weight_quantizer, layer.layer.weight
    with torch.no_grad():
        quantized = layer.quantized_weight()
        others = list(range(weight.dim()))
        if quantizer.settings.per_channel:
            del others[quantizer.settings.channel_axis]
        ratio = weight.std(others, keepdim=True) / quantized.std(others, keepdim=True)
        # A channel of one weight, or of one level, has no spread to restore.
        ratio = ratio.where(ratio.isfinite() & (ratio > 0), 1.0)
        scale = quantizer.scale.view(ratio.shape)
        # A weight on the very edge between two integers could fall to the other side by the product's rounding.
        error = (quantized - weight) / scale
        weight.add_(torch.where(error.abs() > 0.499, 1e-3 * error.sign() * scale, 0.0))
        weight.mul_(ratio)
        quantizer.scale.copy_((scale * ratio).view_as(quantizer.scale))


class _MeanError:
    """A hook that sums a layer's error by output channel and passes on its float output."""

    def __init__(self, layer: QuantizedLayer) -> None:
        self.weight = layer.layer.weight.detach().clone()
        # Linear layers have their channels last, convolutions second.
        self.axis = -1 if self.weight.dim() == 2 else 1
        self.total, self.count = 0.0, 0

    def __call__(self, layer: QuantizedLayer, args: tuple, output: Tensor) -> Tensor:
        want = layer.float_output(self.weight, *args)
        error = (output - want).detach().double().movedim(self.axis, 0).flatten(1)
        self.total = self.total + error.sum(1)
        self.count += error.shape[1]
        return want
