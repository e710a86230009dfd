"""GANet's loss and its targets."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from originals import ROOT
from small_ganet import INPUT_SIZE, images, small
from torch import Tensor

from mmsf.adapters import GANetAdapter
from mmsf.lanes import Lane
from mmsf.models.layers.lane_aggregation import LaneAwareAggregation
from mmsf.models.losses.ganet import GANetLoss, cells_of, key_points, lanes_in_cells, match_points
from mmsf.models.losses.heat_map import gaussian_heat_map
from mmsf.models.losses.targets import visible_rows
from mmsf.registry import MODELS

SIZE = (160, 400)
CELLS = (20, 50)
TERMS = {"loss_key_point": "kpts_hm_logit", "loss_inside": "int_offset", "loss_to_start": "pts_offset"}
TERMS["loss_aggregation"] = "deform_points0"


def lane(bottom: float, top: float, first: float = 160.0, last: float = 10.0, bend: float = 0.0) -> np.ndarray:
    """A label, bottom-up in steps of 5 rows, that leads from column ``bottom`` to ``top``, pixels of the network's input."""
    y = np.arange(first, last - 1e-9, -5)
    share = (first - y) / (first - last)
    return np.stack((bottom + (top - bottom) * share + bend * share * (1 - share), y), 1)


LANES = [lane(30, 180), lane(150, 195, last=40), lane(330, 215), lane(460, 240, first=140)]


def raw_of(lines: list[list[np.ndarray]], count: int = 45, lane_points: int = 41) -> dict[str, Tensor]:
    """Raw outputs that say what the labels say: sure of labelled cells and of all others."""
    points, shape = key_points(lines, SIZE, CELLS, count), (len(lines), 2, *CELLS)
    raw = {"kpts_hm_logit": torch.full((len(lines), 1, *CELLS), -12.0)}
    raw |= {"int_offset": torch.zeros(shape), "pts_offset": torch.zeros(shape)}
    where = points.image, slice(None), points.cells[:, 1], points.cells[:, 0]
    raw["kpts_hm_logit"][where] = 12.0
    raw["int_offset"][where] = torch.from_numpy(points.inside).float()
    raw["pts_offset"][where] = torch.from_numpy(points.to_start).float()
    raw["deform_points0"] = torch.zeros(len(lines), 14, *CELLS)
    image, lanes = lanes_in_cells(lines, SIZE, lane_points)
    for index, cells in zip(image, cells_of(lanes, CELLS)):
        for x, y in cells:
            aims = cells[:: lane_points // 7][:7] - (x, y)
            raw["deform_points0"][index, :, y, x] = torch.from_numpy(aims[:, ::-1].copy()).float().flatten()
    return raw


def decoded(raw: dict[str, Tensor], **settings) -> list[list[Lane]]:
    """Lanes in pixels of the network's input."""
    adapter = GANetAdapter(input_size=SIZE, crop_top=0, min_points=0, whole=False, **settings)
    return adapter.decode(adapter.split(raw), [{"ori_shape": SIZE}] * len(raw["pts_offset"]))


def test_no_term_has_a_floor_above_what_cutting_the_probabilities_leaves() -> None:
    lines = [LANES[:3], [], LANES[3:]]
    losses = GANetLoss()(raw_of(lines), lines, SIZE)
    assert set(losses) == set(TERMS)
    assert losses.pop("loss_key_point") < 1e-5
    assert sum(losses.values()) < 1e-5


@pytest.mark.parametrize(("term", "name"), TERMS.items())
def test_each_term_sees_its_own_output_and_no_other(term: str, name: str) -> None:
    lines = [LANES[:3], []]
    raw = raw_of(lines)
    before = GANetLoss()(raw, lines, SIZE)
    raw[name] = raw[name] * 0.1 + 0.3
    after = GANetLoss()(raw, lines, SIZE)
    assert after[term] > before[term] + 0.01
    assert {other: after[other] for other in TERMS if other != term} == {o: before[o] for o in TERMS if o != term}


def test_weights_are_those_of_the_authors_code() -> None:
    lines = [LANES[:3]]
    raw = {name: value + 0.5 for name, value in raw_of(lines).items()}
    losses = GANetLoss()(raw, lines, SIZE)
    # Half a cell in both directions: both counted with a cell here, their mean there.
    assert losses["loss_inside"].item() == pytest.approx(1.0 * 2 * 0.5, rel=1e-4)
    assert losses["loss_to_start"].item() == pytest.approx(0.5 * 0.5, rel=1e-4)
    assert losses["loss_aggregation"].item() == pytest.approx(0.2 * (0.5 - 1 / 18), rel=1e-4)


def test_the_starts_take_part_only_where_they_have_a_weight() -> None:
    lines = [[LANES[0], LANES[1], LANES[2]]]
    raw = {**raw_of(lines), "cpts_hm_logit": torch.full((1, 1, *CELLS), -12.0)}
    assert "loss_start" not in GANetLoss()(raw, lines, SIZE)
    assert GANetLoss(start_weight=1.0)(raw, lines, SIZE)["loss_start"] > 5
    for x in (30, 150, 330):
        raw["cpts_hm_logit"][0, 0, 19, x // 8] = 12.0
    assert GANetLoss(start_weight=1.0)(raw, lines, SIZE)["loss_start"] < 1e-5


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-150, 550),
    st.floats(-150, 550),
    st.floats(100, 160),
    st.floats(0, 80),
    st.floats(-80, 80),
    st.randoms(),
    st.data(),
)
def test_targets_decode_back_to_the_lane(bottom, top, first, last, bend, chance, data) -> None:
    # Also lanes that leave the image at a side or end early, in any order.
    label = lane(bottom, top, first, last, bend)
    assume(np.abs(np.diff(label[:, 0])).max() < 15)  # flatter ones have starts in many columns
    order = list(range(len(label)))
    chance.shuffle(order)
    visible = visible_rows(label, SIZE, 45)
    lanes = decoded(raw_of([[label[order]]], data.draw(st.sampled_from([23, 45]))))[0]
    assert len(lanes) == (visible is not None)
    for found in lanes:
        x, y = found.points.T
        np.testing.assert_allclose(x, np.interp(y, label[::-1, 1], label[::-1, 0]), rtol=0, atol=1e-3)
        # Of several points in a cell only one is left, so an end may move by a cell, and by a row of points.
        low, high = visible[[0, -1], 1] * SIZE[0]
        reach = 8 + (high - low) / 22
        assert low - 1e-3 <= y.min() <= low + reach
        assert high - reach <= y.max() <= high + 1e-3


def test_lanes_of_a_batch_decode_back_to_their_own_images() -> None:
    lanes = decoded(raw_of([LANES[:2], [], LANES[1:]]), radius=3.0)
    assert [len(found) for found in lanes] == [2, 0, 3]
    for found, labels in zip(lanes, (LANES[:2], [], LANES[1:])):
        for one, label in zip(found, labels):
            np.testing.assert_allclose(
                one.points[:, 0], np.interp(one.points[:, 1], label[::-1, 1], label[::-1, 0]), rtol=0, atol=1e-3
            )


def test_points_lead_to_the_lower_end_of_their_lane() -> None:
    points = key_points([[LANES[0]]], SIZE, CELLS, 45)
    np.testing.assert_allclose(points.cells + points.inside + points.to_start, [[30 / 8, 20]] * len(points.cells), atol=1e-6)
    assert (points.to_start[:, 1] >= 0).all()
    np.testing.assert_array_equal(points.start_cells, [[3, 19]])  # the lower border belongs to the last row


def test_of_the_points_in_one_cell_the_upper_one_of_the_later_lane_stays() -> None:
    upright = np.array([[100.0, 160.0], [100.0, 0.0]])
    points = key_points([[upright]], SIZE, CELLS, 41)  # two points a row of cells
    assert len(points.cells) == 20
    np.testing.assert_allclose(points.inside[:, 1], [0] * 20, atol=1e-6)
    beside = np.array([[102.0, 160.0], [102.0, 0.0]])
    points = key_points([[upright, beside]], SIZE, CELLS, 41)
    np.testing.assert_allclose(points.inside, [[6 / 8, 0]] * 20, atol=1e-6)


def test_the_way_to_the_start_weighs_less_only_in_the_flattest_lanes() -> None:
    assert (key_points([LANES], SIZE, CELLS, 45).weights == 1).all()
    flat = np.array([[100.0, 84.0], [190.0, 80.0]])  # half a cell high
    assert (key_points([[flat]], SIZE, CELLS, 45).weights == 0.4).all()


def test_a_bump_is_one_in_its_cell_falls_off_and_is_cut_at_the_border() -> None:
    heat = gaussian_heat_map(np.array([1, 1]), np.array([[0, 3], [2, 3]]), 2, (2, 6, 7))
    assert heat.shape == (2, 1, 6, 7)
    assert not heat[0].any()
    near, far = math.exp(-1 / (2 * (5 / 6) ** 2)), math.exp(-4 / (2 * (5 / 6) ** 2))
    # Between the two the larger one counts, not the sum.
    np.testing.assert_allclose(heat[1, 0, 3], [1, near, 1, near, far, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(heat[1, 0, :, 2], [0, far, near, 1, near, far], rtol=1e-6)


def test_points_are_matched_at_the_least_sum_and_not_one_by_one() -> None:
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[5.0, 1.0], [-2.0, 1.0]]])
    lanes = torch.tensor([[[0.9, 0.0], [3.0, 0.0], [-2.0, 0.0]]] * 2)
    # Each of the first two is nearest to the lane's first point; 0.9^2 + 2^2 > 2^2 + 0.1^2.
    assert match_points(points, lanes).tolist() == [[2, 0], [1, 2]]


def test_the_aggregations_points_are_dy_before_dx_in_whole_cells_from_the_cell() -> None:
    upright = [[np.array([[100.0, 160.0], [100.0, 0.0]])]]  # column 12
    raw = raw_of([[]])
    loss = GANetLoss(lane_points=20)
    for tap in range(7):
        raw["deform_points0"][0, 2 * tap] = tap - torch.arange(20.0)[:, None] + 5  # dy to rows 5 to 11
    assert loss(raw, upright, SIZE)["loss_aggregation"] == 0
    raw["deform_points0"][0, 1::2] = 2.0
    assert loss(raw, upright, SIZE)["loss_aggregation"].item() == pytest.approx(0.2 * (2 - 1 / 18) / 2)


@pytest.mark.parametrize("lines", [[[], []], [[LANES[0]], []], [[], [np.zeros((0, 2)), np.array([[500.0, 5], [600, 90]])]]])
def test_images_without_visible_lanes_have_finite_losses_and_gradients(lines: list) -> None:
    raw = {name: torch.randn_like(value).requires_grad_() for name, value in raw_of([[], []]).items()}
    losses = GANetLoss()(raw, lines, SIZE)
    sum(losses.values()).backward()
    for name, value in raw.items():
        assert torch.isfinite(value.grad).all()
        # Empty frames teach where no key point is, and nothing of the offsets.
        assert value.grad.any() == (bool(lines[0]) or name == "kpts_hm_logit")


def test_features_tell_the_points_a_tenth_of_what_they_would_and_only_in_training() -> None:
    torch.manual_seed(0)
    module, x = LaneAwareAggregation(4, 6, 3), torch.randn(2, 4, 9, 11)
    gradients, outputs = [], []
    for training in (True, False):
        points = torch.full((2, 6, 9, 11), 0.3, requires_grad=True)
        outputs.append(module.train(training)(x, points))
        outputs[-1].square().sum().backward()
        gradients.append(points.grad)
    assert torch.equal(*outputs)
    torch.testing.assert_close(gradients[0], 0.1 * gradients[1])
    assert gradients[1].any()


def test_a_small_detector_learns_a_batch_by_heart() -> None:
    torch.manual_seed(0)
    model = small().train()
    assert not any(name.startswith("loss") for name in model.state_dict())
    height, width = INPUT_SIZE
    labels = [[line * (width / 400, height / 160) for line in lines] for lines in (LANES[:2], LANES[2:])]
    samples = [DetDataSample(gt_instances=InstanceData(input_lines=lines)) for lines in labels]
    inputs, optimizer, totals = images(2), torch.optim.Adam(model.parameters(), lr=5e-3), []
    for _ in range(15):
        losses = model(inputs, samples, mode="loss")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        totals.append({name: loss.item() for name, loss in losses.items()})
    assert sum(totals[-1].values()) < 0.5 * sum(totals[0].values())
    assert all(totals[-1][name] < totals[0][name] for name in totals[0])


def test_the_tiny_detector_is_below_3_megabytes_and_starts_from_the_bundled_backbone(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    config = Config.fromfile(str(ROOT / "configs" / "ganet" / "ganet_tiny_synthetic.py"))
    model = MODELS.build(config.model)
    assert 4 * sum(p.numel() for p in model.parameters()) < 3e6
    model.init_weights()
    bundled = torch.load(ROOT / "mmsf" / "zoo" / "lstr_tiny_synthetic.pth", weights_only=True)
    bundled = {key: value for key, value in bundled.get("state_dict", bundled).items() if key.startswith("backbone.")}
    mine = {f"backbone.{key}": value for key, value in model.backbone.state_dict().items()}
    assert all(torch.equal(value, bundled[key]) for key, value in mine.items())
    assert all(key.startswith("backbone.layer4.1.") for key in bundled.keys() - mine.keys())
