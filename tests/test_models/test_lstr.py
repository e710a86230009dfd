"""LSTR: its outputs, its prediction path, and what a re-implementation gets wrong (names of tests say which)."""

import copy

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from originals import ROOT

from mmsf.errors import UserError
from mmsf.models import LSTR


def small(**settings) -> LSTR:
    torch.manual_seed(0)
    model = LSTR(
        backbone=dict(type="ResNet", layers=(1, 1, 1, 1), widths=(8, 8, 16, 16)),
        backbone_channels=16,
        channels=16,
        feedforward_channels=32,
        adapter=dict(type="LSTRAdapter", threshold=0.0, x_range="any"),
        data_preprocessor=dict(type="ImgDataPreprocessor", mean=[100.0] * 3, std=[50.0] * 3),
        loss=dict(type="LSTRLoss"),
        **settings,
    )
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.nn.init.constant_(model.specific_embed.layers[-1].bias[1], 1.2)
    return model.eval()


def samples(count: int) -> list[DetDataSample]:
    return [DetDataSample(metainfo=dict(ori_shape=(590 + 10 * i, 1640), img_shape=(64, 96))) for i in range(count)]


def labelled(lines: list[np.ndarray]) -> DetDataSample:
    sample = DetDataSample(metainfo=dict(ori_shape=(590, 1640), img_shape=(64, 96)))
    sample.gt_instances = InstanceData(lines=lines, input_lines=lines)
    return sample


@torch.no_grad()
def test_predict_is_decode_of_split_of_the_raw_outputs() -> None:
    model, images = small(), torch.randn(3, 3, 64, 96)
    predicted = model(images, samples(3), mode="predict")
    decoded = model.adapter.decode(model.adapter.split(model(images)), [sample.metainfo for sample in samples(3)])
    assert sum(map(len, decoded)) > 0
    for sample, lanes in zip(predicted, decoded):
        assert sample.pred_instances.scores.tolist() == [lane.score for lane in lanes]
        assert [line.tobytes() for line in sample.pred_instances.lines] == [lane.points.tobytes() for lane in lanes]


@torch.no_grad()
def test_a_batch_equals_its_images_one_by_one() -> None:
    model, images = small(), torch.randn(4, 3, 64, 96)
    together = model(images)
    alone = [model(image[None]) for image in images]
    for name, value in together.items():
        torch.testing.assert_close(value, torch.cat([raw[name] for raw in alone]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_any_input_size_works() -> None:
    model = small()
    for size in ((64, 96), (65, 131), (32, 32)):
        assert model(torch.randn(1, 3, *size))["curves"].shape == (1, 7, 8)


@torch.no_grad()
def test_auxiliary_outputs_come_only_when_asked_for() -> None:
    model, images = small(), torch.randn(1, 3, 64, 96)
    plain, full = model(images), model.raw_outputs(images, auxiliary=True)
    assert set(plain) == {"logits", "curves"}
    assert set(full) == {"logits", "curves", "aux0.logits", "aux0.curves"}
    assert torch.equal(plain["curves"], full["curves"])
    assert not torch.equal(full["aux0.curves"], full["curves"])


@torch.no_grad()
def test_the_decoders_norm_is_applied_to_every_layer() -> None:
    model = small()
    seen = []
    model.transformer.decoder.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.raw_outputs(torch.randn(1, 3, 64, 96), auxiliary=True)
    assert seen[0].shape[0] == 2
    torch.testing.assert_close(seen[0].mean(-1), torch.zeros(2, 1, 7), rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_shared_head_is_the_mean_over_the_queries_and_stands_between_the_two_halves_of_the_own_one() -> None:
    model = small()
    seen = {}
    for name in ("specific_embed", "shared_embed"):
        getattr(model, name).register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
    curves = model(torch.randn(1, 3, 64, 96))["curves"]
    own, shared = seen["specific_embed"][-1], seen["shared_embed"][-1].mean(1, keepdim=True).expand(1, 7, 4)
    assert torch.equal(curves, torch.cat((own[..., :2], shared, own[..., 2:]), -1))


def test_positions_enter_queries_and_keys_and_not_values() -> None:
    model = small()
    layer = model.transformer.encoder.layers[0]
    seen = []
    layer.self_attn.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    memory, position = torch.randn(1, 6, 16), torch.randn(6, 16)
    layer(memory, position)
    query, key, value = seen[0]
    assert torch.equal(query, memory + position)
    assert torch.equal(key, memory + position)
    assert torch.equal(value, memory)


@pytest.mark.parametrize(
    ("name", "bgr_to_rgb", "backend", "size"),
    [
        ("lstr_r18s-1x_tusimple", False, "cv2", (360, 640)),
        ("lstr_r18s-1x_culane", False, "cv2", (295, 820)),
        ("lstr_r18s-2x_culane", True, "pil", (288, 800)),
        ("lstr_r34_culane", True, "pil", (288, 800)),
    ],
)
def test_the_authors_expect_bgr_and_cv2_and_pytorch_auto_drive_rgb_and_pil(
    name: str, bgr_to_rgb: bool, backend: str, size: tuple[int, int]
) -> None:
    config = Config.fromfile(str(ROOT / "configs" / "lstr" / f"{name}.py"))
    assert config.model.data_preprocessor.bgr_to_rgb == bgr_to_rgb
    assert config.input_size == size
    for loader in ("train", "val", "test", "calibration"):
        load = config[f"{loader}_dataloader"].dataset.pipeline[0]
        assert (load.type, load.backend, load.scale) == ("LoadImage", backend, size[::-1])


def test_training_starts_from_finite_losses_and_lowers_them_on_one_batch() -> None:
    model = small(dropout=0.0)
    model.init_weights()
    model.train()
    images = torch.randn(2, 3, 64, 96)
    lines = [
        [np.array([[20.0, 60.0], [40.0, 30.0]]), np.array([[80.0, 60.0], [50.0, 30.0]])],
        [np.array([[48.0, 63.0], [48.0, 25.0]])],
    ]
    batch = [labelled(image) for image in lines]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    totals = []
    for _ in range(60):
        total = sum(model(images, batch, mode="loss").values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        totals.append(total.item())
    assert np.isfinite(totals).all()
    assert totals[-1] < 0.3 * totals[0]


def test_a_detector_without_a_loss_says_so_when_it_is_trained() -> None:
    model = small()
    model.loss_function = None
    with pytest.raises(UserError, match=r"LSTR has no loss; set model\.loss"):
        model(torch.zeros(1, 3, 64, 96), [labelled([])], mode="loss")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="guess"):
        small()(torch.zeros(1, 3, 64, 96), mode="guess")


@torch.no_grad()
def test_a_copy_of_a_used_detector_is_independent_of_it() -> None:
    model, images = small(), torch.randn(1, 3, 64, 96)
    before = model(images)["curves"]
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.zero_()
    assert torch.equal(model(images)["curves"], before)


@torch.no_grad()
def test_a_detector_that_never_ran_can_be_traced() -> None:
    model, images = small(), torch.randn(1, 3, 64, 96)
    traced = torch.jit.trace(model, images, strict=False)
    assert torch.equal(traced(images)["curves"], model(images)["curves"])
