import pytest
import torch
from test_engine.tuned import state, tuned

from mmsf.engine.rounding_hook import RoundingHook, TunedRounding
from mmsf.errors import UserError
from mmsf.quantization import MinMaxRange, Quantizer, QuantizerSettings


@pytest.fixture(scope="module")
def polished(roads, tmp_path_factory):
    """Two iterations straight through, two of the rounding."""
    return tuned(roads, tmp_path_factory.mktemp("polished"), dict(type="mmsf.RoundingHook", iterations=2, rate=1.0))


def test_weights_end_on_their_grids_and_the_roundings_are_gone(polished):
    network = polished.model.quantized
    for _, quantizer, weight in network.quantized_weights():
        assert quantizer.rounding is None
        assert torch.equal(quantizer(weight), weight)
        scale, low, high = quantizer.grid_for(weight)
        steps = weight.detach() / scale
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
        assert (steps.round() >= low).all()
        assert (steps.round() <= high).all()
    assert not [name for name in state(polished) if "rounding" in name]
    assert polished.model.further_losses == {}


def test_roundings_move_other_weights_than_straight_through_tuning_does(roads, polished, tmp_path):
    plain = tuned(roads, tmp_path)
    pairs = zip(polished.model.quantized.quantized_weights(), plain.model.quantized.quantized_weights())
    moved = [(weight != quantizer(other)).float().mean().item() for (_, _, weight), (_, quantizer, other) in pairs]
    assert max(moved) > 0.01


def test_the_rounding_is_soft_for_gradients_and_hard_for_measurements():
    weight = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    quantizer = Quantizer(QuantizerSettings(4, True, per_channel=True), 4)
    MinMaxRange().set_weight_range(quantizer, weight)
    quantizer.rounding = TunedRounding(weight, quantizer)
    scale, low, high = quantizer.grid_for(weight)
    torch.testing.assert_close(quantizer(weight), weight.clamp(low * scale, high * scale), rtol=0, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(quantizer(weight), quantizer.rounding.hard())


def test_the_regulariser_is_a_mean_over_all_weights():
    hook = RoundingHook(iterations=10, weight=3.0, warm_up=0.5)
    for size in (3, 50):
        weight = torch.full((2, size), 0.3)
        quantizer = Quantizer(QuantizerSettings(4, True, per_channel=True), 2)
        quantizer.set_range(torch.full((2,), -1.0), torch.full((2,), 1.0))
        hook._roundings.append(TunedRounding(weight, quantizer))
        with torch.no_grad():
            hook._roundings[-1].logits.zero_()
        hook._roundings[-1]()
    hook._done = 4
    assert hook._undecided().item() == 0
    hook._done = 5
    assert hook._undecided().item() == pytest.approx(3.0)


@pytest.mark.parametrize("settings", [dict(iterations=0), dict(iterations=5, warm_up=1.0)])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match="RoundingHook"):
        RoundingHook(**settings)
