"""Masks from labels: where the labelled lanes are, each family's own way."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from originals import ROOT
from test_sensitivity.heads import line_heads, with_noise
from torch.utils.data import default_collate

from mmsf.adapters.labels import MASK, LabelFocusAdapter
from mmsf.datasets.synthetic import write_dataset
from mmsf.errors import UserError
from mmsf.models.checkpoints import load_float_checkpoint
from mmsf.reconstruction import SelectiveFocusLoss
from mmsf.registry import DATASETS, MODELS, TASK_UTILS

FAMILIES = ("condlanenet", "ganet", "lstr", "bezierlanenet", "laneatt", "scnn", "resa")
OTHERS = {"lstr": ("shape",)}  # gates that are one number an image


@pytest.fixture(scope="module")
def roads(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("roads")
    write_dataset(folder, frames=4, seed=3)
    return folder


def outputs_of(family: str, roads: Path):
    """The small detector, its raw outputs for the frames, their samples, and the size of its input."""
    config = Config.fromfile(str(ROOT / "configs" / family / f"{family}_tiny_synthetic.py"))
    detector = MODELS.build(config.model).eval()
    load_float_checkpoint(detector, ROOT / "mmsf" / "zoo" / f"{family}_tiny_synthetic.pth")
    dataset = config.calibration_dataloader.dataset
    dataset.update(calibration_root=str(roads), exclude=[], labelled=True)
    frames = list(DATASETS.build(dataset))
    inputs = default_collate([frame["inputs"] for frame in frames])
    samples = [frame["data_samples"] for frame in frames]
    with torch.no_grad():
        raw = detector(detector.data_preprocessor(dict(inputs=inputs))["inputs"], mode="tensor")
    return detector, raw, samples, config.input_size


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mask_is_where_a_good_detector_is_confident(family, roads):
    detector, raw, samples, size = outputs_of(family, roads)
    masks = detector.foreground(raw, samples, size)
    adapter = LabelFocusAdapter(detector.adapter)
    by_confidence, by_labels = adapter.split(raw), adapter.split({**raw, **{MASK + name: m for name, m in masks.items()}})
    assert all(masks[name].shape == by_confidence.confidences[name].shape for name in masks)
    for name in adapter.semantic_heads:
        confidence, mask = adapter.gate(by_confidence, name), adapter.gate(by_labels, name)
        assert torch.equal(confidence, detector.adapter.gate(by_confidence, name))
        assert mask.shape == confidence.shape
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        if name not in OTHERS.get(family, ()):
            assert 0 < mask.mean() < 0.7
            assert confidence[mask == 1].mean() > 0.5 > 2 * confidence[mask == 0].mean()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frame_without_lanes_has_an_empty_mask(family, roads):
    detector, raw, samples, size = outputs_of(family, roads)
    for sample in samples:
        sample.gt_instances = InstanceData(input_lines=[])
    assert all(not mask.any() for mask in detector.foreground(raw, samples, size).values())


def test_an_adapter_without_points_has_none_with_labels_either():
    cfg = Config.fromfile(str(ROOT / "configs" / "condlanenet" / "condlanenet_tiny_synthetic.py")).model.adapter
    assert LabelFocusAdapter(TASK_UTILS.build(cfg)).has_points
    assert not LabelFocusAdapter(TASK_UTILS.build(dict(cfg, heads="kernels"))).has_points


def test_equation_3_written_out():
    adapter, target, _ = line_heads()
    labelled = LabelFocusAdapter(adapter)
    mask = (torch.rand(target.confidences["lane"].shape, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    target.constants[f"{MASK}lane"] = mask
    output = with_noise(target, "position", 0.3)
    output.confidences = {"lane": target.confidences["lane"] * 0.9}
    losses = SelectiveFocusLoss(confidence_weight=3.0)(labelled, target, output, torch.ones(2))
    want = (mask[..., None] * (output.semantics["position"] - target.semantics["position"])).square().mean()
    torch.testing.assert_close(losses["loss_position"], want)
    # The confidence itself is held to the float model's, not to the labels.
    torch.testing.assert_close(losses["loss_lane_confidence"], 3.0 * (0.1 * target.confidences["lane"]).square().mean())


def test_an_image_without_labels_beside_it_is_named(roads, tmp_path):
    image = next(roads.rglob("*.jpg"))
    (tmp_path / image.name).write_bytes(image.read_bytes())
    with pytest.raises(UserError, match=r"\.lines\.txt is missing"):
        DATASETS.build(dict(type="CalibrationDataset", calibration_root=str(tmp_path), labelled=True))
