"""Frames without a proposal: what reads proposals has empty tensors to read."""

import pytest
import torch
from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.quantization import (
    ACIQRange,
    MinMaxRange,
    MSERange,
    QuantizationSettings,
    QuantizedNetwork,
    correcting_weights,
    equalise,
)


class Proposals(nn.Module):
    """Looks again, with three layers and a product, at the rows whose first number is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.again = nn.Linear(4, 8), nn.Linear(8, 6)
        self.hidden, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.stem(x)[x[:, 0] > 0]
        found = self.hidden(self.again(found.relu()).relu()).relu()
        return {"out": self.out(found), "alike": torch.mm(found, found.t())}


SOME = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
NONE = SOME * torch.tensor([0.0, 1.0, 1.0, 1.0])


def quantized(**settings) -> QuantizedNetwork:
    torch.manual_seed(0)
    return QuantizedNetwork(Proposals().eval(), lambda m: m(SOME), QuantizationSettings("w8a4", **settings))


@torch.no_grad()
def run(network: QuantizedNetwork, *batches: Tensor) -> list[dict[str, Tensor]]:
    with network.running():
        return [network.network(x) for x in batches]


def calibrated(*batches: Tensor, estimator, **settings) -> QuantizedNetwork:
    network = quantized(**settings)
    with network.observing() as histograms:
        run(network, *batches)
    network.set_ranges(histograms, MinMaxRange(), estimator)
    return network


@pytest.mark.parametrize(
    ("estimator", "settings"),
    [(MinMaxRange(), {}), (MSERange(), {}), (ACIQRange(), {"activation_channel_bits": True})],
)
def test_frames_without_proposals_say_nothing_about_ranges(estimator, settings):
    network = calibrated(NONE, SOME, NONE, estimator=estimator, **settings)
    alone = calibrated(SOME, estimator=estimator, **settings)
    for name in ("again", "hidden", "out", ":matmul0"):
        for got, want in zip(network.quantizers_of(name), alone.quantizers_of(name)):
            assert torch.equal(got.scale, want.scale)
            assert torch.equal(got.zero_point, want.zero_point)
    (empty,) = run(network, NONE)
    assert empty["out"].shape == (0, 3)


def test_frames_without_proposals_move_no_learned_scale():
    network = calibrated(SOME, estimator=MSERange(), learn_activation_scale=True)
    with network.running():
        network.network(NONE)["out"].sum().backward()
    for quantizer in network.quantizers_of("again"):
        assert quantizer.scale.grad is None or not quantizer.scale.grad.any()


def test_frames_without_proposals_correct_and_equalise_nothing():
    network, alone = (calibrated(SOME, estimator=MSERange()) for _ in range(2))
    with correcting_weights(network):
        run(network, SOME, NONE)
    with correcting_weights(alone):
        run(alone, SOME)
    assert torch.equal(network.network.out.bias, alone.network.out.bias)
    shares = equalise(network, lambda: run(network, NONE, SOME), MSERange(), MSERange())
    assert shares == equalise(alone, lambda: run(alone, SOME), MSERange(), MSERange())
    assert set(shares) == {"again"}
    assert equalise(alone, lambda: run(alone, NONE), MSERange(), MSERange()) == {}


@pytest.mark.parametrize(("estimator", "settings"), [(MSERange(), {}), (ACIQRange(), {"activation_channel_bits": True})])
def test_a_layer_that_no_calibration_frame_reaches_is_named(estimator, settings):
    with pytest.raises(UserError, match="'again' is empty in every calibration frame"):
        calibrated(NONE, estimator=estimator, **settings)
