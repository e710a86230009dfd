"""Deformable convolution equals its originals."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from originals import ROOT

from mmsf.models.layers.deform_conv import DeformConv2d

GOLDEN = ROOT / "tests" / "data" / "goldens" / "deform_conv_unit_seed0.npz"
# Strides, paddings, dilations, groups, deformable groups.
FORMS = [
    dict(padding=1),
    dict(stride=2, padding=3, dilation=2),
    dict(stride=(2, 1), padding=(0, 2), dilation=(1, 3), groups=2, deform_groups=2),
    dict(padding=1, groups=4, deform_groups=2),
    dict(deform_groups=8),
]


def inputs(layer: DeformConv2d, deform_groups: int = 1, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """An image of 8 channels, offsets that also lead far outside, and factors."""
    x = torch.randn(2, 8, 9, 11, dtype=dtype)
    plain = F.conv2d(x[:, :1], layer.weight[:1, :1].to(dtype), None, layer.stride, layer.padding, layer.dilation)
    taps = layer.weight[0, 0].numel() * deform_groups
    offset = 4 * torch.randn(2, 2 * taps, *plain.shape[2:], dtype=dtype)
    mask = torch.rand(2, taps, *plain.shape[2:], dtype=dtype)
    return tuple(tensor.requires_grad_() for tensor in (x, offset, mask))


@torch.no_grad()
def test_it_equals_the_original_of_ganet() -> None:
    golden = np.load(GOLDEN)
    x, offset, weight, out = (torch.from_numpy(golden[name]) for name in ("x", "offset", "weight", "out"))
    layer = DeformConv2d(5, 4, (1, 7), padding=(0, 3), bias=False)
    layer.load_state_dict({"weight": weight}, strict=True)
    torch.testing.assert_close(layer(x, offset), out, rtol=0, atol=1e-5)


@pytest.mark.ops
@pytest.mark.parametrize("form", FORMS)
def test_it_and_its_gradients_equal_mmcvs_compiled_operator(form: dict) -> None:
    from mmcv.ops import ModulatedDeformConv2d

    torch.manual_seed(0)
    ours, theirs = DeformConv2d(8, 12, 3, **form).double(), ModulatedDeformConv2d(8, 12, 3, **form, bias=True).double()
    torch.nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    arguments = inputs(ours, form.get("deform_groups", 1))
    results = [layer(*arguments) for layer in (ours, theirs)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)
    upstream = torch.randn_like(results[0])
    gradients = [
        torch.autograd.grad((result * upstream).sum(), [*arguments, layer.weight, layer.bias])
        for result, layer in zip(results, (ours, theirs))
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


@pytest.mark.ops
@pytest.mark.parametrize("form", FORMS)
def test_without_a_mask_it_equals_mmcvs_first_version(form: dict) -> None:
    from mmcv.ops import DeformConv2d as FirstVersion

    torch.manual_seed(0)
    ours, theirs = (kind(8, 12, 3, **form, bias=False).double() for kind in (DeformConv2d, FirstVersion))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x, offset, _ = inputs(ours, form.get("deform_groups", 1))
    torch.testing.assert_close(ours(x, offset), theirs(x, offset), rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_without_offsets_it_is_a_convolution(form: dict) -> None:
    torch.manual_seed(0)
    layer = DeformConv2d(8, 12, 3, **form).double()
    x, offset, mask = inputs(layer, form.get("deform_groups", 1))
    plain = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    torch.testing.assert_close(layer(x, torch.zeros_like(offset)), plain)
    torch.testing.assert_close(layer(x, torch.zeros_like(offset), torch.ones_like(mask)), plain)


@torch.no_grad()
def test_of_a_taps_offset_dy_comes_before_dx() -> None:
    layer = DeformConv2d(1, 1, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    down = layer(x, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4))
    right = layer(x, torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4))
    assert torch.equal(down, F.pad(x[:, :, 1:], (0, 0, 0, 1)))
    assert torch.equal(right, F.pad(x[..., 1:], (0, 1)))


@torch.no_grad()
def test_samples_far_outside_are_zero_and_those_at_the_border_fade() -> None:
    layer = DeformConv2d(1, 1, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    x = torch.ones(1, 1, 1, 3)
    dx = torch.tensor([-1e30, 0.5, 0.75])
    out = layer(x, torch.stack((torch.zeros(3), dx)).view(1, 2, 1, 3))
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 1.0, 0.25]))


def test_its_gradients_are_right() -> None:
    torch.manual_seed(0)
    layer = DeformConv2d(2, 2, (1, 3), padding=(0, 1)).double()
    shapes = ((1, 2, 3, 4), (1, 6, 3, 4), (1, 3, 3, 4))
    arguments = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(layer, arguments)


@torch.no_grad()
def test_another_weight_can_take_the_place_of_its_own() -> None:
    torch.manual_seed(0)
    layer, other = DeformConv2d(8, 12, 3, padding=1), DeformConv2d(8, 12, 3, padding=1)
    arguments = inputs(layer, dtype=torch.float32)
    assert torch.equal(layer.forward_with_weight(other.weight, other.bias, *arguments), other(*arguments))


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="3 groups"):
        DeformConv2d(8, 12, 3, groups=3)
