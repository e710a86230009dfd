"""SCNN and RESA at a size for tests, their weights drawn by the golden files' rule."""

import goldens_rule
import torch
from mmengine.config import Config
from originals import ROOT
from torch import Tensor

from mmsf.models.detectors.segmentation import SegmentationDetector
from mmsf.registry import MODELS

FAMILIES = ("scnn", "resa")
INPUT_SIZE = (64, 96)
# What makes a config of `configs` small, below the detector's key.
SMALL = {
    "backbone.widths": (8, 8, 16, 16),
    "backbone_channels": 16,
    "channels": 16,
    "input_size": INPUT_SIZE,
    "adapter.input_size": INPUT_SIZE,
}


def load_rule_weights(model: SegmentationDetector, seed: int = 0) -> None:
    """Weights by the rule, calibrated: signals and logits near unit size, and a lane in most slots."""
    spec = [(key, tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in model.state_dict().items()]
    state = {key: torch.from_numpy(value) for key, value in goldens_rule.seeded_state_dict(spec, seed).items()}
    damping = {"scnn_layer.": 0.3, "spatial_conv.": 0.05, "backbone.": 0.7, "decoder.layers.": 0.7}
    for key, value in state.items():
        if value.dim() == 4:
            value *= next((factor for name, factor in damping.items() if key.startswith(name)), 1.0)
    state["lane_classifier.linear2.bias"] += 2.0
    model.load_state_dict(state, strict=True)
    last = model.classifier if hasattr(model, "classifier") else model.decoder.output_proj
    with torch.no_grad():
        last.weight *= 2 / model.eval()(images(1, size=model.input_size))["out"].std()


def small(family: str, input_size: tuple[int, int] = INPUT_SIZE, **settings) -> SegmentationDetector:
    """A small detector in eval mode."""
    config = Config.fromfile(str(ROOT / "configs" / family / f"{family}_r18_culane.py")).model
    sizes = {"input_size": input_size, "adapter.input_size": input_size}
    wrapped = Config(dict(model=config))
    wrapped.merge_from_dict({f"model.{key}": value for key, value in {**SMALL, **sizes, **settings}.items()})
    model = MODELS.build(wrapped.model)
    load_rule_weights(model)
    return model.eval()


def images(count: int, seed: int = 1, size: tuple[int, int] = INPUT_SIZE) -> Tensor:
    """(count, 3, H, W) normal noise."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))
