"""AdaRound and QDrop's dropping, alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmsf.quantization import AdaRound, MinMaxRange, Quantizer, QuantizerSettings, RandomDropping, switched_off


def weight_and_quantizer(bits: int, axis: int = 0, seed: int = 0) -> tuple[torch.Tensor, Quantizer]:
    weight = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(seed)) * torch.logspace(-3, 1, 6)[:, None, None]
    quantizer = Quantizer(QuantizerSettings(bits, True, per_channel=True, channel_axis=axis), weight.shape[axis])
    MinMaxRange().set_weight_range(quantizer, weight)
    return weight, quantizer


def inside(weight: torch.Tensor, quantizer: Quantizer) -> torch.Tensor:
    scale, low, high = quantizer.grid_for(weight)
    return (weight >= low * scale) & (weight <= high * scale)


@given(st.integers(2, 8), st.integers(0, 1), st.integers(0, 9))
def test_the_soft_weight_is_the_float_weight_at_its_start(bits, axis, seed):
    weight, quantizer = weight_and_quantizer(bits, axis, seed)
    step = quantizer.grid_for(weight)[0]
    within = inside(weight, quantizer)
    error = (AdaRound(weight, quantizer)() - weight).abs() / step
    assert within.float().mean() > 0.8
    assert error[within].max() < 1e-4
    # What the grid does not reach is cut, as by rounding to nearest.
    assert torch.equal(AdaRound(weight, quantizer)()[~within], quantizer(weight)[~within])


@given(st.integers(2, 8), st.integers(0, 9))
def test_the_hard_weight_is_a_neighbour_on_the_grid_that_rounding_to_nearest_keeps(bits, seed):
    weight, quantizer = weight_and_quantizer(bits, seed=seed)
    rounding = AdaRound(weight, quantizer)
    with torch.no_grad():
        rounding.logits.normal_(generator=torch.Generator().manual_seed(seed))
    hard = rounding.hard()
    assert torch.equal(quantizer(hard), hard)
    step = quantizer.grid_for(weight)[0]
    assert ((hard - weight).abs() / step)[inside(weight, quantizer)].max() <= 1 + 1e-4


def test_without_tuning_the_hard_weight_is_that_of_rounding_to_nearest():
    weight, quantizer = weight_and_quantizer(4)
    steps = weight / quantizer.grid_for(weight)[0]
    # In the middle between two values, nearest is the even one.
    decided = (steps - steps.floor() - 0.5).abs() > 1e-4
    assert decided.float().mean() > 0.95
    assert torch.equal(AdaRound(weight, quantizer).hard()[decided], quantizer(weight)[decided])


def test_the_regulariser_counts_the_weights_that_are_undecided():
    weight, quantizer = weight_and_quantizer(4)
    rounding = AdaRound(weight, quantizer)
    with torch.no_grad():
        rounding.logits.fill_(0.0)
    rounding()
    assert rounding.undecided(2.0).item() == pytest.approx(weight.numel())
    with torch.no_grad():
        rounding.logits.view(-1)[::2] = 9.0
        rounding.logits.view(-1)[1::2] = -9.0
    rounding()
    assert rounding.undecided(2.0).item() == 0


def test_a_rounding_takes_the_place_of_its_quantizers_own():
    weight, quantizer = weight_and_quantizer(3)
    names = list(quantizer.state_dict())
    quantizer.rounding = AdaRound(weight, quantizer)
    assert torch.equal(quantizer(weight), quantizer.rounding())
    with switched_off([quantizer]):
        assert quantizer(weight) is weight
    quantizer.rounding = None
    assert list(quantizer.state_dict()) == names


def test_dropping_keeps_the_share_that_it_is_told_and_takes_every_element_from_one_of_the_two():
    original, quantized = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))
    mixed = RandomDropping(0.7, torch.Generator().manual_seed(1))(quantized, original)
    from_quantized = mixed == quantized
    assert (from_quantized | (mixed == original)).all()
    assert from_quantized.float().mean().item() == pytest.approx(0.7, abs=0.01)
    assert torch.equal(RandomDropping(1.0, torch.Generator().manual_seed(1))(quantized, original), quantized)


def test_the_gradient_of_a_dropped_element_is_that_of_the_float_one():
    quantizer = Quantizer(QuantizerSettings(4, symmetric=False, learn_scale=True))
    quantizer.set_range(torch.tensor(0.0), torch.tensor(1.5))
    x = torch.full((1000,), 9.0, requires_grad=True)
    quantizer.dropping = RandomDropping(0.5, torch.Generator().manual_seed(0))
    y = quantizer(x)
    y.sum().backward()
    # Outside the grid a quantized element is cut and has no gradient.
    assert torch.equal(x.grad, (y == 9.0).float())
    assert 0 < x.grad.mean() < 1
    cut = (y != 9.0).sum()
    torch.testing.assert_close(quantizer.scale.grad, cut * 15.0 / (1000 * 15) ** 0.5)
