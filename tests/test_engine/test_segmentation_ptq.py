"""SCNN and RESA through quantization: what is quantized, and a run from a config to its results."""

import json
from pathlib import Path

import pytest
import torch
from originals import ROOT
from small_segmentation import FAMILIES, INPUT_SIZE, SMALL, images, small
from torch import nn

from mmsf.datasets.synthetic import write_dataset
from mmsf.engine.ptq import quantize
from mmsf.quantization import MSERange, QuantizationSettings, QuantizedNetwork


def quantized(family: str, **settings) -> QuantizedNetwork:
    return QuantizedNetwork(small(family), lambda network: network(images(1)), QuantizationSettings("w4a4", **settings))


@pytest.mark.parametrize(("family", "layers"), [("scnn", 27), ("resa", 71)])
def test_every_layer_is_quantized_and_every_batch_norm_folded(family: str, layers: int) -> None:
    network = quantized(family)
    weighted = {n for n, m in small(family).named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)}
    assert {name for name, _ in network.layer_quantizers()} == weighted
    assert len(weighted) == layers
    assert network.left_float == {}
    assert network.call_names == []
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.network.modules())


@torch.no_grad()
def test_all_slices_of_a_direction_share_one_range() -> None:
    network = quantized("scnn")
    with network.observing() as histograms, network.running():
        network.network(images(1))
    height, width, channels = 8, 12, 16
    counted = {d: histograms[f"scnn_layer.conv_{d}"].counts.sum() for d in "durl"}
    rows, columns = height - 1, width - 1
    assert counted == {
        "d": channels * width * rows,
        "u": channels * width * (rows - 1),
        "r": channels * height * columns,
        "l": channels * height * (columns - 1),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_weight_and_learned_scale_through_the_quantizers(family: str) -> None:
    network = quantized(family, learn_activation_scale=True)
    with torch.no_grad(), network.observing() as histograms, network.running():
        network.network(images(2))
    network.set_ranges(histograms, MSERange(), MSERange())
    with network.running():
        sum(value.square().mean() for value in network.network(images(2)).values()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_where_sums_are_quantized_a_direction_of_scnn_is_one_sum() -> None:
    names = [name for name in quantized("scnn", profile="onnxruntime").call_names if name.startswith("scnn_layer")]
    assert names == [f"scnn_layer.sum_{direction}:add0" for direction in "durl"]


def test_the_last_layers_are_those_of_the_map_and_of_the_existence() -> None:
    for family, last in (("scnn", "classifier"), ("resa", "decoder.output_proj")):
        bits = quantized(family, scheme="customary").bits
        assert {n for n, b in bits.items() if b.weight == 8} == {"backbone.conv1", last, "lane_classifier.linear2"}


@pytest.fixture(scope="module")
def few_roads(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("few_roads")
    write_dataset(folder / "train", frames=4, seed=1)
    write_dataset(folder / "test", frames=2, seed=2)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_of_the_family_ends_with_its_results(family: str, few_roads: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": small(family).state_dict()}, tmp_path / "float.pth")
    loaders = ("train_dataloader", "val_dataloader")
    quantize(
        ROOT / "configs" / "ptq" / f"{family}_r18_culane_w4a4_selective-focus.py",
        checkpoint=str(tmp_path / "float.pth"),
        data_root=str(few_roads / "test"),
        calibration_root=[str(few_roads / "train")],
        work_dir=str(tmp_path / "run"),
        options={
            **{f"model.detector.{key}": value for key, value in SMALL.items()},
            "model.input_size": INPUT_SIZE,
            **{f"{loader}.dataset.pipeline.0.scale": INPUT_SIZE[::-1] for loader in loaders},
            **{f"{loader}.num_workers": 0 for loader in loaders},
            **{f"{loader}.batch_size": 2 for loader in loaders},
            "val_dataloader.persistent_workers": False,
            "train_cfg.max_iters": 12,
            "train_cfg.curves": dict(levels=3, frames=2, draws=1),
            "custom_hooks.0.interval": 4,
            "custom_hooks.1.overlays": 1,
        },
    )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["iterations"] == 12
    assert summary["mac_share"] == {"4/4": pytest.approx(1.0)}
    (head,) = summary["heads"].items()
    assert head[0] == "location"
    assert head[1]["selected_share"] == 1.0
    assert 0 < head[1]["loss_after"] < head[1]["loss_before"]
    curve = json.loads((tmp_path / "run" / "sensitivity.json").read_text())["curves"]["location"]
    assert curve["score"][-1] > 0
    assert (tmp_path / "run" / "quantized.pth").is_file()
