"""Which layers take part, and in how many ways their user may call them."""

import mmcv.cnn
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from mmsf.quantization import QuantizationSettings, QuantizedNetwork

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
