"""GANet runs through the whole of quantization, small."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from originals import ROOT
from small_ganet import INPUT_SIZE, SMALL, images, small
from torch import nn

from mmsf.datasets.synthetic import write_dataset
from mmsf.engine.ptq import quantize
from mmsf.engine.quantized_file import read_quantized
from mmsf.models import DeformConv2d
from mmsf.quantization import MSERange, QuantizationSettings, QuantizedNetwork
from mmsf.registry import MODELS

LAYERS = (nn.Conv2d, nn.Linear, DeformConv2d)
IDLE = ("neck.def_convs.1.", "neck.def_convs.2.", "neck.fpn_convs.1.", "neck.fpn_convs.2.", "bbox_head.centerpts_head.")
REFINE = "neck.def_convs.0.reppoints_pts_refine_"
AGGREGATION = "neck.def_convs.0.reppoints_cls_conv"


def test_a_run_ends_with_all_its_results(tmp_path: Path) -> None:
    write_dataset(tmp_path / "train", frames=4, seed=1)
    write_dataset(tmp_path / "test", frames=3, seed=2)
    torch.save({"state_dict": small().state_dict()}, tmp_path / "float.pth")
    options = {f"model.detector.{key}": value for key, value in SMALL.items()}
    for loader in ("train_dataloader", "val_dataloader"):
        options[f"{loader}.dataset.pipeline.0.scale"] = INPUT_SIZE[::-1]
        options |= {f"{loader}.batch_size": 2, f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    options |= {
        "model.input_size": INPUT_SIZE,
        "train_cfg.max_iters": 3,
        "train_cfg.curves": dict(levels=3, span=(0.1, 10.0), frames=3, draws=1),
        "custom_hooks.0.interval": 2,
        "custom_hooks.1.overlays": 1,
        "env_cfg.mp_cfg.opencv_num_threads": 1,
    }
    runner = quantize(
        ROOT / "configs" / "ptq" / "ganet_small_culane_w4a4_selective-focus.py",
        checkpoint=str(tmp_path / "float.pth"),
        data_root=str(tmp_path / "test"),
        calibration_root=[str(tmp_path / "train")],
        work_dir=str(tmp_path),
        options=options,
    )
    assert {"quantized.pth", "summary.json", "sensitivity.json", "report.html"} <= {p.name for p in tmp_path.iterdir()}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["iterations"] == 3
    assert summary["mac_share"] == {"4/4": pytest.approx(1.0)}
    assert set(summary["heads"]) == {"start_offset", "cell_offset"}
    # Of two heads one is selected.
    assert sum(head["selected_share"] for head in summary["heads"].values()) == pytest.approx(1.0)
    assert any(frame["lines"] for frame in runner.train_loop.lanes["float"].values())
    written, tuned = read_quantized(tmp_path / "quantized.pth"), runner.train_loop.model
    with torch.no_grad():
        for name, value in written(images(2)).items():
            assert torch.equal(value, tuned(images(2))[name])


@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_configs_quantize_every_layer_that_runs(size: str) -> None:
    for bits in ("w8a8", "w8a4", "w4a4"):
        cfg = Config.fromfile(str(ROOT / "configs" / "ptq" / f"ganet_{size}_culane_{bits}_selective-focus.py"))
        assert cfg.model.quantizer.bits == bits
    model = MODELS.build(cfg.model)
    assert model.quantized.share_by_bits() == {"4/4": pytest.approx(1.0)}
    macs = model.quantized.multiply_accumulates
    assert macs[AGGREGATION] == 64 * 256 * 7 * 40 * 100
    assert sum(macs.values()) / 1e9 == pytest.approx({"small": 21.68, "medium": 31.11}[size], abs=0.005)


def quantized(bits: str = "w4a4") -> QuantizedNetwork:
    """Quantized and calibrated on noise."""
    network = QuantizedNetwork(small(), lambda n: n(images(1)), QuantizationSettings(bits))
    with network.observing() as histograms, network.running(), torch.no_grad():
        network.network(images(2))
    network.set_ranges(histograms, MSERange(), MSERange())
    return network


def test_layers_that_never_run_are_neither_calibrated_nor_tuned_and_all_others_are_quantized() -> None:
    network = quantized()
    done = dict(network.layer_quantizers())
    for name, module in small().named_modules():
        if isinstance(module, LAYERS):
            idle = name.startswith((*IDLE, REFINE))
            assert (name in network.left_float) == idle
            assert (name in done) != idle
            if idle:
                assert network.left_float[name] == "never runs in a prediction"
                assert not any(p.requires_grad for p in network.network.get_submodule(name).parameters())
    assert all(layer.weight_quantizer is not None and layer.input_quantizer is not None for layer in done.values())


@torch.no_grad()
def test_the_aggregation_quantizes_weight_and_features_but_not_the_places_it_reads() -> None:
    network, seen = quantized(), []
    layer = dict(network.layer_quantizers())[AGGREGATION]
    assert isinstance(layer.layer, DeformConv2d)
    layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs))
    with network.running():
        network.network(images(1))
    features, places = seen[0]
    assert len(layer.input_quantizer(features).unique()) <= 16
    assert len(places.unique()) > 100
    assert len(layer.quantized_weight()[0].unique()) <= 16


@torch.no_grad()
def test_both_products_of_the_attention_are_quantized() -> None:
    blocks = [f"neck.trans_head.attn_layers.{i}" for i in (0, 1)]
    assert quantized().call_names == [f"{block}.{name}:matmul0" for block in blocks for name in ("scores", "context")]


def test_gradients_reach_every_weight_and_scale_that_is_tuned() -> None:
    network = quantized()
    with network.running():
        raw = network.network(images(2))
    sum(value.square().mean() for value in raw.values()).backward()
    tuned = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert [name for name, p in tuned.items() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
def test_eight_bits_stay_near_the_float_model_and_four_bits_do_not_equal_it() -> None:
    inputs, model = images(2), small()
    heads = model.adapter.split(model(inputs))
    errors = {}
    for bits in ("w8a8", "w4a4"):
        network = quantized(bits)
        with network.running():
            output = model.adapter.split(network.network(inputs))
        errors[bits] = (output.confidences["keypoint"] - heads.confidences["keypoint"]).abs().mean()
    assert errors["w8a8"] < 0.05
    assert errors["w4a4"] > 2 * errors["w8a8"]
