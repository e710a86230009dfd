"""The model takes a runtime's side on borders between integers, and nowhere else."""

import pytest
import torch
from torch import Tensor, nn

from mmsf.deploy.following import BORDER, Followed, following
from mmsf.quantization import MinMaxRange, QuantizationSettings, QuantizedNetwork


@pytest.fixture
def network() -> QuantizedNetwork:
    """Two layers; the first one's grid has a step of 1 from 0 to 255."""
    torch.manual_seed(0)
    x = torch.linspace(0, 255, 12).view(3, 4)
    layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    quantized = QuantizedNetwork(layers, lambda m: m(x), QuantizationSettings("w8a8", profile="onnxruntime"))
    with torch.no_grad(), quantized.observing() as histograms:
        quantized.network(x)
    quantized.set_ranges(histograms, MinMaxRange(), MinMaxRange())
    first = next(quantizer for _, quantizer in quantized.activation_quantizers())
    first.scale.fill_(1.0)
    first.zero_point.fill_(0.0)
    return quantized


def first_inputs(network: QuantizedNetwork, x: Tensor, integers: list[Tensor | None]) -> tuple[Tensor, Followed]:
    """What the first layer gets from its quantizer."""
    seen, counts = [], Followed()
    layer = network.network[0]
    with torch.no_grad(), following(network, integers, counts):
        handle = layer.input_quantizer.register_forward_hook(lambda module, args, output: seen.append(output))
        network.network(x)
        handle.remove()
    return seen[0], counts


def test_on_a_border_the_runtimes_side_is_taken(network: QuantizedNetwork) -> None:
    x = torch.tensor([[10.5 - BORDER / 2, 10.5 + BORDER / 2, 10.5, 10.4]])
    theirs = torch.tensor([[11, 10, 11, 10]], dtype=torch.uint8)
    got, counts = first_inputs(network, x, [theirs, None])
    assert got.tolist() == [[11.0, 10.0, 11.0, 10.0]]
    assert (counts.values, counts.border, counts.apart) == (4, 3, 0)


def test_what_no_rounding_explains_is_counted_and_not_followed(network: QuantizedNetwork) -> None:
    x = torch.tensor([[10.5 - 2 * BORDER, 20.0, 30.0, 300.0]])
    theirs = torch.tensor([[11, 21, 0, 255]], dtype=torch.uint8)
    got, counts = first_inputs(network, x, [theirs, None])
    assert got.tolist() == [[10.0, 20.0, 30.0, 255.0]]
    assert (counts.border, counts.apart) == (0, 3)


def test_following_itself_changes_nothing(network: QuantizedNetwork) -> None:
    x = torch.rand(5, 4) * 255
    integers = []
    quantizers = [quantizer for _, quantizer in network.activation_quantizers()]
    handles = [
        q.register_forward_hook(lambda q, args, _: integers.append(q.integers(args[0]) + q.zero_point)) for q in quantizers
    ]
    with torch.no_grad():
        want = network.network(x)
        for handle in handles:
            handle.remove()
        counts = Followed()
        with following(network, integers, counts):
            assert torch.equal(network.network(x), want)
    assert (counts.border, counts.apart) == (0, 0)
    assert counts.values == 40
