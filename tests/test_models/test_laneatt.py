"""LaneATT: its outputs, and what a re-implementation gets wrong (names of tests say which)."""

from pathlib import Path

import goldens_rule
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from originals import ROOT
from small_detectors import INPUT_SIZE, SMALL, float_config, images, small
from torch import Tensor

from mmsf.errors import UserError
from mmsf.models.checkpoints import FAMILIES, convert, load_float_checkpoint, recognise
from mmsf.models.layers.line_anchors import AnchorPooling, LineAnchors, chosen_anchors, off_diagonal
from mmsf.registry import MODELS

GOLDEN = ROOT / "tests" / "data" / "goldens" / "laneatt_small_seed0.npz"
CHILDREN = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}


def authors_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the authors write them: the backbone is a list."""
    renamed = {}
    for key, value in state.items():
        for name, number in CHILDREN.items():
            key = key.replace(f"backbone.{name}.", f"feature_extractor.{number}.")
        renamed[key] = value
    return renamed


@pytest.mark.parametrize(("depth", "parameters", "entries"), [(18, 12_019_314, 128), (34, 22_127_474, 224)])
def test_sizes_are_the_originals(depth: int, parameters: int, entries: int) -> None:
    model = MODELS.build(float_config("laneatt", depth).model)
    assert sum(p.numel() for p in model.parameters()) == parameters
    # Anchors are constants: no checkpoint holds them.
    assert len(model.state_dict()) == entries


@pytest.mark.parametrize("depth", [18, 34])
def test_images_are_resized_by_pil_and_are_rgb_from_0_to_1(depth: int) -> None:
    config = float_config("laneatt", depth)
    assert config.model.input_size == config.input_size == (360, 640)
    assert config.model.adapter.input_width == 640
    for loader in ("train", "val", "test", "calibration"):
        load = config[f"{loader}_dataloader"].dataset.pipeline[0]
        assert (load.type, load.backend, load.scale) == ("LoadImage", "pil", (640, 360))
    pixel = MODELS.build(config.model.data_preprocessor)(
        {"inputs": [torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1)]}  # blue, green, red
    )["inputs"].flatten()
    torch.testing.assert_close(pixel, torch.tensor([255.0, 128.0, 0.0]) / 255)


@pytest.mark.parametrize("depth", [18, 34])
def test_the_authors_resize_by_cubic_interpolation_and_take_bgr(depth: int) -> None:
    config = Config.fromfile(str(ROOT / "configs" / "laneatt" / f"laneatt_r{depth}_culane_authors.py"))
    for loader in ("train", "val", "test", "calibration"):
        load = config[f"{loader}_dataloader"].dataset.pipeline[0]
        assert (load.type, load.backend, load.scale) == ("LoadImage", "cv2_cubic", (640, 360))
    model = MODELS.build(config.model)
    assert not model.anchor_lengths.any()
    assert (model.adapter.length_quirk, model.adapter.spline) == ("original", True)
    assert len(model.backbone.layer3) == {18: 2, 34: 6}[depth]
    blue = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1)
    assert model.data_preprocessor({"inputs": [blue]})["inputs"].flatten().tolist() == [1.0, 0.0, 0.0]


@torch.no_grad()
def test_predict_is_decode_of_split_of_the_raw_outputs() -> None:
    model, inputs = small("laneatt"), images("laneatt", 3)
    samples = [DetDataSample(metainfo=dict(ori_shape=(590 + 10 * i, 1640))) for i in range(3)]
    predicted = model(inputs, samples, mode="predict")
    decoded = model.adapter.decode(model.adapter.split(model(inputs)), [sample.metainfo for sample in samples])
    assert all(map(len, decoded))
    for sample, lanes in zip(predicted, decoded):
        assert sample.pred_instances.scores.tolist() == [lane.score for lane in lanes]
        assert [line.tobytes() for line in sample.pred_instances.lines] == [lane.points.tobytes() for lane in lanes]


@torch.no_grad()
def test_a_batch_equals_its_images_one_by_one() -> None:
    model, inputs = small("laneatt"), images("laneatt", 2)
    for name, value in model(inputs).items():
        alone = torch.cat([model(image[None])[name] for image in inputs])
        torch.testing.assert_close(value, alone, rtol=1e-4, atol=1e-3 if name == "offsets" else 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [(96, 160), (110, 170), (64, 64)])
def test_a_detector_can_be_built_for_any_input_size(size: tuple[int, int]) -> None:
    raw = small("laneatt", input_size=size)(torch.randn(2, 3, *size))
    shapes = {name: tuple(value.shape) for name, value in raw.items()}
    assert shapes == {"logits": (2, 96, 2), "offsets": (2, 96, 72), "lengths": (2, 96), "starts": (2, 96)}


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"input of \(96, 160\).*got \(96, 128\)"):
        small("laneatt")(torch.zeros(1, 3, 96, 128))


def test_a_detector_without_a_loss_says_so_when_it_is_trained() -> None:
    with pytest.raises(UserError, match=r"LaneATT has no loss; set model\.loss"):
        small("laneatt", loss=None)(images("laneatt", 1), [], mode="loss")


def test_gradients_reach_every_weight() -> None:
    model = small("laneatt")
    sum(value.square().mean() for value in model(images("laneatt", 2)).values() if value.requires_grad).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_detector_that_never_ran_can_be_traced() -> None:
    model, inputs = small("laneatt"), images("laneatt", 1)
    traced = torch.jit.trace(model, inputs, strict=False)
    for name, value in model(inputs).items():
        assert torch.equal(traced(inputs)[name], value)


def test_the_anchors_are_the_originals_and_in_their_order() -> None:
    everything, culane = LineAnchors.all(), chosen_anchors("culane")
    assert len(everything) == 2784
    index = goldens_rule.Golden(GOLDEN).z["fixed.anchor_index"]
    for name in ("start_x", "start_y", "angle"):
        assert np.array_equal(getattr(culane, name), getattr(everything, name)[index])
    # Left border, from the upper end down; lower border, from the right to the left; right border.
    borders = [0, 72 * 6, 72 * 6 + 128 * 15]
    assert [(everything.start_x[i], everything.start_y[i], everything.angle[i]) for i in borders] == [
        (0, 0, 72),
        (1, 0, 165),
        (1, 0, 108),
    ]


def test_an_anchor_leans_by_its_angle_in_normalised_coordinates() -> None:
    anchors = LineAnchors(np.array([0.5, 0.5]), np.array([0.0, 0.5]), np.array([45.0, 90.0]))
    np.testing.assert_allclose(anchors.xs(3, 100), [[50, 100, 150], [50, 50, 50]], atol=1e-4)


@pytest.mark.parametrize(("anchors", "words"), [("tusimple", "culane"), ([5], "two numbers"), ([1, 2784], "0 to 2783")])
def test_unknown_anchors_are_refused(anchors: str | list[int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        chosen_anchors(anchors)


def test_without_a_list_all_anchors_are_used() -> None:
    assert len(chosen_anchors(None)) == 2784


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(360, 640), (96, 160), (100, 170)])
def test_anchors_read_one_cell_a_row_and_the_last_row_never_and_column_20_is_clamped(height: int, width: int) -> None:
    anchors = chosen_anchors("culane")
    rows, columns = height // 32, width // 32
    features = torch.randn(2, 3, -(-height // 32), -(-width // 32))
    read = AnchorPooling(anchors, (height, width), 32)(features).unflatten(2, (3, rows))
    xs = anchors.xs(rows, width)
    clamped = 0
    for anchor in range(0, 1000, 7):
        for row in range(rows):
            column = round(float(xs[anchor, rows - 1 - row]) / 32)
            clamped += column == columns
            inside = 0 <= column <= columns
            cell = features[:, :, row, min(column, columns - 1)] if inside else torch.zeros(2, 3)
            assert torch.equal(read[:, anchor, :, row], cell)
    assert clamped > 0


def test_attention_leaves_the_diagonal_out() -> None:
    values = torch.arange(1.0, 25.0).reshape(2, 4, 3)
    matrix = off_diagonal(values)
    for image in range(2):
        for row in range(4):
            want = values[image, row].tolist()
            want.insert(row, 0.0)
            assert matrix[image, row].tolist() == want


@torch.no_grad()
def test_the_attention_feature_comes_before_the_own_one() -> None:
    model, seen = small("laneatt"), {}
    for name in ("pooling", "context", "reg_layer", "cls_layer", "attention_layer"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: (inputs, output)}))
    model(images("laneatt", 2))
    own = seen["pooling"][1]
    attention = off_diagonal(seen["attention_layer"][1].softmax(-1))
    attended = torch.einsum("bij,bjd->bid", attention, own)
    for name in ("reg_layer", "cls_layer"):
        torch.testing.assert_close(seen[name][0][0], torch.cat((attended, own), -1))
    assert torch.equal(seen["context"][0][0], attention)
    torch.testing.assert_close(seen["context"][0][0].sum(-1), torch.ones(2, 96))


@torch.no_grad()
def test_the_horizontal_start_is_in_the_length_of_pytorch_auto_drive_and_not_of_the_authors() -> None:
    inputs = images("laneatt", 1)
    pad, authors = (small("laneatt", start_in_length=flag)(inputs) for flag in (True, False))
    anchors = chosen_anchors(SMALL["laneatt"]["anchors"])
    start_x = torch.from_numpy(anchors.start_x).float()
    assert len(start_x.unique()) > 2
    torch.testing.assert_close(pad["lengths"] - authors["lengths"], start_x[None], rtol=0, atol=1e-5)
    for name in ("logits", "offsets", "starts"):
        assert torch.equal(pad[name], authors[name])


@torch.no_grad()
def test_offsets_are_added_to_the_anchors_and_starts_are_theirs() -> None:
    model = small("laneatt")
    torch.nn.init.zeros_(model.reg_layer.weight)
    torch.nn.init.zeros_(model.reg_layer.bias)
    raw = model(images("laneatt", 2))
    anchors = chosen_anchors(SMALL["laneatt"]["anchors"])
    np.testing.assert_array_equal(raw["offsets"][1].numpy(), anchors.xs(72, INPUT_SIZE["laneatt"][1]))
    np.testing.assert_array_equal(raw["starts"][1].numpy(), anchors.start_y.astype(np.float32))


@pytest.mark.parametrize("rename", [lambda state: dict(state), authors_names])
def test_both_projects_names_are_converted(rename) -> None:
    model = small("laneatt")
    state = rename(model.state_dict())
    assert recognise(state) == "laneatt"
    converted = convert(state, "laneatt")
    model.load_state_dict(converted, strict=True)
    assert list(convert(converted, "laneatt")) == list(converted)


@torch.no_grad()
def test_the_authors_file_loads_and_gives_the_same_outputs(tmp_path: Path) -> None:
    model, inputs = small("laneatt"), images("laneatt", 1)
    weights = {key: value + 1 if value.is_floating_point() else value for key, value in model.state_dict().items()}
    torch.save({"epoch": 14, "model": authors_names(weights), "optimizer": {}, "scheduler": {}}, tmp_path / "model_0015.pt")
    notes = load_float_checkpoint(model, tmp_path / "model_0015.pt")
    assert notes == ["took 'model' and left epoch, optimizer, scheduler"]
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert model(inputs)["logits"].shape == (1, 96, 2)


def test_its_sizes_are_read_off_the_weights() -> None:
    spec = goldens_rule.Golden(GOLDEN).spec
    state = {key: torch.zeros(shape) for key, shape, _ in spec}
    config = FAMILIES["laneatt"].model_config(state)
    assert (config["input_size"], config["anchors"], config["rows"]) == ((360, 640), "culane", 72)
    MODELS.build(config).load_state_dict(state, strict=True)
    few = small("laneatt").state_dict()
    MODELS.build(FAMILIES["laneatt"].model_config(few)).load_state_dict(few, strict=True)


def test_a_file_of_another_family_is_refused_by_its_name(tmp_path: Path) -> None:
    torch.save({"model": small("bezier").state_dict()}, tmp_path / "bezier.pt")
    with pytest.raises(UserError, match="looks like BezierLaneNet, but the config is of LaneATT"):
        load_float_checkpoint(small("laneatt"), tmp_path / "bezier.pt")
