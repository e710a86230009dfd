"""Labelled lanes as targets of LSTR's loss, and the loss itself."""

import numpy as np
import pytest
import torch

from mmsf.adapters import LSTRAdapter
from mmsf.models.losses.lstr import LSTRLoss, curve_x
from mmsf.models.losses.targets import lane_targets, visible_rows

SIZE = (144, 400)


def curves_of(lines: list[tuple[float, float, float, float]]) -> torch.Tensor:
    """Curve numbers of straight lanes x = slope y + start between two rows, all normalised."""
    return torch.tensor([[upper, lower, 0, 0, 0, 0, slope, -start] for upper, lower, slope, start in lines]).float()


def points_of(upper: float, lower: float, slope: float, start: float) -> np.ndarray:
    """The lane of `curves_of` as a label, bottom-up, in pixels of the network's input."""
    y = np.linspace(lower, upper, 20)
    return np.stack(((slope * y + start) * SIZE[1], y * SIZE[0]), 1)


LANES = [(0.45, 0.95, -0.4, 0.6), (0.5, 0.9, 0.3, 0.35), (0.48, 0.7, 0.9, 0.2)]


def raw_of(lines: list, queries: int = 7, order: tuple[int, ...] = (4, 0, 2)) -> dict[str, torch.Tensor]:
    """Raw outputs that are sure of the lanes, put into some queries."""
    logits = torch.tensor([20.0, -20.0]).repeat(1, queries, 1)
    curves = torch.full((1, queries, 8), 0.3)
    logits[0, list(order[: len(lines)])] = torch.tensor([-20.0, 20.0])
    curves[0, list(order[: len(lines)])] = curves_of(lines)
    return {"logits": logits, "curves": curves}


def test_targets_are_normalised_evenly_spaced_and_top_to_bottom() -> None:
    rows = visible_rows(points_of(*LANES[0]), SIZE, 11)
    np.testing.assert_allclose(rows[:, 1], np.linspace(0.45, 0.95, 11), atol=1e-9)
    np.testing.assert_allclose(rows[:, 0], -0.4 * rows[:, 1] + 0.6, atol=1e-9)


def test_the_order_of_a_labels_points_does_not_matter() -> None:
    points = points_of(*LANES[1])
    np.testing.assert_array_equal(visible_rows(points, SIZE, 9), visible_rows(points[::-1], SIZE, 9))


def test_a_lane_that_leaves_the_image_at_the_side_ends_there() -> None:
    rows = visible_rows(np.array([[500.0, 140.0], [300.0, 60.0]]), SIZE, 9)
    assert 0.99 < rows[:, 0].max() <= 1
    assert rows[-1, 1] * 144 == pytest.approx(100, abs=0.3)


@pytest.mark.parametrize(
    "points", [np.zeros((0, 2)), [[5.0, 5.0]], [[500.0, 10.0], [480.0, 90.0]], [[5.0, 9.0], [90.0, 9.0]]]
)
def test_lanes_without_a_visible_part_are_left_out(points: list) -> None:
    assert visible_rows(np.array(points), SIZE, 9) is None
    assert lane_targets([[np.array(points)], []], SIZE, 9, torch.device("cpu")).counts == [0, 0]


def test_targets_decode_back_to_the_labels() -> None:
    points = lane_targets([[points_of(*LANES[0])]], SIZE, 36, torch.device("cpu")).points[0, 0]
    slope, start = np.polyfit(points[:, 1], points[:, 0], 1)
    curves = curves_of([(points[0, 1].item(), points[-1, 1].item(), slope, start)])[None]
    raw = {"logits": torch.tensor([[[0.0, 9.0]]]), "curves": curves}
    adapter = LSTRAdapter()
    lane = adapter.decode(adapter.split(raw), [{"ori_shape": (590, 1640)}])[0][0].points
    np.testing.assert_allclose(lane[:, 0] / 1640, -0.4 * lane[:, 1] / 590 + 0.6, atol=1e-4)
    assert lane[:, 1].min() == pytest.approx(0.45 * 590, abs=20)
    assert lane[:, 1].max() == pytest.approx(0.95 * 590, abs=20)


def test_the_loss_is_nought_at_the_ground_truth_whatever_query_holds_it() -> None:
    lines = [[points_of(*lane) for lane in LANES]]
    for order in ((4, 0, 2), (1, 2, 3)):
        assert sum(LSTRLoss()(raw_of(LANES, order=order), lines, SIZE).values()) < 1e-4


@pytest.mark.parametrize("column", [0, 1, 3, 5, 6, 7])
def test_leaving_the_ground_truth_raises_the_loss(column: int) -> None:
    lines, raw = [[points_of(*lane) for lane in LANES]], raw_of(LANES)
    raw["curves"][0, 4, 4] = 0.0
    before = sum(LSTRLoss()(raw, lines, SIZE).values())
    if column == 3:
        raw["curves"][0, 4, 4] = 0.05  # the pole f acts through m
    else:
        raw["curves"][0, 4, column] += 0.05
    assert sum(LSTRLoss()(raw, lines, SIZE).values()) > before + 0.01


def test_a_missed_lane_and_a_false_one_raise_the_label_loss() -> None:
    lines, raw = [[points_of(*lane) for lane in LANES]], raw_of(LANES)
    for query in (4, 6):
        changed = {name: value.clone() for name, value in raw.items()}
        changed["logits"][0, query] *= -1
        assert LSTRLoss()(changed, lines, SIZE)["loss_label"] > 1


def test_the_order_of_the_ends_follows_the_weights_convention() -> None:
    lines, raw = [[points_of(*lane) for lane in LANES]], raw_of(LANES)
    raw["curves"][..., :2] = raw["curves"][..., [1, 0]]
    assert sum(LSTRLoss(upper_first=False)(raw, lines, SIZE).values()) < 1e-4
    assert LSTRLoss()(raw, lines, SIZE)["loss_upper"] > 0.1


def test_every_layer_has_its_losses() -> None:
    raw = raw_of(LANES)
    both = {**raw, **{f"aux0.{name}": value for name, value in raw.items()}}
    losses = LSTRLoss()(both, [[points_of(*LANES[0])]], SIZE)
    assert {name.removeprefix("aux0.") for name in losses} == {"loss_label", "loss_curve", "loss_upper", "loss_lower"}
    assert len(losses) == 8


def test_images_without_lanes_and_with_more_lanes_than_queries_have_finite_losses() -> None:
    many = [points_of(0.4, 0.9, 0.0, 0.05 * i) for i in range(1, 12)]
    raw = {"logits": torch.randn(2, 7, 2), "curves": torch.randn(2, 7, 8, requires_grad=True)}
    total = sum(LSTRLoss()(raw, [[], many], SIZE).values())
    total.backward()
    assert torch.isfinite(raw["curves"].grad).all()


def test_a_pole_on_a_row_keeps_loss_and_gradient_finite() -> None:
    curves = torch.tensor([0.0, 1.0, 0.1, 0.5, 0.1, 0.0, 0.0, 0.0], requires_grad=True)
    x = curve_x(curves[None], torch.tensor([0.2, 0.5, 0.8]))
    x.abs().sum().backward()
    assert torch.isfinite(x).all()
    assert torch.isfinite(curves.grad).all()
