"""CondLaneNet's adapter: what the heads are made of, their gates, and the quirks of the authors' decoding."""

import numpy as np
import pytest
import torch
from small_condlane import images, small
from torch import Tensor

from mmsf.adapters import CondLaneAdapter, HeadOutputs
from mmsf.errors import UserError
from mmsf.lanes import Lane

HEAT = (4, 12)  # rows and columns of the heat map here
MAP = (6, 10)  # of a mask


def outputs(seeds: dict[int, float], middles: list[float] | None = None, rows: str = "111111", places: int = 8) -> dict:
    """Raw outputs of one image.

    Args:
        seeds: Cell -> probability.
        middles: Mean column of each seed's mask, in every row; a fraction is shared by the two columns beside it.
        rows: Which rows the lanes reach.
        places: K.
    """
    heat = torch.full(HEAT, 0.01)
    mask, offset = torch.zeros(places, *MAP), torch.zeros(places, *MAP)
    judged = torch.zeros(places, 2, MAP[0])
    judged[:, 1] = torch.tensor([4.0 if row == "1" else -4.0 for row in rows])
    for number, (cell, probability) in enumerate(seeds.items()):
        heat.view(-1)[cell] = probability
        middle = 5.0 if middles is None else middles[number]
        column, share = int(middle), middle - int(middle)
        mask[number] = -200.0
        mask[number, :, column] = np.log(1 - share)
        if share:
            mask[number, :, column + 1] = np.log(share)
        offset[number] = 0.01 * torch.arange(MAP[1])
    cells = torch.tensor([*seeds, *[-1] * (places - len(seeds))])
    raw = {"hm_logit": heat.logit()[None], "seeds": cells, "seed_mask": mask, "seed_reg": offset, "seed_range": judged}
    return {name: value[None] for name, value in raw.items()}


def adapter(**settings) -> CondLaneAdapter:
    return CondLaneAdapter(**{"input_size": (48, 80), "crop_top": 0, **settings})


def decode(tool: CondLaneAdapter, raw: dict[str, Tensor], ori_shape: tuple[int, int] = (48, 80)) -> list[Lane]:
    return tool.decode(tool.split(raw), [{"ori_shape": ori_shape}])[0]


def scores(lanes: list[Lane]) -> list[float]:
    return [round(float(lane.score), 4) for lane in lanes]


def test_of_seeds_near_each_other_the_last_one_stays_however_improbable_it_is() -> None:
    raw = outputs({3: 0.55, 5: 0.95, 7: 0.51})
    assert scores(decode(adapter(radius=2.0), raw)) == [0.51]
    assert scores(decode(adapter(radius=2.0, best_seed=True), raw)) == [0.95]


def test_a_seed_joins_the_first_group_with_a_member_near_it_and_groups_never_merge() -> None:
    # 0 and 4 are apart; 26, two rows below and between them, is near to both and joins the first.
    raw = outputs({0: 0.9, 4: 0.8, 26: 0.7})
    assert scores(decode(adapter(radius=3.0), raw)) == [0.7, 0.8]
    assert scores(decode(adapter(radius=2.0), raw)) == [0.9, 0.8, 0.7]


def test_seeds_exactly_a_radius_apart_are_of_one_lane_also_along_a_chain() -> None:
    raw = outputs({0: 0.9, 4: 0.8, 8: 0.7})
    assert scores(decode(adapter(radius=4.0), raw)) == [0.7]
    assert scores(decode(adapter(radius=3.9), raw)) == [0.9, 0.8, 0.7]


def test_lanes_are_in_the_order_of_their_first_seeds() -> None:
    raw = outputs({0: 0.9, 8: 0.8, 24: 0.7})
    assert scores(decode(adapter(radius=2.0), raw)) == [0.7, 0.8]


@pytest.mark.parametrize(("middle", "cut", "nearest"), [(3.0, 3, 3), (3.4, 3, 3), (3.6, 3, 4)])
def test_columns_are_cut_to_whole_ones_and_the_offset_is_read_there(middle: float, cut: int, nearest: int) -> None:
    raw = outputs({0: 0.9}, [middle + 1e-4])
    for tool, column in ((adapter(), cut), (adapter(nearest_column=True), nearest)):
        np.testing.assert_allclose(decode(tool, raw)[0].points[:, 0], 8 * (column + 0.01 * column), atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "reached"), [("001100", [1, 2, 3, 4]), ("100000", [0, 1]), ("000001", [4, 5]), ("010010", [0, 1, 2, 3, 4, 5])]
)
def test_a_lane_reaches_a_row_beyond_its_ends_and_has_no_gaps(rows: str, reached: list[int]) -> None:
    (lane,) = decode(adapter(), outputs({0: 0.9}, rows=rows))
    assert lane.points[:, 1].tolist() == [8 * row for row in reached]


def test_a_seed_without_a_row_is_no_lane_and_equal_classes_are_no_row() -> None:
    raw = outputs({0: 0.9}, rows="000000")
    assert decode(adapter(), raw) == []
    raw["seed_range"] = torch.zeros_like(raw["seed_range"])
    assert decode(adapter(), raw) == []


def test_an_image_without_seeds_has_no_lanes() -> None:
    for heads in ("masks", "kernels"):
        raw = outputs({}) | {"params": torch.rand(1, 10, *HEAT), "mask_branch": torch.rand(1, 2, *MAP)}
        assert decode(adapter(heads=heads), raw) == []


@pytest.mark.parametrize(("ori_shape", "top"), [((590, 1640), 270), ((1180, 820), 540)])
def test_lanes_are_in_pixels_of_the_whole_image_whatever_its_size(ori_shape: tuple[int, int], top: int) -> None:
    (lane,) = decode(adapter(crop_top=270), outputs({0: 0.9}), ori_shape)
    height, width = ori_shape
    np.testing.assert_allclose(lane.points[:, 0], 8 * 5.05 * width / 80, rtol=1e-5)
    np.testing.assert_allclose(lane.points[:, 1], top + 8 * np.arange(6) * (height - top) / 48)


@torch.no_grad()
def test_heads_are_masks_and_offsets_and_gates_the_probability_of_seed_and_row() -> None:
    model = small()
    raw = model(images(3))
    heads = model.adapter.split(raw)
    assert model.adapter.semantic_heads == tuple(heads.semantics) == ("location", "offset")
    assert torch.equal(heads.semantics["location"][:, 0], raw["seed_mask"])
    assert torch.equal(heads.semantics["offset"][:, 0], raw["seed_reg"])
    gate = model.adapter.gate(heads, "offset")
    assert gate.shape == (3, 1, 6, 8, 1)
    for image, place in np.argwhere(raw["seeds"].numpy() >= 0):
        heat = raw["hm_logit"][image].flatten()[raw["seeds"][image, place]].sigmoid().clamp(1e-4, 1 - 1e-4)
        rows = raw["seed_range"][image, place].softmax(0)[1]
        torch.testing.assert_close(gate[image, 0, place, :, 0], heat * rows)
    assert not gate[:, 0][raw["seeds"] < 0].any()
    for value in heads.confidences.values():
        assert 0 <= value.min() <= value.max() <= 1


@torch.no_grad()
def test_heads_may_be_the_kernels_of_every_cell_gated_by_the_heat_map() -> None:
    model = small(**{"adapter.heads": "kernels"})
    raw = model(images(3))
    heads = model.adapter.split(raw)
    assert torch.equal(torch.cat([heads.semantics[name] for name in model.adapter.semantic_heads], 1), raw["params"])
    assert torch.equal(model.adapter.gate(heads, "location"), raw["hm_logit"].sigmoid().clamp(1e-4, 1 - 1e-4))


def lanes_equal(one: list[list[Lane]], two: list[list[Lane]]) -> bool:
    assert [len(lanes) for lanes in one] == [len(lanes) for lanes in two]
    return all(np.array_equal(a.points, b.points) for x, y in zip(one, two) for a, b in zip(x, y))


METAS = [{"ori_shape": (590, 1640)}] * 3


@torch.no_grad()
def test_kernels_have_no_points_for_a_loss_on_lanes() -> None:
    assert adapter().has_points
    assert not adapter(heads="kernels").has_points


def test_both_kinds_of_heads_decode_to_the_same_lanes_to_the_bit() -> None:
    masks, kernels, inputs = small(), small(**{"adapter.heads": "kernels"}), images(3)
    one, two = (m.adapter.decode(m.adapter.split(m(inputs)), METAS) for m in (masks, kernels))
    assert sum(map(len, one)) > 4
    assert lanes_equal(one, two)


@torch.no_grad()
@pytest.mark.parametrize("name", ["location", "offset"])
def test_changed_kernels_decode_as_if_the_network_had_made_them(name: str) -> None:
    model, inputs = small(**{"adapter.heads": "kernels"}), images(3)
    raw = model(inputs)
    heads = model.adapter.split(raw)
    before = model.adapter.decode(heads, METAS)
    change = 0.3 * torch.randn(heads.semantics[name].shape, generator=torch.Generator().manual_seed(0))
    changed = model.adapter.decode(
        HeadOutputs({**heads.semantics, name: heads.semantics[name] + change}, heads.confidences, heads.constants), METAS
    )
    zeros = torch.zeros_like(change)
    parts = (change, zeros) if name == "location" else (zeros, change)
    model.bbox_head.ctnet_head["params"].register_forward_hook(lambda *args: args[-1] + torch.cat(parts, 1))
    again = model(inputs) | {"seed_range": raw["seed_range"]}
    wanted = small().adapter.decode(small().adapter.split(again), METAS)
    assert not lanes_equal(before, changed)
    for ours, theirs in zip(changed, wanted, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.points, b.points, atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("heads", ["masks", "kernels"])
def test_images_of_a_batch_are_decoded_each_by_its_own_features(heads: str) -> None:
    model = small(**{"adapter.heads": heads})
    raw = model(images(3))
    split = model.adapter.split(raw)
    split.semantics["location"] = split.semantics["location"] * 1.1
    together = model.adapter.decode(split, METAS)
    for image in range(3):
        alone = HeadOutputs(
            *({n: v[image : image + 1] for n, v in g.items()} for g in (split.semantics, split.confidences, split.constants))
        )
        assert lanes_equal(model.adapter.decode(alone, METAS[:1]), together[image : image + 1])


@torch.no_grad()
def test_a_perturbed_offset_moves_every_lane() -> None:
    model = small()
    heads = model.adapter.split(model(images(3)))
    before = model.adapter.decode(heads, METAS)
    heads.semantics["offset"] = heads.semantics["offset"] + 0.5
    for lanes, moved in zip(before, model.adapter.decode(heads, METAS)):
        for lane, other in zip(lanes, moved, strict=True):
            np.testing.assert_allclose(other.points - lane.points, [[0.5 * 8 * 1640 / 160, 0]] * len(lane), atol=1e-3)


def test_unknown_heads_are_refused() -> None:
    with pytest.raises(UserError, match="heads='rows' is unknown; choose one of masks, kernels"):
        CondLaneAdapter(heads="rows")


@pytest.mark.parametrize("name", ["hm_logit", "seed_mask", "seed_reg", "seed_range"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_heads_are_refused_in_one_line(name: str, value: float) -> None:
    raw = outputs({3: 0.55, 30: 0.95})
    raw[name] = torch.full_like(raw[name], value)
    if name == "hm_logit" and value == float("inf"):
        assert decode(adapter(), raw)  # a probability of one, which is a number
        return
    with pytest.raises(UserError, match="is NaN or infinite: its weights or the images are broken"):
        decode(adapter(), raw)
