"""onedl-mmdetection's CLRNet goes through quantization with its own model, head, sample and metric classes."""

import json
from pathlib import Path

import goldens_rule
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from originals import ROOT, assert_lanes_equal

from mmsf.adapters import CLRNetAdapter
from mmsf.datasets.synthetic import write_dataset
from mmsf.engine.evaluate import evaluate
from mmsf.engine.ptq import quantize
from mmsf.engine.quantized_file import read_quantized
from mmsf.registry import DATASETS, MODELS

CONFIGS = ROOT / "configs" / "clrnet"
PRESETS = ROOT / "configs" / "_base_" / "ptq"
TINY = CONFIGS / "clrnet_tiny_synthetic.py"
GOLDEN = ROOT / "tests" / "data" / "goldens" / "clrnet_resnet18_seed0.npz"
OPTIONS = {
    "train_cfg.max_iters": 2,
    "train_cfg.tuning_frames": 12,
    "train_cfg.curves": dict(levels=3, span=(0.1, 10.0), frames=3, draws=1),
    "train_dataloader.batch_size": 4,
    "custom_hooks.1.interval": 1,
    "custom_hooks.1.frames": 2,
    "custom_hooks.2.overlays": 1,
    "env_cfg.mp_cfg.opencv_num_threads": 1,
}

pytestmark = pytest.mark.ops


def build(name: str, **head):
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    cfg.model.head.update(head)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return cfg, MODELS.build(cfg.model).eval()


@pytest.fixture(scope="module")
def roads(tmp_path_factory) -> Path:
    """Frames, and ``float.pth``: chance weights whose lanes are long enough to be some."""
    folder = tmp_path_factory.mktemp("roads")
    write_dataset(folder / "train", frames=6, seed=1)
    write_dataset(folder / "test", frames=4, seed=2)
    torch.manual_seed(0)
    _, model = build("clrnet_tiny_synthetic")
    with torch.no_grad():
        model.bbox_head.reg_layers.bias[3] = 0.6
    torch.save({"state_dict": model.state_dict()}, folder / "float.pth")
    return folder


def test_the_network_equals_the_authors():
    """With the child config's levels; the keys differ in their beginnings only."""
    golden = goldens_rule.Golden(GOLDEN)
    _, model = build("clrnet_r18_culane", num_classes_seg=5)
    weights = {
        key.replace("backbone.model.", "backbone.").replace("heads.", "bbox_head."): torch.from_numpy(value)
        for key, value in golden.state_dict().items()
    }
    model.load_state_dict(weights, strict=True)
    adapter = CLRNetAdapter((320, 800), 0.4, 50.0, 4, crop_top=270, last_pixel=False)
    with torch.no_grad():
        raw = adapter.run(model, torch.from_numpy(golden.input()))
    report = golden.compare("out.predictions", raw["predictions"].numpy())
    assert report["ok"], report
    lanes = adapter.decode(adapter.split(raw), [{"ori_shape": (590, 1640)}])[0]
    assert_lanes_equal(lanes, golden.lanes(), golden.meta["lane_tol_px"])


def test_without_suppression_the_lanes_are_those_of_its_own_predict(roads):
    """On a CPU its own head suppresses nothing, and sorts nothing either."""
    cfg, model = build("clrnet_tiny_synthetic")
    model.load_state_dict(torch.load(roads / "float.pth")["state_dict"])
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(dict(cfg.val_dataloader.dataset, data_root=str(roads / "test")))
        items = [dataset[index] for index in range(len(dataset))]
    batch = dict(inputs=[item["inputs"] for item in items], data_samples=[item["data_samples"] for item in items])
    batch = model.data_preprocessor(batch)
    adapter = CLRNetAdapter((144, 400), nms_distance=None)
    with torch.no_grad():
        own = model.predict(*batch.values())
        raw = adapter.run(model, batch["inputs"])
    lanes = adapter.decode(adapter.split(raw), [sample.metainfo for sample in batch["data_samples"]])
    assert sum(map(len, lanes)) > 20
    for found, sample in zip(lanes, own):
        predicted = sample.pred_instances
        order = np.argsort(-np.asarray(predicted.line_conf), kind="stable")
        assert_lanes_equal(found, [predicted.lines[place] for place in order], 0.02)
        assert [lane.score for lane in found] == pytest.approx([predicted.line_conf[place] for place in order], abs=1e-6)


@pytest.fixture(scope="module")
def work_dir(roads) -> Path:
    """A finished run."""
    quantize(
        TINY,
        preset="best",
        bits="w8a8",
        presets=PRESETS,
        checkpoint=str(roads / "float.pth"),
        data_root=str(roads / "test"),
        calibration_root=[str(roads / "train")],
        work_dir=str(roads / "run"),
        options=dict(OPTIONS),
    )
    return roads / "run"


def test_onedls_metric_judges_all_three_models(work_dir):
    summary = json.loads((work_dir / "summary.json").read_text())
    for stage in ("float", "calibrated", "quantized"):
        assert {"culane/TP_50", "culane/F1_50"} <= set(summary[stage])
    assert summary["frames"] == {"calibration": 6, "evaluation": 4}
    assert set(summary["heads"]) == {"anchor", "length", "offsets"}
    assert "detector.bbox_head.seg_decoder.conv" in summary["left_float"]
    assert summary["mac_share"] == {"8/8": pytest.approx(1.0)}


def test_float_and_quantized_weights_are_judged_as_in_the_run(roads, work_dir):
    stages = json.loads((work_dir / "summary.json").read_text())
    for weights, stage in ((roads / "float.pth", "float"), (work_dir / "quantized.pth", "quantized")):
        found = evaluate(TINY, weights, data_root=str(roads / "test"), work_dir=str(roads / stage))
        assert found["culane/TP_50"] == stages[stage]["culane/TP_50"]
        assert found["culane/FP_50"] == stages[stage]["culane/FP_50"]


def test_the_classes_stay_onedls(work_dir):
    detector = read_quantized(work_dir / "quantized.pth").quantized.network.detector
    for part in (detector, detector.backbone, detector.neck, detector.bbox_head, detector.data_preprocessor):
        assert type(part).__module__.startswith("mmdet.")


def test_training_takes_its_own_loss(roads):
    cfg, model = build("clrnet_tiny_synthetic")
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=str(roads / "train")))
    items = [dataset[index] for index in range(2)]
    batch = dict(inputs=[item["inputs"] for item in items], data_samples=[item["data_samples"] for item in items])
    losses = model.train()(**model.data_preprocessor(batch, training=True), mode="loss")
    assert all(
        losses[name].isfinite() and losses[name] > 0 for name in ("cls_loss", "reg_xytl_loss", "iou_loss", "seg_loss")
    )


def test_its_metrics_name_is_taken_so_that_clrernets_cannot_be_registered_beside_it():
    from mmdet.registry import METRICS

    with pytest.raises(KeyError, match="already registered"):
        METRICS.register_module(name="CULaneMetric", module=type("CULaneMetric", (), {}))


def test_the_bundled_weights_find_most_lanes_of_unseen_roads(tmp_path):
    write_dataset(tmp_path, frames=10, seed=123)
    weights = ROOT / "mmsf" / "zoo" / "openmmlab" / "clrnet_tiny_synthetic.pth"
    assert evaluate(TINY, weights, data_root=str(tmp_path), work_dir=str(tmp_path))["culane/F1_50"] > 0.9
