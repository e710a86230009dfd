"""Labelled lanes as maps of slots, and the loss of SCNN and RESA."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from originals import ROOT
from small_segmentation import FAMILIES, images, small
from torch import Tensor

from mmsf.models.losses.lane_slots import ROWS, bottom_columns, lane_slots, slot_maps
from mmsf.models.losses.segmentation import SegmentationLoss
from mmsf.registry import MODELS, TASK_UTILS

SIZE = (144, 400)
FRAME = (590, 1640)  # height and width of CULane's images
HORIZON = 0.35
NAMES = ("scnn_r18_culane", "resa_tiny_synthetic")
CONFIGS = {name: Config.fromfile(str(ROOT / "configs" / name.split("_")[0] / f"{name}.py")) for name in NAMES}


def straight(bottom: float, top: float = 0.45, size: tuple[int, int] = SIZE, lower: float = 1.0) -> np.ndarray:
    """A lane towards the middle of the horizon, in pixels of ``size``; its ends are shares of that."""
    y = np.linspace(lower, top, 25)
    x = 0.5 + (bottom - 0.5) * (y - HORIZON) / (1 - HORIZON)
    return np.stack((x * size[1], y * size[0]), 1)


ROAD = [straight(bottom) for bottom in (-0.3, 0.22, 0.71, 1.3)]


def raw_of(
    lines: list[list[np.ndarray]],
    size: tuple[int, int] = SIZE,
    map_size: tuple[int, int] = SIZE,
    sure: float = 20.0,
    line_width: float = 16.0,
) -> dict[str, Tensor]:
    """Raw outputs that are sure of the lanes."""
    maps, existence = slot_maps(lines, size, map_size, 4, line_width)
    labels = F.one_hot(torch.from_numpy(maps).long(), 5).permute(0, 3, 1, 2).float()
    return {"out": sure * (2 * labels - 1), "lane": sure * (2 * torch.from_numpy(existence) - 1)}


def total(raw: dict[str, Tensor], lines: list, **settings: object) -> Tensor:
    return sum(SegmentationLoss(**settings)(raw, lines, SIZE).values())


@pytest.mark.parametrize(
    ("columns", "slots"),
    [
        ([-0.2, 0.3, 0.6, 1.4], [0, 1, 2, 3]),
        ([0.6, 1.4, 0.3, -0.2], [2, 3, 1, 0]),
        ([0.55, 0.9], [2, 3]),
        ([0.45], [1]),
        ([-0.9, 0.1, 0.2, 0.3], [-1, -1, 0, 1]),
        ([0.6, 0.9, 1.5, 0.4], [2, 3, -1, 1]),
        ([], []),
    ],
)
def test_slots_are_counted_from_the_middle_outwards(columns: list[float], slots: list[int]) -> None:
    assert lane_slots(np.array(columns), 4).tolist() == slots


def test_a_lane_that_ends_early_is_extrapolated_to_the_bottom() -> None:
    y = np.linspace(0.4, 0.7, ROWS)
    lane = np.stack((0.2 + 1.5 * y, y), 1)
    np.testing.assert_allclose(bottom_columns(lane[None]), [1.7], atol=1e-9)


def test_only_the_lower_third_of_a_lane_says_where_it_meets_the_bottom() -> None:
    y = np.linspace(0.4, 0.9, ROWS)
    bent = np.stack((np.where(np.arange(ROWS) < ROWS - ROWS // 3, 0.9, 0.2 + 0.1 * y), y), 1)
    np.testing.assert_allclose(bottom_columns(bent[None]), [0.3], atol=1e-9)


def test_lanes_and_their_points_may_come_in_any_order() -> None:
    maps, existence = slot_maps([ROAD], SIZE, SIZE, 4, 16.0)
    mixed = [line[np.random.default_rng(i).permutation(len(line))] for i, line in enumerate(ROAD)]
    again, exist_again = slot_maps([[mixed[i] for i in (2, 0, 3, 1)]], SIZE, SIZE, 4, 16.0)
    assert existence.all()
    assert set(np.unique(maps)) == {0, 1, 2, 3, 4}
    # Where lines cross, the one drawn later is seen: the order of the lanes decides there only.
    assert np.array_equal(maps > 0, again > 0)
    assert (maps != again).mean() < 0.01
    assert np.array_equal(existence, exist_again)


def test_mirrored_lanes_take_mirrored_slots() -> None:
    lines = [ROAD[1], ROAD[2], ROAD[3]]
    mirrored = [np.stack((SIZE[1] - line[:, 0], line[:, 1]), 1) for line in lines]
    _, existence = slot_maps([lines, mirrored], SIZE, SIZE, 4, 16.0)
    assert existence.tolist() == [[0, 1, 1, 1], [1, 1, 1, 0]]


def test_a_lane_without_a_visible_part_takes_no_slot() -> None:
    outside = np.array([[500.0, 140.0], [480.0, 90.0]])
    maps, existence = slot_maps([[ROAD[2], outside], [np.zeros((0, 2))], [outside[:1]]], SIZE, SIZE, 4, 16.0)
    assert existence.tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert not maps[1:].any()


@pytest.mark.parametrize("size", [(144, 400), (288, 800)])
def test_lines_are_as_wide_as_a_frame_of_culane_that_is_scaled_to_the_map(size: tuple[int, int]) -> None:
    upright = np.stack((np.full(20, 0.6 * size[1]), np.linspace(0, size[0], 20)), 1)
    maps, _ = slot_maps([[upright]], size, size, 4, 16.0)
    # OpenCV's lines may be a pixel wider than asked for.
    assert 0 <= (maps[0, size[0] // 2] > 0).sum() - round(16 * size[1] / FRAME[1]) <= 1


@pytest.mark.parametrize("map_size", [(72, 200), (144, 400), (36, 100)])
@pytest.mark.parametrize("share", [0.1, 0.55, 0.97])
def test_lanes_lie_on_a_smaller_map_where_aligned_corners_show_them(map_size: tuple[int, int], share: float) -> None:
    column = share * (SIZE[1] - 1)
    upright = np.stack((np.full(20, column), np.linspace(0, SIZE[0], 20)), 1)
    maps, _ = slot_maps([[upright]], SIZE, map_size, 4, 40.0)
    drawn = np.flatnonzero(maps[0, map_size[0] // 2])
    assert drawn.mean() == pytest.approx(share * (map_size[1] - 1), abs=0.5)


@st.composite
def roads(draw: st.DrawFn) -> list[np.ndarray]:
    """Up to four lanes, shares of the width and height, that may leave the image at the side or end early, in any order."""
    own = [draw(st.floats(0.1, 0.4)), draw(st.floats(0.6, 0.9))]
    bottoms = [own[0] - draw(st.floats(0.35, 0.6)), *own, own[1] + draw(st.floats(0.35, 0.6))]
    lanes = []
    for slot in draw(st.permutations(range(4))):
        if slot in (1, 2) or draw(st.booleans()):
            lane = straight(bottoms[slot], draw(st.floats(0.5, 0.6)), (1, 1), draw(st.floats(0.85, 1.0)))
            lanes.append(lane[:: draw(st.sampled_from((1, -1)))])
    return lanes


def distances(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """From each point (N, 2) to the polyline (P, 2)."""
    starts, steps = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - starts) * steps).sum(-1) / (steps**2).sum(-1)
    return np.linalg.norm(points[:, None] - starts - share.clip(0, 1)[..., None] * steps, axis=-1).min(1)


@settings(deadline=None, max_examples=15)
@given(roads(), st.sampled_from(list(zip(NAMES, ((288, 800), (72, 200))))))
def test_targets_decode_back_to_lanes_within_half_the_lines_width_on_average(
    road: list[np.ndarray], case: tuple[str, tuple[int, int]]
) -> None:
    name, map_size = case
    config = CONFIGS[name]
    lines, width = [lane * config.input_size[::-1] for lane in road], MODELS.build(config.model.loss).line_width
    adapter = TASK_UTILS.build(config.model.adapter)
    raw = raw_of([lines], config.input_size, map_size, line_width=width)
    lanes = adapter.decode(adapter.split(raw), [{"ori_shape": FRAME}])[0]
    labels = sorted((lane * FRAME[::-1] for lane in road), key=lambda label: label[label[:, 1].argmax(), 0])
    assert len(lanes) == len(labels)
    # A point may be read where the mean filter's window, 4 pixels each way, touches the line's end, in a truncated row.
    farthest = width / 2 + 4 * FRAME[1] / adapter.input_size[1] + 2 * FRAME[0] / config.input_size[0]
    for lane, label in zip(lanes, labels):
        found = distances(lane.points, label)
        assert found.max() <= farthest
        assert found.mean() <= width / 2
        # Rows are 20 pixels apart.
        inside = label[(label[:, 0] > 20) & (label[:, 0] < FRAME[1] - 20)]
        assert lane.points[:, 1].min() <= inside[:, 1].min() + 20
        assert lane.points[:, 1].max() >= inside[:, 1].max() - 20


def test_the_loss_is_nought_at_logits_that_are_sure_of_the_labels() -> None:
    lines = [ROAD, ROAD[1:3], []]
    assert total(raw_of(lines), lines) < 1e-6


def test_unsure_logits_leave_a_floor() -> None:
    losses = SegmentationLoss()(raw_of([ROAD], sure=1.0), [ROAD], SIZE)
    assert losses["loss_segmentation"] == pytest.approx(np.log(1 + 4 * np.exp(-2)), rel=1e-5)
    assert losses["loss_existence"] == pytest.approx(0.1 * np.log(1 + np.exp(-1)), rel=1e-5)


def test_a_moved_lane_a_swapped_slot_and_a_false_existence_raise_the_loss() -> None:
    raw = raw_of([ROAD])
    moved = raw_of([[ROAD[0], ROAD[1] + (10, 0), *ROAD[2:]]])
    swapped = {"out": raw["out"][:, [0, 1, 3, 2, 4]], "lane": raw["lane"]}
    absent = {"out": raw["out"], "lane": raw["lane"] * torch.tensor([1, -1, 1, 1])}
    for changed in (moved, swapped, absent):
        assert total(changed, [ROAD]) > 0.1


def test_the_background_weighs_less_and_the_mean_is_over_the_weights() -> None:
    raw = {"out": torch.randn(1, 5, *SIZE), "lane": torch.zeros(1, 4)}
    labels = slot_maps([ROAD], SIZE, SIZE, 4, 16.0)[0][0]
    wrong = -raw["out"].log_softmax(1)[0].numpy()
    chosen = np.take_along_axis(wrong, labels[None].astype(int), 0)[0]
    weights = np.where(labels == 0, 0.4, 1.0)
    found = SegmentationLoss()(raw, [ROAD], SIZE)
    assert found["loss_segmentation"].item() == pytest.approx((weights * chosen).sum() / weights.sum(), rel=1e-4)
    assert found["loss_existence"].item() == pytest.approx(0.1 * np.log(2), rel=1e-5)


def test_logits_of_another_resolution_are_brought_to_the_map_with_aligned_corners() -> None:
    raw = {"out": torch.randn(1, 5, 18, 50), "lane": torch.zeros(1, 4)}
    for settings_, size in ((dict(), SIZE), (dict(map_size=(72, 200)), (72, 200))):
        resized = F.interpolate(raw["out"], size, mode="bilinear", align_corners=True)
        whole = {"out": resized, "lane": raw["lane"]}
        torch.testing.assert_close(total(raw, [ROAD], **settings_), total(whole, [ROAD], **settings_))
    assert total(raw, [ROAD]) != total(raw, [ROAD], map_size=(72, 200))


def test_a_batch_without_any_lane_has_finite_losses_and_gradients() -> None:
    raw = {"out": torch.randn(2, 5, 18, 50, requires_grad=True), "lane": torch.randn(2, 4, requires_grad=True)}
    loss = total(raw, [[], [np.zeros((0, 2))]])
    loss.backward()
    assert torch.isfinite(loss)
    for output in raw.values():
        assert torch.isfinite(output.grad).all()
    # Every pixel is pushed to the background, every slot away from a lane.
    assert (raw["out"].grad.sum((2, 3))[:, 0] < 0).all()
    assert (raw["lane"].grad > 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_steps_on_one_batch_lower_the_loss(family: str) -> None:
    torch.manual_seed(0)
    model = small(family).train()
    size = model.input_size
    lines = [[straight(bottom, size=size) for bottom in bottoms] for bottoms in ((0.2, 0.8), (0.3, 0.6, 1.2))]
    inputs, optimizer = images(2), torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        loss = sum(model.loss_function(model.training_outputs(inputs), lines, size).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(np.isfinite(losses))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [18, 34])
def test_the_configs_for_culane_have_the_originals_recipe(family: str, depth: int) -> None:
    config = Config.fromfile(str(ROOT / "configs" / family / f"{family}_r{depth}_culane.py"))
    assert f"pytorch.org/models/resnet{depth}-" in config.model.backbone.init_cfg.checkpoint
    rate, warm_up = {"scnn": (0.2, 200), "resa": (0.06, 500)}[family]
    assert config.optim_wrapper.optimizer == dict(type="SGD", lr=rate, momentum=0.9, weight_decay=1e-4)
    assert config.param_scheduler[0].end == warm_up
    assert (config.train_cfg.max_epochs, config.train_dataloader.batch_size) == (12, 20)
    kinds = [transform.type for transform in config.train_dataloader.dataset.pipeline]
    assert kinds == ["LoadImage", "RandomAffine", "PackLaneInputs"]
    turn = config.train_dataloader.dataset.pipeline[1]
    assert (turn.rotation, turn.scale, turn.shift, turn.probability) == (3.0, (1.0, 1.0), (0.0, 0.0), 1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_small_detectors_start_from_the_bundled_backbone_and_stay_below_three_megabytes(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    model = MODELS.build(Config.fromfile(str(Path("configs") / family / f"{family}_tiny_synthetic.py")).model)
    model.init_weights()
    bundled = torch.load("mmsf/zoo/lstr_tiny_synthetic.pth")["state_dict"]
    started = model.backbone.state_dict()
    assert len(started) > 40
    assert all(torch.equal(value, bundled[f"backbone.{key}"]) for key, value in started.items())
    assert 4 * sum(parameter.numel() for parameter in model.parameters()) < 3e6
    assert not any(key.startswith("loss") for key in model.state_dict())
    raw = model.eval()(images(1, size=SIZE))
    assert raw["out"].shape[1:] == (5, *{"scnn": (18, 50), "resa": (72, 200)}[family])
