"""The adapter of SCNN and RESA: heads, gates, and how a map becomes lanes."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmsf.adapters import SegmentationAdapter
from mmsf.errors import UserError

CULANE = (590, 1640)
ROWS = [589 - 20 * i for i in range(18)]


def outputs(columns: list[float | None], existence: list[float] | None = None, size: tuple[int, int] = (288, 800)) -> dict:
    """Raw outputs of one image whose slots hold vertical lines around the given columns (None: no line)."""
    x = torch.arange(size[1], dtype=torch.float32)
    maps = [torch.full(size, 4.0)]
    for column in columns:
        ridge = (
            torch.full_like(x, -4.0)
            if column is None
            else torch.where((x - column).abs() <= 10, 12.0 - (x - column).abs(), -4.0)
        )
        maps.append(ridge.expand(size))
    lane = torch.tensor([0.9] * len(columns) if existence is None else existence).logit()
    return {"out": torch.stack(maps)[None], "lane": lane[None]}


def random_outputs(count: int, size: tuple[int, int] = (36, 100)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "out": 3 * torch.randn(count, 5, *size, generator=generator),
        "lane": torch.randn(count, 4, generator=generator),
    }


def decode(adapter: SegmentationAdapter, raw: dict[str, torch.Tensor], ori_shape: tuple[int, int] = CULANE) -> list:
    return adapter.decode(adapter.split(raw), [{"ori_shape": ori_shape}] * len(raw["lane"]))


def bytes_of(frames: list) -> list:
    return [[(lane.points.tobytes(), lane.score) for lane in lanes] for lanes in frames]


def test_the_one_semantic_head_is_the_map_at_the_networks_own_resolution() -> None:
    raw = random_outputs(2)
    heads = SegmentationAdapter().split(raw)
    assert SegmentationAdapter.semantic_heads == ("location",) == tuple(heads.semantics)
    assert heads.semantics["location"] is raw["out"]


def test_the_foreground_gates_by_default_and_is_a_confidence() -> None:
    adapter, raw = SegmentationAdapter(), random_outputs(2)
    heads = adapter.split(raw)
    assert set(heads.confidences) == {"existence", "foreground"}
    gate = adapter.gate(heads, "location")
    assert gate is heads.confidences["foreground"]
    torch.testing.assert_close(gate, raw["out"].softmax(1)[:, 1:].sum(1, keepdim=True))


def test_existence_gates_its_slots_channel_and_the_largest_one_the_background() -> None:
    adapter, raw = SegmentationAdapter(gate="existence"), random_outputs(2)
    heads = adapter.split(raw)
    assert set(heads.confidences) == {"existence"}
    gate, existence = adapter.gate(heads, "location"), raw["lane"].sigmoid()
    assert gate.shape == (2, 5, 1, 1)
    assert torch.equal(gate[:, 1:, 0, 0], existence)
    assert torch.equal(gate[:, 0, 0, 0], existence.amax(1))


@pytest.mark.parametrize("gate", ["foreground", "existence"])
def test_splitting_lets_gradients_through(gate: str) -> None:
    raw = {name: value.requires_grad_() for name, value in random_outputs(1).items()}
    heads = SegmentationAdapter(gate=gate).split(raw)
    sum(value.sum() for value in [*heads.semantics.values(), *heads.confidences.values()]).backward()
    assert all(value.grad.abs().sum() > 0 for value in raw.values())


def test_points_lie_on_culanes_rows_from_the_bottom_at_whole_columns() -> None:
    lane = decode(SegmentationAdapter(), outputs([301, None, None, None]))[0][0]
    assert lane.points[:, 1].tolist() == ROWS
    assert set(lane.points[:, 0]) == {617.0}  # 301 / 800 * 1640 = 617.05
    assert lane.score == pytest.approx(0.9)


def test_rows_of_the_map_are_truncated_after_float_arithmetic() -> None:
    for height in (288, 360, 64):
        centres = SegmentationAdapter((height, 800)).windows[:, 4].tolist()
        assert centres == [int(height - i * 20 / 590 * height - 1) for i in range(18)]


def test_lanes_come_in_the_order_of_the_slots() -> None:
    lanes = decode(SegmentationAdapter(), outputs([600, 100, None, 400]))[0]
    assert [round(lane.points[0, 0] / 2.05) for lane in lanes] == [600, 100, 400]


@pytest.mark.parametrize("size", [(288, 800), (72, 200), (36, 100), (40, 44)])
def test_maps_are_resized_with_aligned_corners_and_filtered_as_opencv_does_with_replicated_borders(
    size: tuple[int, int],
) -> None:
    adapter, raw = SegmentationAdapter((72, 200)), random_outputs(2, size)
    columns, values = adapter._peaks(raw["out"])
    full = F.interpolate(raw["out"], (72, 200), mode="bilinear", align_corners=True).softmax(1).numpy()
    for image in range(2):
        for slot in range(4):
            blurred = cv2.blur(full[image, slot + 1], (9, 9), borderType=cv2.BORDER_REPLICATE)[adapter.windows[:, 4]]
            np.testing.assert_allclose(values[image, slot], blurred.max(1), rtol=1e-6)
            assert columns[image, slot].tolist() == blurred.argmax(1).tolist()


def test_a_point_at_x_0_counts_as_missing() -> None:
    raw = outputs([0, 1, None, None])
    columns, values = SegmentationAdapter()._peaks(raw["out"])
    assert (columns[0, 0] == 0).all()
    assert (values[0, 0] > 0.3).all()
    assert all(lane.points[0, 0] > 0 for lane in decode(SegmentationAdapter(), raw)[0])
    assert decode(SegmentationAdapter(), outputs([0, None, None, None]))[0] == []


def test_the_first_of_equal_columns_is_taken() -> None:
    raw = outputs([200, None, None, None])
    raw["out"][0, 1] = torch.maximum(raw["out"][0, 1], raw["out"][0, 1].roll(300, -1))
    assert decode(SegmentationAdapter(), raw)[0][0].points[0, 0] == 200 * 1640 // 800


def test_a_slot_whose_existence_is_at_the_threshold_holds_no_lane() -> None:
    lanes = decode(SegmentationAdapter(), outputs([100, 200, 300, 400], existence=[0.5, 0.51, 0.49, 0.9]))[0]
    assert [round(lane.points[0, 0] / 2.05) for lane in lanes] == [200, 400]


def test_a_row_below_the_point_threshold_has_no_point_and_a_lane_of_one_point_is_dropped() -> None:
    raw = outputs([300, None, None, None])
    raw["out"][0, 1, :244] = -4.0
    assert len(decode(SegmentationAdapter(), raw)[0][0]) == 5
    raw["out"][0, 1, :280] = -4.0
    assert decode(SegmentationAdapter(), raw)[0] == []


def test_lanes_scale_with_the_original_image() -> None:
    raw = outputs([300, None, None, None])
    lane = decode(SegmentationAdapter(), raw, ori_shape=(1180, 800))[0][0]
    assert lane.points[:, 1].tolist() == [2 * row for row in ROWS]
    assert set(lane.points[:, 0]) == {300.0}


def test_lanes_of_a_batch_are_those_of_its_images_to_the_bit() -> None:
    adapter, raw = SegmentationAdapter(), random_outputs(7)
    together = decode(adapter, raw)
    alone = [decode(adapter, {name: value[i : i + 1] for name, value in raw.items()})[0] for i in range(7)]
    assert sum(map(len, together)) > 7
    assert bytes_of(together) == bytes_of(alone)


def test_perturbed_heads_move_or_remove_lanes() -> None:
    adapter, metas = SegmentationAdapter(), [{"ori_shape": CULANE}]
    heads = adapter.split(outputs([300, 500, None, None]))
    heads.semantics["location"] = heads.semantics["location"].roll(40, -1)
    assert [lane.points[0, 0] for lane in adapter.decode(heads, metas)[0]] == [697.0, 1107.0]
    heads.confidences["existence"] = torch.tensor([[0.9, 0.1, 0.9, 0.9]])
    assert [lane.points[0, 0] for lane in adapter.decode(heads, metas)[0]] == [697.0]


def test_any_number_of_slots_is_decoded() -> None:
    assert len(decode(SegmentationAdapter(), outputs([100, 200, 300, 400, 500, 600]))[0]) == 6


def test_an_unknown_gate_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="foreground, existence"):
        SegmentationAdapter(gate="slot")
