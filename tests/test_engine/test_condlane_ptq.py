"""CondLaneNet through quantization: kernels that the network makes, and seeds that the float model sets."""

import json
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from originals import ROOT
from small_condlane import INPUT_SIZE, SMALL, images, small
from torch import nn

from mmsf.datasets.synthetic import write_dataset
from mmsf.engine.ptq import quantize
from mmsf.engine.quantized_file import read_quantized
from mmsf.quantization import MSERange, QuantizationSettings, QuantizedNetwork
from mmsf.registry import MODELS

CONFIG = ROOT / "configs" / "ptq" / "condlanenet_small_culane_w4a4_selective-focus.py"
IDLE = "neck.fpn_convs.2.conv"
PRODUCTS = [
    f"neck.trans_head.attn_layers.{block}.{product}:matmul0" for block in range(2) for product in ("scores", "context")
] + ["bbox_head.mask_conv.product:matmul0", "bbox_head.offset_conv.product:matmul0"]


@pytest.fixture(scope="module")
def roads(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("roads")
    write_dataset(folder / "train", frames=4, seed=1)
    write_dataset(folder / "test", frames=3, seed=2)
    torch.save({"state_dict": small().state_dict()}, folder / "float.pth")
    return folder


def run(roads: Path, work_dir: Path, **further):
    options = {f"model.detector.{key}": value for key, value in SMALL.items()}
    for loader in ("train_dataloader", "val_dataloader"):
        options[f"{loader}.dataset.pipeline.0.scale"] = INPUT_SIZE[::-1]
        options |= {f"{loader}.batch_size": 2, f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    options |= {
        "model.input_size": INPUT_SIZE,
        "train_cfg.max_iters": 6,
        "train_cfg.curves": dict(levels=3, span=(0.1, 10.0), frames=3, draws=1),
        "custom_hooks.0.interval": 2,
        "custom_hooks.1.overlays": 1,
        "env_cfg.mp_cfg.opencv_num_threads": 1,
    }
    return quantize(
        CONFIG,
        checkpoint=str(roads / "float.pth"),
        data_root=str(roads / "test"),
        calibration_root=[str(roads / "train")],
        work_dir=str(work_dir),
        options=options | further,
    )


@pytest.mark.parametrize("heads", ["masks", "kernels"])
def test_a_run_ends_with_all_its_results(heads: str, roads: Path, tmp_path: Path) -> None:
    runner = run(roads, tmp_path, **{"model.detector.adapter.heads": heads})
    assert {"quantized.pth", "summary.json", "sensitivity.json", "report.html"} <= {p.name for p in tmp_path.iterdir()}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["iterations"] == 6
    assert summary["mac_share"] == {"4/4": pytest.approx(1.0)}
    assert set(summary["heads"]) == {"location", "offset"}
    # Of two heads one is selected.
    assert sum(head["selected_share"] for head in summary["heads"].values()) == pytest.approx(1.0)
    assert all(head["loss_before"] > 0 for head in summary["heads"].values())
    curves = json.loads((tmp_path / "sensitivity.json").read_text())["curves"]
    assert all(curve["score"][-1] > 0 for curve in curves.values())
    assert any(frame["lines"] for frame in runner.train_loop.lanes["float"].values())
    # The calibration frames' errors are of the float model's seeds.
    loop = runner.train_loop
    assert torch.equal(loop.quantized_outputs()["seeds"], loop.model.kept_outputs["seeds"])
    written, tuned = read_quantized(tmp_path / "quantized.pth"), loop.model
    with torch.no_grad():
        for name, value in written(images(2)).items():
            assert torch.equal(value, tuned(images(2))[name])


def calibrated(bits: str = "w4a4", **settings) -> QuantizedNetwork:
    """Quantized and calibrated on noise."""
    network = QuantizedNetwork(small(), lambda n: n(images(1)), QuantizationSettings(bits, **settings))
    with network.observing() as histograms, network.running(), torch.no_grad():
        network.network(images(2))
    network.set_ranges(histograms, MSERange(), MSERange())
    return network


def test_every_layer_and_product_that_runs_is_quantized_the_dynamic_ones_too() -> None:
    network = calibrated()
    weighted = {n for n, m in small().named_modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)}
    assert {name for name, _ in network.layer_quantizers()} == weighted - {IDLE}
    assert network.left_float == {
        IDLE: "never runs in a prediction",
        **{f"neck.trans_head.attn_layers.{i}": "TransConvBlock stays in float" for i in range(2)},  # gamma
    }
    assert sorted(network.call_names) == sorted(PRODUCTS)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.network.modules())


@torch.no_grad()
def test_kernels_and_features_have_ranges_of_their_own_and_places_without_a_seed_add_only_zeros() -> None:
    model, inputs = small(), images(2)
    network = QuantizedNetwork(model, lambda n: n(images(1)), QuantizationSettings("w4a4"))
    with network.observing() as histograms, network.running():
        network.network(inputs)
    raw = model(inputs)
    for name, first in (("mask_conv", 0), ("offset_conv", 11)):
        kernels, features = (histograms[f"bbox_head.{name}.product:matmul0.{operand}"] for operand in range(2))
        # Neither the weights of the two coordinates nor the bias are among the kernels' numbers.
        weights = raw["params"].flatten(2)[:, first + 2 : first + 10]
        seen = torch.cat([weights[i][:, seeds[seeds >= 0]].flatten() for i, seeds in enumerate(raw["seeds"])])
        assert kernels.counts.sum() == 2 * 6 * 8
        want = (min(seen.min().item(), 0.0), max(seen.max().item(), 0.0))
        assert (kernels.low, kernels.high) == pytest.approx(want, abs=1e-5)
        assert features.high == pytest.approx(raw["mask_branch"].max().item(), abs=1e-5)


def test_gradients_reach_every_weight_and_learned_scale_through_the_quantizers() -> None:
    network = calibrated(learn_activation_scale=True)
    adapter = network.network.adapter
    with network.running():
        heads = adapter.split(network.network(images(2)))
        sum(v.square().mean() for group in (heads.semantics, heads.confidences) for v in group.values()).backward()
    without = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    keys = {f"network.neck.trans_head.attn_layers.{i}.key_conv.layer.bias" for i in range(2)}
    assert without - keys == {f"network.{IDLE}.{name}" for name in ("weight", "bias")}


@torch.no_grad()
def test_two_models_are_compared_at_the_float_models_seeds_and_predict_from_their_own(roads: Path) -> None:
    cfg = Config.fromfile(str(CONFIG))
    cfg.merge_from_dict({f"model.detector.{key}": value for key, value in SMALL.items()} | {"model.input_size": INPUT_SIZE})
    wrapper, inputs = MODELS.build(cfg.model | {"float_checkpoint": str(roads / "float.pth")}), images(2)
    with wrapper.quantized.observing() as histograms:
        wrapper.quantized_raw(inputs)
    wrapper.quantized.set_ranges(histograms, MSERange(), MSERange())
    wrapper.quantized.network.bbox_head.ctnet_head["hm"][2].layer.weight.neg_()  # peaks become valleys
    target, own = wrapper.float_raw(inputs), wrapper.quantized_raw(inputs)
    assert not torch.equal(own["seeds"], target["seeds"])
    told = wrapper.quantized_raw(inputs, compared_to=target)
    assert torch.equal(told["seeds"], target["seeds"])
    split = wrapper.adapter.split
    want = wrapper.loss_function(wrapper.adapter, split(target), split(told), wrapper.head_weights)
    for kept in (None, target):
        wrapper.kept_outputs = kept
        samples = [DetDataSample(metainfo=dict(calibration_index=index)) for index in range(2)]
        assert wrapper(inputs, samples, mode="loss") == want
    predicted = wrapper(inputs, [DetDataSample(metainfo=dict(ori_shape=(590, 1640)))] * 2, mode="predict")
    lanes = wrapper.adapter.decode(split(own), [dict(ori_shape=(590, 1640))] * 2)[1]
    assert [line.tolist() for line in predicted[1].pred_instances.lines] == [lane.points.tolist() for lane in lanes]


@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_configs_quantize_every_layer_that_runs(size: str) -> None:
    for bits in ("w8a8", "w8a4", "w4a4"):
        cfg = Config.fromfile(str(CONFIG.parent / f"condlanenet_{size}_culane_{bits}_selective-focus.py"))
        assert cfg.model.quantizer.bits == bits
    model = MODELS.build(cfg.model)
    assert model.quantized.share_by_bits() == {"4/4": pytest.approx(1.0)}
    macs = model.quantized.multiply_accumulates
    assert macs["bbox_head.mask_conv.product:matmul0"] == 32 * 64 * 40 * 100
    assert macs["neck.trans_head.attn_layers.0.scores:matmul0"] == 250 * 250 * 16
    assert sum(macs.values()) / 1e9 == pytest.approx({"small": 10.15, "medium": 19.59}[size], abs=0.005)
