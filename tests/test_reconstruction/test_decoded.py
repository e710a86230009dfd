"""The loss on decoded lanes."""

import math

import pytest
import torch
from test_adapters.test_points import CASES

from mmsf.adapters import LSTRAdapter
from mmsf.adapters.base import HeadOutputs
from mmsf.errors import UserError
from mmsf.reconstruction import DecodedLaneLoss

ADAPTER = LSTRAdapter()


def heads(probabilities=(0.99, 0.01), n: float = 0.4, c=(0.1, 0.2)) -> HeadOutputs:
    """Two queries with straight lanes whose x is n - c of the width."""
    p = torch.tensor(probabilities)
    curves = torch.zeros(1, 2, 8)
    curves[..., 0], curves[..., 1] = 0.4, 0.9
    curves[..., 5], curves[0, :, 7] = n, torch.tensor(c)
    return ADAPTER.split({"logits": torch.stack((torch.log1p(-p), p.log()), -1)[None], "curves": curves})


def loss(output: HeadOutputs, target: HeadOutputs | None = None, **settings) -> dict[str, torch.Tensor]:
    return DecodedLaneLoss(**settings)(ADAPTER, target or heads(), output, torch.ones(3))


def test_equal_lanes_cost_nothing():
    assert sum(value for name, value in loss(heads()).items() if name.startswith("loss")) == 0


def test_errors_that_cancel_in_the_lane_cost_nothing():
    losses = loss(heads(n=0.5, c=(0.2, 0.3)), semantic_weight=1.0)
    assert losses["loss_lanes"].item() == pytest.approx(0, abs=1e-9)
    assert losses["loss_shape"] > 0


def test_a_lane_counts_by_its_confidence():
    sure, unsure = loss(heads(c=(0.12, 0.2)))["loss_lanes"], loss(heads(c=(0.1, 0.22)))["loss_lanes"]
    assert sure.item() == pytest.approx(99 * unsure.item(), rel=1e-3)


def test_a_large_distance_counts_by_its_logarithm_and_a_small_one_by_its_square():
    # Each doubling adds the same.
    far = [loss(heads(c=(0.1 + shift, 0.2)))["loss_lanes"].item() for shift in (100.0, 200.0, 400.0)]
    assert far[1] - far[0] == pytest.approx(far[2] - far[1], rel=1e-3)
    near = [loss(heads(c=(0.1 + shift, 0.2)))["loss_lanes"].item() for shift in (1e-4, 2e-4)]
    assert near[1] / near[0] == pytest.approx(4, rel=1e-3)


def test_a_pixel_is_a_pixel_whatever_the_head():
    aside = loss(heads(c=(0.1 + 100 / 1640, 0.2)))["loss_lanes"].item()
    longer = heads()
    longer.semantics["range"] = longer.semantics["range"] - torch.tensor([100 / 590, 0.0])
    # All 18 points move aside; of the two ends one moves up.
    assert loss(longer)["loss_lanes"].item() == pytest.approx(aside / 18, rel=0.03)


def test_the_confidence_term_is_that_of_eq_6():
    losses = loss(heads(probabilities=(0.89, 0.01)), confidence_weight=3.0)
    assert losses["loss_lane_confidence"].item() == pytest.approx(3 * 0.1**2 / 2, rel=1e-4)


@pytest.mark.parametrize("settings", [dict(bend=0), dict(bend=-1), dict(match_distance=0), dict(match_distance=math.nan)])
def test_distances_that_cannot_be_are_refused(settings):
    with pytest.raises(UserError, match="match_distance and bend must be positive"):
        DecodedLaneLoss(**settings)


def test_a_frame_without_any_lane_has_finite_gradients():
    output = heads(probabilities=(1e-6, 1e-6))
    output.semantics["shape"].requires_grad_(True)
    loss(output, heads(probabilities=(1e-6, 1e-6)))["loss_lanes"].backward()
    assert output.semantics["shape"].grad.isfinite().all()


@pytest.mark.parametrize("family", CASES)
def test_losses_stay_on_the_device_of_the_heads_and_never_wait_for_a_value(family):
    # Units are made from kept outputs, on the processor. A tensor on 'meta' has no values and mixes with no other device.
    adapter, raw = CASES[family]
    kept = adapter.split(raw)
    objective = DecodedLaneLoss(own_units=True, semantic_weight=0.1)
    objective.set_units(objective.mean_squares(adapter, kept, kept))
    away = adapter.split({name: value.to("meta") for name, value in raw.items()})
    losses = objective(adapter, away, away, torch.ones(len(adapter.semantic_heads), device="meta"))
    assert {value.device.type for value in losses.values()} == {"meta"}
