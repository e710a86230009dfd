import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_sensitivity.heads import line_heads, with_noise

from mmsf.adapters.errors import head_errors, semantic_error
from mmsf.errors import UserError
from mmsf.lanes.distortion import DistortionRule
from mmsf.sensitivity import CurveSettings, NoiseScoreCurve, algorithm1_scores, measure_curves
from mmsf.sensitivity.curves import score_by_both, scores_at
from mmsf.sensitivity.scoring import frames_of

RULE = DistortionRule()


def error(adapter, target, output, name):
    return semantic_error(adapter, target, output, name, focus_power=1.0)


def curves(seed: int = 0, heads: tuple[str, ...] = ("position", "bend"), **settings):
    adapter, target, metas = line_heads(frames=64)
    adapter.semantic_heads = heads
    output = with_noise(with_noise(target, "position", 0.1), "bend", 0.1)
    generator = torch.Generator().manual_seed(seed)
    errors = head_errors(target, output)
    return measure_curves(
        adapter, lambda index: frames_of(target, index), errors, metas, CurveSettings(**settings), RULE, error, generator
    )


def test_there_is_a_rising_curve_for_every_head():
    measured = curves(levels=8, draws=2)
    assert list(measured) == ["position", "bend"]
    for curve in measured.values():
        assert len(curve.loss) == 8
        assert (np.diff(curve.loss) > 0).all()
        assert (np.diff(curve.score) >= 0).all()
        assert curve.score[-1] > curve.score[0]


def test_more_draws_are_for_heads_that_are_ranked_and_a_single_one_is_not():
    single = ("position",)
    assert curves(heads=single, draws=8)["position"].as_dict() == curves(heads=single, draws=1)["position"].as_dict()
    assert curves(draws=8)["position"].as_dict() != curves(draws=1)["position"].as_dict()


def test_the_axis_is_the_loss_that_is_queried_later():
    adapter, target, metas = line_heads(frames=64)
    curve = curves(draws=16)["bend"]
    noisy = with_noise(target, "bend", 0.1)
    loss = error(adapter, target, noisy, "bend").item()
    score = algorithm1_scores(adapter, target, noisy, metas, RULE)["bend"] / len(metas)
    assert curve(loss) == pytest.approx(score, rel=0.25)


def test_curves_repeat_with_their_generator_and_differ_with_another():
    assert curves(0)["bend"].as_dict() == curves(0)["bend"].as_dict()
    assert curves(0)["bend"].as_dict() != curves(1)["bend"].as_dict()


def test_a_curve_is_linear_in_the_logarithm_and_constant_beyond_its_ends():
    curve = NoiseScoreCurve.fit(np.array([1e-4, 1e-2]), np.array([1.0, 3.0]))
    assert curve(1e-3) == pytest.approx(2.0)
    assert curve(1e-9) == 1.0
    assert curve(0.0) == 1.0
    assert curve(1e9) == 3.0


@given(st.floats(1e-5, 1e-1), st.floats(0.0, 5.0))
def test_the_slope_is_the_finite_difference(loss, rise):
    curve = NoiseScoreCurve.fit(np.array([1e-6, 1e-3, 1.0]), np.array([1.0, 1.0 + rise, 3.0 + 2 * rise]))
    assert curve.slope(loss) == pytest.approx((curve(2 * loss) - curve(loss / 2)) / (2 * loss - loss / 2))
    # Where the score is linear in log(loss), that is nearly its derivative.
    straight = NoiseScoreCurve.fit(np.array([1e-9, 1e3]), np.array([0.0, 12 * np.log(10)]))
    assert straight.slope(loss) == pytest.approx(1 / loss * np.log(4) / 1.5)


def test_a_curve_is_flat_beyond_its_ends():
    curve = NoiseScoreCurve.fit(np.array([1e-4, 1e-2]), np.array([1.0, 3.0]))
    assert curve.slope(1e-9) == curve.slope(1e9) == curve.slope(0.0) == 0.0


def test_a_dip_in_the_measurement_is_levelled():
    curve = NoiseScoreCurve.fit(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    assert curve.score.tolist() == [1.0, 2.5, 2.5]
    assert curve.raw_score.tolist() == [1.0, 3.0, 2.0]


def test_every_head_is_queried_with_its_own_loss():
    measured = curves()
    losses = {"position": 1e-2, "bend": 1e-4}
    assert scores_at(measured, losses) == {name: measured[name](losses[name]) for name in losses}


@pytest.mark.parametrize(
    "settings",
    [
        *(dict(levels=1), dict(draws=0), dict(frames=0), dict(levels=2.5), dict(draws=2.5), dict(frames=2.5)),
        *(dict(span=(1.0, 0.1)), dict(span=[0.1]), dict(span=(0.1, float("inf"))), dict(span=0.1)),
    ],
)
def test_impossible_settings_are_refused(settings):
    (name,) = settings
    with pytest.raises(UserError, match=f"curves: {name} must"):
        CurveSettings(**settings)


def test_a_score_is_the_last_curves_and_goes_on_beyond_it_as_the_first_ones():
    first = NoiseScoreCurve.fit(np.array([1.0, 10.0, 100.0]), np.array([0.0, 4.0, 8.0]))
    last = NoiseScoreCurve.fit(np.array([10.0, 20.0]), np.array([2.0, 5.0]))
    assert score_by_both(10.0, first, last) == 2.0
    assert score_by_both(20.0, first, last) == last(20.0) == 5.0
    assert score_by_both(15.0, first, last) == last(15.0)
    assert score_by_both(3.0, first, last) == pytest.approx(2.0 * first(3.0) / 4.0)
    assert score_by_both(50.0, first, last) == pytest.approx(5.0 * first(50.0) / first(20.0))
    assert score_by_both(50.0, first, None) == first(50.0)
    flat = NoiseScoreCurve.fit(np.array([1.0, 100.0]), np.zeros(2))
    assert score_by_both(50.0, flat, last) == 5.0
