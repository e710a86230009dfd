"""SCNN and RESA: their outputs, and what a re-implementation gets wrong (names of tests say which)."""

from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.config import Config
from originals import ROOT
from small_segmentation import FAMILIES, images, small
from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.models.layers.recurrent_shift import RecurrentFeatureShift
from mmsf.models.layers.spatial_convolution import SpatialConvolution
from mmsf.models.layers.upsampling import BilateralUpsampler
from mmsf.registry import MODELS


def full_config(family: str, depth: int = 18) -> Config:
    return Config.fromfile(str(ROOT / "configs" / family / f"{family}_r{depth}_culane.py"))


def dilations(model: nn.Module) -> dict[str, int]:
    convolutions = {name: m for name, m in model.backbone.named_modules() if isinstance(m, nn.Conv2d)}
    return {name: module.dilation[0] for name, module in convolutions.items() if module.dilation[0] > 1}


@pytest.mark.parametrize(
    ("family", "depth", "parameters", "entries"),
    [
        ("scnn", 18, 12_415_049, 140),
        ("scnn", 34, 22_523_209, 236),
        ("resa", 18, 6_617_646, 277),
        ("resa", 34, 12_005_166, 361),
    ],
)
def test_sizes_are_the_originals(family: str, depth: int, parameters: int, entries: int) -> None:
    with torch.device("meta"):
        model = MODELS.build(full_config(family, depth).model)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(model.state_dict()) == entries


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [18, 34])
def test_images_are_resized_by_pil_and_normalised_as_rgb_for_imagenet(family: str, depth: int) -> None:
    config = full_config(family, depth)
    assert config.model.input_size == config.model.adapter.input_size == config.input_size == (288, 800)
    for loader in ("train", "val", "test", "calibration"):
        load = config[f"{loader}_dataloader"].dataset.pipeline[0]
        assert (load.type, load.backend, load.scale) == ("LoadImage", "pil", (800, 288))
    preprocessor = MODELS.build(config.model.data_preprocessor)
    blue_green_red = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
    pixel = preprocessor({"inputs": [blue_green_red]})["inputs"][0, :, 0, 0]
    want = (torch.tensor([255.0, 128.0, 0.0]) / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(pixel, want, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_predict_is_decode_of_split_of_the_raw_outputs(family: str) -> None:
    model, inputs = small(family), images(3)
    samples = [DetDataSample(metainfo=dict(ori_shape=(590 + 10 * i, 1640))) for i in range(3)]
    predicted = model(inputs, samples, mode="predict")
    decoded = model.adapter.decode(model.adapter.split(model(inputs)), [sample.metainfo for sample in samples])
    assert all(map(len, decoded))
    for sample, lanes in zip(predicted, decoded):
        assert sample.pred_instances.scores.tolist() == [lane.score for lane in lanes]
        assert [line.tobytes() for line in sample.pred_instances.lines] == [lane.points.tobytes() for lane in lanes]


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_equals_its_images_one_by_one(family: str) -> None:
    model, inputs = small(family), images(2)
    together = model(inputs)
    for name, value in together.items():
        alone = torch.cat([model(image[None])[name] for image in inputs])
        torch.testing.assert_close(value, alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(64, 96), (72, 40), (33, 65)])
def test_a_detector_can_be_built_for_any_input_size(family: str, size: tuple[int, int]) -> None:
    raw = small(family, input_size=size)(images(1, size=size))
    cells = [-(-length // 8) for length in size]
    scale = {"scnn": 1, "resa": 8}[family]
    assert raw["out"].shape == (1, 5, *(scale * length for length in cells))
    assert raw["lane"].shape == (1, 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_of_another_size_is_refused(family: str) -> None:
    with pytest.raises(UserError, match=r"input of \(64, 96\).*got \(64, 104\)"):
        small(family)(images(1, size=(64, 104)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_detector_without_a_loss_says_so_when_it_is_trained(family: str) -> None:
    with pytest.raises(UserError, match=f"{family.upper()} has no loss; set model.loss"):
        small(family, loss=None)(images(1), [], mode="loss")


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_weight(family: str) -> None:
    model = small(family)
    sum(value.square().mean() for value in model(images(2)).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_network_can_be_exported_whole(family: str) -> None:
    model, inputs = small(family), images(1)
    exported = torch.export.export(model, (inputs,)).module()(inputs)
    for name, value in model(inputs).items():
        assert torch.equal(exported[name], value)


def test_only_conv1_of_a_block_is_dilated_and_the_first_block_of_a_stage_uses_the_dilation_before() -> None:
    assert dilations(small("scnn")) == {"layer3.1.conv1": 2, "layer4.0.conv1": 2, "layer4.1.conv1": 4}
    assert dilations(small("resa")) == {"layer3.1.conv1": 2}


def test_resa_ends_after_the_third_stage() -> None:
    assert not any(key.startswith("backbone.layer4") for key in small("resa").state_dict())


def test_epsilon_is_1e_3_in_resas_decoder_and_existence_head_and_1e_5_elsewhere() -> None:
    for family in FAMILIES:
        for name, module in small(family).named_modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.eps == (1e-3 if name.startswith(("decoder.", "lane_classifier.")) else 1e-5), name


def in_place_spatial_convolution(module: SpatialConvolution, features: Tensor) -> Tensor:
    """Slices updated in place, in the order d, u, r, l; upwards and to the left end at slice 1."""
    x = features.clone()
    height, width = x.shape[2:]
    for i in range(1, height):
        x[:, :, i : i + 1] += F.relu(module.conv_d(x[:, :, i - 1 : i]))
    for i in range(height - 2, 0, -1):
        x[:, :, i : i + 1] += F.relu(module.conv_u(x[:, :, i + 1 : i + 2]))
    for i in range(1, width):
        x[..., i : i + 1] += F.relu(module.conv_r(x[..., i - 1 : i]))
    for i in range(width - 2, 0, -1):
        x[..., i : i + 1] += F.relu(module.conv_l(x[..., i + 1 : i + 2]))
    return x


@torch.no_grad()
def test_scnn_passes_messages_slice_by_slice() -> None:
    torch.manual_seed(0)
    module, features = SpatialConvolution(4), torch.randn(2, 4, 6, 9)
    torch.testing.assert_close(module(features), in_place_spatial_convolution(module, features))


@torch.no_grad()
@pytest.mark.parametrize(("direction", "axis"), [("u", 2), ("l", 3)])
def test_scnns_reverse_passes_skip_slice_0(direction: str, axis: int) -> None:
    torch.manual_seed(0)
    module, features = SpatialConvolution(4), torch.randn(1, 4, 6, 9)
    for other in set("durl") - {direction}:
        nn.init.zeros_(getattr(module, f"conv_{other}").weight)
        nn.init.zeros_(getattr(module, f"conv_{other}").bias)
    changed = (module(features) != features).transpose(0, axis).flatten(1).any(1).tolist()
    assert changed == [False, *[True] * (features.shape[axis] - 2), False]


@torch.no_grad()
def test_scnn_runs_266_convolutions_on_a_map_of_36_by_100() -> None:
    module, runs = SpatialConvolution(1), []
    for name, layer in module.named_children():
        layer.register_forward_hook(lambda *_, name=name: runs.append(name))
    module(torch.zeros(1, 1, 36, 100))
    assert {d: runs.count(f"conv_{d}") for d in "durl"} == {"d": 35, "u": 34, "r": 99, "l": 98}


def test_scnns_backward_pass_is_exact() -> None:
    torch.manual_seed(0)
    module = SpatialConvolution(2, kernel_size=3).double()
    assert torch.autograd.gradcheck(module, torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True))


@torch.no_grad()
def test_resa_adds_twice_the_message_of_rows_and_columns_at_strides_that_grow() -> None:
    torch.manual_seed(0)
    module, features = RecurrentFeatureShift(2), torch.randn(1, 2, 36, 100)
    x = features
    row, column = torch.arange(36), torch.arange(100)
    rows, columns = (1, 2, 4, 9, 18), (3, 6, 12, 25, 50)
    for number, stride in enumerate(rows):
        x = x + 2 * F.relu(module.conv_d[number](x[:, :, (row + stride) % 36]))
    for number, stride in enumerate(rows):
        x = x + 2 * F.relu(module.conv_u[number](x[:, :, (row - stride) % 36]))
    for number, stride in enumerate(columns):
        x = x + 2 * F.relu(module.conv_r[number](x[..., (column + stride) % 100]))
    for number, stride in enumerate(columns):
        x = x + 2 * F.relu(module.conv_l[number](x[..., (column - stride) % 100]))
    torch.testing.assert_close(module(features), x)


def test_scnns_messages_have_a_bias_and_resas_have_none() -> None:
    for module, has_bias in ((SpatialConvolution(2), True), (RecurrentFeatureShift(2), False)):
        biases = [layer.bias is not None for layer in module.modules() if isinstance(layer, nn.Conv2d)]
        assert set(biases) == {has_bias}


@torch.no_grad()
def test_resas_coarse_branch_is_interpolated_with_aligned_corners() -> None:
    torch.manual_seed(0)
    module, features = BilateralUpsampler(4, 2).eval(), torch.randn(1, 4, 5, 7)
    for layer in chain(module.follows.modules(), [module.conv]):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    coarse, fine_map = module.interpolate_bn(module.interpolate_conv(features)).relu(), module(features)
    assert fine_map.shape == (1, 2, 10, 14)
    torch.testing.assert_close(fine_map[..., [0, 0, -1, -1], [0, -1, 0, -1]], coarse[..., [0, 0, -1, -1], [0, -1, 0, -1]])


@torch.no_grad()
def test_scnns_existence_is_read_from_the_probabilities_of_the_map_channel_after_channel() -> None:
    model = small("scnn")
    raw, head = model(images(2)), model.lane_classifier
    pooled = raw["out"].softmax(1).reshape(2, 5, 4, 2, 6, 2).mean((3, 5)).reshape(2, 5 * 4 * 6)
    lane = F.relu(pooled @ head.linear1.weight.T + head.linear1.bias) @ head.linear2.weight.T + head.linear2.bias
    torch.testing.assert_close(raw["lane"], lane)


@torch.no_grad()
def test_resas_existence_is_read_from_the_features_and_not_from_the_map() -> None:
    model, inputs = small("resa"), images(1)
    before = model(inputs)
    nn.init.zeros_(model.decoder.output_proj.weight)
    after = model(inputs)
    assert not torch.equal(after["out"], before["out"])
    assert torch.equal(after["lane"], before["lane"])


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_existence_head_fits_the_map_of_a_backbone_of_another_stride(family: str) -> None:
    halved = {"backbone.replace_stride_with_dilation": (False, False, True), "stride": 16}
    raw = small(family, input_size=(64, 96), **halved)(images(1, size=(64, 96)))
    assert raw["lane"].shape == (1, 4)
    assert raw["out"].shape == (1, 5, *{"scnn": (4, 6), "resa": (32, 48)}[family])
