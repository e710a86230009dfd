"""CondLaneNet: its outputs, and what a re-implementation gets wrong (names of tests say which)."""

from pathlib import Path

import cv2
import goldens_rule
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from originals import ROOT
from small_condlane import INPUT_SIZE, float_config, images, small
from small_detectors import small as small_of
from torch import Tensor

from mmsf.errors import UserError
from mmsf.models.checkpoints import FAMILIES, convert, load_float_checkpoint, recognise
from mmsf.models.layers.dynamic_conv import DynamicConv
from mmsf.models.layers.fpn import FPN
from mmsf.models.layers.seeds import at_seeds, find_seeds, heat_of
from mmsf.models.layers.trans_conv import TransConvBlock
from mmsf.registry import MODELS, TRANSFORMS

SIZES = ("small", "medium")
IDLE = "neck.fpn_convs.2."  # stands in the files and never runs


def original(size: str) -> dict[str, Tensor]:
    path = ROOT / "tests" / "data" / "goldens" / f"condlane_{size}_seed0.npz"
    return {key: torch.from_numpy(value) for key, value in goldens_rule.Golden(path).state_dict().items()}


@pytest.mark.parametrize(("size", "backbone"), [("small", 11_176_512), ("medium", 21_284_672)])
def test_sizes_are_the_originals(size: str, backbone: int) -> None:
    with torch.device("meta"):
        model = MODELS.build(float_config(size).model)
    counts = [sum(p.numel() for p in part.parameters()) for part in (model.backbone, model.neck, model.bbox_head)]
    assert counts == [backbone, 558_146, 200_201]


@pytest.mark.parametrize("size", SIZES)
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
@pytest.mark.parametrize("height", [8, 64, 71, 100])
def test_any_height_works_and_shapes_do_not_depend_on_the_picture(height: int) -> None:
    model = small()
    rows, heat_rows = -(-height // 8), -(-height // 16)
    for pictures in (images(2, size=(height, 160)), torch.zeros(2, 3, height, 160)):
        assert {name: tuple(value.shape[1:]) for name, value in model(pictures).items()} == {
            "hm_logit": (1, heat_rows, 10),
            "params": (22, heat_rows, 10),
            "mask_branch": (8, rows, 20),
            "seeds": (6,),
            "seed_mask": (6, rows, 20),
            "seed_reg": (6, rows, 20),
            "seed_range": (6, 2, rows),
        }


def test_another_width_is_refused_since_the_rows_are_judged_by_all_their_columns() -> None:
    with pytest.raises(UserError, match="built for an input about 160 pixels wide but got 200"):
        small()(images(1, size=(64, 200)))


@torch.no_grad()
def test_the_coarsest_output_of_the_pyramid_never_runs() -> None:
    model, runs = small(), set()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: runs.add(name))
    model(images(1), [DetDataSample(metainfo=dict(ori_shape=(590, 1640)))], mode="predict")
    weighted = {name for name, module in model.named_modules() if hasattr(module, "weight")}
    assert weighted - runs == {f"{IDLE}conv"}


def test_gradients_reach_every_weight_that_runs() -> None:
    model = small()
    sum(value.square().mean() for value in model(images(2)).values() if value.is_floating_point()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    # A bias of the keys adds the same to all scores of a query.
    keys = {f"neck.trans_head.attn_layers.{i}.key_conv.bias" for i in range(2)}
    assert without - keys == {name for name, _ in model.named_parameters() if name.startswith(IDLE)}


def test_a_detector_without_a_loss_says_so_when_it_is_trained() -> None:
    with pytest.raises(UserError, match=r"CondLaneNet has no loss; set model\.loss"):
        small(loss=None)(images(1), [], mode="loss")


@torch.no_grad()
def test_attention_counts_cells_from_one_does_not_scale_its_scores_and_adds_what_has_the_position() -> None:
    torch.manual_seed(0)
    block, x = TransConvBlock(6, 8).eval(), torch.randn(2, 6, 3, 5)
    block.gamma += 0.7
    wavelength = 10000 ** (torch.arange(4) // 2 * 2 / 4)
    position = torch.empty(8, 3, 5)
    for row in range(3):
        for column in range(5):
            angle = torch.cat(((row + 1) / wavelength, (column + 1) / wavelength))
            position[0::2, row, column], position[1::2, row, column] = angle[0::2].sin(), angle[1::2].cos()
    placed = block.pre_conv(x) + position
    query, key, value = (conv(placed).flatten(2) for conv in (block.query_conv, block.key_conv, block.value_conv))
    attention = torch.einsum("bcq,bck->bqk", query, key).softmax(-1)
    attended = torch.einsum("bck,bqk->bcq", value, attention).unflatten(2, (3, 5))
    torch.testing.assert_close(block(x), block.final_conv(0.7 * attended + placed))
    assert not any("position" in name for name in block.state_dict())


@torch.no_grad()
def test_the_pyramid_adds_the_nearest_coarser_cell_also_where_sizes_are_odd() -> None:
    torch.manual_seed(0)
    fpn = FPN((3, 4), 5)
    fine, coarse = torch.randn(1, 3, 5, 7), torch.randn(1, 4, 3, 4)
    # Five rows from three: nearest takes rows floor(i * 3 / 5), not i // 2.
    rows, columns = torch.arange(5) * 3 // 5, torch.arange(7) * 4 // 7
    added = fpn.lateral_convs[1](coarse)[:, :, rows][:, :, :, columns]
    want = fpn.fpn_convs[0](fpn.lateral_convs[0](fine) + added)
    torch.testing.assert_close(fpn([fine, coarse])[0], want)
    assert len(fpn([fine, coarse], 1)) == 1


@torch.no_grad()
def test_a_conditional_convolution_is_the_originals_of_66_channels_the_columns_first() -> None:
    generator = torch.Generator().manual_seed(0)
    features, kernels = (torch.randn(*shape, generator=generator) for shape in ((2, 64, 5, 9), (2, 3, 67)))
    # Both coordinates are divided by the width, and the prior is taken off whatever the kernel is for.
    y, x = torch.meshgrid(torch.arange(5) / 9, torch.arange(9) / 9, indexing="ij")
    joined = torch.cat((torch.stack((x, y)).expand(2, -1, -1, -1), features), 1)
    for image in range(2):
        weights, biases = kernels[image, :, :66, None, None], kernels[image, :, 66]
        repeated = joined[image].repeat(3, 1, 1)[None]
        want = F.conv2d(repeated, weights, biases - 2.19, groups=3)[0]
        torch.testing.assert_close(DynamicConv()(kernels, features)[image], want, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_first_half_of_the_kernels_makes_the_mask_and_the_raw_mask_is_what_rows_are_judged_by() -> None:
    model, inputs = small(), images(1)
    before = model(inputs)
    seeds, head = before["seeds"], model.bbox_head
    kernels = at_seeds(before["params"], seeds)
    count = int((seeds >= 0).sum())
    for name, part in (("seed_mask", kernels[..., :11]), ("seed_reg", kernels[..., 11:])):
        assert torch.equal(before[name][:, :count], DynamicConv()(part, before["mask_branch"])[:, :count])
        assert not before[name][:, count:].any()
    first, last = head.mlp.layers
    for seed in range(count):
        columns = before["seed_mask"][0, seed].T[None]  # columns are the channels, rows the positions
        torch.testing.assert_close(before["seed_range"][0, seed], last(first(columns).relu())[0])


def seeds_of(rows: list[list[float]], threshold: float = 0.5, count: int = 8) -> list[int]:
    return find_seeds(torch.tensor([[rows]]), threshold, count)[0].tolist()


def test_seeds_are_peaks_above_the_threshold_row_by_row() -> None:
    heat = [[0.9, 0.2, 0.5, 0.2], [0.2, 0.45, 0.2, 0.2], [0.2, 0.2, 0.2, 0.7]]
    assert seeds_of(heat) == [0, 11, -1, -1, -1, -1, -1, -1]
    assert seeds_of(heat, threshold=0.4) == [0, 2, 11, -1, -1, -1, -1, -1]


def test_every_cell_of_a_plateau_is_a_seed_and_so_are_saturated_neighbours() -> None:
    assert seeds_of([[0.6, 0.6, 0.1, 0.1]], count=4) == [0, 1, -1, -1]
    heat = heat_of(torch.tensor([[[[9.5, 12.0, -20.0]]]]))
    assert find_seeds(heat, 0.5, 3).tolist() == [[0, 1, -1]]
    assert heat.tolist() == [[[[pytest.approx(1 - 1e-4), pytest.approx(1 - 1e-4), pytest.approx(1e-4)]]]]


def test_of_too_many_seeds_the_most_probable_ones_stay_in_order() -> None:
    assert seeds_of([[0.7, 0.1, 0.6, 0.1, 0.9, 0.1, 0.8]], count=3) == [0, 4, 6]
    assert seeds_of([[0.7]], count=3) == [0]


@torch.no_grad()
def test_a_detector_looks_where_it_is_told() -> None:
    model, inputs = small(), images(2)
    own = model(inputs)
    seeds = torch.tensor([[3, 7, -1], [0, 39, 39]])
    told = model(inputs, seeds=seeds)
    assert torch.equal(told["seeds"], seeds)
    for name in ("hm_logit", "params", "mask_branch"):
        assert torch.equal(told[name], own[name])
    assert not told["seed_mask"][0, 2].any()
    assert torch.equal(told["seed_reg"][1, 1], told["seed_reg"][1, 2])
    again = model(inputs, seeds=own["seeds"])
    assert all(torch.equal(value, own[name]) for name, value in again.items())


@pytest.mark.parametrize("size", SIZES)
def test_the_authors_keys_are_ours_and_sizes_are_read_off_the_weights(size: str, tmp_path: Path) -> None:
    state = original(size)
    assert recognise(state) == "condlane"
    assert list(convert(state, "condlane")) == list(state)
    config = FAMILIES["condlane"].model_config(state)
    assert config["backbone"]["layers"] == [2, 2, 2, 2] if size == "small" else [3, 4, 6, 3]
    wrapped = {f"module.{key}": value for key, value in state.items()}
    torch.save({"meta": {"epoch": 16}, "state_dict": wrapped, "optimizer": {}}, tmp_path / "condlane.pth")
    for model in (MODELS.build(config), MODELS.build(float_config(size).model)):
        notes = load_float_checkpoint(model, tmp_path / "condlane.pth")
        assert notes == ["took 'state_dict' and left meta, optimizer", "took the prefix 'module.' off"]
        assert all(torch.equal(value, state[key].reshape(value.shape)) for key, value in model.state_dict().items())


def test_other_sizes_are_read_off_too() -> None:
    state = small().state_dict()
    config = FAMILIES["condlane"].model_config(state)
    assert config["input_width"] == INPUT_SIZE[1]
    MODELS.build(config).load_state_dict(state, strict=True)


def test_a_file_of_another_family_is_refused_by_its_name(tmp_path: Path) -> None:
    torch.save({"model": small_of("laneatt").state_dict()}, tmp_path / "laneatt.pt")
    with pytest.raises(UserError, match="looks like LaneATT, but the config is of CondLaneNet"):
        load_float_checkpoint(small(), tmp_path / "laneatt.pt")


def test_a_deeper_backbone_of_the_same_family_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": small(**{"backbone.depth": 34}).state_dict()}, tmp_path / "medium.pth")
    with pytest.raises(UserError, match=r"weights have no place, such as backbone\.layer1\.2"):
        load_float_checkpoint(small(), tmp_path / "medium.pth")


@torch.no_grad()
def test_small_detectors_find_lanes_in_every_frame() -> None:
    model = small()
    metas = [{"ori_shape": (590, 1640)}] * 4
    assert all(map(len, model.adapter.decode(model.adapter.split(model(images(4))), metas)))
