"""BezierLaneNet and LaneATT run through the whole of quantization, small."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from originals import ROOT
from small_detectors import INPUT_SIZE, SMALL, images, small
from torch import nn

from mmsf.datasets.synthetic import write_dataset
from mmsf.engine.ptq import quantize
from mmsf.engine.quantized_file import read_quantized
from mmsf.models import DeformConv2d
from mmsf.quantization import MSERange, QuantizationSettings, QuantizedNetwork, Quantizer
from mmsf.registry import MODELS

CONFIGS = {"bezier": "bezierlanenet_r18_culane_w4a4", "laneatt": "laneatt_r18_culane_w4a4"}
HEADS = {"bezier": {"curve"}, "laneatt": {"offsets", "length"}}
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear, DeformConv2d)


@pytest.fixture(scope="module")
def roads(tmp_path_factory) -> Path:
    """Three frames to evaluate in ``test``, four others to calibrate in ``train``."""
    folder = tmp_path_factory.mktemp("roads")
    write_dataset(folder / "train", frames=4, seed=1)
    write_dataset(folder / "test", frames=3, seed=2)
    return folder


def run(family: str, roads: Path, work_dir: Path) -> Runner:
    """A run of the family's own config with everything in it made small."""
    torch.save({"state_dict": small(family).state_dict()}, work_dir / "float.pth")
    options = {f"model.detector.{key}": value for key, value in SMALL[family].items()}
    for loader in ("train_dataloader", "val_dataloader"):
        options[f"{loader}.dataset.pipeline.0.scale"] = INPUT_SIZE[family][::-1]
        options |= {f"{loader}.batch_size": 2, f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    options |= {
        "model.input_size": INPUT_SIZE[family],
        "train_cfg.max_iters": 3,
        "train_cfg.curves": dict(levels=3, span=(0.1, 10.0), frames=3, draws=1),
        "custom_hooks.0.interval": 2,
        "custom_hooks.1.overlays": 1,
        "env_cfg.mp_cfg.opencv_num_threads": 1,
    }
    return quantize(
        ROOT / "configs" / "ptq" / f"{CONFIGS[family]}_selective-focus.py",
        checkpoint=str(work_dir / "float.pth"),
        data_root=str(roads / "test"),
        calibration_root=[str(roads / "train")],
        work_dir=str(work_dir),
        options=options,
    )


@pytest.mark.parametrize("family", CONFIGS)
def test_a_run_ends_with_all_its_results(family: str, roads: Path, tmp_path: Path) -> None:
    runner = run(family, roads, tmp_path)
    assert {"quantized.pth", "summary.json", "sensitivity.json", "report.html"} <= {p.name for p in tmp_path.iterdir()}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["iterations"] == 3
    assert summary["mac_share"] == {"4/4": pytest.approx(1.0)}
    assert set(summary["heads"]) == HEADS[family]
    assert any(frame["lines"] for frame in runner.train_loop.lanes["float"].values())
    written, tuned = read_quantized(tmp_path / "quantized.pth"), runner.train_loop.model
    with torch.no_grad():
        for name, value in written(images(family, 2)).items():
            assert torch.equal(value, tuned(images(family, 2))[name])


@pytest.mark.parametrize(
    ("config", "gigas"),
    [("bezierlanenet_r18", 7.29), ("bezierlanenet_r34", 14.72), ("laneatt_r18", 10.02), ("laneatt_r34", 18.67)],
)
def test_the_configs_quantize_all_of_the_originals_multiply_accumulates(config: str, gigas: float) -> None:
    for bits in ("w8a8", "w8a4", "w4a4"):
        cfg = Config.fromfile(str(ROOT / "configs" / "ptq" / f"{config}_culane_{bits}_selective-focus.py"))
        assert cfg.model.quantizer.bits == bits
    model = MODELS.build(cfg.model)
    assert sum(model.quantized.multiply_accumulates.values()) / 1e9 == pytest.approx(gigas, abs=0.005)
    assert model.quantized.share_by_bits() == {"4/4": pytest.approx(1.0)}


def quantized(family: str, bits: str = "w4a4") -> QuantizedNetwork:
    """Quantized and calibrated on noise."""
    network = QuantizedNetwork(small(family), lambda n: n(images(family, 1)), QuantizationSettings(bits))
    with network.observing() as histograms, network.running(), torch.no_grad():
        network.network(images(family, 2))
    network.set_ranges(histograms, MSERange(), MSERange())
    return network


@pytest.mark.parametrize("family", CONFIGS)
def test_every_layer_is_quantized_or_named_with_the_reason(family: str) -> None:
    network = quantized(family)
    done = dict(network.layer_quantizers())
    for name, module in small(family).named_modules():
        if isinstance(module, LAYERS):
            assert (name in done) != (name in network.left_float), name
    assert all(layer.weight_quantizer is not None and layer.input_quantizer is not None for layer in done.values())
    training_only = {"bezier": "segmentation_head.", "laneatt": "none"}[family]
    assert all(name.startswith(training_only) for name in network.left_float)


def test_the_deformable_convolution_and_its_offsets_are_quantized() -> None:
    layers = dict(quantized("bezier").layer_quantizers())
    assert isinstance(layers["simple_flip_2d.proj2_conv"].layer, DeformConv2d)
    assert "simple_flip_2d.proj2_offset" in layers


def test_the_product_of_attention_and_features_is_quantized_on_both_sides() -> None:
    network = quantized("laneatt")
    assert network.call_names == ["context:matmul0"]
    assert all(isinstance(operand, Quantizer) for operand in network.calls[0].operands)
    # 96 x 96 x 24 products of an image.
    assert network.multiply_accumulates["context:matmul0"] == 96 * 96 * 24


@pytest.mark.parametrize("family", CONFIGS)
def test_gradients_reach_every_weight_and_scale_that_is_tuned(family: str) -> None:
    network = quantized(family)
    with network.running():
        raw = network.network(images(family, 2))
    sum(value.square().mean() for value in raw.values() if value.requires_grad).backward()
    tuned = {name: p for name, p in network.named_parameters() if p.requires_grad and "segmentation_head" not in name}
    assert [name for name, p in tuned.items() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
@pytest.mark.parametrize("family", CONFIGS)
def test_eight_bits_stay_near_the_float_model_and_four_bits_do_not_equal_it(family: str) -> None:
    inputs, model = images(family, 2), small(family)
    heads = model.adapter.split(model(inputs))
    errors = {}
    for bits in ("w8a8", "w4a4"):
        network = quantized(family, bits)
        with network.running():
            output = model.adapter.split(network.network(inputs))
        errors[bits] = (output.confidences["lane"] - heads.confidences["lane"]).abs().mean()
    assert errors["w8a8"] < 0.05
    assert errors["w4a4"] > 2 * errors["w8a8"]
