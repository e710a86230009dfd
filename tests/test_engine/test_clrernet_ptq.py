"""A config with CLRerNet's names and interfaces goes through quantization as it is; runs on both stacks."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from originals import ROOT

from mmsf.datasets.synthetic import write_dataset
from mmsf.engine.evaluate import evaluate
from mmsf.engine.ptq import quantize
from mmsf.engine.quantized_file import read_quantized
from mmsf.registry import DATASETS, MODELS

PRESETS = ROOT / "configs" / "_base_" / "ptq"
SIZE = (160, 400)
CONFIG = """
default_scope = "mmdet"
custom_imports = dict(imports=["clrernet_stand_in"], allow_failed_imports=False)
model = dict(
    type="CLRerNet",
    data_preprocessor=dict(type="DetDataPreprocessor", mean=[0.0] * 3, std=[255.0] * 3, bgr_to_rgb=False),
    backbone=dict(type="DLANet"),
    neck=dict(type="CLRerNetFPN", in_channels=[8, 16, 16], out_channels=16),
    bbox_head=dict(
        type="CLRerHead", img_h=160, img_w=400, anchor_generator=dict(type="CLRerNetAnchorGenerator", num_priors=24)
    ),
    test_cfg=dict(conf_threshold=0.41, nms_thres=25, nms_topk=4, use_nms=True, as_lanes=True, cut_height=270),
)
test_pipeline = [
    dict(
        type="albumentation",
        pipelines=[
            dict(type="Crop", x_min=0, x_max=1640, y_min=270, y_max=590),
            dict(type="Resize", height=160, width=400),
        ],
    ),
    dict(type="PackCLRNetInputs", meta_keys=["filename", "sub_img_name", "ori_shape", "img_shape"]),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CulaneDataset",
        data_root="ROADS/train",
        data_list="ROADS/train/list/train.txt",
        pipeline=[],
        test_mode=False,
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CulaneDataset",
        data_root="ROADS/test",
        data_list="ROADS/test/list/test.txt",
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="METRIC", data_root="ROADS/test", data_list="ROADS/test/list/test.txt")
test_evaluator = val_evaluator
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=15)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=6e-4))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=15, by_epoch=True)]
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=50),
    checkpoint=dict(type="CheckpointHook", interval=1),
    visualization=dict(type="DetVisualizationHook"),
)
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=True)
"""
OPTIONS = {
    "train_cfg.max_iters": 2,
    "train_cfg.tuning_frames": 12,
    "train_cfg.curves": dict(levels=3, span=(0.1, 10.0), frames=3, draws=1),
    "custom_hooks.1.interval": 1,
    "custom_hooks.1.frames": 2,
    "custom_hooks.2.overlays": 1,
    "env_cfg.mp_cfg.opencv_num_threads": 1,
}

pytestmark = pytest.mark.ops


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Roads, a user's config, and weights that find lanes."""
    from clrernet_stand_in import METRIC_NAME

    folder = tmp_path_factory.mktemp("clrernet")
    write_dataset(folder / "train", frames=6, seed=1)
    write_dataset(folder / "test", frames=4, seed=2)
    (folder / "config.py").write_text(CONFIG.replace("ROADS", str(folder)).replace("METRIC", METRIC_NAME))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(Config.fromfile(folder / "config.py").model)
    torch.save({"state_dict": model.state_dict()}, folder / "float.pth")
    return folder


@pytest.fixture(scope="module")
def work_dir(folder) -> Path:
    """A finished run; nothing is given but the user's config and weights."""
    quantize(
        folder / "config.py",
        preset="best",
        bits="w4a4",
        presets=PRESETS,
        checkpoint=str(folder / "float.pth"),
        work_dir=str(folder / "run"),
        options=dict(OPTIONS),
    )
    return folder / "run"


def test_its_own_metric_judges_all_three_models(work_dir):
    summary = json.loads((work_dir / "summary.json").read_text())
    for stage in ("float", "calibrated", "quantized"):
        assert {"TP0.5", "FP0.5", "FN0.5", "F1_0.5"} <= set(summary[stage])
    assert summary["float"]["TP0.5"] + summary["float"]["FP0.5"] > 0
    assert summary["frames"] == {"calibration": 6, "evaluation": 4}
    assert set(summary["heads"]) == {"anchor", "length", "offsets"}
    assert summary["agreement"]["f1"] > 0


def test_the_float_model_is_judged_with_mmsfs_nms_as_its_own_cannot_run(folder, work_dir):
    found = evaluate(folder / "config.py", folder / "float.pth", work_dir=str(folder / "float"))
    stages = json.loads((work_dir / "summary.json").read_text())
    assert found["F1_0.5"] == stages["float"]["F1_0.5"]
    assert found["TP0.5"] + found["FP0.5"] <= 4 * 4  # at most four lanes a frame
    again = evaluate(folder / "config.py", work_dir / "quantized.pth", work_dir=str(folder / "quantized"))
    assert again["TP0.5"] == stages["quantized"]["TP0.5"]


def test_the_quantized_file_rebuilds_its_classes(work_dir):
    model = read_quantized(work_dir / "quantized.pth")
    detector = model.quantized.network.detector
    assert type(detector).__name__ == "CLRerNet"
    assert type(detector).__module__ == "clrernet_stand_in"
    raw = model(torch.zeros(1, 3, *SIZE))
    assert {name: tuple(value.shape) for name, value in raw.items()} == {
        "cls_logits": (1, 24, 2),
        "anchor_params": (1, 24, 3),
        "lengths": (1, 24, 1),
        "xs": (1, 24, 72),
    }


def test_the_adapter_takes_the_thresholds_of_the_config(work_dir):
    adapter = read_quantized(work_dir / "quantized.pth").adapter
    assert (adapter.height, adapter.width) == SIZE
    assert (adapter.threshold, adapter.nms_distance, adapter.max_lanes, adapter.crop_top) == (0.41, 25, 4, 270)


def test_it_calibrates_with_frames_of_its_training_split(folder, work_dir):
    cfg = Config.fromfile(work_dir / "config_best_w4a4.py")
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    names = [dataset[index]["data_samples"].filename for index in range(len(dataset))]
    assert len(set(names)) == 6
    assert all(name.startswith(str(folder / "train")) for name in names)
