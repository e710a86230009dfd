"""BezierLaneNet's loss: its curves of labelled lanes, its matching, and training with it."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from originals import ROOT
from small_detectors import INPUT_SIZE, float_config, images, small
from torch import Tensor

from mmsf.adapters import BezierAdapter
from mmsf.models.checkpoints import read_checkpoint
from mmsf.models.losses.bezier import BezierLaneNetLoss, lane_mask
from mmsf.models.losses.targets import lane_targets
from mmsf.registry import MODELS

SIZE = (144, 400)
COLUMNS = 25
TINY = ROOT / "configs" / "bezierlanenet" / "bezierlanenet_tiny_synthetic.py"


def lane(bottom: float, top: float, x: float, slope: float, bend: float = 0.0) -> np.ndarray:
    """A label, bottom-up, in pixels of an input of `SIZE`: x moves by slope and bend (squared) towards the top."""
    share = np.linspace(0, 1, 25)
    return np.stack((x + slope * share + bend * share**2, bottom + (top - bottom) * share), 1)


LANES = [lane(140, 60, 60, 90), lane(144, 60, 180, 5, 20), lane(120, 62, 330, -100, -20)]


def control_of(lines: list[np.ndarray], loss: BezierLaneNetLoss) -> Tensor:
    """The loss' control points of one image's lanes, (L, 4, 2)."""
    targets = lane_targets([lines], SIZE, loss.points, torch.device("cpu"))
    return loss.control_points(targets, SIZE)[0, : targets.counts[0]]


def raw_of(lines: list[np.ndarray], loss: BezierLaneNetLoss, columns: tuple[int, ...] = (2, 11, 20)) -> dict[str, Tensor]:
    """Raw outputs of one image that are sure of the lanes, put into some columns, and of every pixel of the lane map."""
    logits = torch.full((1, COLUMNS), -20.0)
    curves = torch.rand(1, COLUMNS, 4, 2, generator=torch.Generator().manual_seed(0))
    control = control_of(lines, loss)
    logits[0, list(columns[: len(control)])] = 20.0
    curves[0, list(columns[: len(control)])] = control
    targets = lane_targets([lines], SIZE, loss.points, torch.device("cpu"))
    mask = torch.from_numpy(lane_mask(targets, SIZE, loss.line_width)).float()
    return {"logits": logits, "curves": curves, "segmentations": (mask[:, None] - 0.5) * 40}


@pytest.mark.parametrize("columns", [(2, 11, 20), (20, 4, 9)])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_loss_is_nought_at_the_ground_truth_whatever_columns_hold_it(columns: tuple[int, ...], count: int) -> None:
    loss = BezierLaneNetLoss(window=5)
    losses = loss(raw_of(LANES[:count], loss, columns), [LANES[:count]], SIZE)
    assert set(losses) == {"loss_curve", "loss_label", "loss_segmentation"}
    assert all(value < 1e-6 for value in losses.values())


def test_the_order_of_lanes_and_of_their_points_does_not_matter() -> None:
    loss, shuffle = BezierLaneNetLoss(), np.random.default_rng(0)
    raw = {name: value + 0.1 for name, value in raw_of(LANES, loss).items()}
    before = loss(raw, [LANES], SIZE)
    after = loss(raw, [[shuffle.permutation(line) for line in LANES[::-1]]], SIZE)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value)


def test_the_curves_loss_is_the_mean_distance_in_x_plus_that_in_y() -> None:
    loss = BezierLaneNetLoss()
    raw = raw_of(LANES, loss)
    raw["curves"] = raw["curves"] + torch.tensor([0.03, -0.01])
    assert loss(raw, [LANES], SIZE)["loss_curve"].item() == pytest.approx(0.04, rel=1e-4)


def test_a_missed_lane_costs_two_and_a_half_times_a_false_one() -> None:
    loss = BezierLaneNetLoss(window=5)
    # In the first, a column that was sure there is no lane becomes the match of the only lane.
    missed, false = raw_of(LANES[:1], loss), raw_of(LANES[:1], loss)
    missed["logits"][0, 2] = -18.0
    false["logits"][0, 15] = 18.0
    cost = [loss(raw, [LANES[:1]], SIZE)["loss_label"].item() for raw in (missed, false)]
    assert cost == pytest.approx([0.1 * 18 / COLUMNS, 0.1 * 18 / COLUMNS / 2.5], rel=1e-3)


def test_a_missed_pixel_costs_two_and_a_half_times_a_false_one() -> None:
    loss = BezierLaneNetLoss()
    raw = raw_of([], loss)
    raw["segmentations"][..., 70, 200] = 10.0
    assert loss(raw, [[]], SIZE)["loss_segmentation"].item() == pytest.approx(0.75 * 10 / 2.5 / (144 * 400), rel=1e-3)
    raw = raw_of(LANES[:1], loss)
    row, column = (raw["segmentations"][0, 0] > 0).nonzero()[50].tolist()
    raw["segmentations"][..., row, column] = -10.0
    assert loss(raw, [LANES[:1]], SIZE)["loss_segmentation"].item() == pytest.approx(0.75 * 10 / (144 * 400), rel=1e-3)


def points_at(*x: float) -> Tensor:
    """Vertical lines at x, sampled at ten points, (1, len(x), 10, 2)."""
    y = torch.linspace(1, 0, 10)
    return torch.stack([torch.stack((torch.full_like(y, value), y), 1) for value in x])[None]


@pytest.mark.parametrize(
    ("probabilities", "x", "lanes", "pairs"),
    [
        # The nearness counts more than the probability: 0.3^0.2 * 1^0.8 against 0.9^0.2 * 0.5^0.8.
        ([0.9, 0.1, 0.1, 0.3, 0.1], [0.7, 0.2, 0.2, 0.2, 0.2], [0.2], [(3, 0)]),
        # The exact curves beside the largest probability of a window of three are no lanes.
        ([0.1, 0.9, 0.1, 0.1, 0.3], [0.2, 0.4, 0.2, 0.2, 0.9], [0.2], [(1, 0)]),
        # Each lane to its own column, although both prefer the first.
        ([0.9, 0.1, 0.1, 0.1, 0.8], [0.3, 0.0, 0.0, 0.0, 0.9], [0.3, 0.4], [(0, 0), (4, 1)]),
        # Of equals side by side the first is the maximum.
        ([0.1, 0.5, 0.5, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2], [0.2], [(1, 0)]),
    ],
)
def test_columns_are_matched_by_nearness_and_probability_at_local_maxima(
    probabilities: list[float], x: list[float], lanes: list[float], pairs: list[tuple[int, int]]
) -> None:
    logits = torch.tensor([probabilities]).logit()
    _, column, index = BezierLaneNetLoss(window=3).match(logits, points_at(*x), points_at(*lanes), [len(lanes)])
    assert list(zip(column.tolist(), index.tolist())) == pairs


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_the_matching_has_the_largest_sum_of_scores(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 7, generator=generator)
    samples, targets = torch.rand(2, 7, 5, 2, generator=generator), torch.rand(2, 3, 5, 2, generator=generator)
    image, column, index = BezierLaneNetLoss(window=3).match(logits, samples, targets, [count, 0])
    assert image.tolist() == [0] * count
    score = np.zeros((7, count))
    p = logits[0].sigmoid().tolist()
    for q in range(7):
        if p[q] == max(p[max(q - 1, 0) : q + 2]):
            for m in range(count):
                distance = (samples[0, q] - targets[0, m]).abs().sum(1).mean().item()
                score[q, m] = p[q] ** 0.2 * max(1 - distance, 0) ** 0.8
    best = max(sum(score[q, m] for m, q in enumerate(order)) for order in permutations(range(7), count))
    assert score[column, index].sum() == pytest.approx(best, rel=1e-5)


def distance_to(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distance (N,) of points to a polyline."""
    start, along = line[:-1], np.diff(line, axis=0)
    share = (((points[:, None] - start) * along).sum(-1) / (along**2).sum(-1)).clip(0, 1)
    return np.linalg.norm(points[:, None] - start - share[..., None] * along, axis=-1).min(1)


@st.composite
def labels(draw) -> np.ndarray:
    """A lane that bends by up to half its height; it may leave the image at a side or below; its points in any order."""
    top, height = draw(st.floats(20, 90)), draw(st.floats(20, 120))
    x, slope, bend = draw(st.floats(-60, 460)), draw(st.floats(-250, 250)), draw(st.floats(-0.5, 0.5))
    points = lane(top + height, top, x, slope, bend * height)
    return points[draw(st.permutations(range(len(points))))]


@settings(max_examples=60, deadline=None)
@given(st.lists(labels(), min_size=1, max_size=3))
def test_targets_decode_to_the_visible_part_of_the_labels_within_half_a_pixel(lines: list[np.ndarray]) -> None:
    loss = BezierLaneNetLoss(window=5)
    visible = lane_targets([lines], SIZE, 400, torch.device("cpu"))
    adapter = BezierAdapter(window=5, max_lanes=None)
    found = adapter.decode(adapter.split(raw_of(lines, loss)), [{"ori_shape": (590, 1640)}])[0]
    assert len(found) == visible.counts[0]
    for decoded, label in zip(found, visible.points[0].numpy()):
        label, points = label * SIZE[::-1], decoded.points * (SIZE[1] / 1640, SIZE[0] / 590)
        assert distance_to(points, label).max() < 0.5
        assert distance_to(label, points).max() < 0.5
        # From the bottom upwards.
        assert points[0, 1] > points[-1, 1]


def test_lines_of_the_lane_map_are_as_wide_as_asked_for_and_lie_on_the_lane() -> None:
    targets = lane_targets([[lane(140, 20, 200, 0)], []], SIZE, 20, torch.device("cpu"))
    for width, pixels in ((16.0, 4), (32.0, 8)):
        mask = lane_mask(targets, SIZE, width)
        columns = mask[0, 80].nonzero()[0]
        assert len(columns) == pytest.approx(pixels, abs=1)
        # The pixels 198 to 201 lie around x = 200.
        assert columns.mean() == pytest.approx(199.5, abs=0.5)
        assert not mask[0, :15].any()
        assert not mask[1].any()


@pytest.mark.parametrize("lines", [[[], []], [[], LANES], [[np.zeros((0, 2))], [np.array([[5.0, 5.0]])]]])
def test_images_without_lanes_have_finite_losses_and_gradients(lines: list) -> None:
    raw = {
        "logits": torch.randn(2, COLUMNS, requires_grad=True),
        "curves": torch.randn(2, COLUMNS, 4, 2, requires_grad=True),
        "segmentations": torch.randn(2, 1, 9, 25, requires_grad=True),
    }
    losses = BezierLaneNetLoss()(raw, lines, SIZE)
    assert (losses["loss_curve"] > 0) == any(len(line) > 1 for image in lines for line in image)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value.grad).all() for value in raw.values())


def test_more_lanes_than_local_maxima_are_matched_to_columns_of_their_own() -> None:
    many = [lane(140, 40, 30 * i, 10) for i in range(1, 9)]
    logits = torch.linspace(0, 1, COLUMNS)[None]
    loss = BezierLaneNetLoss(window=5)
    samples, targets = loss.sample(torch.rand(1, COLUMNS, 4, 2)), loss.sample(control_of(many, loss))[None]
    _, column, index = loss.match(logits, samples, targets, [8])
    assert len(set(column.tolist())) == len(set(index.tolist())) == 8


def samples_of(lines: list[np.ndarray]) -> list[DetDataSample]:
    scaled = [line * INPUT_SIZE["bezier"][::-1] / SIZE[::-1] for line in lines]
    return [DetDataSample(gt_instances=InstanceData(lines=scaled, input_lines=scaled))]


def test_a_small_network_learns_two_lanes_of_one_image() -> None:
    torch.manual_seed(0)
    model = small("bezier", **{"loss.window": 5, "adapter.window": 5}).train()
    inputs, samples = images("bezier", 1), samples_of(LANES[:2])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    history = []
    for _ in range(40):
        losses = model.loss(inputs, samples)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    assert all(history[-1][name] < 0.2 * history[0][name] for name in ("loss_curve", "loss_label")), history[-1]
    assert history[-1]["loss_segmentation"] < history[0]["loss_segmentation"]
    samples[0].set_metainfo(dict(ori_shape=SIZE))
    with torch.no_grad():
        found = model.predict(inputs, samples)[0].pred_instances
    assert len(found.lines) == 2


def test_curves_stay_in_full_precision_under_autocast_and_the_loss_is_finite() -> None:
    model = small("bezier").train()
    with torch.autocast("cpu", torch.bfloat16):
        raw = model.training_outputs(images("bezier", 2))
        losses = model.loss(images("bezier", 2), samples_of(LANES) + samples_of([]))
    assert raw["curves"].dtype == raw["logits"].dtype == torch.float32
    assert all(torch.isfinite(value) and value.dtype == torch.float32 for value in losses.values())


@pytest.mark.parametrize("depth", [18, 34])
def test_the_full_size_detectors_train_by_the_originals_recipe(depth: int) -> None:
    config = float_config("bezier", depth)
    loss = MODELS.build(config.model.loss)
    assert (loss.curve_weight, loss.label_weight, loss.segmentation_weight) == (1, 0.1, 0.75)
    assert f"pytorch.org/models/resnet{depth}-" in config.model.backbone.init_cfg.checkpoint
    assert config.train_dataloader.batch_size == 20
    assert config.train_cfg.max_epochs == config.param_scheduler[0].T_max == 36
    assert config.optim_wrapper.optimizer == dict(type="Adam", lr=6e-4)


def test_loss_and_adapter_look_for_maxima_in_the_same_window_and_the_loss_is_not_in_the_state() -> None:
    for config in (float_config("bezier"), Config.fromfile(str(TINY))):
        with torch.device("meta"):
            model = MODELS.build({**config.model, "backbone": {**config.model.backbone, "init_cfg": None}})
        assert model.loss_function.window == model.adapter.window
        assert not any(key.startswith("loss_function") for key in model.state_dict())


def test_the_small_detector_starts_from_lstrs_backbone_and_stays_below_3_megabytes(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    config = Config.fromfile(str(TINY))
    model = MODELS.build(config.model)
    model.init_weights()
    start = read_checkpoint(ROOT / config.model.backbone.init_cfg.checkpoint).state
    state = model.backbone.state_dict()
    assert all(torch.equal(value, start[f"backbone.{name}"]) for name, value in state.items())
    assert sum(p.numel() for p in model.parameters()) * 4 < 3e6
