"""LaneATT's loss: which anchors are positive, what they learn, and that targets decode back to the labels."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from originals import ROOT
from small_detectors import INPUT_SIZE, SMALL, images, small
from torch import Tensor

from mmsf.adapters import LaneATTAdapter
from mmsf.lanes.culane import write_lines, write_list
from mmsf.models.checkpoints import read_checkpoint
from mmsf.models.layers.line_anchors import LineAnchors, chosen_anchors
from mmsf.models.losses.anchor_use import anchor_use
from mmsf.models.losses.laneatt import LaneATTLoss
from mmsf.models.losses.row_targets import RowTargets, anchor_distances, row_targets
from mmsf.registry import MODELS

SIZE, ROWS = (360, 640), 72
STEP = SIZE[0] / (ROWS - 1)
CPU = torch.device("cpu")


def vertical(x: float, lowest: int = 0, highest: int = ROWS - 1) -> np.ndarray:
    """A label at x from row ``lowest`` to row ``highest``, counted from below."""
    return np.array([[x, SIZE[0] - STEP * lowest], [x, SIZE[0] - STEP * highest]])


def raw_of(anchors: list[float], firsts: list[int] | None = None, batch: int = 1, logit: float = 0.0) -> dict[str, Tensor]:
    """Raw outputs of vertical anchors that are not moved, and are sure of nothing or of being no lane."""
    xs = torch.tensor(anchors)[:, None].repeat(1, ROWS)
    starts = torch.tensor(firsts or [0] * len(anchors)) / (ROWS - 1)
    return {
        "logits": torch.tensor([logit, -logit]).repeat(batch, len(anchors), 1).requires_grad_(),
        "offsets": xs.repeat(batch, 1, 1).requires_grad_(),
        "lengths": torch.zeros(batch, len(anchors), requires_grad=True),
        "starts": starts.repeat(batch, 1),
        "anchor_xs": xs,
    }


def gradients(raw: dict[str, Tensor], lines: list, size: tuple[int, int] = SIZE) -> dict[str, Tensor]:
    sum(LaneATTLoss()(raw, lines, size).values()).backward()
    return {name: raw[name].grad for name in ("logits", "offsets", "lengths")}


def labels_of(raw: dict[str, Tensor], lines: list, size: tuple[int, int] = SIZE) -> list[int]:
    """What each anchor of the first image is taught: 1 a lane, 0 none, -1 nothing."""
    push = -gradients(raw, lines, size)["logits"][0, :, 1]
    return [1 if value > 0 else 0 if value < 0 else -1 for value in push.tolist()]


def focal(probability: float) -> float:
    return -0.25 * (1 - probability) ** 2 * np.log(probability)


def exact(raw: dict[str, Tensor], lines: list[np.ndarray], owners: dict[int, tuple[float, int]]) -> dict[str, Tensor]:
    """``raw`` sure of the anchors in ``owners`` and moved to their lane: its x, and its last row."""
    raw = {name: value.detach().clone() for name, value in raw.items()}
    for anchor, (x, last) in owners.items():
        raw["logits"][0, anchor] = torch.tensor([-20.0, 20.0])
        raw["offsets"][0, anchor] = x
        raw["lengths"][0, anchor] = last - round(raw["starts"][0, anchor].item() * (ROWS - 1)) + 1
    return raw


def test_the_loss_is_nought_at_the_ground_truth_but_for_the_focal_loss_of_finite_logits() -> None:
    lines = [vertical(103.0, 0, 50), vertical(400.0, 4, 60)]
    raw = exact(raw_of([100.0, 200.0, 396.0], [0, 0, 9], logit=20.0), lines, {0: (103.0, 50), 2: (400.0, 60)})
    losses = LaneATTLoss()(raw, [lines], SIZE)
    assert losses["loss_length"] == 0
    assert losses["loss_offsets"] < 1e-4
    assert losses["loss_label"] == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "index", "by", "loss", "value"),
    [
        ("offsets", (0, 0, 3), 3.0, "loss_offsets", (3.0 - 0.5) / 73),
        ("offsets", (0, 0, 50), -0.5, "loss_offsets", 0.5 * 0.25 / 73),
        ("offsets", (0, 0, 51), 9.0, "loss_offsets", 0.0),  # beyond the lane's end
        ("offsets", (0, 1, 3), 9.0, "loss_offsets", 0.0),  # not positive
        ("lengths", (0, 0), -4.0, "loss_length", (4.0 - 0.5) / 73),
        ("lengths", (0, 1), -4.0, "loss_length", 0.0),
    ],
)
def test_a_wrong_output_costs_its_smooth_l1_distance(name: str, index: tuple, by: float, loss: str, value: float) -> None:
    lines = [vertical(103.0, 0, 50)]
    raw = exact(raw_of([100.0, 200.0], logit=20.0), lines, {0: (103.0, 50)})
    raw[name][index] += by
    assert LaneATTLoss()(raw, [lines], SIZE)[loss] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("width", [640, 400])
def test_anchors_within_15_pixels_of_640_are_positive_and_beyond_20_negative_and_between_them_nothing(width: int) -> None:
    size, scale = (SIZE[0], width), width / 640
    near = [distance * scale for distance in (0.0, 14.9, 15.1, 19.9, 20.1)]
    raw = raw_of([100 + distance for distance in near])
    assert labels_of(raw, [[vertical(100.0)]], size) == [1, 1, -1, -1, 0]
    moved = raw["offsets"].grad[0].abs().sum(-1)
    assert (moved > 0).tolist() == [False, True, False, False, False]
    assert (raw["lengths"].grad[0] != 0).tolist() == [True, True, False, False, False]


def test_the_anchors_own_place_decides_not_where_it_was_moved() -> None:
    raw = raw_of([100.0, 200.0])
    with torch.no_grad():
        raw["offsets"][0, 0], raw["offsets"][0, 1] = 400.0, 100.0
    assert labels_of(raw, [[vertical(100.0)]]) == [1, 0]


def test_without_a_positive_anchor_all_are_negative_and_summed() -> None:
    for lines in ([], [vertical(118.0)]):
        assert labels_of(raw_of([100.0, 300.0]), [lines]) == [0, 0]
        losses = LaneATTLoss()(raw_of([100.0, 300.0]), [lines], SIZE)
        assert losses["loss_label"].item() == pytest.approx(10 * 2 * focal(0.5), rel=1e-5)


def test_a_positive_anchor_learns_the_nearest_lane_from_its_own_start_to_the_lanes_end() -> None:
    raw = raw_of([108.0], firsts=[20])
    grads = gradients(raw, [[vertical(100.0, 0, 60), vertical(113.0, 30, 50)]])
    # It is left of the nearer lane.
    assert (grads["offsets"][0, 0] < 0).nonzero().flatten().tolist() == list(range(20, 51))
    raw["lengths"].data[0, 0] = 31.0
    assert LaneATTLoss()(raw, [[vertical(113.0, 30, 50)]], SIZE)["loss_length"] == 0


def test_an_anchor_above_the_lanes_end_is_negative() -> None:
    assert labels_of(raw_of([100.0, 100.0], firsts=[0, 41]), [[vertical(100.0, 0, 40)]]) == [1, 0]


def test_the_label_loss_is_the_focal_one_over_the_positives() -> None:
    raw = raw_of([100.0, 105.0, 300.0])
    raw["logits"].data[0, :, 1] = torch.tensor([2.0, -1.0, -2.0])
    p = [1 / (1 + np.exp(-value)) for value in (2.0, -1.0, -2.0)]
    want = 10 * (focal(p[0]) + focal(p[1]) + focal(1 - p[2])) / 2
    assert LaneATTLoss()(raw, [[vertical(100.0)]], SIZE)["loss_label"].item() == pytest.approx(want, rel=1e-5)


def test_every_image_weighs_the_same() -> None:
    lines = [[vertical(100.0, 0, 50)], [], [vertical(108.0), vertical(300.0, 10, 40)]]
    raw = raw_of([100.0, 105.0, 296.0, 500.0], firsts=[0, 3, 0, 0], batch=3)
    raw["logits"].data += torch.randn(raw["logits"].shape, generator=torch.Generator().manual_seed(0))
    together = LaneATTLoss()(raw, lines, SIZE)
    for name, value in together.items():
        alone = []
        for image in range(3):
            own = {key: v if key == "anchor_xs" else v[image : image + 1] for key, v in raw.items()}
            alone.append(LaneATTLoss()(own, lines[image : image + 1], SIZE)[name].item())
        assert value.item() == pytest.approx(np.mean(alone), rel=1e-5)
        assert value > 0


@pytest.mark.parametrize("lines", [[[], []], [[], [np.zeros((0, 2))]], [[vertical(-50.0)], [np.array([[5.0, 9.0]])]]])
def test_a_batch_without_a_visible_lane_has_finite_losses_and_gradients(lines: list) -> None:
    raw = raw_of([100.0, 300.0], batch=2)
    grads = gradients(raw, lines)
    assert all(torch.isfinite(grad).all() for grad in grads.values())
    assert not grads["offsets"].any()
    assert not grads["lengths"].any()


@given(seed=st.integers(0, 2**16), lanes=st.integers(0, 4), anchors=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_distances_are_means_over_common_rows(seed: int, lanes: int, anchors: int) -> None:
    generator = np.random.default_rng(seed)
    first, last = generator.integers(0, 12, (2, 2, lanes))
    last = np.where(generator.random((2, lanes)) < 0.2, -1, last)
    xs, anchor_xs = generator.normal(size=(2, lanes, 12)), generator.normal(size=(anchors, 12))
    anchor_first = generator.integers(0, 12, anchors)
    targets = RowTargets(*map(torch.from_numpy, (xs, first, last)))
    found = anchor_distances(torch.from_numpy(anchor_xs), torch.from_numpy(anchor_first), targets)
    assert found.shape == (2, anchors, lanes)
    for (image, n, m), value in np.ndenumerate(found.numpy()):
        rows = range(max(first[image, m], anchor_first[n]), last[image, m] + 1)
        want = np.mean([abs(xs[image, m, r] - anchor_xs[n, r]) for r in rows]) if len(rows) else np.inf
        assert value == pytest.approx(want)


@st.composite
def lane_labels(draw: st.DrawFn) -> np.ndarray:
    """A lane that bends one way and goes steadily to a side, (P, 2), in any order; its ends may lie outside the image."""
    top = draw(st.floats(20, 250))
    bottom = draw(st.floats(top + 60, 380))
    x, lean, bend = draw(st.floats(150, 490)), draw(st.floats(0, 500)), draw(st.floats(0, 300))
    t = np.linspace(0, 1, draw(st.integers(20, 60)))
    xs = x + draw(st.sampled_from((-1, 1))) * (lean * t + bend * t**2)
    points = np.stack((xs, top + (bottom - top) * t), 1)
    return points[np.random.default_rng(draw(st.integers(0, 99))).permutation(len(points))]


@given(lane_labels())
@settings(max_examples=60, deadline=None)
def test_targets_decode_back_to_the_label(label: np.ndarray) -> None:
    targets = row_targets([[label]], SIZE, ROWS, CPU)
    first, last = targets.first[0, 0], targets.last[0, 0]
    raw = {
        "logits": torch.tensor([[[0.0, 9.0]]]),
        "offsets": targets.xs[:, :1],
        "lengths": (last - first + 1).float().reshape(1, 1),
        "starts": (first / (ROWS - 1)).reshape(1, 1),
    }
    adapter = LaneATTAdapter(length_quirk="original")
    (lane,) = adapter.decode(adapter.split(raw), [{"ori_shape": SIZE}])[0]
    label = label[np.argsort(label[:, 1])]
    dense = np.linspace(label[0, 1], min(label[-1, 1], SIZE[0]), 4000)
    x = np.interp(dense, *label.T[::-1])
    seen = dense[(x >= 0) & (x < SIZE[1])]
    on_label = (lane.points[:, 1] >= label[0, 1]) & (lane.points[:, 1] <= label[-1, 1])
    decoded = lane.points[on_label]
    np.testing.assert_allclose(decoded[:, 0], np.interp(decoded[:, 1], *label.T[::-1]), atol=1e-3)
    # No row of the label is missing, and none above it is added.
    assert decoded[:, 1].min() - seen[0] < STEP + 0.1
    assert seen[-1] - decoded[:, 1].max() < STEP + 0.1
    assert lane.points[:, 1].min() >= label[0, 1] - 1e-3
    assert (lane.points[:, 0] >= 0).all()
    assert (lane.points[:, 0] < SIZE[1] + 1e-3).all()


def test_below_its_lowest_point_a_lane_goes_straight_on_to_where_it_leaves_the_image() -> None:
    ended = np.array([[320.0, 200.0], [300.0, 250.0], [200.0, 100.0]])
    targets = row_targets([[ended]], SIZE, ROWS, CPU)
    assert (targets.first.item(), targets.last.item()) == (0, int((360 - 100) / STEP))
    assert targets.xs[0, 0, 0] == pytest.approx(300 - 20 * (360 - 250) / 50, abs=1e-3)
    leaving = np.array([[100.0, 100.0], [10.0, 190.0]])
    targets = row_targets([[leaving]], SIZE, ROWS, CPU)
    assert targets.first.item() == int(np.ceil((360 - 200) / STEP))
    assert targets.xs[0, 0, 0] == pytest.approx(200 - 360, abs=1e-3)


def test_lanes_without_a_visible_row_are_padding() -> None:
    lines = [[vertical(700.0), vertical(50.0)], [np.array([[5.0, 9.0], [80.0, 9.0]])]]
    targets = row_targets(lines, SIZE, ROWS, CPU)
    assert targets.last.tolist() == [[-1, ROWS - 1], [-1, -1]]


def tiny_config() -> Config:
    return Config.fromfile(str(ROOT / "configs" / "laneatt" / "laneatt_tiny_synthetic.py"))


def labelled(lines: list[np.ndarray]) -> DetDataSample:
    return DetDataSample(gt_instances=InstanceData(lines=lines, input_lines=lines))


def small_batch() -> tuple[Tensor, list[DetDataSample]]:
    """Images and, as labels, some of the small detector's anchors, a little moved."""
    height, width = INPUT_SIZE["laneatt"]
    xs = chosen_anchors(SMALL["laneatt"]["anchors"]).xs(72, width)
    y = np.linspace(height, 0, 72)
    samples = [labelled([np.stack((xs[anchor] + 1, y), 1)[:50] for anchor in pair]) for pair in ((30, 60), (45, 50))]
    return images("laneatt", 2), samples


def test_a_few_steps_on_one_batch_lower_every_loss() -> None:
    torch.manual_seed(0)
    model = small("laneatt").train()
    inputs, samples = small_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    history = []
    for _ in range(40):
        losses = model(inputs, samples, mode="loss")
        history.append({name: value.item() for name, value in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    before, after = history[0], history[-1]
    assert sum(after.values()) < 0.2 * sum(before.values())
    assert all(0 < after[name] < value for name, value in before.items()), (before, after)


def test_gradients_of_the_loss_reach_every_weight_also_in_half_precision() -> None:
    inputs, samples = small_batch()
    for half in (False, True):
        model = small("laneatt").train()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            losses = model(inputs, samples, mode="loss")
        assert all(value.dtype == torch.float32 for value in losses.values())
        sum(losses.values()).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
def test_training_starts_with_the_anchors_where_they_are() -> None:
    config = tiny_config()
    model = MODELS.build(config.model).eval()
    model.init_weights()
    raw = model.training_outputs(torch.randn(2, 3, *config.input_size))
    assert (raw["offsets"] - raw["anchor_xs"]).abs().max() < 0.1
    assert raw["anchor_xs"].shape == (200, 72)
    # The backbone starts from weights that the project brings along, and nothing goes over them.
    brought = read_checkpoint(ROOT / config.model.backbone.init_cfg.checkpoint).state
    own = model.backbone.state_dict()
    assert all(torch.equal(value, brought[f"backbone.{name}"]) for name, value in own.items())


def test_the_small_one_has_fewer_than_750_000_weights_and_a_state_dict_without_the_loss() -> None:
    config = tiny_config()
    model = MODELS.build(config.model)
    assert sum(p.numel() for p in model.parameters()) < 750_000
    loss = config.model.pop("loss")
    assert loss.type == "LaneATTLoss"
    assert list(MODELS.build(config.model).state_dict()) == list(model.state_dict())


@torch.no_grad()
def test_at_stride_16_twice_as_many_rows_of_the_map_are_read() -> None:
    model = small("laneatt", **{"backbone.out_indices": (2,), "backbone_channels": 16, "stride": 16})
    assert model.pooling.rows == 2 * small("laneatt").pooling.rows == INPUT_SIZE["laneatt"][0] // 16
    read = []
    model.pooling.register_forward_hook(lambda _, inputs, output: read.append((inputs[0], output)))
    model(images("laneatt", 1))
    assert read[0][0].shape == (1, 8, 6, 10)
    # An anchor that stands upright in the middle: column 5 of 10.
    xs = model.anchor_xs
    upright = int((xs - 80).abs().amax(1).argmin())
    columns = torch.from_numpy(np.rint(chosen_anchors(SMALL["laneatt"]["anchors"]).xs(6, 160)[upright, ::-1] / 16)).long()
    assert torch.equal(read[0][1][0, upright].view(8, 6), read[0][0][0, :, torch.arange(6), columns])


def run_tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools" / name, *arguments]
    return subprocess.run([*map(str, command)], cwd=arguments[-1].parent, capture_output=True, text=True, check=False)


def test_the_tool_lists_the_anchors_of_the_training_data_the_most_used_first(tmp_path: Path) -> None:
    root = tmp_path / "data" / "synthetic" / "train"
    x = np.linspace(700, 900, 20)
    for number in range(6):
        (root / "c").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"c/{number}.jpg"), np.zeros((590, 1640, 3), np.uint8))
        write_lines(root / f"c/{number}.lines.txt", [np.stack((x, np.linspace(589, 270, 20)), 1)])
    write_list(root / "list" / "train.txt", [f"c/{number}.jpg" for number in range(6)])
    config = ROOT / "configs" / "laneatt" / "laneatt_tiny_synthetic.py"
    result = run_tool("choose_anchors.py", config, "--count", "5", "--out", tmp_path / "anchors.txt")
    assert result.returncode == 0, result.stderr[-2000:]
    chosen = np.loadtxt(tmp_path / "anchors.txt", np.int64)
    # By itself: the label, and its mirror image, each in some of the frames, a little turned and shifted.
    xs = LineAnchors.all().xs(72, 400)[chosen, :36]
    label = np.linspace(700, 700 + 200 * 295 / 319, 36) * 400 / 1640
    away = np.minimum(np.abs(xs - label).mean(1), np.abs(xs - (400 - label)).mean(1))
    assert len(chosen) == 5
    assert away.max() < 2 * 15 * 400 / 640
    own = tmp_path / "own.py"
    for labelled, status in ((True, 0), (False, 2)):
        own.write_text(
            f"_base_ = {str(config)!r}\nmodel = dict(_delete_=True, type='mmsf.LaneATT')\n"
            f"train_dataloader = dict(dataset=dict(labelled={labelled}))\n"
        )
        result = run_tool("choose_anchors.py", own, "--count", "5", "--out", tmp_path / "own.txt")
        assert result.returncode == status, result.stderr[-2000:]
    assert result.stderr == "error: train_dataloader.dataset has labelled=False; anchors are chosen by labels\n"
    assert len(np.loadtxt(tmp_path / "own.txt", np.int64)) == 5
    other = run_tool(
        "choose_anchors.py", ROOT / "configs/lstr/lstr_tiny_synthetic.py", "--count", "5", "--out", tmp_path / "b"
    )
    assert other.returncode == 2
    assert "LSTR, which has no such anchors" in other.stderr


def test_no_anchor_is_refused_before_a_frame_is_read(command, tmp_path: Path) -> None:
    config = ROOT / "configs" / "laneatt" / "laneatt_tiny_synthetic.py"
    status, _, errors = command("choose_anchors", config, "--count", 0, "--out", tmp_path / "out" / "a.txt")
    assert (status, errors) == (2, "error: --count 0 takes no anchor; give at least 1\n")
    assert not (tmp_path / "out").exists()


def test_the_use_of_an_anchor_counts_the_images_in_which_it_is_positive() -> None:
    everything = LineAnchors.all()
    xs, y = everything.xs(72, SIZE[1]), np.linspace(SIZE[0], 0, 72)
    chosen = [500, 1200, 2400]
    frames = [[np.stack((xs[anchor], y), 1) for anchor in anchors] for anchors in (chosen, chosen[:1], [])]
    counts = anchor_use(frames, SIZE)

    def near(anchor: int, other: int) -> bool:
        above = (np.arange(72) / 71 >= max(everything.start_y[anchor], 0) - 1e-9) & (xs[other] >= 0) & (xs[other] < 640)
        return above.any() and np.abs(xs[anchor] - xs[other])[above].mean() < 15

    want = [sum(any(near(anchor, other) for other in image) for image in (chosen, chosen[:1])) for anchor in range(2784)]
    assert counts.tolist() == want
    assert set(want) == {0, 1, 2}
