"""Where a batch norm is folded into the layer before it, and where it must stay."""

import pytest
import torch
from torch import Tensor, nn

from mmsf.quantization import QuantizationSettings, QuantizedNetwork


class Normed(nn.Module):
    """A layer and its norm, what the layer makes changed in between by ``change``."""

    def __init__(self, layer: nn.Module, norm: nn.Module, change=lambda y: y) -> None:
        super().__init__()
        self.layer, self.norm, self.change = layer, norm, change

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.change(self.layer(x)))


class ActivatedNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def zero_a_column(y: Tensor) -> Tensor:
    y[..., 0] = 0.0
    return y


def zero_a_column_twice(y: Tensor) -> Tensor:
    y[..., 0].zero_()
    return y


IMAGES, ROWS = (2, 3, 8, 8), (2, 6, 5)
NORM_STAYS = {
    "assigned to in between": (lambda: Normed(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), zero_a_column), IMAGES),
    "a view changed in between": (lambda: Normed(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), zero_a_column_twice), IMAGES),
    "rectified in place in between": (lambda: Normed(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), torch.relu_), IMAGES),
    "over positions": (lambda: Normed(nn.Linear(5, 4), nn.BatchNorm1d(6)), ROWS),
    "over as many positions as channels": (lambda: Normed(nn.Linear(5, 6), nn.BatchNorm1d(6)), ROWS),
    "over rows of an image": (lambda: Normed(nn.Conv2d(3, 6, 3), nn.BatchNorm1d(6)), (3, 8, 8)),
    "without statistics": (lambda: Normed(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), IMAGES),
    "with an activation inside": (lambda: Normed(nn.Conv2d(3, 4, 3), ActivatedNorm(4)), IMAGES),
}
NORM_IS_FOLDED = {
    "convolution": (lambda: Normed(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), IMAGES),
    "convolution and a synchronised norm": (lambda: Normed(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4)), IMAGES),
    "convolution of one dimension": (lambda: Normed(nn.Conv1d(6, 4, 3), nn.BatchNorm1d(4)), ROWS),
    "linear layer": (lambda: Normed(nn.Linear(5, 4), nn.BatchNorm1d(4)), (7, 5)),
}


def copy_and_outputs(case: tuple) -> tuple[QuantizedNetwork, Tensor, Tensor]:
    """The quantized copy, and what network and copy make of an input with quantizers off."""
    make, shape = case
    torch.manual_seed(0)
    network, x = make().eval(), torch.randn(shape)
    if network.norm.running_mean is not None:
        network.norm.running_mean.normal_()
    copy = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8"))
    with torch.no_grad(), copy.switched_off(), copy.running():
        return copy, copy.network(x), network(x)


@pytest.mark.parametrize("case", NORM_STAYS.values(), ids=NORM_STAYS)
def test_a_norm_that_is_no_part_of_the_layer_stays_and_is_named(case):
    copy, got, want = copy_and_outputs(case)
    assert isinstance(copy.network.norm, nn.modules.batchnorm._BatchNorm)
    assert "norm" in copy.left_float
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("case", NORM_IS_FOLDED.values(), ids=NORM_IS_FOLDED)
def test_a_norm_over_the_channels_of_its_layer_is_folded(case):
    copy, got, want = copy_and_outputs(case)
    assert isinstance(copy.network.norm, nn.Identity)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("places", [slice(None), (slice(None), slice(0, 2))])
def test_a_layer_whose_output_is_assigned_to_places_of_a_raw_output_is_a_last_one(places):
    class Assembled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.between, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            out = x.new_zeros(2, 2, 6, 6)
            out[places] = self.head(self.between(self.stem(x)))
            return out

    network, x = Assembled().eval(), torch.randn(IMAGES)
    copy = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w4a4", "customary"))
    assert {name for name, bits in copy.bits.items() if bits.as_list() == [8, 8]} == {"stem", "head"}
