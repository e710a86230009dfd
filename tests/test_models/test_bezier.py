"""BezierLaneNet: its outputs, and what a re-implementation gets wrong (names of tests say which)."""

from pathlib import Path

import goldens_rule
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from originals import ROOT
from small_detectors import float_config, images, small
from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.models.checkpoints import FAMILIES, convert, load_float_checkpoint, recognise
from mmsf.models.layers.bottleneck import DilatedBottleneck
from mmsf.models.layers.flip_fusion import FeatureFlipFusion
from mmsf.registry import MODELS

GOLDEN = ROOT / "tests" / "data" / "goldens" / "bezier_small_seed0.npz"


def original_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As pytorch-auto-drive writes them: the deformable convolution holds the layer of its offsets."""
    return {key.replace("proj2_offset.", "proj2_conv.conv_offset."): value for key, value in state.items()}


@pytest.mark.parametrize(("depth", "parameters", "deployed"), [(18, 4_250_404, 4_102_756), (34, 9_637_924, 9_490_276)])
def test_sizes_are_the_originals(depth: int, parameters: int, deployed: int) -> None:
    with torch.device("meta"):
        model = MODELS.build(float_config("bezier", depth).model)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(p.numel() for name, p in model.named_parameters() if not name.startswith("segmentation_head")) == deployed


@pytest.mark.parametrize("depth", [18, 34])
def test_images_are_resized_by_pil_and_normalised_as_rgb_for_imagenet(depth: int) -> None:
    config = float_config("bezier", depth)
    for loader in ("train", "val", "test", "calibration"):
        load = config[f"{loader}_dataloader"].dataset.pipeline[0]
        assert (load.type, load.backend, load.scale) == ("LoadImage", "pil", (800, 288))
    pixel = MODELS.build(config.model.data_preprocessor)(
        {"inputs": [torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1)]}  # blue, green, red
    )["inputs"].flatten()
    rgb = torch.tensor([255.0, 128.0, 0.0]) / 255
    want = (rgb - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(pixel, want, rtol=0, atol=1e-5)


@torch.no_grad()
def test_predict_is_decode_of_split_of_the_raw_outputs() -> None:
    model, inputs = small("bezier"), images("bezier", 3)
    samples = [DetDataSample(metainfo=dict(ori_shape=(590 + 10 * i, 1640))) for i in range(3)]
    predicted = model(inputs, samples, mode="predict")
    decoded = model.adapter.decode(model.adapter.split(model(inputs)), [sample.metainfo for sample in samples])
    assert all(map(len, decoded))
    for sample, lanes in zip(predicted, decoded):
        assert sample.pred_instances.scores.tolist() == [lane.score for lane in lanes]
        assert [line.tobytes() for line in sample.pred_instances.lines] == [lane.points.tobytes() for lane in lanes]


@torch.no_grad()
def test_a_batch_equals_its_images_one_by_one() -> None:
    model, inputs = small("bezier"), images("bezier", 2)
    for name, value in model(inputs).items():
        alone = torch.cat([model(image[None])[name] for image in inputs])
        torch.testing.assert_close(value, alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("size", "columns"), [((64, 160), 10), ((70, 33), 3), ((16, 16), 1)])
def test_any_input_size_works(size: tuple[int, int], columns: int) -> None:
    raw = small("bezier")(torch.randn(2, 3, *size))
    assert raw["logits"].shape == (2, columns)
    assert raw["curves"].shape == (2, columns, 4, 2)


@torch.no_grad()
def test_the_segmentation_branch_runs_only_when_asked_for() -> None:
    model, inputs, runs = small("bezier"), images("bezier", 1), []
    model.segmentation_head.register_forward_hook(lambda *_: runs.append(1))
    assert set(model(inputs)) == {"logits", "curves"}
    model(inputs, [DetDataSample(metainfo=dict(ori_shape=(590, 1640)))], mode="predict")
    assert not runs
    assert model.raw_outputs(inputs, auxiliary=True)["segmentations"].shape == (1, 1, 4, 10)


def test_a_detector_without_a_loss_says_so_when_it_is_trained() -> None:
    with pytest.raises(UserError, match=r"BezierLaneNet has no loss; set model\.loss"):
        small("bezier", loss=None)(images("bezier", 1), [], mode="loss")


def test_gradients_reach_every_weight() -> None:
    model = small("bezier")
    sum(value.square().mean() for value in model.raw_outputs(images("bezier", 2), auxiliary=True).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_detector_that_never_ran_can_be_traced() -> None:
    model, inputs = small("bezier"), images("bezier", 1)
    traced = torch.jit.trace(model, inputs, strict=False)
    for name, value in model(inputs).items():
        torch.testing.assert_close(traced(inputs)[name], value)


@torch.no_grad()
def test_a_dilated_bottleneck_applies_relu_before_the_sum_and_none_after() -> None:
    torch.manual_seed(0)
    block, x = DilatedBottleneck(4, 2, 3).eval(), -torch.rand(1, 4, 9, 9)
    added = block(x) - x
    assert (added >= 0).all()
    assert (added > 0).any()
    assert (block(x) < 0).any()


def test_the_bottlenecks_are_dilated_by_4_and_8_in_their_middle_and_have_biases() -> None:
    blocks = small("bezier").dilated_blocks
    convolutions = [module for module in blocks.modules() if isinstance(module, nn.Conv2d)]
    assert [module.dilation[0] for module in convolutions] == [1, 4, 1, 1, 8, 1]
    assert all(module.bias is not None for module in convolutions)


def fusion() -> FeatureFlipFusion:
    """A fusion whose batch norms do something."""
    torch.manual_seed(0)
    module = FeatureFlipFusion(4).eval()
    for norm in (module.proj1[1], module.proj2_norm):
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        nn.init.normal_(norm.running_mean)
    return module


@torch.no_grad()
def test_the_first_18_offset_channels_are_dy_and_dx_tap_by_tap_although_they_are_two_chunks_of_9() -> None:
    module, x = fusion(), torch.randn(1, 4, 5, 7)
    module.proj2_offset.bias[0:18:2] = 1.0  # one row down
    module.proj2_offset.bias[18:] = 30.0  # factors of one
    moved = F.pad(x.flip(-1)[:, :, 1:], (1, 1, 0, 2))
    deformed = F.conv2d(moved, module.proj2_conv.weight, module.proj2_conv.bias)
    inner = slice(1, None)  # padding above the map is moved into it
    want = F.relu(module.proj1(x)[:, :, inner] + module.proj2_norm(deformed))
    torch.testing.assert_close(module(x)[:, :, inner], want)


@torch.no_grad()
def test_offsets_are_read_off_the_mirrored_features_first_and_the_projected_ones_second() -> None:
    module, x, seen = fusion(), torch.randn(1, 4, 5, 7), []
    module.proj2_offset.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    module(x)
    assert torch.equal(seen[0], torch.cat((x.flip(-1), module.proj1(x)), 1))


@torch.no_grad()
def test_the_rows_are_averaged() -> None:
    model, seen = small("bezier"), {}
    for name in ("simple_flip_2d", "regression_head"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)}))
    model(images("bezier", 2))
    torch.testing.assert_close(seen["regression_head"][0], F.avg_pool2d(seen["simple_flip_2d"][1], (4, 1)).squeeze(2))


def test_pytorch_auto_drives_names_are_converted_and_ours_stay() -> None:
    model = small("bezier")
    state = original_names(model.state_dict())
    assert recognise(state) == recognise(model.state_dict()) == "bezier"
    once = convert(state, "bezier")
    model.load_state_dict(once, strict=True)
    assert list(convert(once, "bezier")) == list(once)


def test_the_original_state_has_173_entries_and_its_sizes_are_read_off() -> None:
    spec = goldens_rule.Golden(GOLDEN).spec
    assert len(spec) == 173
    state = convert({key: torch.zeros(shape) for key, shape, _ in spec}, "bezier")
    model = MODELS.build(FAMILIES["bezier"].model_config(state))
    model.load_state_dict(state, strict=True)


def test_a_file_of_another_family_is_refused_by_its_name(tmp_path: Path) -> None:
    torch.save({"model": small("laneatt").state_dict()}, tmp_path / "laneatt.pt")
    with pytest.raises(UserError, match="looks like LaneATT, but the config is of BezierLaneNet"):
        load_float_checkpoint(small("bezier"), tmp_path / "laneatt.pt")


def test_a_deeper_backbone_of_the_same_family_is_refused(tmp_path: Path) -> None:
    torch.save({"model": original_names(small("bezier", **{"backbone.depth": 34}).state_dict())}, tmp_path / "r34.pt")
    with pytest.raises(UserError, match=r"weights have no place, such as backbone\.layer1\.2"):
        load_float_checkpoint(small("bezier"), tmp_path / "r34.pt")
