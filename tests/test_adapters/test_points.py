"""Differentiable decoding: the points that a loss on lanes sees are those that decoding gives."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmsf.adapters import (
    BezierAdapter,
    CLRNetAdapter,
    CondLaneAdapter,
    GANetAdapter,
    LaneATTAdapter,
    LSTRAdapter,
    SegmentationAdapter,
)
from mmsf.adapters.base import FRAME
from mmsf.adapters.bezier import LOSS_POINTS
from mmsf.adapters.lstr import LOSS_ROWS

META = {"ori_shape": FRAME}
LEANING = [0.35, 0.95, 0.02, 0.1, 0.05, 0.4, 0.3, 0.1]


def logits(*probabilities: float) -> torch.Tensor:
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack((torch.log1p(-p), p.log()), -1)[None]


def lstr_raw(curve: list[float]) -> dict:
    return {"logits": logits(0.99), "curves": torch.tensor([[curve]], dtype=torch.float64)}


def bezier_raw() -> dict:
    control = torch.tensor(
        [[[0.2, 1.0], [0.3, 0.8], [0.4, 0.6], [0.45, 0.4]], [[0.8, 1.0], [0.7, 0.8], [0.6, 0.6], [0.5, 0.4]]]
    )
    return {"logits": torch.tensor([[4.0, 5.0]]), "curves": control[None]}


def laneatt_raw() -> dict:
    xs = torch.linspace(200, 330, 72)[None] + torch.tensor([[0.0], [250.0]])
    return {
        "logits": logits(0.9, 0.8).float(),
        "offsets": xs[None],
        "lengths": torch.tensor([[40.0, 30.0]]),
        "starts": torch.zeros(1, 2),
    }


def segmentation_raw() -> dict:
    x = torch.arange(800.0)
    ridge = lambda column: (12 - (x - column).abs()).clamp(min=-4)  # noqa: E731
    maps = [torch.full((288, 800), 4.0), *(ridge(c).expand(288, 800) for c in (150.0, 320.0, 500.0, 700.0))]
    return {"out": torch.stack(maps)[None], "lane": torch.full((1, 4), 3.0)}


def condlane_raw() -> dict:
    """A lane between two columns; the offset, from each column to the lane, makes up for which of them is read."""
    mask, offset = torch.full((1, 1, 6, 10), -20.0), 5.2 - torch.arange(10.0).expand(1, 1, 6, 10)
    for row in range(6):
        mask[0, 0, row, 3 + row // 2 : 5 + row // 2] = torch.tensor([0.7, 0.3]).log()
    heat = torch.full((1, 1, 3, 5), -6.0)
    heat[0, 0, 2, 1] = 3.0
    judged = torch.tensor([-4.0, 4.0])[None, None, :, None].repeat(1, 1, 1, 6)
    return {"hm_logit": heat, "seeds": torch.tensor([[11]]), "seed_mask": mask, "seed_reg": offset, "seed_range": judged}


def ganet_raw() -> dict:
    heat, votes = torch.full((1, 1, 40, 100), -9.0), torch.zeros(1, 2, 40, 100)
    for up in range(14):
        heat[0, 0, 39 - up, 50 + up // 3] = 3.0
        votes[0, :, 39 - up, 50 + up // 3] = torch.tensor([-float(up // 3), float(up)])
    inside = torch.rand(1, 2, 40, 100, generator=torch.Generator().manual_seed(0))
    return {"kpts_hm_logit": heat, "pts_offset": votes, "int_offset": inside}


def clr_raw() -> dict:
    """A surer and a less sure lane that start a little above the bottom, beside the lines of their anchors."""
    heights = torch.linspace(0, 1, 72)
    lanes = [torch.stack([x + slope * heights]) for x, slope in ((0.3, 0.2), (0.7, -0.2))]
    anchors = torch.tensor([[0.1, 0.29, 0.4, 0.5], [0.1, 0.71, 0.6, 0.4]])
    logits = torch.tensor([[0.0, 3.0], [0.0, 2.0]])
    return {"predictions": torch.cat((logits, anchors, torch.cat(lanes)), -1)[None]}


CASES = {
    "clrnet": (CLRNetAdapter((320, 800), last_pixel=False), clr_raw()),
    "lstr": (LSTRAdapter(), lstr_raw(LEANING)),
    "bezierlanenet": (BezierAdapter(window=1), bezier_raw()),
    "laneatt": (LaneATTAdapter(), laneatt_raw()),
    "segmentation": (SegmentationAdapter(), segmentation_raw()),
    "condlanenet": (CondLaneAdapter(input_size=(48, 80), crop_top=0), condlane_raw()),
    "ganet": (GANetAdapter(whole=False), ganet_raw()),
}


def traced(family: str) -> tuple[np.ndarray, np.ndarray, list]:
    """Points and weights (N, P) of the one image, and its decoded lanes."""
    adapter, raw = CASES[family]
    heads = adapter.split(raw)
    return adapter.points(heads, heads)[0].numpy(), adapter.point_weights(heads)[0].numpy(), adapter.decode(heads, [META])[0]


@pytest.mark.parametrize("family", CASES)
def test_points_and_weights_have_one_shape_and_every_semantic_head_moves_them(family):
    adapter, raw = CASES[family]
    if family == "condlanenet":  # where the offset makes up for the column in full, the column moves nothing
        raw = dict(raw, seed_reg=raw["seed_reg"] / 2)
    heads = adapter.split({name: value.clone().requires_grad_(value.is_floating_point()) for name, value in raw.items()})
    points, weights = adapter.points(heads, heads), adapter.point_weights(heads)
    assert points.shape == weights.shape
    assert weights.min() >= 0
    assert 0 < weights.max() <= 1
    (weights.detach() * points).square().sum().backward(inputs=[heads.semantics[n] for n in adapter.semantic_heads])
    for name in adapter.semantic_heads:
        assert heads.semantics[name].grad.isfinite().all()
        assert heads.semantics[name].grad.abs().sum() > 0


@given(st.floats(-0.02, 0.02), st.floats(0.2, 0.8), st.floats(-0.3, 0.3), st.floats(0.3, 0.5), st.floats(0.8, 1.0))
def test_lstr_points_lie_on_the_decoded_lane(k, n, b, upper, lower):
    adapter, raw = LSTRAdapter(x_range="any"), lstr_raw([upper, lower, k, 0.1, 0.02, n, b, 0.1])
    heads = adapter.split(raw)
    points = adapter.points(heads, heads)[0, 0].numpy()
    (lane,) = adapter.decode(heads, [META])[0]
    y = np.linspace(upper, lower, LOSS_ROWS) * FRAME[0]
    assert points[-2:] == pytest.approx([upper * FRAME[0], lower * FRAME[0]])
    inside = (y >= lane.points[:, 1].min()) & (y <= lane.points[:, 1].max())
    read = np.interp(y[inside], lane.points[::-1, 1], lane.points[::-1, 0])
    # The lane's rows are 20 px apart, and the line between two of them cuts the corner of a bent lane.
    np.testing.assert_allclose(points[:LOSS_ROWS][inside], read, atol=3.0)


def test_lstr_points_stay_finite_at_the_pole():
    adapter, raw = LSTRAdapter(), lstr_raw([0.2, 0.9, 0.02, 0.5, 0.05, 0.4, 0.3, 0.1])
    raw["curves"].requires_grad_(True)
    heads = adapter.split(raw)
    adapter.points(heads, heads).sum().backward()
    assert raw["curves"].grad.isfinite().all()


def test_bezier_points_are_among_the_decoded_ones():
    points, _, lanes = traced("bezierlanenet")
    for candidate, lane in zip(points.reshape(2, LOSS_POINTS, 2), lanes):
        distance = np.abs(candidate[:, None] - lane.points[None]).max(-1).min(1)
        np.testing.assert_allclose(distance, 0, atol=1e-3)


def test_laneatt_points_are_the_decoded_ones_in_the_rows_that_count():
    points, weights, lanes = traced("laneatt")
    for candidate, weight, lane in zip(points, weights, lanes):
        rows = np.flatnonzero(weight[:72])
        np.testing.assert_allclose(candidate[rows][::-1], lane.points[:, 0], rtol=1e-5)
        assert candidate[72] / FRAME[0] * 72 == pytest.approx(len(rows))


def test_clrnet_points_are_the_decoded_ones_in_the_rows_that_count():
    points, weights, lanes = traced("clrnet")
    for candidate, weight, lane, length in zip(points, weights, lanes, (0.5, 0.4)):
        rows = np.flatnonzero(weight[:72])
        read = {round(590 - 590 * row / 71, 3): x for row, x in enumerate(candidate[:72])}
        np.testing.assert_allclose([read[round(y, 3)] for y in lane.points[:, 1]], lane.points[:, 0], rtol=1e-5)
        assert abs(len(rows) - length * 71) <= 1
        assert candidate[72:] == pytest.approx([0.1 * 590, (0.1 + length) * 590])


def test_segmentation_points_are_at_the_slots_peaks():
    points, weights, lanes = traced("segmentation")
    assert len(lanes) == 4
    for candidate, weight, lane in zip(points, weights, lanes):
        row = np.clip((lane.points[:, 1] / FRAME[0] * 288).astype(int), 0, 287)
        # A decoded column is a whole cell, cut to a whole pixel; a cell is 2.05 px wide.
        np.testing.assert_allclose(candidate[row], lane.points[:, 0], atol=3.0)
        assert weight.min() > 0.9


def test_condlane_points_are_the_decoded_ones():
    points, weights, (lane,) = traced("condlanenet")
    np.testing.assert_allclose(points[0], lane.points[:, 0], rtol=1e-4)
    assert weights.shape == (1, 6)


def test_an_error_of_condlanes_column_that_its_offset_makes_up_for_moves_no_point():
    adapter, raw = CASES["condlanenet"]
    heads = adapter.split(raw)
    moved = adapter.split(dict(raw, seed_mask=raw["seed_mask"].roll(1, -1)))
    torch.testing.assert_close(adapter.points(moved, heads), adapter.points(heads, heads))


def test_ganet_points_are_the_decoded_ones_and_the_votes():
    points, weights, (lane,) = traced("ganet")
    seen = np.flatnonzero(weights[:, 0] > 0.5)
    cell = np.array([8 * 2.05, 8.0])
    corner = np.stack((seen % 100, seen // 100), 1) * cell
    np.testing.assert_allclose(corner + points[seen, :2] + (0, 270), lane.points, rtol=1e-5)
    np.testing.assert_allclose((corner + points[seen, 2:]) / cell, np.tile([50, 39], (14, 1)), atol=1e-4)
    assert math.isclose(weights[seen[0], 0], 1 / (1 + math.exp(-3)), rel_tol=1e-5)
