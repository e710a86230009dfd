"""GANet: its outputs, and what a re-implementation gets wrong (names of tests say which)."""

from pathlib import Path

import cv2
import goldens_rule
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from originals import ROOT
from small_detectors import small as small_of
from small_ganet import INPUT_SIZE, float_config, images, small
from torch import Tensor

from mmsf.errors import UserError
from mmsf.models.checkpoints import FAMILIES, convert, load_float_checkpoint, recognise
from mmsf.models.layers.lane_aggregation import LaneAwareAggregation
from mmsf.registry import MODELS, TASK_UTILS, TRANSFORMS

# What stands in the files and never runs in a prediction.
IDLE = (
    "neck.def_convs.1.",
    "neck.def_convs.2.",
    "neck.def_convs.0.reppoints_pts_refine_",
    "neck.fpn_convs.1.",
    "neck.fpn_convs.2.",
    "bbox_head.centerpts_head.",
)


def original(size: str) -> dict[str, Tensor]:
    path = ROOT / "tests" / "data" / "goldens" / f"ganet_{size}_seed0.npz"
    return {key: torch.from_numpy(value) for key, value in goldens_rule.Golden(path).state_dict().items()}


@pytest.mark.parametrize(("size", "parameters"), [("small", 20_787_972), ("medium", 30_896_132)])
def test_sizes_are_the_originals_and_six_millions_never_run(size: str, parameters: int) -> None:
    with torch.device("meta"):
        model = MODELS.build(float_config(size).model)
    assert sum(p.numel() for p in model.parameters()) == parameters
    idle = sum(p.numel() for name, p in model.named_parameters() if name.startswith(IDLE))
    assert idle == 2_968_404 + 2_902_348 + 2 * 36_928 + 114_688 + 910 + 36_993


@pytest.mark.parametrize("size", ["small", "medium"])
def test_frames_lose_their_top_are_resized_by_opencv_and_normalised_in_the_order_blue_green_red(
    size: str, tmp_path: Path
) -> None:
    config = float_config(size)
    frame = np.random.default_rng(0).integers(0, 256, (590, 1640, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "frame.png"), frame)
    want = cv2.resize(frame[270:], (800, 320), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    for loader in ("train", "val", "test", "calibration"):
        load = TRANSFORMS.build(config[f"{loader}_dataloader"].dataset.pipeline[0])
        image = load({"img_path": str(tmp_path / "frame.png")})["img"].transpose(2, 0, 1)
        np.testing.assert_array_equal(image, want)
    inputs = MODELS.build(config.model.data_preprocessor)({"inputs": [torch.from_numpy(want.copy())]})["inputs"][0]
    mean, std = (np.array(numbers)[:, None, None] for numbers in ((75.3, 76.6, 77.6), (50.5, 53.8, 54.3)))
    np.testing.assert_allclose(inputs.numpy(), (want - mean) / std, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(590, 1640), (720, 1280), (333, 500)])
def test_decoding_undoes_the_crop_and_the_resizing_of_the_lanes(shape: tuple[int, int], tmp_path: Path) -> None:
    config = float_config()
    cv2.imwrite(str(tmp_path / "frame.png"), np.zeros((*shape, 3), np.uint8))
    rows = np.linspace(0.6, 0.95, 12) * shape[0]
    line = np.stack((0.3 * shape[1] + 0.1 * rows, rows), 1)
    load = TRANSFORMS.build(config.test_dataloader.dataset.pipeline[0])
    cells = load({"img_path": str(tmp_path / "frame.png"), "lines": [line]})["input_lines"][0] / 8
    x, y = cells.astype(np.int64).T
    raw = {name: torch.zeros(1, channels, 40, 100) for name, channels in (("pts_offset", 2), ("int_offset", 2))}
    raw["kpts_hm_logit"] = torch.full((1, 1, 40, 100), -9.0)
    raw["kpts_hm_logit"][0, 0, y, x] = 9.0
    raw["int_offset"][0, :, y, x] = torch.from_numpy((cells - np.stack((x, y), 1)).T).float()
    adapter = TASK_UTILS.build({**config.model.adapter, "whole": False, "radius": 100.0})
    (found,) = adapter.decode(adapter.split(raw), [{"ori_shape": shape}])[0]
    np.testing.assert_allclose(found.points, line, rtol=0, atol=1e-3)


@torch.no_grad()
def test_predict_is_decode_of_split_of_the_raw_outputs() -> None:
    model, inputs = small(), images(3)
    samples = [DetDataSample(metainfo=dict(ori_shape=(590 + 10 * i, 1640))) for i in range(3)]
    predicted = model(inputs, samples, mode="predict")
    decoded = model.adapter.decode(model.adapter.split(model(inputs)), [sample.metainfo for sample in samples])
    assert all(map(len, decoded))
    for sample, lanes in zip(predicted, decoded):
        assert sample.pred_instances.scores.tolist() == [lane.score for lane in lanes]
        assert [line.tobytes() for line in sample.pred_instances.lines] == [lane.points.tobytes() for lane in lanes]


@torch.no_grad()
def test_a_batch_equals_its_images_one_by_one() -> None:
    model, inputs = small(), images(2)
    for name, value in model(inputs).items():
        alone = torch.cat([model(image[None])[name] for image in inputs])
        torch.testing.assert_close(value, alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("size", "cells"), [((64, 160), (8, 20)), ((70, 33), (9, 5)), ((32, 32), (4, 4)), ((8, 8), (1, 1))])
def test_any_input_size_works(size: tuple[int, int], cells: tuple[int, int]) -> None:
    raw = small()(images(2, size=size))
    assert {name: value.shape[1:] for name, value in raw.items()} == {
        "kpts_hm_logit": (1, *cells),
        "pts_offset": (2, *cells),
        "int_offset": (2, *cells),
    }


@torch.no_grad()
def test_what_only_training_or_nothing_uses_does_not_run() -> None:
    model, runs = small(), set()
    for name, module in model.named_modules():
        if name.startswith(IDLE) or f"{name}.".startswith(IDLE):
            module.register_forward_hook(lambda *_, name=name: runs.add(name))
    model(images(1))
    model(images(1), [DetDataSample(metainfo=dict(ori_shape=(590, 1640)))], mode="predict")
    assert not runs
    raw = model.raw_outputs(images(1), auxiliary=True)
    assert raw["cpts_hm_logit"].shape == (1, 1, 8, 20)
    assert runs
    assert all(name.startswith("bbox_head.centerpts_head") for name in runs)


def test_a_detector_without_a_loss_says_so_when_it_is_trained() -> None:
    with pytest.raises(UserError, match=r"GANet has no loss; set model\.loss"):
        small(loss=None)(images(1), [], mode="loss")


def test_gradients_reach_every_weight_that_runs() -> None:
    model = small()
    sum(value.square().mean() for value in model(images(2)).values()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without == {name for name, _ in model.named_parameters() if name.startswith(IDLE)}


@torch.no_grad()
def test_key_points_are_read_off_the_aggregated_features_and_offsets_off_the_plain_ones() -> None:
    model, inputs = small(), images(1)
    before = model.raw_outputs(inputs, auxiliary=True)
    head = model.bbox_head
    assert torch.equal(before["pts_offset"], head.offset_head["offset_map"](before["aux_feat"]))
    assert torch.equal(before["int_offset"], head.reg_head["offset_map"](before["aux_feat"]))
    model.neck.fpn_convs[0].conv.bias += 1.0
    after = model.raw_outputs(inputs, auxiliary=True)
    for name in before:
        changes = name in ("kpts_hm_logit", "cpts_hm_logit")
        assert torch.equal(before[name], after[name]) != changes


def aggregation(points: int = 7) -> LaneAwareAggregation:
    torch.manual_seed(0)
    return LaneAwareAggregation(4, 6, points).eval()


def inner_features(module: LaneAwareAggregation, x: Tensor) -> Tensor:
    for convolution in module.cls_convs:
        x = F.relu(convolution(x))
    return x


@torch.no_grad()
def test_each_tap_samples_at_the_cell_plus_its_point_so_the_taps_own_places_cancel() -> None:
    module, x = aggregation(), torch.randn(2, 4, 9, 11)
    points = 3 * torch.randn(2, 14, 9, 11)
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    want = 0
    for tap in range(7):
        grid = torch.stack((2 * (columns + points[:, 2 * tap + 1]) / 10 - 1, 2 * (rows + points[:, 2 * tap]) / 8 - 1), -1)
        samples = F.grid_sample(inner_features(module, x), grid, align_corners=True, padding_mode="zeros")
        want = want + torch.einsum("oc,bchw->bohw", module.reppoints_cls_conv.weight[:, :, 0, tap], samples)
    torch.testing.assert_close(module(x, points), want.relu(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_points_of_zero_read_the_cell_itself_with_every_tap_and_there_is_no_shortcut() -> None:
    module, x = aggregation(5), torch.randn(1, 4, 6, 7)
    kernel = module.reppoints_cls_conv.weight.sum(-1, keepdim=True)
    want = F.conv2d(inner_features(module, x), kernel).relu()
    torch.testing.assert_close(module(x, torch.zeros(1, 10, 6, 7)), want)


@torch.no_grad()
def test_points_are_predicted_by_a_branch_of_their_own() -> None:
    module, x = aggregation(), torch.randn(1, 4, 6, 7)
    before = module.points(x)
    for convolution in module.cls_convs:
        convolution.conv.weight.zero_()
    assert torch.equal(module.points(x), before)
    assert torch.equal(module(x), module(x, before))


@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_authors_keys_are_ours_and_sizes_are_read_off_the_weights(size: str, tmp_path: Path) -> None:
    state = original(size)
    assert recognise(state) == "ganet"
    assert list(convert(state, "ganet")) == list(state)
    config = FAMILIES["ganet"].model_config(state)
    assert config["backbone"]["layers"] == [2, 2, 2, 2] if size == "small" else [3, 4, 6, 3]
    assert config["points"] == (7, 5, 3)
    wrapped = {f"module.{key}": value for key, value in state.items()}
    torch.save({"meta": {"epoch": 60}, "state_dict": wrapped, "optimizer": {}}, tmp_path / "ganet.pth")
    for model in (MODELS.build(config), MODELS.build(float_config(size).model)):
        notes = load_float_checkpoint(model, tmp_path / "ganet.pth")
        assert notes == ["took 'state_dict' and left meta, optimizer", "took the prefix 'module.' off"]
        assert all(torch.equal(value, state[key].reshape(value.shape)) for key, value in model.state_dict().items())


@pytest.mark.parametrize("points", [(9, 3, 1), (7,)])
def test_other_sizes_are_read_off_too(points: tuple[int, ...]) -> None:
    state = small(points=points).state_dict()
    MODELS.build(FAMILIES["ganet"].model_config(state)).load_state_dict(state, strict=True)


def test_a_file_of_another_family_is_refused_by_its_name(tmp_path: Path) -> None:
    torch.save({"model": small_of("laneatt").state_dict()}, tmp_path / "laneatt.pt")
    with pytest.raises(UserError, match="looks like LaneATT, but the config is of GANet"):
        load_float_checkpoint(small(), tmp_path / "laneatt.pt")


def test_a_deeper_backbone_of_the_same_family_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": small(**{"backbone.depth": 34}).state_dict()}, tmp_path / "medium.pth")
    with pytest.raises(UserError, match=r"weights have no place, such as backbone\.layer1\.2"):
        load_float_checkpoint(small(), tmp_path / "medium.pth")


@torch.no_grad()
def test_small_detectors_find_lanes_in_every_frame() -> None:
    model = small()
    assert model.adapter.input_size == INPUT_SIZE
    metas = [{"ori_shape": (590, 1640)}] * 4
    assert all(map(len, model.adapter.decode(model.adapter.split(model(images(4))), metas)))
