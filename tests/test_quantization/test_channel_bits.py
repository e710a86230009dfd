"""ACIQ's bits by activation channel, against the formula written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_quantization.toy import toy_images, toy_network

from mmsf.errors import UserError
from mmsf.quantization import ACIQRange, MSERange, QuantizationSettings, QuantizedNetwork, QuantizerSettings
from mmsf.quantization.channel_bits import ChannelBitsQuantizer, allotted_bits
from mmsf.quantization.moments import ChannelMoments
from mmsf.quantization.ranges.aciq import channel_ranges
from mmsf.quantization.ranges.clipping import gauss_clipping, laplace_clipping

SPREADS = st.lists(st.floats(1e-4, 1e4), min_size=2, max_size=64)


def by_hand(deviation: list[float], target: float) -> list[float]:
    levels = len(deviation) * 2**target
    total = sum(a ** (2 / 3) for a in deviation)
    return [min(max(round(math.log2(levels * a ** (2 / 3) / total)), 0), 8) for a in deviation]


@settings(deadline=None, max_examples=60)
@given(SPREADS, st.integers(2, 8))
def test_every_allotment_is_the_formulas_at_some_number_of_levels(deviation, bits):
    found = allotted_bits(torch.tensor(deviation, dtype=torch.float64), bits).tolist()
    # The formula written out, at the targets that the correction goes through.
    target, tried = float(bits), []
    for _ in range(10):
        tried.append(by_hand(deviation, target))
        target += bits - np.mean(tried[-1])
    assert found in tried
    assert abs(np.mean(found) - bits) == pytest.approx(min(abs(np.mean(one) - bits) for one in tried))


@settings(deadline=None, max_examples=60)
@given(SPREADS, st.integers(2, 7))
def test_more_spread_never_gets_fewer_bits(deviation, bits):
    found = allotted_bits(torch.tensor(sorted(deviation), dtype=torch.float64), bits)
    assert bool((found.diff() >= 0).all())
    assert set(found.tolist()) <= set(range(9))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_channels_alike_get_the_wanted_bits(bits):
    assert allotted_bits(torch.full((16,), 3.0), bits).tolist() == [bits] * 16
    assert allotted_bits(torch.zeros(5), bits).tolist() == [bits] * 5


def test_the_mean_is_met_where_many_channels_differ():
    deviation = torch.randn(256, generator=torch.Generator().manual_seed(0)).exp()
    for bits in range(2, 7):
        assert allotted_bits(deviation, bits).mean().item() == pytest.approx(bits, abs=2 / 256)


def test_a_channel_without_spread_has_no_bits_and_is_zero():
    quantizer = ChannelBitsQuantizer(QuantizerSettings(4, symmetric=False, per_channel=True, channel_axis=1), 3)
    x = torch.randn(2, 3, 50, 50, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.0, 9.0])[:, None, None]
    observer = quantizer.new_observer("x")
    observer(x)
    ACIQRange().set_activation_range(quantizer, observer)
    y = quantizer(x)
    assert quantizer.channel_bits[1] == 0
    assert bool((y[:, 1] == 0).all())
    for channel in (0, 2):
        levels = 2 ** int(quantizer.channel_bits[channel])
        assert levels / 2 < len(y[:, channel].unique()) <= levels


@pytest.mark.parametrize("axis", [1, -1])
def test_moments_over_several_batches_are_those_of_all_at_once(axis):
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(3, 6, 4, 6, generator=generator).relu() - 0.2 * (number % 2) for number in range(4)]
    moments = ChannelMoments(axis)
    for batch in batches:
        moments(batch)
    rows = torch.cat(batches).double().movedim(axis, 0).flatten(1)
    used = rows.ne(0).sum(1)
    first = batches[0].double().movedim(axis, 0).flatten(1).mean(1, keepdim=True)
    wanted = {
        "low": rows.amin(1),
        "high": rows.amax(1),
        "used": used.double(),
        "mean": rows.mean(1),
        "deviation": rows.std(1, correction=0),
        "mean_distance": (rows - first).abs().mean(1),
        "root_mean_square_used": (rows.square().sum(1) / used).sqrt(),
        "mean_used": rows.sum(1) / used,
    }
    for name, want in wanted.items():
        torch.testing.assert_close(getattr(moments, name), want, rtol=1e-5, atol=1e-6)


def test_each_channel_has_the_clipping_value_of_its_own_distribution_and_bits():
    generator = torch.Generator().manual_seed(0)
    gauss = torch.randn(100_000, generator=generator)
    laplace = torch.empty(100_000).exponential_(generator=generator) * torch.randn(100_000, generator=generator).sign()
    moments = ChannelMoments(0)
    moments(torch.stack((gauss + 1, laplace, gauss.relu(), -laplace.relu())))
    low, high = channel_ranges(moments, torch.tensor([2.0, 3.0, 4.0, 5.0]))
    clips = [gauss_clipping(2), laplace_clipping(3), gauss_clipping(4, True), laplace_clipping(5, True)]
    assert high.tolist() == pytest.approx([1 + clips[0], clips[1], clips[2], 0], rel=0.02)
    assert low.tolist() == pytest.approx([1 - clips[0], -clips[1], 0, -clips[3]], rel=0.02)


def calibrated(**options) -> QuantizedNetwork:
    quantized = QuantizedNetwork(toy_network(), lambda m: m(toy_images()), QuantizationSettings("w8a4", **options))
    with torch.no_grad(), quantized.observing() as observed, quantized.running():
        quantized.network(toy_images())
    quantized.set_ranges(observed, ACIQRange(), ACIQRange())
    return quantized


def outputs(quantized: QuantizedNetwork) -> dict[str, torch.Tensor]:
    with torch.no_grad(), quantized.running():
        return quantized.network(toy_images())


def test_layer_inputs_have_bits_by_channel_and_operands_of_calls_do_not():
    quantized = calibrated(activation_channel_bits=True)
    channels = {
        name: q.channel_bits.numel() for name, q in quantized.activation_quantizers() if isinstance(q, ChannelBitsQuantizer)
    }
    assert channels["stem"] == 3
    assert channels["up"] == channels["offset"] == channels["block.conv1"] == 16
    assert "attention:matmul0.0" not in channels
    assert quantized.mean_channel_bits == pytest.approx(4, abs=0.1)


def test_the_network_comes_closer_to_float_than_with_one_grid_for_all_channels():
    want = toy_network()(toy_images())
    errors = [
        sum(((got[name] - tensor).square().mean() / tensor.square().mean()).item() for name, tensor in want.items())
        for got in (outputs(calibrated()), outputs(calibrated(activation_channel_bits=True)))
    ]
    assert errors[1] < errors[0]


def test_the_state_dict_carries_bits_and_ranges():
    ready = calibrated(activation_channel_bits=True)
    settings = QuantizationSettings("w8a4", activation_channel_bits=True)
    other = QuantizedNetwork(toy_network(seed=5), lambda m: m(toy_images()), settings)
    other.load_state_dict(ready.state_dict())
    for name, tensor in outputs(ready).items():
        assert torch.equal(outputs(other)[name], tensor)


def test_other_estimators_and_learned_scales_are_refused_in_one_line():
    quantized = calibrated(activation_channel_bits=True)
    with torch.no_grad(), quantized.observing() as observed, quantized.running():
        quantized.network(toy_images())
    with pytest.raises(UserError, match=r"needs activation_range.*ACIQRange.*not MSERange"):
        quantized.set_activation_ranges(observed, MSERange())
    with pytest.raises(UserError, match="scales are not tuned"):
        calibrated(activation_channel_bits=True, learn_activation_scale=True)


def test_a_backends_profile_is_refused():
    with pytest.raises(UserError, match="activation_channel_bits cannot be had in the profile 'onnxruntime'"):
        calibrated(activation_channel_bits=True, profile="onnxruntime")
