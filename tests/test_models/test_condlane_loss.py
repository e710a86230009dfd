"""CondLaneNet's loss: labelled lanes as seeds, columns and offsets, and training at the labelled seeds."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from originals import ROOT
from small_condlane import INPUT_SIZE, images, small
from torch import Tensor

from mmsf.adapters import CondLaneAdapter
from mmsf.engine.config import read_config
from mmsf.models.losses.condlane import CondLaneLoss, CondLaneTargets, draw_spots, lane_rows, spot_radii
from mmsf.models.losses.heat_map import focal_loss
from mmsf.registry import MODELS

SIZE = (160, 400)  # 20 x 50 cells of a mask, 10 x 25 of the heat map
META = dict(ori_shape=(320, 800))  # twice the input, of which the adapter below cuts nothing


def lane(bottom: float, slope: float, lowest: float = 160.0, highest: float = 20.0, bend: float = 0.0) -> np.ndarray:
    """A label in pixels of the network's input, bottom-up: x at the lower edge, and how it moves per row upwards."""
    y = np.linspace(lowest, highest, 60)
    up = SIZE[0] - y
    return np.stack((bottom + slope * up + bend * up**2, y), 1)


LANES = [lane(60, 1.1), lane(210, 0.0, lowest=120), lane(390, -1.3, bend=-0.003)]


def targets_of(lines: list[list[np.ndarray]], loss: CondLaneLoss | None = None) -> CondLaneTargets:
    return (loss or CondLaneLoss(radius=3)).targets(lines, SIZE, torch.device("cpu"))


def encode(targets: CondLaneTargets) -> dict[str, Tensor]:
    """Raw outputs that say at every seed exactly what the targets say."""
    rows, width = targets.x.shape[-1], SIZE[1] // 8
    lanes = torch.arange(targets.seeds.shape[1]) // 5
    x, inside = targets.x[:, lanes], targets.inside[:, lanes]
    left = (x - 0.5).clamp(0, width - 1.001)
    share = left - left.floor()
    mask = torch.full((*x.shape[:2], rows, width), -50.0)
    mask.scatter_(-1, left.long()[..., None], (1 - share).log()[..., None])
    mask.scatter_(-1, left.long()[..., None] + 1, share.clamp(min=1e-20).log()[..., None])
    return {
        "hm_logit": torch.where(targets.heat == 1, 20.0, -20.0),
        "seeds": targets.seeds,
        "seed_mask": mask,
        "seed_reg": x[..., None] - torch.arange(width),
        "seed_range": torch.stack((~inside, inside), 2).float() * 40 - 20,
    }


def centres_only(raw: dict[str, Tensor]) -> dict[str, Tensor]:
    """The outputs at the first seed of each lane, in ascending order of the cells: what the network finds by itself."""
    picked = {name: value if name == "hm_logit" else value[:, ::5] for name, value in raw.items()}
    order = torch.where(picked["seeds"] < 0, 10**6, picked["seeds"]).argsort(1)
    rank = torch.arange(len(order))[:, None]
    return {name: value if name == "hm_logit" else value[rank, order] for name, value in picked.items()}


def decode(raw: dict[str, Tensor]) -> list[np.ndarray]:
    """Lanes of the first image, pixels of the network's input."""
    adapter = CondLaneAdapter(SIZE, crop_top=0, radius=1.0)
    return [found.points / 2 for found in adapter.decode(adapter.split(raw), [META] * len(raw["seeds"]))[0]]


def farthest(points: np.ndarray, label: np.ndarray) -> float:
    """Largest distance in x at the points' rows that the label reaches, pixels."""
    label = label[np.argsort(label[:, 1])]
    shared = (points[:, 1] >= label[0, 1]) & (points[:, 1] <= label[-1, 1])
    return np.abs(np.interp(points[shared, 1], *label.T[::-1]) - points[shared, 0]).max()


@settings(max_examples=60, deadline=None)
@given(
    bottom=st.floats(5, 395),
    slope=st.floats(-2.5, 2.5),
    bend=st.floats(-0.01, 0.01),
    lowest=st.floats(70, 200),
    length=st.floats(20, 150),
    turned=st.booleans(),
)
def test_a_lane_decodes_back_to_its_label_also_where_it_leaves_at_a_side_or_ends_early(
    bottom: float, slope: float, bend: float, lowest: float, length: float, turned: bool
) -> None:
    label = lane(bottom, slope, lowest, lowest - length, bend)
    found = lane_rows(label, 20, 50)
    targets = targets_of([[label[::-1] if turned else label]])
    lanes = decode(centres_only(encode(targets)))
    if found is None:
        assert not lanes
        return
    (points,) = lanes
    reached = np.flatnonzero(found[2]) * 8
    rows = points[:, 1].round()
    assert rows[0] >= reached[0] - 8
    assert rows[-1] <= reached[-1] + 8  # decoding adds a row at each end
    assert set(reached) <= set(rows)
    held = np.isin(rows, reached)
    assert farthest(points[held], label) < 0.01


def test_several_lanes_decode_back_in_any_order() -> None:
    for order in ([0, 1, 2], [2, 0, 1]):
        lanes = decode(centres_only(encode(targets_of([[LANES[i] for i in order]]))))
        assert len(lanes) == 3
        for label in LANES:
            inside = [points[(points[:, 0] >= 0) & (points[:, 0] <= 392)] for points in lanes]
            assert min(farthest(points, label) for points in inside) < 0.01


@pytest.mark.parametrize(
    "points", [np.zeros((0, 2)), [[5.0, 5.0]], [[500.0, 10.0], [480.0, 90.0]], [[5.0, 9.0], [90.0, 9.0]]]
)
def test_lanes_without_a_visible_part_are_left_out(points: list) -> None:
    targets = targets_of([[np.array(points)]])
    assert not targets.inside.any()
    assert targets.heat.max() == 0


def test_every_loss_is_nought_at_the_ground_truth() -> None:
    targets = targets_of([LANES, [LANES[1]], []])
    losses = CondLaneLoss()(encode(targets), targets)
    assert set(losses) == {"loss_heat", "loss_location", "loss_offset", "loss_range"}
    for name, value in losses.items():
        assert value < 1e-5, name


@pytest.mark.parametrize(
    ("output", "term"),
    [("hm_logit", "heat"), ("seed_mask", "location"), ("seed_reg", "offset"), ("seed_range", "range")],
)
def test_an_output_that_leaves_the_ground_truth_raises_its_own_loss_only(output: str, term: str) -> None:
    targets = targets_of([LANES])
    raw = encode(targets)
    raw[output] = raw[output].roll(1, -1) if output != "seed_reg" else raw[output] + 1.0
    for name, value in CondLaneLoss()(raw, targets).items():
        assert (value > 0.05) == (name == f"loss_{term}"), name


def test_a_mask_one_cell_aside_costs_one_cell_and_an_offset_its_error_times_its_weight() -> None:
    targets = targets_of([[LANES[1]]])
    raw = encode(targets)
    raw["seed_mask"], raw["seed_reg"] = raw["seed_mask"].roll(1, -1), raw["seed_reg"] - 0.5
    losses = CondLaneLoss()(raw, targets)
    assert losses["loss_location"].item() == pytest.approx(1.0, abs=1e-4)
    assert losses["loss_offset"].item() == pytest.approx(0.4 * 0.5, abs=1e-5)


def test_rows_that_a_lane_does_not_reach_and_cells_far_from_it_teach_no_column_and_no_offset() -> None:
    targets = targets_of([[LANES[1]]])
    raw = encode(targets)
    beyond = ~targets.inside[0, 0]
    raw["seed_mask"][..., beyond, :] = torch.randn(50)
    raw["seed_reg"][..., beyond, :] = 99.0
    raw["seed_reg"][..., :10] = 99.0
    losses = CondLaneLoss()(raw, targets)
    assert losses["loss_location"] + losses["loss_offset"] < 1e-5


def test_the_band_of_the_offsets_is_six_cells_to_each_side_across_the_lane_and_at_most_ten_along_a_row() -> None:
    targets = targets_of([[lane(210, 0.0), lane(60, 1.0), lane(10, 2.2, lowest=150)]])
    for reach, inside, want in zip(targets.reach[0], targets.inside[0], (6.0, 6 * 2**0.5, 10.0)):
        torch.testing.assert_close(reach[inside][1:-1], torch.full((int(inside.sum()) - 2,), want))


def test_a_lane_is_learnt_at_its_lower_end_and_at_other_cells_within_half_the_radius() -> None:
    targets = targets_of([LANES], CondLaneLoss(radius=6))
    ends = [lane_rows(label, 20, 50)[0] / 2 for label in LANES]
    for seeds, end in zip(targets.seeds.view(3, 5), ends):
        x, y = end.astype(int)
        assert seeds[0] == y * 25 + x
        assert len(set(seeds.tolist())) == 5
        assert np.hypot(seeds.numpy() % 25 - x, seeds.numpy() // 25 - y).max() <= 3.1
        assert targets.heat[0, 0].flatten()[seeds[0]] == 1


def test_the_drawn_seeds_follow_pytorchs_seed() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(targets_of([LANES, []], CondLaneLoss(radius=6)).seeds)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_spots_are_smaller_where_lanes_begin_near_to_each_other() -> None:
    ends = np.array([[5.0, 9.0], [9.0, 9.0], [24.0, 9.0], [5.5, 9.0]])
    assert spot_radii(ends, 6).tolist() == [1, 2, 6, 1]
    assert spot_radii(ends[:1], 6).tolist() == [6]


def test_spots_are_gaussians_cut_off_at_their_radius_and_the_larger_of_two() -> None:
    heat = draw_spots(np.array([[3, 4], [6, 4]]), np.array([2, 1]), (10, 25))
    assert heat[4, 3] == heat[4, 6] == 1
    assert heat[4, 4] == pytest.approx(np.exp(-1 / (2 * (5 / 6) ** 2)))
    assert heat[4, 5] == pytest.approx(max(np.exp(-4 / (2 * (5 / 6) ** 2)), np.exp(-1 / (2 * (3 / 6) ** 2))))
    assert heat[4, 0] == heat[4, 8] == heat[1, 3] == 0


def test_the_focal_loss_of_a_small_map_is_the_papers_sum() -> None:
    heat, target = torch.tensor([0.8, 0.3, 0.6, 0.1]), torch.tensor([1.0, 0.5, 1.0, 0.0])
    want = 0.2**2 * np.log(0.8) + 0.4**2 * np.log(0.6) + 0.5**4 * 0.3**2 * np.log(0.7) + 0.1**2 * np.log(0.9)
    assert focal_loss(heat, target).item() == pytest.approx(-want / 2, rel=1e-5)


def samples(lines: list[list[np.ndarray]]) -> list[DetDataSample]:
    return [DetDataSample(gt_instances=InstanceData(lines=image, input_lines=image)) for image in lines]


def labels(count: int) -> list[list[np.ndarray]]:
    """Two lanes an image, in pixels of the small detector's input."""
    return [[np.array([[20.0 + 5 * i, 63], [70.0, 10]]), np.array([[150.0 - 9 * i, 63], [90.0, 5]])] for i in range(count)]


def trainable() -> torch.nn.Module:
    model = small(**{"loss.radius": 2, "backbone.init_cfg": None})
    model.init_weights()
    return model.train()


def test_a_few_steps_on_one_batch_lower_every_loss() -> None:
    torch.manual_seed(0)
    model, inputs, truth = trainable(), images(2), samples(labels(2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    history = []
    for _ in range(40):
        losses = model(inputs, truth, mode="loss")
        history.append({name: value.item() for name, value in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    for name, first in history[0].items():
        assert np.mean([step[name] for step in history[-5:]]) < 0.7 * first, name


def test_kernels_learn_at_the_labelled_seeds_whatever_the_heat_map_says() -> None:
    model, kernels = trainable(), []
    torch.nn.init.constant_(model.bbox_head.ctnet_head["hm"][-1].bias, -50.0)
    hook = model.bbox_head.ctnet_head["params"].register_forward_hook(lambda *call: kernels.append(call[2]))
    kept = model.loss_function.targets
    seen = []
    model.loss_function.targets = lambda *given: seen.append(kept(*given)) or seen[-1]
    losses = model(images(2), samples(labels(2)), mode="loss")
    hook.remove()
    (gradient,) = torch.autograd.grad(losses["loss_location"] + losses["loss_offset"], kernels)
    for image, seeds in zip(gradient.flatten(2), seen[0].seeds):
        learnt = set(image.abs().sum(0).nonzero().flatten().tolist())
        assert learnt == set(seeds[seeds >= 0].tolist())


@pytest.mark.parametrize("lines", [[[], []], [labels(1)[0], []]])
def test_frames_without_lanes_have_one_seed_and_finite_gradients(lines: list) -> None:
    model = trainable()
    losses = model(images(2), samples(lines), mode="loss")
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert losses["loss_heat"] > 0
    assert losses["loss_range"] > 0
    targets = model.loss_function.targets(lines, INPUT_SIZE, torch.device("cpu"))
    assert (targets.seeds[1] >= 0).sum() == 1
    assert not targets.inside[1].any()


def test_under_autocast_the_losses_are_computed_in_float32() -> None:
    model = trainable()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images(2), samples(labels(2)), mode="loss")
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in losses.values())


def test_the_loss_adds_nothing_to_the_weights_file() -> None:
    assert trainable().state_dict().keys() == small(loss=None).state_dict().keys()


def test_training_starts_with_improbable_lanes() -> None:
    model = trainable()
    assert model.bbox_head.ctnet_head["hm"][-1].bias.item() == pytest.approx(-2.19)


def test_full_size_training_keeps_the_backbones_statistics_and_its_first_stages_weights() -> None:
    config = read_config(ROOT / "configs" / "condlanenet" / "condlanenet_small_culane.py")
    model, inputs = trainable(), images(2)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    optimizer.update_params(sum(model(inputs, samples(labels(2)), mode="loss").values()))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not {name for name in changed if name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1"))}
    assert not {name for name in changed if name.startswith("backbone") and "running" in name}
    assert {"backbone.layer2.0.conv1.weight", "bbox_head.mask_branch.0.bn.running_mean"} <= changed


def test_the_small_detector_of_synthetic_roads_starts_from_the_bundled_backbone() -> None:
    model = MODELS.build(read_config(ROOT / "configs" / "condlanenet" / "condlanenet_tiny_synthetic.py").model)
    assert sum(p.numel() for p in model.parameters()) < 750_000
    model.backbone.init_cfg["checkpoint"] = str(ROOT / "mmsf" / "zoo" / "lstr_tiny_synthetic.pth")
    model.init_weights()
    stored = torch.load(model.backbone.init_cfg["checkpoint"], weights_only=False)["state_dict"]
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, stored[f"backbone.{name}"]), name
