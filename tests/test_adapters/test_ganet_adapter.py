"""GANet's adapter: heads, gate, and the rules that make lanes of key points."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsf.adapters.ganet import GANetAdapter, first_near_group
from mmsf.errors import UserError
from mmsf.lanes import Lane

CULANE = {"ori_shape": (590, 1640)}


def outputs(points: list[tuple], size: tuple[int, int] = (40, 100), probability: float = 0.9) -> dict[str, torch.Tensor]:
    """Raw outputs of one image with key points (column, row, dx, dy of the vote) in the middle of their cells."""
    raw = {
        "kpts_hm_logit": torch.full((1, 1, *size), -9.0),
        "pts_offset": torch.zeros(1, 2, *size),
        "int_offset": torch.full((1, 2, *size), 0.5),
    }
    for column, row, dx, dy in points:
        raw["kpts_hm_logit"][0, 0, row, column] = math.log(probability / (1 - probability))
        raw["pts_offset"][0, :, row, column] = torch.tensor([dx, dy])
    return raw


def upright(column: int, bottom: int = 39, points: int = 12, votes_to: float | None = None) -> list[tuple]:
    """Key points of an upright lane; they vote for its lowest cell, or for another column there."""
    dx = 0.0 if votes_to is None else votes_to - column
    return [(column, bottom - up, dx, float(up)) for up in range(points)]


def decode(adapter: GANetAdapter, raw: dict[str, torch.Tensor], meta: dict = CULANE) -> list[Lane]:
    return adapter.decode(adapter.split(raw), [meta])[0]


def columns(lanes: list[Lane]) -> list[int]:
    return [int(lane.points[0, 0] / 1640 * 100) for lane in lanes]


def test_the_two_heads_are_the_offsets_and_both_are_gated_by_the_key_points() -> None:
    raw = {"kpts_hm_logit": torch.randn(2, 1, 4, 10), "pts_offset": torch.randn(2, 2, 4, 10, requires_grad=True)}
    raw["int_offset"] = torch.randn(2, 2, 4, 10)
    adapter = GANetAdapter()
    heads = adapter.split(raw)
    assert adapter.semantic_heads == tuple(heads.semantics) == ("start_offset", "cell_offset")
    assert adapter.channel_axis == 1
    assert heads.semantics["start_offset"] is raw["pts_offset"]
    assert heads.semantics["cell_offset"] is raw["int_offset"]
    for name in adapter.semantic_heads:
        gate = adapter.gate(heads, name)
        assert torch.equal(gate, raw["kpts_hm_logit"].sigmoid())
        assert torch.broadcast_shapes(gate.shape, heads.semantics[name].shape) == heads.semantics[name].shape


def test_points_are_cells_of_8_pixels_in_the_lower_320_rows_of_a_frame() -> None:
    (lane,) = decode(GANetAdapter(whole=False), outputs(upright(30)))
    np.testing.assert_allclose(lane.points[:, 0], 30.5 * 8 * 2.05)
    np.testing.assert_allclose(lane.points[:, 1], 270 + 8 * (np.arange(28, 40) + 0.5))
    assert lane.score == pytest.approx(0.9)


def test_points_are_cut_to_whole_pixels_of_the_frame() -> None:
    raw = outputs(upright(30))
    points = decode(GANetAdapter(), raw)[0].points
    np.testing.assert_array_equal(points, np.trunc(decode(GANetAdapter(whole=False), raw)[0].points))
    raw = outputs(upright(0))
    raw["int_offset"][:] = -0.01
    assert decode(GANetAdapter(), raw)[0].points[0, 0] == 0  # towards zero, not down


def test_a_product_that_is_whole_is_not_cut_to_one_less() -> None:
    raw = outputs(upright(10))
    raw["int_offset"][:, 0] = 0.0
    assert (decode(GANetAdapter(), raw)[0].points[:, 0] == 164).all()
    for column in range(100):
        raw = outputs(upright(column))
        raw["int_offset"][:, 0] = 0.0
        assert (decode(GANetAdapter(), raw)[0].points[:, 0] == column * 82 // 5).all()


def test_another_image_loses_the_same_share_of_its_rows() -> None:
    adapter = GANetAdapter(whole=False)
    points = decode(adapter, outputs(upright(30)))[0].points
    half = decode(adapter, outputs(upright(30)), {"ori_shape": (295, 820)})[0].points
    np.testing.assert_allclose(half, points / 2)


def test_a_lane_needs_more_than_10_points() -> None:
    assert decode(GANetAdapter(), outputs(upright(30, points=10))) == []
    assert len(decode(GANetAdapter(), outputs(upright(30, points=11)))[0]) == 11


def test_a_key_point_is_larger_than_the_threshold() -> None:
    raw = outputs(upright(30))
    raw["kpts_hm_logit"][raw["kpts_hm_logit"] > 0] = 0.0
    assert decode(GANetAdapter(threshold=0.5), raw) == []
    assert len(decode(GANetAdapter(threshold=0.4999), raw)) == 1


def test_key_points_are_the_largest_of_their_row_only_and_ties_all_stay() -> None:
    raw = outputs(upright(30) + upright(31))
    assert len(decode(GANetAdapter(), raw)[0]) == 24
    raw["kpts_hm_logit"][..., 31] -= 0.1
    assert len(decode(GANetAdapter(), raw)[0]) == 12


def test_probabilities_beyond_the_cut_tie() -> None:
    raw = outputs(upright(30) + upright(31))
    raw["kpts_hm_logit"][..., 28:, 30], raw["kpts_hm_logit"][..., 28:, 31] = 9.5, 10.5  # both above 1 - 1e-4
    assert len(decode(GANetAdapter(), raw)[0]) == 24


def test_several_points_of_a_row_stay_side_by_side_and_top_down() -> None:
    points = decode(GANetAdapter(whole=False), outputs(upright(30) + upright(32, votes_to=30)))[0].points
    assert (np.diff(points[:, 1]) >= 0).all()
    np.testing.assert_allclose(points[:2] / (16.4, 1), [[30.5, 498], [32.5, 498]])


def test_starts_vote_less_than_one_cell_down_or_upwards() -> None:
    raw = outputs(upright(30))
    raw["pts_offset"][0, 1, 39, 30] = 1.0
    raw["pts_offset"][0, 1, 38, 30] = 1.01
    assert decode(GANetAdapter(), raw) == []
    raw["pts_offset"][0, 1, 39, 30] = -4.0  # its own vote hits the centre, which is its own cell, within the radius
    assert len(decode(GANetAdapter(), raw)[0]) == 12
    raw["pts_offset"][0, 1, 39, 30] = -6.0
    assert len(decode(GANetAdapter(), raw)[0]) == 11


def test_starts_are_placed_by_their_cells_and_not_by_their_votes() -> None:
    lane = upright(30, votes_to=33)
    lane[0] = (30, 39, 5.0, 0.0)  # the only start, whose own vote is far to the right
    assert len(decode(GANetAdapter(radius=3.0), outputs(lane))[0]) == 11


def test_a_vote_may_miss_the_centre_by_the_radius_and_no_more() -> None:
    for votes_to, points in ((34.0, [12]), (35.0, [12]), (35.01, [])):
        raw = outputs(upright(30, votes_to=votes_to))
        raw["pts_offset"][0, :, 39, 30] = 0.0  # the start
        assert [len(lane) for lane in decode(GANetAdapter(), raw)] == points


def test_starts_group_from_left_to_right_and_groups_never_merge() -> None:
    image, cells = np.zeros(4, np.int64), np.array([[0, 0], [0, 8], [3, 4], [8, 4]])
    # The third is near to both groups and joins the first; the fourth is near to the third.
    assert first_near_group(image, cells, 5.0).tolist() == [0, 1, 0, 0]
    assert first_near_group(image, cells, 4.9).tolist() == [0, 1, 2, 3]


def test_centres_are_cut_to_whole_cells() -> None:
    # Starts in columns 30 and 31: the centre 30.5 becomes 30, which a vote for 35.4 misses.
    lane = upright(30, points=12, votes_to=35.4)
    starts = [(30, 39, 0.0, 0.0), (31, 38, 0.0, 0.0)]
    assert decode(GANetAdapter(), outputs(lane[2:] + starts)) == []
    assert [len(x) for x in decode(GANetAdapter(whole=False), outputs(lane[2:] + starts))] == [12]


def test_a_key_point_goes_to_the_first_centre_it_hits_or_if_wished_to_the_nearest() -> None:
    # Two lanes six cells apart; the right one votes one cell to its left, still within the left one's radius.
    raw = outputs(upright(30) + upright(36, votes_to=35.0))
    raw["pts_offset"][0, :, 39, 36] = 0.0
    assert [len(lane) for lane in decode(GANetAdapter(min_points=0), raw)] == [23, 1]
    assert columns(decode(GANetAdapter(nearest=True), raw)) == [30, 36]


def test_lanes_are_in_the_order_of_their_leftmost_start() -> None:
    assert columns(decode(GANetAdapter(), outputs(upright(70, bottom=20) + upright(20) + upright(45)))) == [20, 45, 70]


def test_lanes_go_to_their_own_image_of_the_batch() -> None:
    raws = [outputs(upright(30)), outputs([]), outputs(upright(60) + upright(10)), outputs(upright(80))]
    raw = {name: torch.cat([one[name] for one in raws]) for name in raws[0]}
    adapter = GANetAdapter()
    lanes = adapter.decode(adapter.split(raw), [CULANE] * 4)
    assert [columns(found) for found in lanes] == [[30], [], [10, 60], [80]]


def test_perturbed_heads_are_decoded() -> None:
    adapter = GANetAdapter(whole=False)
    heads = adapter.split(outputs(upright(30)))
    before = adapter.decode(heads, [CULANE])[0][0].points
    heads.semantics["cell_offset"] = heads.semantics["cell_offset"] + 0.25
    np.testing.assert_allclose(adapter.decode(heads, [CULANE])[0][0].points - before, [[4.1, 2.0]] * 12, rtol=1e-4)
    heads.semantics["start_offset"] = heads.semantics["start_offset"] - 6.0
    assert adapter.decode(heads, [CULANE]) == [[]]


def test_any_size_of_the_map_is_decoded() -> None:
    adapter = GANetAdapter(input_size=(96, 160), min_points=2)
    (lane,) = decode(adapter, outputs(upright(5, bottom=11, points=3), size=(12, 20)))
    np.testing.assert_array_equal(
        lane.points, np.trunc([[5.5 * 8 * 10.25, 270 + (row + 0.5) * 80 / 3] for row in (9, 10, 11)])
    )


def by_the_authors_rule(raw: dict[str, np.ndarray], radius: float) -> list[list[tuple]]:
    """Places (in cells) of the key points of each group, one key point and one start after the other."""
    (heat,), start, cell = (raw[name][0] for name in ("kpts_hm_logit", "pts_offset", "int_offset"))
    heat = (1 / (1 + np.exp(-heat))).clip(1e-4, 1 - 1e-4)
    height, width = heat.shape
    points, seeds = [], []
    for y in range(height):
        for x in range(width):
            if heat[y, x] > 0.4 and heat[y, x] >= heat[y, max(x - 1, 0) : x + 2].max():
                points.append((x, y))
    for x in range(width):
        seeds += [(x, y) for y in range(height) if (x, y) in points and start[1, y, x] < 1]
    groups: list[list[tuple]] = []
    for seed in seeds:
        near = (group for group in groups if any(math.dist(seed, other) <= radius for other in group))
        group = next(near, None)
        if group is None:
            groups.append([seed])
        else:
            group.append(seed)
    centres = [tuple(int(sum(axis) / len(group)) for axis in zip(*group)) for group in groups]
    lanes: list[list[tuple]] = [[] for _ in centres]
    for x, y in points:
        vote = (x + float(start[0, y, x]), y + float(start[1, y, x]))
        hit = next((i for i, centre in enumerate(centres) if math.dist(vote, centre) <= radius), None)
        if hit is not None:
            lanes[hit].append((x + float(cell[0, y, x]), y + float(cell[1, y, x])))
    return [lane for lane in lanes if len(lane) > 3]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 2.5, 5.0]), st.sampled_from([-2.0, 0.0]))
def test_lanes_are_those_of_the_authors_rule(seed: int, radius: float, level: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    size = (12, 20)
    # Few values, so that many are equal; quarters, so that distances are exact.
    raw = {
        "kpts_hm_logit": torch.randint(-4, 5, (1, 1, *size), generator=generator) / 2 + level,
        "pts_offset": torch.randint(-4, 20, (1, 2, *size), generator=generator) / 4,
        "int_offset": torch.randint(0, 4, (1, 2, *size), generator=generator) / 4,
    }
    adapter = GANetAdapter(input_size=(96, 160), crop_top=0, radius=radius, min_points=3)
    lanes = decode(adapter, raw, {"ori_shape": (96, 160)})
    want = by_the_authors_rule({name: value.numpy() for name, value in raw.items()}, radius)
    assert [lane.points.tolist() for lane in lanes] == [[[8 * x, 8 * y] for x, y in lane] for lane in want]


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(UserError, match="radius"):
        GANetAdapter(radius=-1.0)
