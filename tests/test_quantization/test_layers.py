"""Which layers take part, and in how many ways their user may call them."""

import pickle
from copy import deepcopy

import mmcv.cnn
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from mmsf.quantization import MinMaxRange, QuantizationSettings, QuantizedNetwork, correcting_weights, equalise

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def quantized(network: nn.Module, x: Tensor = IMAGES, **settings) -> QuantizedNetwork:
    return QuantizedNetwork(network.eval(), lambda m: m(x), QuantizationSettings("w8a8", **settings))


def names(network: QuantizedNetwork) -> list[str]:
    return [name for name, _ in network.layer_quantizers()]


@torch.no_grad()
def assert_same_function(copy: QuantizedNetwork, network: nn.Module, x: Tensor = IMAGES) -> None:
    with copy.switched_off(), copy.running():
        torch.testing.assert_close(copy.network(x), network(x), rtol=1e-4, atol=1e-5)


def test_a_layer_whose_class_computes_something_else_stays_in_float_and_is_named():
    torch.manual_seed(0)
    network = nn.Sequential(mmcv.cnn.ConvWS2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    copy = quantized(network)
    assert names(copy) == ["3"]
    assert copy.left_float["0"] == "ConvWS2d stays in float"
    assert_same_function(copy, network)


@pytest.mark.parametrize("parametrize", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_layer_whose_weight_is_computed_stays_in_float_with_its_norm(parametrize):
    torch.manual_seed(0)
    network = nn.Sequential(parametrize(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    network[1].running_mean.normal_()
    copy = quantized(network)
    assert names(copy) == ["2"]
    assert copy.left_float["0"] == "ParametrizedConv2d stays in float"
    assert copy.left_float["1"] == "BatchNorm2d stays in float"
    assert_same_function(copy, network)


def test_mmcvs_wrappers_of_pytorchs_layers_are_quantized():
    class Wrapped(nn.Sequential):
        def forward(self, x):
            return super().forward(x).flatten(1)

    conv = mmcv.cnn.build_conv_layer(dict(type="Conv"), 3, 4, 3)
    up = mmcv.cnn.build_upsample_layer(dict(type="deconv", in_channels=4, out_channels=2, kernel_size=2, stride=2))
    torch.manual_seed(0)
    network = nn.Sequential(Wrapped(conv, up), mmcv.cnn.Linear(2 * 28 * 28, 5))
    copy = quantized(network)
    assert names(copy) == ["0.0", "0.1", "1"]
    assert_same_function(copy, network)


class Upwards(nn.Module):
    """Names the arguments of its layers, gives an output's size, and reads a layer's attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 4, 3, 2, 1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(input=self.conv(x))
        y = self.up(y, output_size=(*x.shape[:1], self.conv.out_channels, *x.shape[2:]))
        return self.fc(input=y.permute(0, 2, 3, 1))


@pytest.fixture
def upwards() -> Upwards:
    torch.manual_seed(0)
    network = Upwards().eval()
    network.norm.running_mean.normal_()
    return network


def test_layers_may_be_called_by_keyword_and_asked_for_their_attributes(upwards):
    copy = quantized(upwards)
    assert names(copy) == ["conv", "up", "fc"]
    assert isinstance(copy.network.norm, nn.Identity)
    assert_same_function(copy, upwards)
    with torch.no_grad(), copy.observing() as histograms, copy.running():
        copy.network(IMAGES)
    assert histograms["fc"].counts.sum() == 2 * 4 * 16 * 16
    assert not hasattr(copy.network.conv, "no_such_attribute")
    assert copy.network.conv.stride == copy_of(copy).network.conv.stride == (2, 2)


def copy_of(network: QuantizedNetwork) -> QuantizedNetwork:
    return pickle.loads(pickle.dumps(deepcopy(network)))


def test_layers_called_by_keyword_are_equalised_and_corrected_as_others(upwards):
    copy = quantized(upwards)

    def run() -> Tensor:
        with copy.running():
            return copy.network(IMAGES)

    equalise(copy, lambda: [run()], MinMaxRange(), MinMaxRange())
    assert_same_function(copy, upwards)
    with torch.no_grad(), copy.observing() as histograms:
        run()
    copy.set_ranges(histograms, MinMaxRange(), MinMaxRange())
    before = copy.network.fc.bias.clone()
    with torch.no_grad(), correcting_weights(copy):
        run()
    assert not torch.equal(copy.network.fc.bias, before)
