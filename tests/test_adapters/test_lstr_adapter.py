"""LSTR's adapter: heads, gates and the rules that keep queries and points."""

import numpy as np
import pytest
import torch

from mmsf.adapters import LSTRAdapter
from mmsf.errors import UserError

CULANE = {"ori_shape": (590, 1640)}


def outputs(probabilities: list[float], curves: list[list[float]]) -> dict[str, torch.Tensor]:
    """Raw outputs of one image whose softmax gives the lane probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return {
        "logits": torch.stack((torch.log1p(-p), p.log()), -1)[None],
        "curves": torch.tensor([curves], dtype=torch.float64),
    }


def straight(x: float, upper: float = 0.4, lower: float = 1.1) -> list[float]:
    """Curve numbers of a vertical lane."""
    return [upper, lower, 0.0, 0.0, 0.0, 0.0, 0.0, -x]


def decode(adapter: LSTRAdapter, raw: dict[str, torch.Tensor], ori_shape: tuple[int, int] = (590, 1640)) -> list:
    return adapter.decode(adapter.split(raw), [{"ori_shape": ori_shape}] * len(raw["logits"]))


def test_heads_hold_every_curve_number_once() -> None:
    curves = torch.rand(2, 7, 8)
    curves[..., 2:6] = curves[:, :1, 2:6]
    heads = LSTRAdapter().split({"logits": torch.randn(2, 7, 2), "curves": curves})
    assert {name: tuple(value.shape) for name, value in heads.semantics.items()} == {
        "range": (2, 7, 2),
        "shape": (2, 1, 4),
        "offset": (2, 7, 2),
    }
    assert tuple(heads.semantics) == LSTRAdapter.semantic_heads
    shape = heads.semantics["shape"].expand(2, 7, 4)
    assert torch.equal(torch.cat((heads.semantics["range"], shape, heads.semantics["offset"]), -1), curves)


def test_splitting_lets_gradients_through() -> None:
    raw = {"logits": torch.randn(1, 7, 2, requires_grad=True), "curves": torch.randn(1, 7, 8, requires_grad=True)}
    heads = LSTRAdapter().split(raw)
    sum(value.sum() for value in [*heads.semantics.values(), *heads.confidences.values()]).backward()
    assert raw["curves"].grad.abs().sum() > 0


@pytest.mark.parametrize("classes", [2, 3])
def test_the_gate_of_a_query_is_its_lane_probability_and_the_shared_head_has_the_largest(classes: int) -> None:
    logits = torch.randn(2, 7, classes)
    adapter = LSTRAdapter()
    heads = adapter.split({"logits": logits, "curves": torch.randn(2, 7, 8)})
    lane = logits.softmax(-1)[..., 1]
    assert torch.equal(adapter.gate(heads, "range"), lane[..., None])
    assert torch.equal(adapter.gate(heads, "offset"), lane[..., None])
    assert torch.equal(adapter.gate(heads, "shape"), lane.amax(1)[:, None, None])
    for name, value in heads.semantics.items():
        assert torch.broadcast_shapes(adapter.gate(heads, name).shape, value.shape) == value.shape


def test_a_query_at_the_threshold_is_no_lane() -> None:
    raw = outputs([0.5, 0.75, 0.25], [straight(0.2), straight(0.4), straight(0.6)])
    lanes = decode(LSTRAdapter(threshold=0.5), raw)[0]
    assert [round(lane.points[0, 0]) for lane in lanes] == [656]
    assert lanes[0].score == pytest.approx(0.75)


def test_pruning_keeps_the_most_confident_in_query_order() -> None:
    raw = outputs([0.96, 0.99, 0.97, 0.98], [straight(x) for x in (0.2, 0.4, 0.6, 0.8)])
    lanes = decode(LSTRAdapter(max_lanes=2), raw)[0]
    assert [round(lane.points[0, 0] / 1640, 1) for lane in lanes] == [0.4, 0.8]


def test_pruning_drops_lanes_that_tie_at_the_limit_together() -> None:
    raw = outputs([0.96, 0.99, 0.96, 0.96], [straight(x) for x in (0.2, 0.4, 0.6, 0.8)])
    assert len(decode(LSTRAdapter(max_lanes=2), raw)[0]) == 1


def test_without_threshold_the_most_likely_class_counts() -> None:
    logits = torch.tensor([[[0.0, 1.0, 0.5], [0.0, 1.0, 2.0], [1.5, 1.0, 0.0]]])
    curves = torch.tensor([[straight(x) for x in (0.2, 0.4, 0.6)]])
    lanes = decode(LSTRAdapter(threshold=None, max_lanes=None), {"logits": logits, "curves": curves})[0]
    assert [round(lane.points[0, 0]) for lane in lanes] == [328]


def test_pytorch_auto_drive_excludes_the_ends_and_the_authors_include_them() -> None:
    raw = outputs([0.99], [straight(0.5, upper=540 / 720, lower=560 / 720)])
    rows = dict(rows="tusimple", x_range="any")
    assert decode(LSTRAdapter(bounds="open", **rows), raw, (720, 1280))[0] == []
    closed = decode(LSTRAdapter(bounds="closed", **rows), raw, (720, 1280))[0]
    assert closed[0].points[:, 1].tolist() == [540, 550, 560]


def test_the_authors_culane_order_puts_the_lower_end_first_and_does_not_test_it() -> None:
    raw = outputs([0.99], [straight(0.5, upper=0.7, lower=0.5)])
    lane = decode(LSTRAdapter(bounds="swapped_upper", rows="culane_original", x_range="pixels"), raw)[0][0]
    assert lane.points[:, 1].tolist() == [589, 569, 549, 529, 509, 489, 469, 449, 429, 409, 389, 369, 349, 329, 309]


@pytest.mark.parametrize(("x_range", "points"), [("unit", 2), ("pixels", 0), ("any", 2)])
def test_the_last_column_is_inside_the_unit_range_and_outside_the_pixels(x_range: str, points: int) -> None:
    raw = outputs([0.99], [straight(1.0, upper=0.94)])
    lanes = decode(LSTRAdapter(x_range=x_range), raw)[0]
    assert sum(map(len, lanes)) == points


def test_points_outside_the_image_are_kept_only_where_the_source_keeps_them() -> None:
    raw = outputs([0.99], [straight(1.2)])
    assert decode(LSTRAdapter(), raw)[0] == []
    assert decode(LSTRAdapter(x_range="any"), raw)[0][0].points[0, 0] == pytest.approx(1968)


def test_a_lane_of_one_point_is_dropped() -> None:
    raw = outputs([0.99], [straight(0.5, upper=0.98)])
    assert decode(LSTRAdapter(), raw)[0] == []


def test_lanes_scale_with_the_original_image() -> None:
    raw = outputs([0.99], [[0.4, 1.1, 0.0, 0.1, 0.0, 0.3, 0.6, 0.2]])
    small, large = (decode(LSTRAdapter(), raw, shape)[0][0].points for shape in ((590, 1640), (1180, 820)))
    np.testing.assert_allclose(large, small * (0.5, 2.0))


def test_the_curve_has_its_two_poles_terms() -> None:
    k, f, m, n, b, c = 0.02, 0.1, -0.03, 0.4, 0.3, 0.1
    lane = decode(LSTRAdapter(), outputs([0.99], [[0.4, 1.1, k, f, m, n, b, c]]))[0][0]
    y = lane.points[:, 1] / 590
    np.testing.assert_allclose(lane.points[:, 0] / 1640, k / (y - f) ** 2 + m / (y - f) + n + b * y - c)


def test_a_pole_on_a_row_leaves_this_row_out() -> None:
    lane = decode(LSTRAdapter(), outputs([0.99], [[0.4, 1.1, 0.0, 550 / 590, 0.0, 0.5, 0.0, 0.0]]))[0][0]
    assert 550 not in lane.points[:, 1].tolist()
    assert {530, 570} <= set(lane.points[:, 1].tolist())


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="tusimple"):
        LSTRAdapter(rows="kitti")


def test_lanes_go_to_their_own_image_of_the_batch() -> None:
    raw = {"logits": torch.tensor([[[0.0, 9.0]], [[9.0, 0.0]]]), "curves": torch.tensor([[straight(0.5)], [straight(0.5)]])}
    assert [len(lanes) for lanes in decode(LSTRAdapter(), raw)] == [1, 0]
