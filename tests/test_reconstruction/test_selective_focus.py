import pytest
import torch
from test_sensitivity.heads import line_heads, with_noise

from mmsf.errors import UserError
from mmsf.reconstruction import SelectiveFocusLoss
from mmsf.registry import MODELS

ONES = torch.ones(2)


def test_equal_heads_lose_nothing():
    adapter, target, _ = line_heads()
    losses = SelectiveFocusLoss()(adapter, target, target, ONES)
    assert all(value == 0 for value in losses.values())


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_equation_6_written_out(power):
    adapter, target, _ = line_heads()
    output = with_noise(with_noise(target, "position", 0.3), "bend", 0.1)
    output.confidences = {"lane": target.confidences["lane"] * 0.9}
    losses = SelectiveFocusLoss(confidence_weight=3.0, focus_power=power)(adapter, target, output, torch.tensor([1.0, 0.5]))
    c = target.confidences["lane"][..., None]
    for name, weight in (("position", 1.0), ("bend", 0.5)):
        want = (c**power * (output.semantics[name] - target.semantics[name])).square().mean()
        torch.testing.assert_close(losses[f"error_{name}"], want)
        torch.testing.assert_close(losses[f"loss_{name}"], weight * want)
    torch.testing.assert_close(losses["loss_lane_confidence"], 3.0 * (0.1 * target.confidences["lane"]).square().mean())


def test_heads_that_are_not_selected_have_no_loss_but_a_figure():
    adapter, target, _ = line_heads()
    losses = SelectiveFocusLoss()(adapter, target, with_noise(target, "bend", 0.1), torch.tensor([1.0, 0.0]))
    assert losses["loss_bend"] == 0
    assert losses["error_bend"] > 0


def test_the_focus_weighs_lanes_above_background():
    adapter, target, _ = line_heads()
    on_lane, on_background = (with_noise(target, "position", 0.0) for _ in range(2))
    on_lane.semantics["position"][:, 0] += 1.0
    on_background.semantics["position"][:, 3] += 1.0
    loss = SelectiveFocusLoss()
    errors = [loss(adapter, target, output, ONES)["error_position"] for output in (on_lane, on_background)]
    assert errors[0] > 1000 * errors[1]


def test_the_exact_expectation_lies_above_the_papers_bound():
    # E ||M d||^2 = sum C d^2 >= sum C^2 d^2 for M ~ Bernoulli(C): Theorem 1 as printed points the other way.
    adapter, target, _ = line_heads()
    output = with_noise(target, "position", 0.3)
    paper, exact = (SelectiveFocusLoss(focus_power=p)(adapter, target, output, ONES)["error_position"] for p in (1.0, 0.5))
    assert exact >= paper


def test_losses_are_differentiable_in_the_quantized_heads():
    adapter, target, _ = line_heads()
    output = with_noise(target, "position", 0.1)
    output.semantics = {name: tensor.clone().requires_grad_(True) for name, tensor in output.semantics.items()}
    losses = SelectiveFocusLoss()(adapter, target, output, ONES)
    sum(v for k, v in losses.items() if k.startswith("loss")).backward()
    assert output.semantics["position"].grad.abs().sum() > 0


def test_it_is_built_from_a_config_and_refuses_negative_weights():
    assert MODELS.build(dict(type="SelectiveFocusLoss", focus_power=0.5)).focus_power == 0.5
    with pytest.raises(UserError, match="negative"):
        SelectiveFocusLoss(confidence_weight=-1)


def test_own_units_make_every_channel_start_at_one_and_count_alike():
    adapter, target, _ = line_heads(frames=64)
    output = with_noise(with_noise(target, "position", 30.0), "bend", 1e-4)
    output.confidences = {"lane": target.confidences["lane"] * 0.9}
    loss = SelectiveFocusLoss(focus_power=0.0, confidence_weight=2.0, own_units=True)
    loss.set_units(loss.mean_squares(adapter, target, output))
    losses = loss(adapter, target, output, ONES)
    for name in adapter.semantic_heads:
        torch.testing.assert_close(losses[f"loss_{name}"], torch.tensor(1.0))
    torch.testing.assert_close(losses["loss_lane_confidence"], torch.tensor(2.0))


def test_a_head_without_error_has_a_unit():
    adapter, target, _ = line_heads()
    loss = SelectiveFocusLoss(own_units=True)
    loss.set_units(loss.mean_squares(adapter, target, target))
    assert all(value == 0 for value in loss(adapter, target, target, ONES).values())
