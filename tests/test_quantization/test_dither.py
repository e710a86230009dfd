"""Dithered images: nearer to the image in the mean, and free on a chip."""

import pytest
import small_condlane
import small_detectors
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_quantization.toy import toy_images, toy_network
from torch import nn

from mmsf.quantization import QuantizationSettings, QuantizedNetwork, Quantizer, QuantizerSettings
from mmsf.quantization.dither import DitheredQuantizer, dither_tile
from mmsf.quantization.layers import QuantizedLayer

STRIDES = st.tuples(st.integers(1, 4), st.integers(1, 4))


def quantizer(bits: int = 4, stride: tuple[int, int] = (2, 2), learn_scale: bool = False) -> DitheredQuantizer:
    layer = nn.Conv2d(3, 4, 5, stride)
    made = DitheredQuantizer(QuantizerSettings(bits, symmetric=False, learn_scale=learn_scale), layer)
    made.set_range(torch.tensor(-1.0), torch.tensor(2.0))
    return made


def test_neighbours_in_a_tile_of_two_by_two_are_far_apart():
    assert dither_tile(1, (2, 2)).tolist() == [[[-0.375, 0.125], [0.375, -0.125]]]


@given(channels=st.integers(1, 4), stride=STRIDES)
def test_offsets_are_equally_spaced_around_0(channels, stride):
    tile = dither_tile(channels, stride)
    assert tile.shape == (channels, *stride)
    steps = tile.flatten().sort().values.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / tile.numel()), rtol=0, atol=1e-6)
    assert tile.mean().item() == pytest.approx(0, abs=1e-6)


@given(value=st.floats(-0.8, 1.8), stride=STRIDES)
def test_the_mean_of_a_tile_is_nearer_to_the_image_than_a_step_over_its_pixels(value, stride):
    made = quantizer(stride=stride)
    image = torch.full((1, 3, *stride), value)
    assert (made(image).mean() - value).abs() <= made.scale / (2 * made.tile.numel()) + 1e-5


def test_no_pixel_is_further_off_than_half_a_step():
    made, images = quantizer(), torch.rand(2, 3, 9, 13) * 2.4 - 0.7
    assert (made(images) - images).abs().max() <= made.scale / 2 + 1e-6


@given(seed=st.integers(0, 2**32 - 1))
def test_rounding_twice_is_rounding_once(seed):
    made = quantizer()
    images = torch.randn(1, 3, 6, 7, generator=torch.Generator().manual_seed(seed))
    once = made(images)
    torch.testing.assert_close(made(once), once, rtol=0, atol=1e-5)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (4, 4), (2, 3)])
def test_offsets_add_the_same_everywhere_to_what_the_convolution_makes(stride):
    made = quantizer(stride=stride)
    layer = nn.Conv2d(3, 4, 5, stride, bias=False)
    added = layer(made.offset(torch.zeros(1, 3, 36, 48))[None])
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added), rtol=0, atol=1e-6)


def test_images_of_8_bits_are_rounded_as_ever():
    made, images = quantizer(bits=8), torch.randn(2, 3, 8, 8)
    plain = Quantizer(made.settings)
    plain.set_range(torch.tensor(-1.0), torch.tensor(2.0))
    assert torch.equal(made(images), plain(images))


def test_switched_off_it_changes_nothing():
    made, images = quantizer(), torch.randn(2, 3, 8, 8)
    made.enabled = False
    assert torch.equal(made(images), images)


def scale_gradient(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    made = quantizer(learn_scale=True)
    layer = QuantizedLayer(nn.Conv2d(3, 4, 5, 2), None, made)
    out = layer(images)
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    return out, made.scale.grad


def test_the_scale_has_the_same_gradient_whether_or_not_the_image_has_one():
    images = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    (one, slope), (other, same) = scale_gradient(images), scale_gradient(images.clone().requires_grad_())
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(slope, same, rtol=1e-4, atol=1e-6)


def dithered(network: nn.Module, images: torch.Tensor, profile: str = "academic") -> list[str]:
    settings = QuantizationSettings("w4a4", profile=profile, dither_images=True)
    quantized = QuantizedNetwork(network.eval(), lambda net: net(images), settings)
    return [name for name, q in quantized.activation_quantizers() if isinstance(q, DitheredQuantizer)]


def test_the_layer_that_reads_the_images_is_dithered_and_no_other():
    assert dithered(toy_network(), toy_images(1)) == ["stem"]
    for family in ("bezier", "laneatt"):
        assert dithered(small_detectors.small(family), small_detectors.images(family, 1)) == ["backbone.conv1"]
    assert dithered(small_condlane.small(), small_condlane.images(1)) == ["backbone.conv1"]


class ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(3, 4, 5, 1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"one": self.one(images), "other": self.other(images)}


def test_where_two_layers_share_the_images_range_neither_is_dithered():
    assert dithered(ReadTwice(), toy_images(1)) == ["one", "other"]
    assert dithered(ReadTwice(), toy_images(1), "openvino") == []
