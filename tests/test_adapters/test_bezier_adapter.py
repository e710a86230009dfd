"""BezierLaneNet's adapter: heads, gate and the rules that keep columns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsf.adapters import BezierAdapter
from mmsf.errors import UserError
from mmsf.lanes import Lane


def outputs(probabilities: list[float], curves: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Raw outputs of one image whose sigmoid gives the probabilities; curve q begins at x = q / 100."""
    p = torch.tensor([probabilities], dtype=torch.float64)
    if curves is None:
        curves = torch.rand(1, len(probabilities), 4, 2, dtype=torch.float64)
        curves[0, :, 0, 0] = torch.arange(len(probabilities)) / 100
    return {"logits": p.logit(), "curves": curves}


def decode(
    adapter: BezierAdapter, raw: dict[str, torch.Tensor], ori_shape: tuple[int, int] = (590, 1640)
) -> list[list[Lane]]:
    return adapter.decode(adapter.split(raw), [{"ori_shape": ori_shape}] * len(raw["logits"]))


def columns(lanes: list[Lane]) -> list[int]:
    return [round(lane.points[0, 0] / 16.4) for lane in lanes]


def test_the_one_head_holds_the_eight_numbers_of_each_column() -> None:
    curves = torch.randn(2, 50, 4, 2, requires_grad=True)
    heads = BezierAdapter().split({"logits": torch.randn(2, 50), "curves": curves})
    assert BezierAdapter.semantic_heads == tuple(heads.semantics) == ("curve",)
    assert torch.equal(heads.semantics["curve"].reshape(2, 50, 4, 2), curves)
    assert heads.semantics["curve"].requires_grad


def test_the_gate_of_a_column_is_its_sigmoid() -> None:
    logits = torch.randn(2, 50)
    adapter = BezierAdapter()
    heads = adapter.split({"logits": logits, "curves": torch.randn(2, 50, 4, 2)})
    assert torch.equal(adapter.gate(heads, "curve"), logits.sigmoid()[..., None])
    shape = heads.semantics["curve"].shape
    assert torch.broadcast_shapes(adapter.gate(heads, "curve").shape, shape) == shape


def test_a_column_at_the_threshold_is_no_lane() -> None:
    raw = outputs([0.5, 0.1, 0.1, 0.75, 0.1, 0.1])
    assert columns(decode(BezierAdapter(threshold=0.5, window=3), raw)[0]) == [3]


def test_of_a_window_only_the_most_confident_column_stays_and_the_left_one_of_equals() -> None:
    raw = outputs([0.96, 0.97, 0.97, 0.1, 0.1, 0.1, 0.1, 0.98])
    assert columns(decode(BezierAdapter(window=3), raw)[0]) == [1, 7]
    assert columns(decode(BezierAdapter(window=9), raw)[0]) == [1, 7]
    assert columns(decode(BezierAdapter(window=15), raw)[0]) == [7]


def test_a_column_below_the_threshold_hides_none_above_it() -> None:
    assert columns(decode(BezierAdapter(), outputs([0.9, 0.96, 0.9]))[0]) == [1]


def test_pruning_keeps_the_most_confident_in_their_columns_order_and_drops_ties_together() -> None:
    probabilities = [0.1] * 41
    for column, value in ((0, 0.96), (10, 0.99), (20, 0.97), (30, 0.98), (40, 0.96)):
        probabilities[column] = value
    assert columns(decode(BezierAdapter(max_lanes=2), outputs(probabilities))[0]) == [10, 30]
    assert columns(decode(BezierAdapter(max_lanes=4), outputs(probabilities))[0]) == [10, 20, 30]
    assert columns(decode(BezierAdapter(max_lanes=None), outputs(probabilities))[0]) == [0, 10, 20, 30, 40]


def test_points_lie_on_the_curve_at_equal_steps_of_its_parameter() -> None:
    control = torch.tensor([[0.3, 1.0], [0.4, 0.7], [0.2, 0.6], [0.5, 0.4]], dtype=torch.float64)
    lane = decode(BezierAdapter(points=5), outputs([0.99], control[None, None]))[0][0]
    p = control.numpy() * (1640, 590)
    for t, point in zip((0, 0.25, 0.5, 0.75, 1), lane.points):
        # De Casteljau's construction.
        points = p
        while len(points) > 1:
            points = (1 - t) * points[:-1] + t * points[1:]
        np.testing.assert_allclose(point, points[0])


def test_points_outside_the_image_stay() -> None:
    control = torch.tensor([[-0.2, 1.3], [0.1, 1.0], [0.5, 0.6], [1.4, -0.1]])
    points = decode(BezierAdapter(), outputs([0.99], control[None, None]))[0][0].points
    assert len(points) == 50
    np.testing.assert_allclose(points[[0, -1]], [[-328, 767], [2296, -59]], rtol=1e-6)


def test_lanes_scale_with_the_original_image_and_go_to_their_own_image_of_the_batch() -> None:
    raw = {"logits": torch.tensor([[9.0], [-9.0], [9.0]]), "curves": torch.rand(3, 1, 4, 2)}
    raw["curves"][2] = raw["curves"][0]
    adapter = BezierAdapter()
    first, second, third = adapter.decode(adapter.split(raw), [{"ori_shape": s} for s in ((590, 1640), (1, 1), (1180, 820))])
    assert (len(first), len(second), len(third)) == (1, 0, 1)
    np.testing.assert_allclose(third[0].points, first[0].points * (0.5, 2))


def test_perturbed_heads_are_decoded() -> None:
    adapter = BezierAdapter()
    heads = adapter.split(outputs([0.99]))
    before = adapter.decode(heads, [{"ori_shape": (590, 1640)}])[0][0].points
    heads.semantics["curve"] = heads.semantics["curve"] + 0.01
    after = adapter.decode(heads, [{"ori_shape": (590, 1640)}])[0][0].points
    np.testing.assert_allclose(after - before, [[16.4, 5.9]] * 50)


def kept_by_the_original(logits: torch.Tensor, threshold: float, window: int, count: int) -> list[int]:
    """Columns that stay by pooling and by taking the smallest away until few enough are left."""
    confidence = logits.sigmoid()
    _, largest = F.max_pool1d(confidence[None, None], window, 1, window // 2, return_indices=True)
    keep = (confidence > threshold) & (largest[0, 0] == torch.arange(len(logits)))
    confidence = confidence.clone()
    while keep.sum() > count:
        smallest = confidence == confidence.min()
        keep[smallest], confidence[smallest] = False, 1.1
    return keep.nonzero().flatten().tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 5, 9]), st.integers(1, 4))
def test_columns_stay_by_the_originals_rule(seed: int, window: int, count: int) -> None:
    # Few values, so that many are equal.
    logits = torch.randint(-4, 5, (50,), generator=torch.Generator().manual_seed(seed)) / 2
    raw = outputs([0.5] * 50)
    raw["logits"] = logits[None]
    lanes = decode(BezierAdapter(0.6, window, count), raw)[0]
    assert columns(lanes) == kept_by_the_original(logits, 0.6, window, count)


@pytest.mark.parametrize(
    ("wrong", "words"), [(dict(window=4), "odd"), (dict(window=-1), "odd"), (dict(points=1), "two points")]
)
def test_a_wrong_setting_is_refused(wrong: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        BezierAdapter(**wrong)
