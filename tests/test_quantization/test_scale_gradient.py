"""The first layer's shortcut: the input's scale is tuned without a gradient of the input."""

import pytest
import torch
from torch import nn

from mmsf.quantization import functional
from mmsf.quantization.layers import QuantizedLayer
from mmsf.quantization.quantizer import Quantizer, QuantizerSettings

LAYERS = {
    "convolution": lambda: nn.Conv2d(3, 5, 3, stride=2, padding=1),
    "grouped convolution": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "transposed convolution": lambda: nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1),
    "linear": lambda: nn.Linear(7, 5),
}


def quantized(layer: nn.Module, x: torch.Tensor) -> QuantizedLayer:
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    weight = Quantizer(QuantizerSettings(4, symmetric=True, per_channel=True, channel_axis=axis), layer.weight.shape[axis])
    others = [n for n in range(layer.weight.dim()) if n != axis]
    largest = layer.weight.detach().abs().amax(others)
    weight.set_range(-largest, largest)
    inputs = Quantizer(QuantizerSettings(4, symmetric=False, learn_scale=True))
    inputs.set_range(x.min() / 2, x.max() / 2)  # a part of the values lies outside of the grid
    return QuantizedLayer(layer, weight, inputs)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_first_layers_gradients_are_those_of_a_layer_further_on(kind):
    torch.manual_seed(0)
    plain = LAYERS[kind]()
    channels = plain.weight.shape[0] if isinstance(plain, nn.ConvTranspose2d) else plain.weight.shape[1]
    x = torch.randn(2, channels * getattr(plain, "groups", 1), 8, 7)
    layer = quantized(plain, x)
    outputs, gradients = [], []
    for further_on in (False, True):
        y = layer(x.clone().requires_grad_(further_on))
        outputs.append(y.detach())
        y.sin().sum().backward()
        gradients.append([p.grad.clone() for p in (layer.input_quantizer.scale, plain.weight, plain.bias)])
        layer.zero_grad()
    assert torch.equal(*outputs)
    assert gradients[0][0].abs() > 1e-3
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_no_gradient_of_the_image_is_computed():
    x = torch.randn(1, 3, 8, 8)
    y = quantized(LAYERS["convolution"](), x)(x)
    asked = []
    node = y.grad_fn.next_functions[0][0]  # the convolution
    node.register_hook(lambda inputs, outputs: asked.append(inputs[0]))
    y.sum().backward()
    assert asked == [None]


def test_a_large_tensor_in_pieces_is_quantized_as_in_one(monkeypatch):
    torch.manual_seed(0)
    x, gradient = torch.randn(3, 41, 7), torch.randn(3, 41, 7)
    quantizer = Quantizer(QuantizerSettings(4, symmetric=False, learn_scale=True, learn_offset=True))
    quantizer.set_range(torch.tensor(-0.7), torch.tensor(1.1))
    found = []
    for piece in (2**17, 100):
        monkeypatch.setattr(functional, "PIECE", piece // torch.get_num_threads())
        own = x.clone().requires_grad_()
        y = quantizer(own)
        y.backward(gradient)
        found.append((y.detach(), own.grad, quantizer.scale.grad, quantizer.zero_point.grad))
        quantizer.zero_grad()
    for whole, pieces in zip(*found):
        torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-6)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_values_on_and_beyond_the_last_step_pass_a_gradient_or_none():
    quantizer = Quantizer(QuantizerSettings(2, symmetric=True, learn_scale=True))
    quantizer.set_range(torch.tensor(-1.5), torch.tensor(1.5))  # a scale of 1, integers -2 to 1
    x = torch.tensor([-2.6, -2.5, -2.0, 0.0, 1.0, 1.5, 1.49], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("low", [-3.0, -2.0, 0.0])
@pytest.mark.parametrize("high", [1.0, 4.0])
def test_a_value_halfway_between_integers_passes_a_gradient_where_it_is_rounded_inside(low, high):
    scale = torch.tensor([0.25])
    x = torch.arange(-20.0, 21) / 2 * scale  # integers and halves
    for size in (1, len(x)):  # one scale for all, as activations have, and one a value, as weights have
        passed = functional._inside(torch.ones_like(x), x, scale.expand(size), torch.tensor([low]), torch.tensor([high]))
        rounded = (x / scale).round()
        assert torch.equal(passed, ((low <= rounded) & (rounded <= high)).float())
